/* relayd/self_signed.h - the certificate of a server that was given none. */
#ifndef RELAYD_SELF_SIGNED_H
#define RELAYD_SELF_SIGNED_H

#include "base/buf.h"
#include "base/err.h"

#define SELF_SIGNED_FILE "tls/self-signed.pem" /* in state_dir: certificate and key */

/* The one that is kept below state_dir, if it is for this name and good for a
 * while; else a new one, which is kept from now on. `pem` is a secret:
 * buf_wipe() it. On failure `why` names the file. */
MUST_CHECK struct err self_signed_get(const char *state_dir, const char *hostname, uint64_t wall_ms,
                                      struct buf *pem, struct buf *why);

#endif
