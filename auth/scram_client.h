/* auth/scram_client.h - the client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677).
 *
 * Not libgsasl's: given a channel binding, its client can begin -PLUS, but not
 * say "y" without it: "I could bind, and saw no offer of it". That word tells
 * a server that somebody has shortened its offer (RFC 5802 section 6). SASLprep
 * and the salted password are the library's.
 *
 * Salting the password is the slow step. Its result is good for as long as the
 * server's salt and count are, and is kept by whoever owns the password.
 */
#ifndef AUTH_SCRAM_CLIENT_H
#define AUTH_SCRAM_CLIENT_H

#include "base/buf.h"

#define SCRAM_KEY_BYTES 32u

enum scram_bind {
    SCRAM_BIND_NONE,  /* "n": this client can't, or is not to */
    SCRAM_BIND_COULD, /* "y": the server offers none */
    SCRAM_BIND_USED,  /* "p": -PLUS, with tls-exporter (RFC 9266) */
};

struct scram_client; /* one exchange */

/* NULL: SASLprep forbids the name. `binding` are the bytes, for SCRAM_BIND_USED. */
struct scram_client *scram_client_new(const char *user, enum scram_bind bind, struct slice binding);
void scram_client_free(struct scram_client *s); /* NULL is fine */

struct scram_challenge {
    struct slice salt; /* base64, within the message */
    uint64_t iterations;
};

void scram_client_first(const struct scram_client *s, struct buf *out);
/* False: the server's first message is malformed, or no answer to ours. */
bool scram_client_challenge(struct scram_client *s, struct slice message,
                            struct scram_challenge *out);
/* Costs what the server asks for: it is the caller who says how much that may
 * be, below 2^31. False: the salt is none, or SASLprep forbids the password. */
bool scram_salt(const char *password, const struct scram_challenge *c,
                uint8_t out[SCRAM_KEY_BYTES]);
/* After the challenge: appends the proof. */
void scram_client_prove(struct scram_client *s, const uint8_t salted[SCRAM_KEY_BYTES],
                        struct buf *out);
/* The server's last message shows that it knows the password, too. */
bool scram_client_believes(const struct scram_client *s, struct slice message);

#endif
