/* net/digest.c - HMAC-SHA-256 by OpenSSL: for what is remembered of passwords. */
#include "net/digest.h"

#include "base/buf.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <stdlib.h>

void digest_hmac(struct slice key, const struct slice *parts, size_t count, uint8_t out[DIGEST_BYTES])
{
    struct buf message = { 0 };
    size_t total = 0;
    unsigned len = 0;

    for (size_t i = 0; i < count; i++)
        total += parts[i].len;
    buf_reserve(&message, total + 1); /* once: a copy left behind by growing would not be wiped */
    for (size_t i = 0; i < count; i++)
        buf_add(&message, parts[i]);
    if (HMAC(EVP_sha256(), key.ptr, (int)key.len, (const unsigned char *)buf_bytes(&message).ptr, buf_len(&message), out,
             &len) == NULL ||
        len != DIGEST_BYTES)
        abort(); /* only without memory */
    buf_wipe(&message);
}
