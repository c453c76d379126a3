/* control/view_queue.c - what waits in the queue: a page of it, or one message. */
#include "control/select.h"
#include "control/view.h"

#include "mail/header.h"

#define LISTED_RECIPIENTS 50u  /* of one message in a page; "recipient_count" tells all */
#define HEADER_CHUNKS 4u       /* so much of a long header is looked at */
#define FIELD_MAX 1000u

static json_t *recipient_json(struct source *s, const struct picked_recipient *p)
{
    const struct recipient *r = &p->r;
    const char *state = filter_state_text(r, &p->view);
    uint64_t now = source_now_ms(s);
    uint64_t next_ms = r->next_wall_ms;
    char notify[MAIL_NOTIFY_TEXT_MAX];
    json_t *out = json_object();

    json_put_number(out, "n", r->n);
    json_object_set_new(out, "address", json_of_slice(r->address));
    json_object_set_new(out, "state", json_string(state));
    json_put_number(out, "attempts", r->attempts);
    if (p->view.known)
        next_ms = strcmp(state, "waiting") == 0 ? now + p->view.next_in_ms : 0;
    if (strcmp(state, "held") != 0 && next_ms != 0) {
        json_put_time(out, "next_attempt", next_ms);
        json_put_number(out, "next_in_ms", next_ms > now ? next_ms - now : 0);
    }
    if (r->release_wall_ms > now && r->attempts == 0)
        json_put_time(out, "release", r->release_wall_ms);
    if (r->wish.notify != 0)
        json_object_set_new(out, "notify", json_string(mail_notify_format(r->wish.notify, notify)));
    json_put_slice(out, "original_recipient", r->wish.original);
    json_put_time(out, "last_attempt", r->last_wall_ms);
    json_put_reply(out, "reply", r->code, r->status, r->reply);
    json_put_slice(out, "relay", r->relay);
    if (r->flags & RECIPIENT_IN_DOUBT)
        json_object_set_new(out, "in_doubt", json_true());
    if (r->flags & RECIPIENT_WARNED)
        json_object_set_new(out, "sender_warned", json_true());
    json_put_slice(out, "site", slice_str(p->view.site));
    json_put_slice(out, "site_error", slice_str(p->view.site_error));
    if (p->view.site_down_for_ms != 0)
        json_put_number(out, "site_down_for_ms", p->view.site_down_for_ms);
    return out;
}

static json_t *message_json(struct selection *sel, const struct picked *p, size_t recipients_max, struct message *m,
                            bool *header_inline)
{
    json_t *out = json_object(), *list = json_array();
    uint64_t now = source_now_ms(sel->source);
    uint64_t received_ms = queue_id_wall_ms(p->id);
    struct err e = p->len != 0 ? record_message_get(selection_record(sel, p), m, header_inline)
                               : err_make(ERR_NOT_FOUND, "message record");

    json_object_set_new(out, "id", json_of_id(p->id));
    if (!err_failed(e))
        received_ms = m->received_wall_ms;
    json_put_time(out, "received", received_ms);
    json_put_number(out, "age_ms", now > received_ms ? now - received_ms : 0);
    if (!err_failed(e))
        json_put_number(out, "size", message_size(m));
    else
        json_object_set_new(out, "damaged", json_string(e.what));
    json_object_set_new(out, "sender", json_of_slice(sel->recipients[p->first].r.reverse_path));
    json_put_number(out, "recipient_count", p->count);
    for (size_t i = 0; i < p->count && i < recipients_max; i++)
        json_array_append_new(list, recipient_json(sel->source, &sel->recipients[p->first + i]));
    json_object_set_new(out, "recipients", list);
    return out;
}

struct err view_queue(struct source *s, const struct filter *f, uint64_t after, size_t limit, json_t **out)
{
    struct selection sel;
    json_t *messages = json_array();
    struct err e = ERR_OK;

