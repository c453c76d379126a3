/* base/mem.h - memory that is there or the process is not.
 *
 * The calls never return NULL: when memory is gone the process says so and
 * aborts, and its parent starts a fresh one; nothing acknowledged is lost,
 * for that is on disk. What a stranger can make grow is held by budgets
 * long before.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/base.h"

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_zero(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_grow(void *ptr, size_t count, size_t size) __attribute__((returns_nonnull));
char *mem_dup(const void *ptr, size_t len) __attribute__((returns_nonnull)); /* adds a NUL */
char *mem_str(const char *s) __attribute__((returns_nonnull));

/* For a library that says it has none: the end, as above. */
void mem_out(void) __attribute__((noreturn));

#define mem_new(type) ((type *)mem_zero(1, sizeof(type)))

#endif
