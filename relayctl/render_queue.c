/* relayctl/render_queue.c - what waits, and why. */
#include "relayctl/render.h"

#include <inttypes.h>

static const struct table_column columns[] = {
    { "ID", false, 16, 0 },      { "AGE", true, 5, 0 },        { "SIZE", true, 5, 0 },
    { "SENDER", false, 10, 40 }, { "RECIPIENT", false, 10, 40 }, { "STATE", false, 7, 0 },
    { "NEXT ATTEMPT, OR WHY", false, 0, 0 },
};

void render_queue_table(struct table *t, bool color, size_t line_max)
{
    table_init(t, columns, countof(columns), color, line_max);
}

static void add_address(struct table *t, const char *address)
{
    struct buf text = { 0 };

    text_clean(&text, *address != '\0' ? address : "<>");
    table_cell(t, STYLE_PLAIN, buf_cstr(&text));
    buf_release(&text);
}

/* "in 5m: 451 4.3.0 try later" */
static void add_why(struct table *t, const json_t *recipient)
{
    const char *state = text_of(recipient, "state");
    const char *site_error = text_of(recipient, "site_error");
    struct buf text = { 0 };

    if (json_object_get(recipient, "release_ms") != NULL) {
        buf_add_str(&text, "waits until ");
        text_time(&text, number_of(recipient, "release_ms"));
    } else if (json_object_get(recipient, "next_in_ms") != NULL) {
        if (number_of(recipient, "next_in_ms") >= SECOND_MS)
            buf_add_str(&text, "in ");
        text_span(&text, number_of(recipient, "next_in_ms"));
    }
    if (strcmp(state, "held") == 0) {
        ; /* its site does not matter */
    } else if (number_of(recipient, "site_down_for_ms") != 0) {
        buf_add_str(&text, buf_len(&text) != 0 ? ", " : "");
        buf_printf(&text, "%s is down, next try in ", text_of(recipient, "site"));
        text_span(&text, number_of(recipient, "site_down_for_ms"));
    } else if (strcmp(state, "ready") == 0 && *text_of(recipient, "site") != '\0') {
        buf_add_str(&text, "waits for ");
        text_clean(&text, text_of(recipient, "site"));
    }
    if (json_is_true(json_object_get(recipient, "in_doubt")))
        buf_add_str(&text, buf_len(&text) != 0 ? ", in doubt" : "in doubt");
    if (json_object_get(recipient, "reply") != NULL || *site_error != '\0')
        buf_add_str(&text, buf_len(&text) != 0 ? ": " : "");
    if (json_object_get(recipient, "reply") != NULL)
        text_reply(&text, json_object_get(recipient, "reply"));
    else
        text_clean(&text, site_error);
    table_cell(t, STYLE_PLAIN, buf_cstr(&text));
    buf_release(&text);
}

static void add_head(struct table *t, const json_t *message)
{
    struct buf age = { 0 }, size = { 0 };

    text_span(&age, number_of(message, "age_ms"));
    text_size(&size, number_of(message, "size"));
    table_cell(t, STYLE_PLAIN, text_of(message, "id"));
    table_cell(t, STYLE_PLAIN, buf_cstr(&age));
    table_cell(t, STYLE_PLAIN, buf_cstr(&size));
    add_address(t, text_of(message, "sender"));
    buf_release(&age);
    buf_release(&size);
}

static void add_blanks(struct table *t, size_t n)
{
    while (n-- > 0)
        table_cell(t, STYLE_PLAIN, "");
}

void render_queue_rows(struct table *t, const json_t *page)
{
    size_t i, k;
    const json_t *message, *recipient;

    json_array_foreach(json_object_get(page, "messages"), i, message) {
        const json_t *recipients = json_object_get(message, "recipients");
        uint64_t count = number_of(message, "recipient_count");

        json_array_foreach(recipients, k, recipient) {
            const char *state = text_of(recipient, "state");

            if (k == 0)
                add_head(t, message);
            else
                add_blanks(t, 4);
            add_address(t, text_of(recipient, "address"));
            table_cell(t, style_of_word(state), state);
            add_why(t, recipient);
        }
        if (count > json_array_size(recipients)) {
            char more[64];

            snprintf(more, sizeof more, "and %" PRIu64 " more", count - json_array_size(recipients));
            add_blanks(t, 4);
            table_cell(t, STYLE_DIM, more);
            add_blanks(t, 2);
        }
    }
}

/* ---- one message ------------------------------------------------------------------ */

static void line(struct buf *out, const char *name, const char *value)
{
    if (*value == '\0')
        return;
    buf_printf(out, "%-12s ", name);
    text_clean(out, value);
    buf_add_byte(out, '\n');
}

