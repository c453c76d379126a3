/* base/secret.h - comparing and forgetting secrets. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/slice.h"

#include <string.h>

/* Takes the same time wherever the first difference is. The lengths are no secret. */
static inline bool secret_equal(struct slice a, struct slice b)
{
    unsigned char different = 0;

    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        different |= (unsigned char)((unsigned char)a.ptr[i] ^ (unsigned char)b.ptr[i]);
    return ((volatile unsigned char *)&different)[0] == 0;
}

/* Not optimised away. */
static inline void secret_wipe(void *bytes, size_t len)
{
    if (len != 0)
        explicit_bzero(bytes, len);
}

#endif
