/* auth/sasl.h - the server's half of a SASL dialogue, by libgsasl.
 *
 * libgsasl speaks the mechanisms; who the user is and whether his password is
 * right is its owner's affair, and may take its time: PLAIN and LOGIN end in
 * SASL_VERIFY with what the client claims, SCRAM asks for the user's keys and
 * ends in SASL_PROVEN, and so does EXTERNAL. One thread.
 */
#ifndef AUTH_SASL_H
#define AUTH_SASL_H

#include "auth/password.h"

struct sasl; /* one a process */
struct sasl_session;

enum sasl_state {
    SASL_CHALLENGE, /* send it, hand in the response */
    SASL_VERIFY,    /* authid, authzid and password are the client's word */
    SASL_PROVEN,    /* authid is who he says (EXTERNAL: authid is the certificate's name) */
    SASL_FAILED,    /* a wrong proof, or not what the mechanism wants */
    SASL_UNABLE,    /* the library ran out of memory: nothing is known of the proof */
};

struct sasl_step {
    enum sasl_state state;
    struct slice challenge;       /* the session's, until the next step */
    const char *authid, *authzid; /* the session's; authzid "" or authid when the client gave none */
    struct slice password;        /* the session's: wiped with it */
    const char *why;              /* SASL_FAILED, SASL_UNABLE: for the log */
};

/* The keys of that user. For one that does not exist: such as cannot be told
 * from real ones, the same each time. */
typedef void sasl_keys(void *ctx, const char *authid, struct scram_keys *out);

MUST_CHECK struct err sasl_new(struct sasl **out);
void sasl_free(struct sasl *s); /* NULL is fine */

/* The one spelling of its name, or NULL when we don't have it. */
const char *sasl_mechanism(const char *name);
bool sasl_sends_password(const char *mechanism);

/* mechanism: of sasl_mechanism(). binding: tls-exporter, empty when there is
 * none; external: the certificate's name, or NULL. Both are copied. */
MUST_CHECK struct err sasl_begin(struct sasl *s, const char *mechanism, struct slice binding, const char *external,
                                 sasl_keys *keys, void *ctx, struct sasl_session **out);
void sasl_step(struct sasl_session *s, struct slice response, bool has_response, struct sasl_step *out);
void sasl_end(struct sasl_session *s); /* wipes the password. NULL is fine */

#endif
