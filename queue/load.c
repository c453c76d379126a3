/* queue/load.c - reads a message back from the store, in a reader thread. */
#include "queue/queue_internal.h"

#include "base/crc32c.h"
#include "base/mem.h"

#include <stdlib.h>

struct load {
    struct store_job job;
    struct queue *q;
    uint64_t id;
    struct message *message;
    queue_done *done;
    void *ctx;
};

static struct err read_chunks(struct store_txn *t, uint64_t id, uint32_t first, uint64_t bytes, struct buf *out)
{
    struct store_cursor *c = NULL;
    struct codec_key start = codec_key_u64_u32(id, first);
    struct slice key, value;
    uint32_t n = first;
    struct err e;

    if (bytes == 0)
        return ERR_OK;
    e = store_cursor_open(t, TABLE_BODY, &c);
    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&start), &key, &value);
    while (!err_failed(e)) {
        if (codec_key_read_u64(key, 0) != id || codec_key_read_u32(key, 8) != n || value.len > bytes)
            break;
        buf_add(out, value);
        bytes -= value.len;
        n++;
        if (bytes == 0)
            break;
        e = store_cursor_next(c, &key, &value);
    }
    store_cursor_close(c);
    if (bytes != 0)
        return err_make(ERR_CORRUPT, "content chunks are missing");
    return ERR_OK;
}

static struct err read_content(struct store_txn *t, struct message *m, bool header_inline)
{
    struct err e = ERR_OK;
    bool with_body = m->body_place == BODY_CHUNKS;

    buf_reserve(&m->content, m->header_bytes + (with_body ? m->body_bytes : 0) + 1);
    if (header_inline)
        buf_add(&m->content, m->header);
    else
        e = read_chunks(t, m->id, RECORD_HEADER_CHUNK, m->header_bytes, &m->content);
    if (!err_failed(e) && with_body)
        e = read_chunks(t, m->id, 0, m->body_bytes, &m->content);
    if (err_failed(e))
        return e;
    m->header = slice_head(buf_bytes(&m->content), m->header_bytes);
    m->body = slice_from(buf_bytes(&m->content), m->header_bytes);
    m->body_loaded = with_body;
    if (crc32c(0, m->header) != m->header_crc)
        return err_make(ERR_CORRUPT, "header checksum");
    if (with_body && crc32c(0, m->body) != m->body_crc)
        return err_make(ERR_CORRUPT, "body checksum");
    return ERR_OK;
}

/* Copies the slices, which still point into the store, into m's own memory. */
static void intern_strings(struct message *m, size_t room)
{
    buf_reserve(&m->text, room);
    m->reverse_path = message_intern(m, m->reverse_path);
    m->client_addr = message_intern(m, m->client_addr);
    m->client_name = message_intern(m, m->client_name);
    m->helo = message_intern(m, m->helo);
    m->protocol = message_intern(m, m->protocol);
    m->message_id = message_intern(m, m->message_id);
    m->envelope_id = message_intern(m, m->envelope_id);
    for (uint32_t i = 0; i < m->recipient_count; i++) {
        struct recipient *r = &m->recipients[i];

        r->address = message_intern(m, r->address);
        r->reply = message_intern(m, r->reply);
        r->relay = message_intern(m, r->relay);
        r->wish.original = message_intern(m, r->wish.original);
        r->reverse_path = m->reverse_path;
    }
}

static struct err read_recipients(struct store_txn *t, struct message *m, size_t *room)
{
    struct store_cursor *c = NULL;
    struct codec_key start = codec_key_u64(m->id);
    struct slice key, value;
    size_t cap = 0;
    struct err e = store_cursor_open(t, TABLE_RECIPIENT, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&start), &key, &value);
    while (!err_failed(e) && codec_key_read_u64(key, 0) == m->id) {
        struct recipient r = { .n = codec_key_read_u32(key, 8) };

        if (!err_failed(record_recipient_get(value, &r))) {
            if (m->recipient_count == cap) {
                cap = cap != 0 ? cap * 2 : 4;
                m->recipients = mem_grow(m->recipients, cap, sizeof *m->recipients);
            }
            m->recipients[m->recipient_count++] = r;
            *room += r.address.len + r.reply.len + r.relay.len + r.wish.original.len;
        }
        e = store_cursor_next(c, &key, &value);
    }
    store_cursor_close(c);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

/* *out is there, with its envelope at least, whenever the record could be read. */
static struct err read_message(struct store_txn *t, uint64_t id, struct message **out)
{
    struct codec_key key = codec_key_u64(id);
    struct message *m;
    struct slice record;
    bool header_inline = false;
    size_t room = 1;
    struct err e = store_get(t, TABLE_MESSAGE, codec_key_slice(&key), &record);

    if (err_failed(e))
        return e;
    m = *out = message_new();
    m->id = id;
    e = record_message_get(record, m, &header_inline);
    if (err_failed(e))
        return e;
    room += m->reverse_path.len + m->client_addr.len + m->client_name.len + m->helo.len +
            m->protocol.len + m->message_id.len + m->envelope_id.len;
    e = read_recipients(t, m, &room);
    if (err_failed(e))
        return e;
    intern_strings(m, room);
    read_signatures(t, m);
    return read_content(t, m, header_inline);
}

static struct err load_run(struct store_job *j, struct store_txn *t)
{
    struct load *l = container_of(j, struct load, job);

    message_unref(l->message); /* of a run that was given up */
    l->message = NULL;
    return read_message(t, l->id, &l->message);
}

static void load_done(struct store_job *j, struct err e)
{
    struct load *l = container_of(j, struct load, job);

    /* With damaged content the envelope still tells whose mail it is. */
    bool envelope = !err_failed(e) || (e.kind == ERR_CORRUPT && l->message != NULL && l->message->text.ptr != NULL);

    l->done(l->ctx, e, envelope ? l->message : NULL);
    message_unref(l->message);
    free(l);
}

void queue_load(struct queue *q, uint64_t id, struct loop *home, queue_done *done, void *ctx)
{
    struct load *l = mem_new(struct load);

    l->job.home = home;
    l->job.run = load_run;
    l->job.done = load_done;
    l->q = q;
    l->id = id;
    l->done = done;
    l->ctx = ctx;
    store_read(q->store, &l->job);
}

struct err queue_read(struct store_txn *t, uint64_t id, struct message **out)
{
    struct err e;

    *out = NULL;
    e = read_message(t, id, out);
    if (err_failed(e)) {
        message_unref(*out);
        *out = NULL;
    }
    return e;
}

struct err queue_body_file(struct queue *q, const struct message *m, int *fd)
{
    struct buf path = { 0 };
    struct err e;

    buf_printf(&path, "%s/" QUEUE_BODY_FOLDER, q->state_dir);
    e = blob_open_file(buf_cstr(&path), m->id, fd);
    buf_release(&path);
    return e;
}

void queue_open_body(struct queue *q, const struct message *m, struct blob_op *op)
{
    op->id = m->id;
    blob_open(q->blobs, op);
}

void queue_read_body(struct queue *q, const struct message *m, struct blob_op *op)
{
    op->id = m->id;
    blob_read(q->blobs, op);
}
