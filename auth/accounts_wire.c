/* auth/accounts_wire.c - a login's questions and answers to bytes and back. */
#include "auth/accounts_wire.h"

#include "base/codec.h"

#include <assert.h>

static void put_addr(struct buf *b, const struct net_addr *a)
{
    codec_put_u8(b, a->family);
    codec_put_u16(b, a->port);
    codec_put_u32(b, a->scope);
    buf_add(b, slice_make(a->bytes, sizeof a->bytes));
}

static void put_login(struct buf *b, const struct accounts_wire *w)
{
    codec_put_bytes(b, w->mechanism);
    codec_put_bytes(b, w->service);
    codec_put_bytes(b, w->binding);
    codec_put_u8(b, w->has_external);
    codec_put_bytes(b, w->external);
    codec_put_u8(b, w->tls);
    codec_put_u8(b, w->clear_ok);
    put_addr(b, &w->addr);
}

static void put_answer(struct buf *b, const struct accounts_wire *w)
{
    assert(w->sender_count <= ACCOUNTS_SENDERS_MAX);
    codec_put_u8(b, (uint8_t)w->verdict);
    codec_put_bytes(b, w->challenge);
    codec_put_bytes(b, w->user);
    codec_put_u8(b, w->sender_any);
    codec_put_u8(b, (uint8_t)w->sender_count);
    for (size_t i = 0; i < w->sender_count; i++)
        codec_put_bytes(b, w->senders[i]);
    codec_put_u32(b, w->messages_per_hour);
    codec_put_u32(b, w->recipients_per_hour);
}

void accounts_wire_put(struct buf *b, const struct accounts_wire *w)
{
    codec_put_u8(b, ACCOUNTS_WIRE_VERSION);
    codec_put_u8(b, (uint8_t)w->type);
    codec_put_u64(b, w->id);
    switch (w->type) {
    case ACCOUNTS_WIRE_LOGIN:
        put_login(b, w);
        __attribute__((fallthrough));
    case ACCOUNTS_WIRE_STEP:
        codec_put_u8(b, w->has_response);
        codec_put_bytes(b, w->response);
        break;
    case ACCOUNTS_WIRE_CANCEL:
        break;
    case ACCOUNTS_WIRE_CHARGE:
        codec_put_bytes(b, w->user);
        codec_put_u32(b, w->recipients);
        break;
    case ACCOUNTS_WIRE_ADMIN:
    case ACCOUNTS_WIRE_ADMIN_ANSWER:
        codec_put_bytes(b, w->payload);
        break;
    case ACCOUNTS_WIRE_HELLO:
        codec_put_u64(b, w->generation);
        break;
    case ACCOUNTS_WIRE_ANSWER:
        put_answer(b, w);
        break;
    case ACCOUNTS_WIRE_CHARGED:
        codec_put_u8(b, w->ok);
        codec_put_bytes(b, w->why);
        break;
    }
}

/* ---- reading ----------------------------------------------------------------------- */

static bool get_flag(struct codec_reader *r)
{
    uint8_t n = codec_u8(r);

    if (n > 1)
        r->fault = true;
    return n == 1;
}

static struct slice get_bytes(struct codec_reader *r, size_t max)
{
    struct slice s = codec_bytes(r);

    if (s.len > max)
        r->fault = true;
    return r->fault ? SLICE_EMPTY : s;
}

/* What becomes a C string, and may stand in a log line or a reply. */
static struct slice get_name(struct codec_reader *r, size_t max)
{
    struct slice s = get_bytes(r, max);

    if (s.len != 0 && memchr(s.ptr, '\0', s.len) != NULL)
        r->fault = true;
    return r->fault ? SLICE_EMPTY : s;
}

static void get_addr(struct codec_reader *r, struct net_addr *a)
{
    a->family = codec_u8(r);
    a->port = codec_u16(r);
    a->scope = codec_u32(r);
    for (size_t i = 0; i < sizeof a->bytes; i++)
        a->bytes[i] = codec_u8(r);
    if (a->family != 0 && a->family != AF_INET && a->family != AF_INET6 && a->family != AF_UNIX)
        r->fault = true;
}

static void get_login(struct codec_reader *r, struct accounts_wire *w)
{
    w->mechanism = get_name(r, ACCOUNTS_NAME_MAX);
    w->service = get_name(r, ACCOUNTS_NAME_MAX);
    w->binding = get_bytes(r, ACCOUNTS_BINDING_MAX);
    w->has_external = get_flag(r);
    w->external = get_name(r, ACCOUNTS_NAME_MAX);
    w->tls = get_flag(r);
    w->clear_ok = get_flag(r);
    get_addr(r, &w->addr);
}

static void get_answer(struct codec_reader *r, struct accounts_wire *w)
{
    uint8_t verdict = codec_u8(r);

    if (verdict > ACCOUNTS_BAD)
        r->fault = true;
    w->verdict = (enum accounts_verdict)verdict;
    w->challenge = get_bytes(r, ACCOUNTS_CHALLENGE_MAX);
    w->user = get_name(r, ACCOUNTS_NAME_MAX);
    w->sender_any = get_flag(r);
    w->sender_count = codec_u8(r);
    if (w->sender_count > ACCOUNTS_SENDERS_MAX) {
        r->fault = true;
        w->sender_count = 0;
    }
    for (size_t i = 0; i < w->sender_count; i++)
        w->senders[i] = get_name(r, ACCOUNTS_NAME_MAX);
    w->messages_per_hour = codec_u32(r);
    w->recipients_per_hour = codec_u32(r);
}

static void get_fields(struct codec_reader *r, struct accounts_wire *w)
{
    switch (w->type) {
    case ACCOUNTS_WIRE_LOGIN:
        get_login(r, w);
        __attribute__((fallthrough));
    case ACCOUNTS_WIRE_STEP:
        w->has_response = get_flag(r);
        w->response = get_bytes(r, ACCOUNTS_RESPONSE_MAX);
        break;
    case ACCOUNTS_WIRE_CANCEL:
        break;
    case ACCOUNTS_WIRE_CHARGE:
        w->user = get_name(r, ACCOUNTS_NAME_MAX);
        w->recipients = codec_u32(r);
        break;
    case ACCOUNTS_WIRE_ADMIN:
    case ACCOUNTS_WIRE_ADMIN_ANSWER:
        w->payload = get_bytes(r, ACCOUNTS_ADMIN_MAX);
        break;
    case ACCOUNTS_WIRE_HELLO:
        w->generation = codec_u64(r);
        break;
    case ACCOUNTS_WIRE_ANSWER:
        get_answer(r, w);
        break;
    case ACCOUNTS_WIRE_CHARGED:
        w->ok = get_flag(r);
        w->why = get_name(r, ACCOUNTS_WHY_MAX);
        break;
    default:
        r->fault = true;
        break;
    }
}

struct err accounts_wire_get(struct slice frame, struct accounts_wire *out)
{
    struct codec_reader r = { frame, false };
    uint8_t version = codec_u8(&r);

    *out = (struct accounts_wire){ .type = (enum accounts_wire_type)codec_u8(&r) };
    if (!r.fault && version != ACCOUNTS_WIRE_VERSION)
        return err_make(ERR_PROTOCOL, "accounts link: another version");
    out->id = codec_u64(&r);
    get_fields(&r, out);
    if (r.fault || r.rest.len != 0)
        return err_make(ERR_PROTOCOL, "accounts link: message of the wrong shape");
    return ERR_OK;
}
