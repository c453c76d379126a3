/* base/slice.c - comparing, splitting and hashing runs of bytes. */
#include "base/slice.h"

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

bool slice_starts_nocase(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq_nocase(slice_head(s, prefix.len), prefix);
}

bool slice_ends_nocase(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && slice_eq_nocase(slice_from(s, s.len - suffix.len), suffix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = slice_from(s, 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

size_t slice_find(struct slice s, char c)
{
    const char *p = s.len != 0 ? memchr(s.ptr, c, s.len) : NULL;

    return p != NULL ? (size_t)(p - s.ptr) : s.len;
}

bool slice_split(struct slice *rest, char sep, struct slice *part)
{
    size_t at;

    if (rest->len == 0)
        return false;
    at = slice_find(*rest, sep);
    *part = slice_head(*rest, at);
    *rest = slice_from(*rest, at + 1);
    return true;
}

bool slice_u64(struct slice s, uint64_t *out)
{
    uint64_t n = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.ptr[i]))
            return false;
        if (__builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s.ptr[i] - '0'), &n))
            return false;
    }
    *out = n;
    return true;
}

/* FNV-1a with a final mix, for short keys. */
static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    h ^= h >> 32;
    return h;
}

uint64_t slice_hash(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001b3ull;
    return mix(h);
}

uint64_t slice_hash_nocase(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)ascii_lower(s.ptr[i])) * 0x100000001b3ull;
    return mix(h);
}
