/* auth/accounts.h - the engine's side of the accounts process: who is this,
 * and may he send so much?
 *
 * SASL runs in the accounts process, which alone has the users; the engine
 * relays the bytes of a login and hears the verdict. Between the two is one
 * link at a time, handed in by accounts_link(). When it breaks (the process
 * died and is started again) questions that can be asked again wait for the
 * next link, a bounded time (ACCOUNTS_WAIT_MS); then, and for a dialogue that
 * was beyond its first step, the verdict is ACCOUNTS_TEMPFAIL: 454 4.7.0.
 *
 * Logins and charges may begin on any loop; their callbacks run on that loop,
 * never inside the call that asked.
 */
#ifndef AUTH_ACCOUNTS_H
#define AUTH_ACCOUNTS_H

#include "base/buf.h"
#include "net/loop.h"

#define ACCOUNTS_WAIT_MS     10000u       /* for a link, and for an answer once asked: three times that */
#define ACCOUNTS_RESPONSE_MAX (12u * KIB) /* decoded; RFC 4954 section 4 wants 12,288 encoded */

struct accounts;       /* the engine has one */
struct accounts_login; /* one AUTH dialogue */

enum accounts_verdict {
    ACCOUNTS_OK,        /* user, senders and limits are set */
    ACCOUNTS_CHALLENGE, /* send the challenge (may be empty), hand in the response */
    ACCOUNTS_DENIED,    /* 535 5.7.8, after the delay the accounts process chose */
    ACCOUNTS_LATER,     /* too many failures, or a queue is full: 454 4.7.0 (or end the session) */
    ACCOUNTS_TEMPFAIL,  /* no answer to be had: 454 4.7.0 */
    ACCOUNTS_BAD,       /* the mechanism is unknown or not for this connection: 504 5.5.4; or 538 5.7.11 in the clear */
};

/* All of it is copied. */
struct accounts_client {
    const char *mechanism; /* as the client wrote it; case does not matter */
    const char *service;   /* "smtp" */
    struct net_addr addr;
    bool tls;
    bool clear_ok;         /* not TLS, but a `tls none` listener on loopback: PLAIN and LOGIN all the same */
    struct slice binding;  /* tls-exporter (RFC 9266), empty without TLS or before 1.3 */
    const char *external;  /* the verified client certificate's name, or NULL */
};

/* Valid during the callback. */
struct accounts_answer {
    enum accounts_verdict verdict;
    struct slice challenge;      /* raw, with ACCOUNTS_CHALLENGE (the last word of SCRAM comes as one, too) */
    const char *user;            /* local part as given to `user add`, domain in A-labels, lower case */
    const char *const *senders;  /* patterns of mail/path.h; his own address is among them when it is his to use */
    size_t sender_count;
    bool sender_any;
    unsigned messages_per_hour, recipients_per_hour; /* 0 = unlimited; accounts_charge() counts */
};

/* home: loop 0, which carries the link. */
struct accounts *accounts_new(struct loop *home);
/* After the last turn of all loops and before home is freed; logins left are
 * freed with it. */
void accounts_free(struct accounts *a); /* NULL is fine */
/* Home. A fresh socket pair's end, taken over; replaces the one before. */
void accounts_link(struct accounts *a, int fd);
/* Whether there is to be an accounts process at all. Any thread. */
void accounts_expect(struct accounts *a, bool on);
bool accounts_expected(const struct accounts *a);
/* No external source of passwords is configured, so every user has SCRAM keys. Any thread. */
void accounts_set_scram(struct accounts *a, bool on);
/* Rises whenever a password, a user or his rules changed: forget what you remembered. Any thread. */
uint64_t accounts_generation(const struct accounts *a);

/* What EHLO offers, best first, "" for nothing. clear_ok as above; binding: there is one. */
const char *accounts_mechanisms(const struct accounts *a, bool tls, bool clear_ok, bool binding, bool external);

/* On home's thread; done() comes once for each step. */
struct accounts_login *accounts_login_new(struct accounts *a, struct loop *home, const struct accounts_client *c,
                                          void (*done)(void *ctx, const struct accounts_answer *answer), void *ctx);
/* The first step has the initial response, or has_response false. Raw bytes,
 * not base64; kept (wiped after use) until the answer is there. At most one
 * step is under way. */
void accounts_login_step(struct accounts_login *l, struct slice response, bool has_response);
void accounts_login_free(struct accounts_login *l); /* also cancels; no done() after it. NULL is fine */

/* May this user send a message to so many recipients now? Counts it if so.
 * When not, `why` is the rest of a reply: "4.7.1 …". If the accounts process
 * can't be asked in time, ok is false, too. */
void accounts_charge(struct accounts *a, struct loop *home, const char *user, unsigned recipients,
                     void (*done)(void *ctx, bool ok, const char *why), void *ctx);

/* For the control API, on a thread that may wait: passes a request of
 * auth/accounts_admin.h on. ERR_TIMEOUT when there is no answer. */
MUST_CHECK struct err accounts_admin_ask(struct accounts *a, struct slice request, uint64_t wait_ms, struct buf *answer);

#endif
