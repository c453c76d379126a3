/* queue/record.c - encoding of what the queue stores. */
#include "queue/record.h"

#define MESSAGE_VERSION 2   /* 1: without envelope_id */
#define RECIPIENT_VERSION 2 /* 1: without wish, release_wall_ms */
#define EVENT_VERSION 2
#define SIGNATURE_VERSION 1

const char *const queue_table_names[QUEUE_TABLE_COUNT] = { "message", "recipient", "body", "event",
                                                           "system" };
const char *const history_table_names[HISTORY_TABLE_COUNT] = { "event", "index", "system" };

static void put_status(struct buf *b, struct mail_status st)
{
    codec_put_u16(b, st.class_);
    codec_put_u16(b, st.subject);
    codec_put_u16(b, st.detail);
}

static struct mail_status get_status(struct codec_reader *r)
{
    struct mail_status st;

    st.class_ = codec_u16(r);
    st.subject = codec_u16(r);
    st.detail = codec_u16(r);
    return st;
}

/* Opens a record and checks the version byte: `known`, or the one before. */
static struct err open_version(struct slice record, unsigned known, struct codec_reader *r, unsigned *version)
{
    struct err e = codec_open(record, r);

    if (err_failed(e))
        return e;
    *version = codec_u8(r);
    if (*version == 0 || *version > known || *version + 1 < known)
        return err_make(ERR_VERSION, "record of an unknown version");
    return ERR_OK;
}

static struct err close_record(const struct codec_reader *r)
{
    if (r->fault || r->rest.len != 0)
        return err_make(ERR_CORRUPT, "record malformed");
    return ERR_OK;
}

void record_message_put(struct buf *b, const struct message *m, bool *header_inline)
{
    size_t start = buf_len(b);

    codec_put_u8(b, MESSAGE_VERSION);
    codec_put_u64(b, m->received_wall_ms);
    codec_put_u32(b, m->flags);
    codec_put_u8(b, (uint8_t)m->body_place);
    codec_put_u64(b, m->header_bytes);
    codec_put_u64(b, m->body_bytes);
    codec_put_u32(b, m->header_crc);
    codec_put_u32(b, m->body_crc);
    codec_put_u32(b, m->recipient_total);
    codec_put_bytes(b, m->reverse_path);
    codec_put_bytes(b, m->client_addr);
    codec_put_bytes(b, m->client_name);
    codec_put_bytes(b, m->helo);
    codec_put_bytes(b, m->protocol);
    codec_put_bytes(b, m->message_id);
    codec_put_bytes(b, m->envelope_id);
    *header_inline = buf_len(b) - start + m->header_bytes + 16 <= RECORD_LEAF_MAX;
    codec_put_u8(b, *header_inline);
    if (*header_inline)
        codec_put_bytes(b, m->header);
    codec_seal(b, start);
}

struct err record_message_get(struct slice record, struct message *m, bool *header_inline)
{
    struct codec_reader r;
    unsigned version;
    struct err e = open_version(record, MESSAGE_VERSION, &r, &version);

    if (err_failed(e))
        return e;
    m->received_wall_ms = codec_u64(&r);
    m->flags = codec_u32(&r);
    m->body_place = codec_u8(&r) == BODY_BLOB ? BODY_BLOB : BODY_CHUNKS;
    m->header_bytes = codec_u64(&r);
    m->body_bytes = codec_u64(&r);
    m->header_crc = codec_u32(&r);
    m->body_crc = codec_u32(&r);
    m->recipient_total = codec_u32(&r);
    m->reverse_path = codec_bytes(&r);
    m->client_addr = codec_bytes(&r);
    m->client_name = codec_bytes(&r);
    m->helo = codec_bytes(&r);
    m->protocol = codec_bytes(&r);
    m->message_id = codec_bytes(&r);
    m->envelope_id = version >= 2 ? codec_bytes(&r) : SLICE_EMPTY;
    *header_inline = codec_u8(&r) != 0;
    if (*header_inline)
        m->header = codec_bytes(&r);
    return close_record(&r);
}

void record_signature_put(struct buf *b, unsigned parts, struct slice fields)
{
    size_t start = buf_len(b);

    codec_put_u8(b, SIGNATURE_VERSION);
    codec_put_u16(b, (uint16_t)parts);
    codec_put_bytes(b, fields);
    codec_seal(b, start);
}

struct err record_signature_get(struct slice record, unsigned *parts, struct slice *fields)
{
    struct codec_reader r;
    unsigned version;
    struct err e = open_version(record, SIGNATURE_VERSION, &r, &version);

    if (err_failed(e))
        return e;
    *parts = codec_u16(&r);
    *fields = codec_bytes(&r);
    if (*parts == 0)
        r.fault = true;
    return close_record(&r);
}

