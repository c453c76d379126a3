/* base/buf.h - bytes that grow at the end and are taken from the front.
 *
 * Zero-initialised is empty. The bytes are at buf_bytes(); a pointer into
 * them holds until the next call that appends.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
    char *ptr;
    size_t start; /* first byte not yet taken */
    size_t end;
    size_t cap;
};

static inline struct slice buf_bytes(const struct buf *b)
{
    return slice_make(b->ptr != NULL ? b->ptr + b->start : NULL, b->end - b->start);
}

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

/* Room for `len` more bytes; write there, then buf_extend by what was used. */
char *buf_reserve(struct buf *b, size_t len);

static inline void buf_extend(struct buf *b, size_t len)
{
    b->end += len;
}

void buf_add(struct buf *b, struct slice bytes);
void buf_add_str(struct buf *b, const char *s);
void buf_add_byte(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t n); /* decimal */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

void buf_take(struct buf *b, size_t len);  /* drops `len` bytes from the front */
void buf_clear(struct buf *b);             /* keeps the memory */
void buf_release(struct buf *b);           /* frees it; empty and usable again */
void buf_wipe(struct buf *b);              /* zeroes it first: secrets */
char *buf_detach(struct buf *b);           /* caller frees; NUL-terminated */
const char *buf_cstr(struct buf *b);       /* NUL-terminated, still owned by b */

#endif
