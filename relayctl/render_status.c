/* relayctl/render_status.c - how the relay is doing, on one screen. */
#include "relayctl/render.h"

#include <inttypes.h>

static void name(struct buf *out, const char *s)
{
    buf_printf(out, "%-12s ", s);
}

static void add_pairs(struct buf *out, const json_t *object, const char *const *names, size_t count)
{
    const char *gap = "";

    for (size_t i = 0; i < count; i++) {
        if (json_object_get(object, names[i]) == NULL)
            continue;
        buf_printf(out, "%s%" PRIu64 " %s", gap, number_of(object, names[i]), names[i]);
        gap = ", ";
    }
    buf_add_byte(out, '\n');
}

static void add_store(struct buf *out, const char *title, const json_t *store)
{
    name(out, title);
    if (number_of(store, "used_bytes") != 0) { /* counted by an engine only */
        text_size(out, number_of(store, "used_bytes"));
        buf_add_str(out, " in use, ");
    }
    buf_add_str(out, "file of ");
    text_size(out, number_of(store, "file_bytes"));
    buf_add_byte(out, '\n');
}

/* One line, and one more for each host that is ill. */
static void add_smarthost(struct buf *out, const json_t *smarthost, bool color)
{
    const json_t *hosts = json_object_get(smarthost, "hosts"), *h;
    const char *in_use = "";
    size_t i, ill = 0;

    json_array_foreach(hosts, i, h) {
        if (number_of(h, "failures") != 0)
            ill++;
        else if (*in_use == '\0')
            in_use = text_of(h, "name");
    }
    name(out, "smart host");
    text_clean(out, text_of(smarthost, "title"));
    buf_printf(out, ": %s%s%s", style_begin(color, ill != 0 ? STYLE_BAD : STYLE_GOOD),
               ill == 0 ? "well" : *in_use != '\0' ? "on backup " : "no host answers",
               style_end(color, ill != 0 ? STYLE_BAD : STYLE_GOOD));
    if (ill != 0)
        text_clean(out, in_use);
    buf_printf(out, ", %" PRIu64 " connections\n", number_of(smarthost, "connections"));
    json_array_foreach(hosts, i, h) {
        if (number_of(h, "failures") == 0)
            continue;
        name(out, "");
        text_clean(out, text_of(h, "name"));
        buf_add_str(out, " fails: ");
        text_clean(out, text_of(h, "last_error"));
        if (number_of(h, "avoided_for_ms") != 0) {
            buf_add_str(out, "; tried again in ");
            text_span(out, number_of(h, "avoided_for_ms"));
        }
        buf_add_byte(out, '\n');
    }
}

/* One line of what they did and one of how they are. */
static void add_signing(struct buf *out, const json_t *signing, bool color)
{
    static const char *const words[] = { "signed", "failed", "waiting", "active" };
    static const char *const ends[] = { "recycled", "lost" };
    const json_t *workers = json_object_get(signing, "workers"), *w;
    size_t i, there = 0;
    enum text_style style;

    if (signing == NULL)
        return;
    json_array_foreach(workers, i, w)
        there += json_is_true(json_object_get(w, "running"));
    style = there != 0 ? STYLE_GOOD : STYLE_BAD;
    name(out, "signing");
    add_pairs(out, signing, words, countof(words));
    name(out, "");
    buf_printf(out, "%s%zu of %zu%s workers running, ", style_begin(color, style), there, json_array_size(workers),
               style_end(color, style));
    add_pairs(out, signing, ends, countof(ends));
}

static void add_memory(struct buf *out, const json_t *memory, bool color)
{
    const char *state = text_of(memory, "state");

    if (memory == NULL)
        return;
    name(out, "memory");
    buf_printf(out, "%s%s%s: ", style_begin(color, style_of_word(state)), state,
               style_end(color, style_of_word(state)));
    text_size(out, number_of(memory, "used_bytes"));
    buf_add_str(out, " of the ");
    text_size(out, number_of(memory, "limit_bytes"));
    buf_add_str(out, " that its control group allows");
    if (strcmp(state, "full") == 0)
        buf_add_str(out, "; new mail is refused until some is free");
    buf_add_byte(out, '\n');
}

void render_status(struct buf *out, const json_t *doc, bool color)
{
    static const char *const queue_words[] = { "messages", "recipients", "waiting", "ready",
                                               "active",   "held",       "damaged" };
    static const char *const since_words[] = { "delivered", "deferred", "bounced", "expired" };
    bool running = json_is_true(json_object_get(doc, "running"));
    const json_t *storage = json_object_get(doc, "storage");
    const char *state = text_of(storage, "state");
    const json_t *smarthost;
    size_t i;

    name(out, "relayd");
    buf_printf(out, "%s on ", text_of(doc, "version"));
    text_clean(out, text_of(doc, "hostname"));
    if (running) {
        buf_printf(out, ", %srunning%s for ", style_begin(color, STYLE_GOOD), style_end(color, STYLE_GOOD));
        text_span(out, number_of(doc, "uptime_ms"));
        buf_printf(out, " (engine pid %" PRIu64 ")\n", number_of(doc, "pid"));
    } else {
        buf_printf(out, ", %snot running%s: what follows is read from its store\n", style_begin(color, STYLE_BAD),
                   style_end(color, STYLE_BAD));
    }
    name(out, "queue");
    add_pairs(out, json_object_get(doc, "queue"), queue_words, countof(queue_words));
    if (running) {
        name(out, "since start");
        add_pairs(out, json_object_get(doc, "since_start"), since_words, countof(since_words));
        name(out, "connections");
        buf_printf(out, "%" PRIu64 " out\n", number_of(doc, "connections_out"));
        json_array_foreach(json_object_get(doc, "smarthosts"), i, smarthost)
            add_smarthost(out, smarthost, color);
        add_signing(out, json_object_get(doc, "signing"), color);
        add_memory(out, json_object_get(doc, "memory"), color);
        name(out, "storage");
        buf_printf(out, "%s%s%s%s\n", style_begin(color, style_of_word(state)), state,
                   style_end(color, style_of_word(state)),
                   strcmp(state, "low") == 0      ? ": new mail is refused until there is space again"
                   : strcmp(state, "broken") == 0 ? ": nothing is accepted or delivered; see the log"
                                                  : "");
    }
    add_store(out, "queue store", json_object_get(storage, "queue"));
    add_store(out, "history", json_object_get(storage, "history"));
}