static void add_recipient(struct buf *out, const json_t *r, bool color)
{
    const char *state = text_of(r, "state");
    enum text_style style = style_of_word(state);

    buf_add_str(out, "  ");
    text_clean(out, text_of(r, "address"));
    buf_printf(out, "  %s%s%s", style_begin(color, style), state, style_end(color, style));
    if (number_of(r, "attempts") != 0) {
        buf_add_str(out, ", ");
        text_count(out, number_of(r, "attempts"), "attempt");
    }
    if (json_object_get(r, "release_ms") != NULL) {
        buf_add_str(out, ", waits until ");
        text_time(out, number_of(r, "release_ms"));
        buf_add_str(out, " as its sender asked");
    } else if (json_object_get(r, "next_in_ms") != NULL) {
        buf_add_str(out, number_of(r, "next_in_ms") >= SECOND_MS ? ", next in " : ", next ");
        text_span(out, number_of(r, "next_in_ms"));
    }
    if (json_is_true(json_object_get(r, "in_doubt")))
        buf_add_str(out, ", may have arrived already (in doubt)");
    if (json_is_true(json_object_get(r, "sender_warned")))
        buf_add_str(out, ", the sender was told of the delay");
    if (*text_of(r, "notify") != '\0')
        buf_printf(out, ", notify %s", text_of(r, "notify"));
    buf_add_byte(out, '\n');
    if (json_object_get(r, "reply") != NULL) {
        buf_add_str(out, "    last: ");
        if (json_object_get(r, "last_attempt_ms") != NULL) {
            text_time(out, number_of(r, "last_attempt_ms"));
            buf_add_str(out, "  ");
        }
        if (*text_of(r, "relay") != '\0' && strcmp(text_of(r, "relay"), "none") != 0) {
            text_clean(out, text_of(r, "relay"));
            buf_add_str(out, "  ");
        }
        text_reply(out, json_object_get(r, "reply"));
        buf_add_byte(out, '\n');
    }
    if (*text_of(r, "site") != '\0' || *text_of(r, "site_error") != '\0') {
        buf_add_str(out, "    way:  ");
        text_clean(out, text_of(r, "site"));
        if (number_of(r, "site_down_for_ms") != 0) {
            buf_add_str(out, " is down, next try in ");
            text_span(out, number_of(r, "site_down_for_ms"));
        }
        if (*text_of(r, "site_error") != '\0') {
            buf_add_str(out, *text_of(r, "site") != '\0' ? ": " : "");
            text_clean(out, text_of(r, "site_error"));
        }
        buf_add_byte(out, '\n');
    }
}

static void add_client(struct buf *out, const json_t *client)
{
    buf_printf(out, "%-12s ", "client");
    if (*text_of(client, "name") != '\0') {
        text_clean(out, text_of(client, "name"));
        buf_printf(out, "[%s]", text_of(client, "address"));
    } else {
        buf_add_str(out, text_of(client, "address"));
    }
    if (*text_of(client, "helo") != '\0') {
        buf_add_str(out, ", helo ");
        text_clean(out, text_of(client, "helo"));
    }
    if (*text_of(client, "protocol") != '\0')
        buf_printf(out, ", %s", text_of(client, "protocol"));
    buf_add_byte(out, '\n');
}

void render_message(struct buf *out, const json_t *doc, bool color)
{
    uint64_t waiting = number_of(doc, "recipient_count"), total = number_of(doc, "recipient_total");
    const json_t *recipient, *field;
    const char *name;
    size_t i;

    line(out, "id", text_of(doc, "id"));
    buf_printf(out, "%-12s ", "received");
    text_time(out, number_of(doc, "received_ms"));
    buf_add_str(out, ", age ");
    text_span(out, number_of(doc, "age_ms"));
    buf_add_byte(out, '\n');
    if (json_object_get(doc, "client") != NULL)
        add_client(out, json_object_get(doc, "client"));
    buf_printf(out, "%-12s ", "size");
    text_size(out, number_of(doc, "size"));
    buf_add_byte(out, '\n');
    line(out, "sender", *text_of(doc, "sender") != '\0' ? text_of(doc, "sender") : "<>");
    line(out, "damaged", text_of(doc, "damaged"));
    line(out, "envelope id", text_of(doc, "envelope_id"));
    line(out, "return", text_of(doc, "return"));
    json_object_foreach(json_object_get(doc, "header"), name, field)
        line(out, name, json_string_value(field) != NULL ? json_string_value(field) : "");
    text_count(out, waiting, "recipient");
    buf_add_str(out, waiting == 1 ? " waits" : " wait");
    if (total > waiting)
        buf_printf(out, ", of %" PRIu64 " at first", total);
    buf_add_str(out, ":\n");
    json_array_foreach(json_object_get(doc, "recipients"), i, recipient)
        add_recipient(out, recipient, color);
}
