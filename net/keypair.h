/* net/keypair.h - private keys as PEM: made, and looked at for what may be
 * public. */
#ifndef NET_KEYPAIR_H
#define NET_KEYPAIR_H

#include "base/buf.h"
#include "base/err.h"

enum keypair_kind { KEYPAIR_RSA = 1, KEYPAIR_ED25519 = 2 };

struct keypair_public {
    enum keypair_kind kind;
    unsigned bits;
    /* What a DKIM record's p= holds, in base64: of RSA the SubjectPublicKeyInfo
     * (RFC 6376 section 3.6.1), of Ed25519 the bare 32 bytes (RFC 8463 section 4.2). */
    struct buf base64;
};

/* PKCS #8 in PEM; bits are for RSA. Takes a while for RSA. */
MUST_CHECK struct err keypair_generate(enum keypair_kind kind, unsigned bits, struct buf *pem);

/* Of an unencrypted private key. The errors of pem_read_key(); ERR_SYNTAX, too,
 * when it is of another kind. buf_release() base64. */
MUST_CHECK struct err keypair_read(struct slice pem, struct keypair_public *out);

#endif
