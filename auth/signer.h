/* auth/signer.h - DKIM signatures of one message (RFC 6376; Ed25519: RFC 8463).
 *
 * The sign worker's core: bytes in, header fields out. No process, no socket,
 * no clock. Keys come as PEM with each call; who holds them is the worker's
 * affair. libopendkim may abort the process on input it does not expect, so
 * only a worker calls this, on behalf of the engine.
 */
#ifndef AUTH_SIGNER_H
#define AUTH_SIGNER_H

#include "base/buf.h"
#include "base/err.h"

enum sign_algorithm { SIGN_RSA_SHA256 = 1, SIGN_ED25519_SHA256 = 2 };

#define SIGN_KEYS_MAX 8u        /* signatures of one message */
#define SIGN_SELECTOR_MAX 63u   /* a label; longer ones are dotted names, also within this */

struct signer_key {
    const char *domain;
    const char *selector;
    enum sign_algorithm algorithm; /* the one the key is for: libopendkim does not check it */
    const char *pem;
};

struct signer_message {
    const char *id;        /* for libopendkim's messages */
    struct slice header;   /* canonical CR LF, with or without its empty line */
    /* Pieces of the body in their order; an empty one is its end. */
    struct err (*read)(void *ctx, struct slice *piece);
    void *ctx;
    uint64_t wall_ms;      /* when: t= */
};

#define SIGNER_WHY_MAX 200u

struct signer;

MUST_CHECK struct err signer_new(struct signer **out);
void signer_free(struct signer *s); /* NULL is fine */

/* Appends one folded DKIM-Signature field per key, each with its CR LF, in the
 * order of the keys. All or none: on an error nothing is appended and `why`
 * says for people what was wrong; ERR_SYNTAX: with this message, ERR_DENIED:
 * with a key; else with us, now. */
MUST_CHECK struct err signer_sign(struct signer *s, const struct signer_message *m, const struct signer_key *keys,
                                  size_t count, struct buf *fields, char why[SIGNER_WHY_MAX]);

#endif
