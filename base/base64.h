/* base/base64.h - base64 as protocols carry it (RFC 4648 section 4), for SASL. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

void base64_add(struct buf *out, struct slice bytes); /* with padding, on one line */

/* Strict: padded to the full, no byte from outside the alphabet, no bits set
 * that mean nothing, so each value has one spelling. On false nothing was
 * added. *out is grown once at most and never copied: it may hold a secret. */
bool base64_decode(struct slice text, struct buf *out);

#endif
