/* auth/sign_wire.c - a message to sign, and its signatures, to bytes and back. */
#include "auth/sign_wire.h"

#include "base/codec.h"

static void put_sign(struct buf *b, const struct sign_wire *w)
{
    codec_put_u64(b, w->wall_ms);
    codec_put_u8(b, (uint8_t)w->key_count);
    for (size_t i = 0; i < w->key_count; i++) {
        codec_put_bytes(b, w->domains[i]);
        codec_put_bytes(b, w->selectors[i]);
    }
    codec_put_u64(b, w->header_bytes);
    codec_put_bytes(b, w->content);
    codec_put_u64(b, w->file_bytes);
}

void sign_wire_put(struct buf *b, const struct sign_wire *w)
{
    codec_put_u8(b, SIGN_WIRE_VERSION);
    codec_put_u8(b, (uint8_t)w->type);
    codec_put_u64(b, w->id);
    switch (w->type) {
    case SIGN_WIRE_SIGN:
        put_sign(b, w);
        break;
    case SIGN_WIRE_ANSWER:
        codec_put_u8(b, w->ok);
        codec_put_bytes(b, w->ok ? w->fields : w->why);
        break;
    case SIGN_WIRE_RETIRE:
        break;
    }
}

/* A name: no NUL, so that it may become a C string. */
static struct slice get_name(struct codec_reader *r, size_t max)
{
    struct slice s = codec_bytes(r);

    if (s.len == 0 || s.len > max || slice_find(s, '\0') != s.len)
        r->fault = true;
    return s;
}

static void get_sign(struct codec_reader *r, struct sign_wire *w)
{
    w->wall_ms = codec_u64(r);
    w->key_count = codec_u8(r);
    if (w->key_count == 0 || w->key_count > SIGN_KEYS_MAX) {
        r->fault = true;
        w->key_count = 0;
    }
    for (size_t i = 0; i < w->key_count; i++) {
        w->domains[i] = get_name(r, SIGN_DOMAIN_MAX);
        w->selectors[i] = get_name(r, SIGN_SELECTOR_MAX);
    }
    w->header_bytes = codec_u64(r);
    w->content = codec_bytes(r);
    w->file_bytes = codec_u64(r);
    if (w->content.len > SIGN_INLINE_MAX || w->header_bytes > SIGN_HEADER_MAX ||
        w->file_bytes > UINT64_MAX - w->content.len || w->header_bytes > w->content.len + w->file_bytes)
        r->fault = true;
}

static void get_answer(struct codec_reader *r, struct sign_wire *w)
{
    unsigned ok = codec_u8(r);
    struct slice text = codec_bytes(r);

    w->ok = ok == 1;
    if (ok > 1 || text.len == 0 || text.len > (w->ok ? SIGN_FIELDS_MAX : SIGNER_WHY_MAX))
        r->fault = true;
    if (w->ok)
        w->fields = text;
    else
        w->why = text;
}

struct err sign_wire_get(struct slice frame, struct sign_wire *w)
{
    struct codec_reader r = { .rest = frame };
    unsigned version = codec_u8(&r);

    *w = (struct sign_wire){ .type = codec_u8(&r), .id = codec_u64(&r) };
    switch (w->type) {
    case SIGN_WIRE_SIGN:
        get_sign(&r, w);
        break;
    case SIGN_WIRE_ANSWER:
        get_answer(&r, w);
        break;
    case SIGN_WIRE_RETIRE:
        break;
    default:
        r.fault = true;
    }
    if (version != SIGN_WIRE_VERSION || r.fault || r.rest.len != 0)
        return err_make(ERR_PROTOCOL, "read a message about a signature");
    return ERR_OK;
}