void record_recipient_put(struct buf *b, const struct recipient *rc)
{
    size_t start = buf_len(b);

    codec_put_u8(b, RECIPIENT_VERSION);
    codec_put_u8(b, rc->state);
    codec_put_u8(b, rc->flags);
    codec_put_u32(b, rc->attempts);
    codec_put_u64(b, rc->next_wall_ms);
    codec_put_u64(b, rc->last_wall_ms);
    codec_put_u32(b, rc->code);
    put_status(b, rc->status);
    codec_put_bytes(b, rc->address);
    codec_put_bytes(b, rc->reverse_path);
    codec_put_bytes(b, slice_head(rc->reply, RECIPIENT_REPLY_MAX));
    codec_put_bytes(b, rc->relay);
    codec_put_u8(b, rc->wish.notify);
    codec_put_bytes(b, rc->wish.original);
    codec_put_u64(b, rc->release_wall_ms);
    codec_seal(b, start);
}

struct err record_recipient_get(struct slice record, struct recipient *rc)
{
    struct codec_reader r;
    unsigned version;
    struct err e = open_version(record, RECIPIENT_VERSION, &r, &version);

    if (err_failed(e))
        return e;
    rc->state = codec_u8(&r);
    rc->flags = codec_u8(&r);
    rc->attempts = codec_u32(&r);
    rc->next_wall_ms = codec_u64(&r);
    rc->last_wall_ms = codec_u64(&r);
    rc->code = codec_u32(&r);
    rc->status = get_status(&r);
    rc->address = codec_bytes(&r);
    rc->reverse_path = codec_bytes(&r);
    rc->reply = codec_bytes(&r);
    rc->relay = codec_bytes(&r);
    rc->wish.notify = version >= 2 ? codec_u8(&r) : 0;
    rc->wish.original = version >= 2 ? codec_bytes(&r) : SLICE_EMPTY;
    rc->release_wall_ms = version >= 2 ? codec_u64(&r) : 0;
    if (rc->state != RECIPIENT_QUEUED && rc->state != RECIPIENT_HELD)
        r.fault = true;
    return close_record(&r);
}

const char *event_type_text(enum event_type t)
{
    switch (t) {
    case EVENT_RECEIVED:
        return "received";
    case EVENT_DELIVERED:
        return "delivered";
    case EVENT_DEFERRED:
        return "deferred";
    case EVENT_IN_DOUBT:
        return "in doubt";
    case EVENT_BOUNCED:
        return "bounced";
    case EVENT_EXPIRED:
        return "expired";
    case EVENT_DELAYED:
        return "delayed";
    case EVENT_HELD:
        return "held";
    case EVENT_RELEASED:
        return "released";
    case EVENT_DELETED:
        return "deleted";
    case EVENT_RETRIED:
        return "retried";
    case EVENT_DISCARDED:
        return "discarded";
    case EVENT_DROPPED:
        return "dropped";
    case EVENT_DAMAGED:
        return "damaged";
    case EVENT_POSTPONED:
        return "postponed";
    case EVENT_ALIASED:
        return "aliased";
    case EVENT_SIGNER:
        return "signer";
    }
    return "unknown";
}

void record_event_put(struct buf *b, const struct event *e)
{
    size_t start = buf_len(b);

    codec_put_u8(b, EVENT_VERSION);
    codec_put_u8(b, (uint8_t)e->type);
    codec_put_u64(b, e->wall_ms);
    codec_put_u32(b, e->code);
    put_status(b, e->status);
    codec_put_u32(b, e->attempts);
    codec_put_u64(b, e->size_bytes);
    codec_put_u32(b, e->recipient_count);
    codec_put_u64(b, e->delay_ms);
    codec_put_bytes(b, e->recipient);
    codec_put_bytes(b, e->reverse_path);
    codec_put_bytes(b, e->message_id);
    codec_put_bytes(b, e->relay);
    codec_put_bytes(b, slice_head(e->text, RECIPIENT_REPLY_MAX));
    codec_put_bytes(b, e->tls);
    codec_seal(b, start);
}

struct err record_event_get(struct slice record, struct event *e)
{
    struct codec_reader r;
    unsigned version;
    struct err err = open_version(record, EVENT_VERSION, &r, &version);

    if (err_failed(err))
        return err;
    e->type = codec_u8(&r);
    e->wall_ms = codec_u64(&r);
    e->code = codec_u32(&r);
    e->status = get_status(&r);
    e->attempts = codec_u32(&r);
    e->size_bytes = codec_u64(&r);
    e->recipient_count = codec_u32(&r);
    e->delay_ms = codec_u64(&r);
    e->recipient = codec_bytes(&r);
    e->reverse_path = codec_bytes(&r);
    e->message_id = codec_bytes(&r);
    e->relay = codec_bytes(&r);
    e->text = codec_bytes(&r);
    e->tls = version >= 2 ? codec_bytes(&r) : SLICE_EMPTY;
    return close_record(&r);
}
