/* relayctl/render_trace.c - the life of a message as a timeline. */
#include "relayctl/render.h"

#include <inttypes.h>

static void add_received(struct buf *out, const json_t *e)
{
    const char *sender = text_of(e, "sender"), *recipient = text_of(e, "recipient");

    buf_add_str(out, "from ");
    text_clean(out, *sender != '\0' ? sender : "<>");
    buf_add_str(out, " to ");
    if (*recipient != '\0')
        text_clean(out, recipient);
    else
        text_count(out, number_of(e, "recipient_count"), "recipient");
    buf_add_str(out, ", ");
    text_size(out, number_of(e, "size"));
    buf_add_str(out, " bytes, ");
    text_clean(out, text_of(e, "client"));
    if (*text_of(e, "protocol") != '\0') {
        buf_add_str(out, " by ");
        text_clean(out, text_of(e, "protocol"));
    }
    if (*text_of(e, "message_id") != '\0') {
        buf_add_str(out, ", Message-ID <");
        text_clean(out, text_of(e, "message_id"));
        buf_add_byte(out, '>');
    }
}

static void add_aliased(struct buf *out, const json_t *e)
{
    text_clean(out, text_of(e, "recipient"));
    buf_add_str(out, " stands for ");
    text_clean(out, text_of(e, "targets"));
}

static void add_outcome(struct buf *out, const json_t *e)
{
    text_clean(out, text_of(e, "recipient"));
    if (*text_of(e, "relay") != '\0' && strcmp(text_of(e, "relay"), "none") != 0) {
        buf_add_str(out, "  ");
        text_clean(out, text_of(e, "relay"));
    }
    if (*text_of(e, "tls") != '\0') {
        buf_add_str(out, " (");
        text_clean(out, text_of(e, "tls"));
        buf_add_byte(out, ')');
    }
    if (json_object_get(e, "reply") != NULL) {
        buf_add_str(out, "  ");
        text_reply(out, json_object_get(e, "reply"));
    }
    if (number_of(e, "attempts") > 1)
        buf_printf(out, "  (attempt %" PRIu64 ")", number_of(e, "attempts"));
}

void render_trace(struct buf *out, const json_t *doc, bool color)
{
    const char *last_id = "";
    const json_t *e;
    size_t i;

    json_array_foreach(json_object_get(doc, "events"), i, e) {
        const char *id = text_of(e, "id"), *kind = text_of(e, "event");
        enum text_style style = style_of_word(kind);

        if (strcmp(id, last_id) != 0)
            buf_printf(out, "%s%s%s%s\n", i > 0 ? "\n" : "", style_begin(color, STYLE_BOLD), id,
                       style_end(color, STYLE_BOLD));
        last_id = id;
        buf_add_str(out, "  ");
        text_time(out, number_of(e, "time_ms"));
        buf_printf(out, "  %s%-10s%s  ", style_begin(color, style), kind, style_end(color, style));
        if (strcmp(kind, "received") == 0)
            add_received(out, e);
        else if (strcmp(kind, "aliased") == 0)
            add_aliased(out, e);
        else
            add_outcome(out, e);
        while (buf_len(out) > 0 && out->ptr[out->end - 1] == ' ')
            out->end--;
        buf_add_byte(out, '\n');
    }
    if (json_is_true(json_object_get(doc, "truncated")))
        buf_add_str(out, "\nThere is more: ask for a single message by its id.\n");
}
