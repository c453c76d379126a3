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

void render_status(struct buf *out, const json_t *doc, bool color)
{
    static const char *const queue_words[] = { "messages", "recipients", "waiting", "ready",
                                               "active",   "held",       "damaged" };
    static const char *const since_words[] = { "delivered", "deferred", "bounced", "expired" };
    bool running = json_is_true(json_object_get(doc, "running"));
    const json_t *storage = json_object_get(doc, "storage");
    const char *state = text_of(storage, "state");

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
