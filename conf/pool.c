/* conf/pool.c - the memory of a configuration, from its first word to the
 * settings a session looks at. */
#include "conf/pool.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>

#define POOL_CHUNK 16384u
#define POOL_ALIGN _Alignof(max_align_t)

struct chunk {
    struct chunk *next;
    size_t size;
    size_t used;
    _Alignas(max_align_t) char bytes[];
};

struct pool {
    struct chunk *top; /* the one with room; full and large ones follow */
};

struct pool *pool_new(void)
{
    return mem_new(struct pool);
}

void pool_free(struct pool *p)
{
    struct chunk *c, *next;

    if (p == NULL)
        return;
    for (c = p->top; c != NULL; c = next) {
        next = c->next;
        explicit_bzero(c->bytes, c->used);
        free(c);
    }
    free(p);
}

static struct chunk *chunk_new(size_t size)
{
    struct chunk *c = mem_zero(1, sizeof *c + size);

    c->size = size;
    return c;
}

void *pool_zero(struct pool *p, size_t count, size_t size)
{
    struct chunk *c = p->top;
    size_t want;
    void *out;

    if (__builtin_mul_overflow(count, size, &want) || want > SIZE_MAX - sizeof *c - POOL_ALIGN)
        abort();
    want = (want + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
    if (c == NULL || c->size - c->used < want) {
        bool large = want > POOL_CHUNK / 4;

        c = chunk_new(large ? want : POOL_CHUNK);
        if (large && p->top != NULL) {
            c->next = p->top->next;
            p->top->next = c;
        } else {
            c->next = p->top;
            p->top = c;
        }
    }
    out = c->bytes + c->used;
    c->used += want;
    return out;
}

char *pool_dup(struct pool *p, struct slice s)
{
    char *out = pool_zero(p, s.len + 1, 1);

    if (s.len != 0)
        memcpy(out, s.ptr, s.len);
    return out;
}

char *pool_printf(struct pool *p, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;
    char *out;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    out = pool_dup(p, buf_bytes(&b));
    buf_release(&b);
    return out;
}
