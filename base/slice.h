/* base/slice.h - a run of bytes somebody else owns. Mail contains NULs. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/base.h"

#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE_EMPTY ((struct slice){ NULL, 0 })
#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })

static inline struct slice slice_make(const void *ptr, size_t len)
{
    return (struct slice){ ptr, len };
}

static inline struct slice slice_str(const char *s)
{
    return (struct slice){ s, s != NULL ? strlen(s) : 0 };
}

/* From byte `at` on; past the end it is empty. */
static inline struct slice slice_from(struct slice s, size_t at)
{
    if (at > s.len)
        at = s.len;
    return (struct slice){ at != 0 ? s.ptr + at : s.ptr, s.len - at };
}

/* The first `len` bytes, or all if there are fewer. */
static inline struct slice slice_head(struct slice s, size_t len)
{
    return (struct slice){ s.ptr, len < s.len ? len : s.len };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII */
bool slice_starts_nocase(struct slice s, struct slice prefix);
bool slice_ends_nocase(struct slice s, struct slice suffix);
struct slice slice_trim(struct slice s); /* spaces and tabs at both ends */

/* Index of byte c, or s.len if there is none. */
size_t slice_find(struct slice s, char c);

/* Takes the bytes before `sep` off the front of *rest, and `sep` with them;
 * without a `sep` all of it. False when *rest was empty. */
bool slice_split(struct slice *rest, char sep, struct slice *part);

/* A decimal number that fits and fills the whole slice; false otherwise. */
bool slice_u64(struct slice s, uint64_t *out);

/* 64-bit hash, the same on every machine; not against an adversary. */
uint64_t slice_hash(struct slice s);
uint64_t slice_hash_nocase(struct slice s);

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool ascii_is_alnum(char c)
{
    char l = ascii_lower(c);

    return ascii_is_digit(c) || (l >= 'a' && l <= 'z');
}

#endif
