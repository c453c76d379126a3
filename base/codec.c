/* base/codec.c - numbers and strings to bytes and back. */
#include "base/codec.h"

#include "base/crc32c.h"

#include <endian.h>

void codec_put_u8(struct buf *b, uint8_t n)
{
    buf_add_byte(b, (char)n);
}

void codec_put_u16(struct buf *b, uint16_t n)
{
    n = htobe16(n);
    buf_add(b, slice_make(&n, sizeof n));
}

void codec_put_u32(struct buf *b, uint32_t n)
{
    n = htobe32(n);
    buf_add(b, slice_make(&n, sizeof n));
}

void codec_put_u64(struct buf *b, uint64_t n)
{
    n = htobe64(n);
    buf_add(b, slice_make(&n, sizeof n));
}

void codec_put_bytes(struct buf *b, struct slice s)
{
    codec_put_u32(b, (uint32_t)s.len);
    buf_add(b, s);
}

void codec_seal(struct buf *b, size_t start)
{
    codec_put_u32(b, crc32c(0, slice_from(buf_bytes(b), start)));
}

struct err codec_open(struct slice record, struct codec_reader *out)
{
    uint32_t stored;
    struct slice content;

    if (record.len < 1 + sizeof stored)
        return err_make(ERR_CORRUPT, "record too short");
    content = slice_head(record, record.len - sizeof stored);
    memcpy(&stored, record.ptr + content.len, sizeof stored);
    if (be32toh(stored) != crc32c(0, content))
        return err_make(ERR_CORRUPT, "record checksum");
    *out = (struct codec_reader){ content, false };
    return ERR_OK;
}

static bool take(struct codec_reader *r, void *to, size_t len)
{
    if (r->fault || r->rest.len < len) {
        r->fault = true;
        return false;
    }
    memcpy(to, r->rest.ptr, len);
    r->rest = slice_from(r->rest, len);
    return true;
}

uint8_t codec_u8(struct codec_reader *r)
{
    uint8_t n;

    return take(r, &n, sizeof n) ? n : 0;
}

uint16_t codec_u16(struct codec_reader *r)
{
    uint16_t n;

    return take(r, &n, sizeof n) ? be16toh(n) : 0;
}

uint32_t codec_u32(struct codec_reader *r)
{
    uint32_t n;

    return take(r, &n, sizeof n) ? be32toh(n) : 0;
}

uint64_t codec_u64(struct codec_reader *r)
{
    uint64_t n;

    return take(r, &n, sizeof n) ? be64toh(n) : 0;
}

struct slice codec_bytes(struct codec_reader *r)
{
    uint32_t len = codec_u32(r);
    struct slice s;

    if (r->fault || r->rest.len < len) {
        r->fault = true;
        return SLICE_EMPTY;
    }
    s = slice_head(r->rest, len);
    r->rest = slice_from(r->rest, len);
    return s;
}

static void key_add(struct codec_key *k, const void *n, size_t len)
{
    memcpy(k->bytes + k->len, n, len);
    k->len += len;
}

struct codec_key codec_key_u64(uint64_t a)
{
    struct codec_key k = { .len = 0 };

    a = htobe64(a);
    key_add(&k, &a, sizeof a);
    return k;
}

struct codec_key codec_key_u64_u32(uint64_t a, uint32_t b)
{
    struct codec_key k = codec_key_u64(a);

    b = htobe32(b);
    key_add(&k, &b, sizeof b);
    return k;
}

struct codec_key codec_key_u64_u64(uint64_t a, uint64_t b)
{
    struct codec_key k = codec_key_u64(a);

    b = htobe64(b);
    key_add(&k, &b, sizeof b);
    return k;
}

uint64_t codec_key_read_u64(struct slice key, size_t at)
{
    uint64_t n = 0;

    if (key.len >= at + sizeof n)
        memcpy(&n, key.ptr + at, sizeof n);
    return be64toh(n);
}

uint32_t codec_key_read_u32(struct slice key, size_t at)
{
    uint32_t n = 0;

    if (key.len >= at + sizeof n)
        memcpy(&n, key.ptr + at, sizeof n);
    return be32toh(n);
}
