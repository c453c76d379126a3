/* base/buf.c - the growing buffer under every stream and record. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define BUF_MIN 64
#define PRINT_MIN 64 /* room for a first try at formatting */

char *buf_reserve(struct buf *b, size_t len)
{
    size_t used = buf_len(b);
    size_t want;

    if (b->cap - b->end >= len && b->ptr != NULL)
        return b->ptr + b->end;
    if (b->start > 0 && b->cap - used >= len && b->start >= b->cap / 2) {
        memmove(b->ptr, b->ptr + b->start, used);
        b->start = 0;
        b->end = used;
        return b->ptr + b->end;
    }
    want = b->cap < BUF_MIN ? BUF_MIN : b->cap;
    while (want - used < len)
        want = want * 2;
    if (b->start > 0) {
        memmove(b->ptr, b->ptr + b->start, used);
        b->start = 0;
        b->end = used;
    }
    b->ptr = mem_grow(b->ptr, want, 1);
    b->cap = want;
    return b->ptr + b->end;
}

void buf_add(struct buf *b, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    memcpy(buf_reserve(b, bytes.len), bytes.ptr, bytes.len);
    b->end += bytes.len;
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, slice_str(s));
}

void buf_add_byte(struct buf *b, char c)
{
    *buf_reserve(b, 1) = c;
    b->end++;
}

void buf_add_u64(struct buf *b, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;

    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    buf_add(b, slice_make(digits + i, sizeof digits - i));
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    char *room = buf_reserve(b, PRINT_MIN);
    size_t size = b->cap - b->end;
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(room, size, fmt, ap);
    if (n > 0 && (size_t)n >= size) {
        room = buf_reserve(b, (size_t)n + 1);
        n = vsnprintf(room, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (n > 0)
        b->end += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_take(struct buf *b, size_t len)
{
    b->start += len;
    if (b->start >= b->end)
        b->start = b->end = 0;
}

void buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}

void buf_release(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){ 0 };
}

void buf_wipe(struct buf *b)
{
    if (b->ptr != NULL)
        explicit_bzero(b->ptr, b->cap);
    buf_release(b);
}

char *buf_detach(struct buf *b)
{
    char *p;

    buf_cstr(b);
    if (b->start > 0)
        memmove(b->ptr, b->ptr + b->start, buf_len(b) + 1);
    p = b->ptr;
    *b = (struct buf){ 0 };
    return p;
}

const char *buf_cstr(struct buf *b)
{
    *buf_reserve(b, 1) = '\0';
    return b->ptr + b->start;
}
