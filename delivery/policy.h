/* delivery/policy.h - how this server delivers: routes, smart hosts, limits.
 *
 * Made from the configuration by the owner, immutable, shared by all loops
 * and counted: what is under way keeps the policy it began with.
 */
#ifndef DELIVERY_POLICY_H
#define DELIVERY_POLICY_H

#include "delivery/rate.h"
#include "auth/sign.h"
#include "net/addr.h"
#include "queue/message.h"
#include "queue/retry.h"
#include "smtp/client.h"

#include <stdatomic.h>

enum route_action { ROUTE_DIRECT, ROUTE_VIA, ROUTE_HOLD, ROUTE_DISCARD, ROUTE_REJECT };

enum hop_tls { /* towards a next hop */
    HOP_TLS_NONE,
    HOP_TLS_OPTIONAL, /* where it works; else in the clear */
    HOP_TLS_REQUIRED, /* whatever the certificate */
    HOP_TLS_VERIFIED, /* with the host's name, by a CA of ours */
};

const char *hop_tls_text(enum hop_tls tls); /* "required", … */

struct route {
    const char *from; /* patterns of mail/path.h; NULL = any */
    const char *to;
    enum route_action action;
    enum hop_tls tls;           /* direct */
    const unsigned *smarthosts; /* via: indexes, in order of preference */
    size_t smarthost_count;
    const char *text;           /* reject */
};

struct next_host { /* a host of a smart host, or an MX host */
    const char *name;      /* or an address literal without brackets */
    bool literal;          /* then addr is set */
    struct net_addr addr;
    uint16_t port;
    uint16_t preference;   /* lower first; equal ones in random order */
    bool tls_first;        /* TLS from the first byte, no STARTTLS */
};

struct smarthost {
    const char *title;
    const struct next_host *hosts; /* in order of preference */
    size_t host_count;
    enum hop_tls tls;
    const char *user;              /* NULL: no login; else one of the secrets */
    const char *password;
    const char *token_file;
    const char *const *token_command;
    unsigned mechanisms;           /* SASL_BIT()s; 0 = any */
    unsigned connections;          /* 0 = connections_per_site */
    struct rate_limit rate;
};

struct retry_rule {
    const char *to; /* pattern */
    struct retry_policy retry;
};

struct signing_domain { /* a domain in whose name mail is signed */
    const char *name;
    const struct sign_identity *keys;
    size_t key_count;
    const char *problem; /* why it can't be, now; or NULL */
};

struct delivery_policy {
    atomic_uint refs;
    void (*release)(struct delivery_policy *p); /* the last reference went */
    void *owner;                                /* for release */

    const char *hostname;
    const struct route *routes;
    size_t route_count;
    struct route fallback; /* "route default" */
    const struct smarthost *smarthosts;
    size_t smarthost_count;

    const struct signing_domain *signing; /* in order of their names */
    size_t signing_count;
    const char *postmaster_domain;        /* in whose name our notices are signed if not the host's; or NULL */

    uint16_t port; /* of MX hosts */
    bool loopback_mx;
    bool ipv4, ipv6;
    const struct net_addr *sources; /* at most one a family */
    size_t source_count;
    const struct net_addr *own;     /* where we listen: an MX there is a loop */
    size_t own_count;

    unsigned connections;              /* all together */
    unsigned connections_per_site;
    struct rate_limit rate;            /* of messages to one site */
    unsigned messages_per_connection;  /* 0 = unlimited */
    unsigned recipients_per_message;
    uint64_t connect_timeout_ms;
    uint64_t idle_timeout_ms;
    struct smtp_client_options client;

    struct retry_policy retry;
    const struct retry_rule *retries;
    size_t retry_count;
};

static inline struct delivery_policy *policy_ref(struct delivery_policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

static inline void policy_unref(struct delivery_policy *p) /* NULL is fine; any thread */
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        p->release(p);
}

/* The first route that matches, the fallback last. With `skip_hold` hold
 * routes are passed over and the fallback, if it holds, is direct. */
const struct route *policy_route(const struct delivery_policy *p, struct slice reverse_path,
                                 struct slice recipient, bool skip_hold);
/* Nothing about it has changed, secrets included. */
bool policy_same_smarthost(const struct smarthost *a, const struct smarthost *b);
const struct retry_policy *policy_retry(const struct delivery_policy *p, struct slice recipient);
/* The domain of that name (A-labels, lower case), if it is one that signs. */
const struct signing_domain *policy_signing_domain(const struct delivery_policy *p, const char *name);
/* In whose name m leaves here; NULL: not in that of a domain that signs. Only
 * mail of clients that may send, and ours: nobody else's is vouched for. */
const struct signing_domain *policy_signing(const struct delivery_policy *p, const struct message *m);
/* An address where we ourselves would answer (RFC 5321 section 5.1). */
bool policy_is_own_address(const struct delivery_policy *p, const struct net_addr *a, uint16_t port);

#endif
