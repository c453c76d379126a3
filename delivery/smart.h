/* delivery/smart.h - smart hosts as this process has met them.
 *
 * One struct smart for each smart host of the configuration, one struct hop
 * for each of its hosts. They outlive reloads and the sites that use them, so
 * that a host known to be ill is not asked by every message, and that limits
 * hold for all routes together. Loop 0 only.
 *
 * A hop that failed (connect, TLS, greeting, login) is passed over for a
 * growing while; then one message tries it, and when it answers all go there
 * again. The order of the configuration is the order of preference.
 */
#ifndef DELIVERY_SMART_H
#define DELIVERY_SMART_H

#include "delivery/mx.h"
#include "delivery/policy.h"
#include "delivery/token.h"

struct dispatch;
struct smart;

struct hop {
    struct smart *smart;
    char *name;              /* "host:port" */
    struct host_list *hosts; /* itself */
    unsigned failures;       /* in a row */
    uint64_t avoid_until_ms; /* monotonic */
    unsigned connections;    /* open or opening */
    bool probing;            /* one message is trying it again */
    char *last_error;        /* while failures > 0 */
};

struct smart {
    struct dispatch *dispatch;
    char *title;
    enum hop_tls tls;
    struct sasl_login *login; /* a password's, or made of the last token; or NULL */
    struct token *token;      /* or NULL */
    char *token_user;
    unsigned token_mechanisms, token_serial; /* serial: the token that login was made of */
    unsigned connections_max; /* 0 = no limit of its own */
    unsigned connections;     /* open or opening */
    struct rate_limit rate;
    struct rate_meter meter;
    bool changed;             /* since the last reload was looked at */
    unsigned version;         /* of the login and the TLS policy: connections of another one are not used */
    struct hop **hops;        /* in order of preference */
    size_t hop_count;
    struct hop **known;       /* these and those of configurations before */
    size_t known_count;
};

struct smarts { /* embedded in the dispatcher */
    struct dispatch *dispatch;
    struct smart **list;
    size_t count;
};

/* Makes them fit the policy; those that are as in `old` (NULL: there is none)
 * are left alone. */
void smarts_take(struct smarts *all, const struct delivery_policy *p, const struct delivery_policy *old);
void smarts_release(struct smarts *all);
struct smart *smarts_find(const struct smarts *all, const char *title); /* or NULL */

/* Who we are at s, now; TOKEN_READY with NULL: nobody in particular. Else as
 * token_ask(). */
enum token_state smart_login(struct smart *s, struct sasl_login **login, const char **why);
/* The login was refused: a token that is not good is not used again. */
void smart_login_refused(struct smart *s);

/* May be tried now: well, or due to be tried again by somebody who may take
 * the time. */
bool hop_usable(const struct hop *h, uint64_t now_ms);
/* True when it had been well: that is news. */
bool hop_failed(struct hop *h, const char *why, uint64_t now_ms, uint64_t wait_ms);
bool hop_answered(struct hop *h); /* true when it had been ill */

#define HOP_AVOID_MAX_MS (15 * MINUTE_MS)

#endif
