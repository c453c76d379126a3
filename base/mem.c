/* base/mem.c - allocation that does not fail quietly. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void mem_out(void)
{
    static const char text[] = "fatal: out of memory\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

    (void)n; /* nobody is left to tell */
    abort();
}

void *mem_alloc(size_t size)
{
    void *p = malloc(size != 0 ? size : 1);

    if (p == NULL)
        mem_out();
    return p;
}

void *mem_zero(size_t count, size_t size)
{
    void *p = calloc(count != 0 ? count : 1, size != 0 ? size : 1);

    if (p == NULL)
        mem_out();
    return p;
}

void *mem_grow(void *ptr, size_t count, size_t size)
{
    void *p = reallocarray(ptr, count != 0 ? count : 1, size != 0 ? size : 1);

    if (p == NULL)
        mem_out();
    return p;
}

char *mem_dup(const void *ptr, size_t len)
{
    char *p = mem_alloc(len + 1);

    if (len != 0)
        memcpy(p, ptr, len);
    p[len] = '\0';
    return p;
}

char *mem_str(const char *s)
{
    return mem_dup(s, strlen(s));
}
