/* conf/pool.h - many small pieces of memory that go together.
 *
 * What a configuration is made of lives exactly as long as the configuration,
 * so nothing is freed by itself. Zeroed, aligned for any type.
 */
#ifndef CONF_POOL_H
#define CONF_POOL_H

#include "base/slice.h"

struct pool;

struct pool *pool_new(void);
void pool_free(struct pool *p); /* wipes it: there may be secrets. NULL is fine */

void *pool_zero(struct pool *p, size_t count, size_t size) __attribute__((returns_nonnull));
char *pool_dup(struct pool *p, struct slice s) __attribute__((returns_nonnull)); /* adds a NUL */
char *pool_printf(struct pool *p, const char *fmt, ...) PRINTF_LIKE(2, 3)
    __attribute__((returns_nonnull));

#define pool_new_of(p, type) ((type *)pool_zero((p), 1, sizeof(type)))

#endif
