/* auth/sasl_client.h - logging in elsewhere: the client's side of SASL.
 *
 * A login is who we are at a next hop: immutable, counted, wiped when the
 * last reference goes, and never printed. An exchange is one attempt to prove
 * it; it computes, and leaves the carrying to the protocol. PLAIN and LOGIN
 * come from libgsasl, SCRAM (auth/scram_client.h) and XOAUTH2, a bearer token
 * in one line, are ours.
 */
#ifndef AUTH_SASL_CLIENT_H
#define AUTH_SASL_CLIENT_H

#include "base/buf.h"

enum sasl_mechanism { /* best first */
    SASL_SCRAM_SHA_256_PLUS, /* wants a channel binding */
    SASL_SCRAM_SHA_256,
    SASL_PLAIN,
    SASL_LOGIN,
    SASL_XOAUTH2,
    SASL_MECHANISM_COUNT,
};

#define SASL_BIT(mechanism) (1u << (mechanism))

const char *sasl_mechanism_name(enum sasl_mechanism m);
/* Its bit, or 0 when the name is none of ours. */
unsigned sasl_mechanism_bit(struct slice name);

struct sasl_login;

struct sasl_login_options { /* all copied */
    const char *user;
    const char *password; /* or NULL */
    const char *token;    /* XOAUTH2; or NULL */
    unsigned allowed;     /* bits; 0 = all that the secret can serve */
};

struct sasl_login *sasl_login_new(const struct sasl_login_options *opt);
struct sasl_login *sasl_login_ref(struct sasl_login *l);
void sasl_login_unref(struct sasl_login *l); /* NULL is fine; any thread */
const char *sasl_login_user(const struct sasl_login *l);
/* Appends text with the login's secrets, should a server repeat them, struck out. */
void sasl_login_censor(const struct sasl_login *l, struct slice text, struct buf *out);

/* The best mechanism of those offered (bits) that the login can do; false: none. */
bool sasl_login_choose(const struct sasl_login *l, unsigned offered, bool has_binding, enum sasl_mechanism *out);

struct sasl_client; /* one exchange */

/* `binding` are the bytes of the tls-exporter channel binding (RFC 9266), or
 * empty. SCRAM without -PLUS wants them too: it tells the server that this
 * client could have used them. NULL when it can't begin. */
struct sasl_client *sasl_client_new(struct sasl_login *l, enum sasl_mechanism m, struct slice binding);
void sasl_client_free(struct sasl_client *c); /* NULL is fine */

bool sasl_client_speaks_first(const struct sasl_client *c);
/* The response to a challenge (empty for the initial response), appended to
 * *out, which the caller wipes. False: the exchange can't go on and is to be
 * cancelled; sasl_client_problem() says why. */
bool sasl_client_step(struct sasl_client *c, struct slice challenge, struct buf *out);
/* The server's success can be believed: everything was said, and where the
 * mechanism makes the server prove itself, it has. */
bool sasl_client_complete(const struct sasl_client *c);
/* What went wrong on our side, or what the server said is wrong (XOAUTH2), in
 * printable ASCII; or NULL. */
const char *sasl_client_problem(const struct sasl_client *c);
/* What a server that refuses us may have found: with a binding there are two
 * reasons, and it does not say which. Or NULL. */
const char *sasl_client_doubt(const struct sasl_client *c);

#endif
