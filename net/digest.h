/* net/digest.h - HMAC-SHA-256, for those who may not use OpenSSL themselves.
 * Any thread. */
#ifndef NET_DIGEST_H
#define NET_DIGEST_H

#include "base/slice.h"

#define DIGEST_BYTES 32u

/* The parts one after the other make the message. */
void digest_hmac(struct slice key, const struct slice *parts, size_t count, uint8_t out[DIGEST_BYTES]);

#endif
