/* base/codec.h - how records are laid out in bytes.
 *
 * Numbers are big-endian; a byte string is its length (4 bytes) and itself.
 * A record begins with its version byte and ends with the CRC-32C of all
 * before. Reading never runs past the end: a fault sticks in the reader and
 * every later value is zero, so callers check once, at the end.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/buf.h"
#include "base/err.h"

void codec_put_u8(struct buf *b, uint8_t n);
void codec_put_u16(struct buf *b, uint16_t n);
void codec_put_u32(struct buf *b, uint32_t n);
void codec_put_u64(struct buf *b, uint64_t n);
void codec_put_bytes(struct buf *b, struct slice s);
/* Seals the record that began at offset `start` of b's bytes. */
void codec_seal(struct buf *b, size_t start);

struct codec_reader {
    struct slice rest;
    bool fault;
};

/* Checks the CRC and opens what is before it. ERR_CORRUPT. */
MUST_CHECK struct err codec_open(struct slice record, struct codec_reader *out);
uint8_t codec_u8(struct codec_reader *r);
uint16_t codec_u16(struct codec_reader *r);
uint32_t codec_u32(struct codec_reader *r);
uint64_t codec_u64(struct codec_reader *r);
struct slice codec_bytes(struct codec_reader *r);

/* Keys: numbers big-endian, so that order of bytes is order of numbers. */
struct codec_key {
    char bytes[24];
    size_t len;
};

static inline struct slice codec_key_slice(const struct codec_key *k)
{
    return slice_make(k->bytes, k->len);
}

struct codec_key codec_key_u64(uint64_t a);
struct codec_key codec_key_u64_u32(uint64_t a, uint32_t b);
struct codec_key codec_key_u64_u64(uint64_t a, uint64_t b);
uint64_t codec_key_read_u64(struct slice key, size_t at); /* zero when the key is too short */
uint32_t codec_key_read_u32(struct slice key, size_t at);

#endif
