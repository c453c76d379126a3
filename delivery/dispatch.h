/* delivery/dispatch.h - the scheduler: every queued recipient on its way.
 *
 * Lives on loop 0 and owns the in-memory schedule. It hears of new messages,
 * finds each recipient's route and site, opens connections on all loops,
 * hands out messages, writes down how they fared, and tries again later.
 */
#ifndef DELIVERY_DISPATCH_H
#define DELIVERY_DISPATCH_H

#include "delivery/policy.h"
#include "dns/dns.h"
#include "queue/queue.h"
#include "queue/schedule.h"

struct dispatch;

struct dispatch_options {
    struct loop *home;            /* loop 0 */
    struct loop *const *loops;    /* where connections may live; loops[0] is home */
    struct resolver *const *resolvers; /* one per loop */
    unsigned loop_count;
    struct queue *queue;
    struct delivery_policy *policy;
    struct tls_client *tls;       /* NULL: mail that needs TLS waits; lent, outlives the dispatcher */
    struct sign_service *sign;    /* or NULL: nothing is signed */
    size_t hot_memory_max;        /* content kept in memory between commit and first attempt */
};

struct dispatch *dispatch_new(const struct dispatch_options *opt);
/* Everything stored is scheduled; call once, before the loops run. */
MUST_CHECK struct err dispatch_recover(struct dispatch *d);
/* No more attempts; idle connections quit. `drained` runs when the last
 * attempt has ended and its outcome is stored. */
void dispatch_drain(struct dispatch *d, void (*drained)(void *ctx), void *ctx);
void dispatch_free(struct dispatch *d); /* after the loops stopped; NULL is fine */

/* A message was committed. Any thread; m is lent. */
void dispatch_arrived(struct dispatch *d, struct message *m);

/* The rest is for loop 0. */
void dispatch_reload(struct dispatch *d, struct delivery_policy *policy);

enum dispatch_order { ORDER_RETRY = 1, ORDER_HOLD, ORDER_RELEASE, ORDER_DELETE, ORDER_BOUNCE, ORDER_DAMAGED /* our own: content is damaged, hold it */ };

struct dispatch_answer {
    unsigned messages;   /* found */
    unsigned recipients; /* to which it applies */
    unsigned busy;       /* of these, under way: it applies when their attempt ends */
};
/* What an admin wants of one message; adds to *out. Carried out and committed
 * soon after, not before this returns. */
void dispatch_order(struct dispatch *d, uint64_t id, enum dispatch_order order, struct dispatch_answer *out);

struct dispatch_site { /* for status */
    const char *key;
    uint64_t ready;
    unsigned connections, busy, failures;
    uint64_t down_for_ms; /* 0: up */
    const char *last_error; /* or NULL */
};
void dispatch_each_site(struct dispatch *d, void (*visit)(void *ctx, const struct dispatch_site *s), void *ctx);

struct dispatch_hop { /* a host of a smart host */
    const char *name;        /* "host:port" */
    unsigned connections, failures; /* failures in a row: 0 is well */
    uint64_t avoided_for_ms; /* 0: it may be tried */
    const char *last_error;  /* or NULL */
};
struct dispatch_smarthost { /* for status */
    const char *title;
    const struct dispatch_hop *hosts; /* in order of preference */
    size_t host_count;
    unsigned connections;
    bool on_backup;          /* the first host fails, others are there */
};
void dispatch_each_smarthost(struct dispatch *d, void (*visit)(void *ctx, const struct dispatch_smarthost *s), void *ctx);

struct dispatch_stats {
    struct schedule_counts counts;
    uint64_t delivered, deferred, bounced, expired; /* recipients since start */
    unsigned connections;
    bool storage_broken;
};
void dispatch_stats(struct dispatch *d, struct dispatch_stats *out);

/* What memory knows about one message's recipients right now. */
struct dispatch_view {
    const char *state;      /* "waiting", "ready", "active", "held" */
    uint64_t next_in_ms;    /* waiting */
    const char *site;       /* or NULL when not known */
    const char *site_error; /* why the site is down, or NULL */
    uint64_t site_down_for_ms;
};
bool dispatch_view(struct dispatch *d, uint64_t id, uint32_t n, struct dispatch_view *out);

/* True when recipient n of message id is in the schedule. */
bool dispatch_knows(struct dispatch *d, uint64_t id, uint32_t n);

#endif