    *out = NULL;
    selection_init(&sel, s, f, after != 0 ? after + 1 : 0);
    while (!err_failed(e) && json_array_size(messages) < limit && !selection_ended(&sel)) {
        e = selection_next(&sel, limit - json_array_size(messages));
        for (size_t i = 0; i < sel.message_count && !err_failed(e); i++) {
            struct message m = { 0 };
            bool header_inline;

            json_array_append_new(messages, message_json(&sel, &sel.messages[i], LISTED_RECIPIENTS, &m,
                                                         &header_inline));
        }
        if (selection_exhausted(&sel))
            break;
    }
    if (!err_failed(e)) {
        *out = json_object();
        json_object_set(*out, "messages", messages);
        json_object_set_new(*out, "next", selection_ended(&sel) ? json_null() : json_of_id(sel.at_id - 1));
    }
    json_decref(messages);
    selection_release(&sel);
    return e;
}

/* ---- one message ---------------------------------------------------------------- */

struct header_read {
    uint64_t id;
    struct buf bytes;
};

static struct err read_header(void *ctx, struct store_txn *t)
{
    struct header_read *h = ctx;

    for (uint32_t i = 0; i < HEADER_CHUNKS; i++) {
        struct codec_key key = codec_key_u64_u32(h->id, RECORD_HEADER_CHUNK + i);
        struct slice chunk;
        struct err e = store_get(t, TABLE_BODY, codec_key_slice(&key), &chunk);

        if (err_failed(e))
            return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
        buf_add(&h->bytes, chunk);
    }
    return ERR_OK;
}

static json_t *header_json(struct slice header)
{
    static const char *const names[] = { "From", "To", "Cc", "Subject", "Date", "Message-ID" };
    json_t *out = json_object();

    for (size_t i = 0; i < countof(names); i++) {
        struct mail_field field;
        struct buf line = { 0 };

        if (!mail_header_find(header, names[i], &field))
            continue;
        mail_field_unfold(field.value, &line);
        json_object_set_new(out, names[i], json_of_slice(slice_head(slice_trim(buf_bytes(&line)), FIELD_MAX)));
        buf_release(&line);
    }
    return out;
}

static struct err add_details(struct source *s, uint64_t id, const struct message *m, bool header_inline, json_t *out)
{
    struct header_read h = { .id = id };
    json_t *client = json_object();
    struct err e = ERR_OK;

    json_put_slice(client, "address", m->client_addr);
    json_put_slice(client, "name", m->client_name);
    json_put_slice(client, "helo", m->helo);
    json_put_slice(client, "protocol", m->protocol);
    json_object_set_new(out, "client", client);
    json_put_number(out, "recipient_total", m->recipient_total);
    json_put_slice(out, "message_id", m->message_id);
    json_put_slice(out, "envelope_id", m->envelope_id);
    if ((m->flags & (MESSAGE_RETURN_FULL | MESSAGE_RETURN_HEADER)) != 0)
        json_object_set_new(out, "return", json_string((m->flags & MESSAGE_RETURN_FULL) != 0 ? "full" : "header"));
    json_object_set_new(out, "smtputf8", json_boolean(m->flags & MESSAGE_SMTPUTF8));
    json_object_set_new(out, "dsn", json_boolean(m->flags & MESSAGE_DSN));
    if (!header_inline)
        e = source_read(s, queue_store(s->queue), read_header, &h);
    if (!err_failed(e))
        json_object_set_new(out, "header", header_json(header_inline ? m->header : buf_bytes(&h.bytes)));
    buf_release(&h.bytes);
    return e;
}

struct err view_message(struct source *s, uint64_t id, json_t **out)
{
    const struct filter none = { 0 };
    struct selection sel;
    struct message m = { 0 };
    bool header_inline = false;
    struct err e;

    *out = NULL;
    selection_init_one(&sel, s, &none, id);
    e = selection_next(&sel, 1);
    if (!err_failed(e) && sel.message_count == 0)
        e = err_make(ERR_NOT_FOUND, "no such message in the queue");
    if (!err_failed(e)) {
        *out = message_json(&sel, &sel.messages[0], SIZE_MAX, &m, &header_inline);
        if (json_object_get(*out, "damaged") == NULL)
            e = add_details(s, id, &m, header_inline, *out);
    }
    if (err_failed(e)) {
        json_decref(*out);
        *out = NULL;
    }
    selection_release(&sel);
    return e;
}
