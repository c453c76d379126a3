/* delivery/dispatch_internal.h - what the files of the dispatcher share. */
#ifndef DELIVERY_DISPATCH_INTERNAL_H
#define DELIVERY_DISPATCH_INTERNAL_H

#include "delivery/dispatch.h"
#include "delivery/site.h"
#include "mail/dsn.h"

/* Looking names up again is cheap and mail waits. */
#define NAMES_WAIT_MS (10 * MINUTE_MS)

enum dest_kind { DEST_DIRECT, DEST_VIA, DEST_HOLD, DEST_VERDICT };

/* Where a route sends a recipient: a domain, smart hosts, nowhere. */
struct dest {
    struct dispatch *dispatch;
    enum dest_kind kind;
    uint32_t index;
    char *key;
    char *domain;            /* direct */
    enum hop_tls tls;        /* direct */
    unsigned groups;         /* that point here */
    struct site *site;
    uint64_t site_until_ms;  /* when its MX must be asked again */
    struct mx_query *query;
    struct group_queue waiting; /* for the answer */
    unsigned failures;
    struct timer retry;      /* after a DNS failure */
    char *last_error;
    UT_hash_handle hh;
};

enum attempt_purpose {
    ATTEMPT_DELIVER,
    ATTEMPT_VERDICT,  /* of a site that leads nowhere */
    ATTEMPT_DNS,      /* the domain's MX can't be looked up */
    ATTEMPT_UNSIGNED, /* it is to be signed and can't be */
    ATTEMPT_EXPIRE,
    ATTEMPT_WARN,
    ATTEMPT_REROUTE,  /* the routes changed */
    ATTEMPT_ORDER,    /* of an admin */
};

/* Something done with some groups of one message, up to its commit. */
struct attempt {
    struct list link;            /* in dispatch.attempts, or in dispatch.local while it waits */
    struct list sign_link;       /* waits for its message's signatures */
    struct dispatch *dispatch;
    enum attempt_purpose purpose;
    enum dispatch_order order;
    struct site *site;           /* deliver, verdict */
    struct site_conn *conn;
    uint64_t id;
    uint32_t *groups;            /* indexes */
    uint32_t group_count;
    struct message *message;
    struct job *job;             /* deliver */
    uint64_t begun_ms;
    char *text;                  /* ATTEMPT_DNS, ATTEMPT_UNSIGNED: why */
    bool is_local;               /* counts among dispatch.local_active */

    struct queue_change *changes;
    size_t change_count;
    uint32_t *rest;              /* groups that live on, with their times set */
    uint32_t rest_count;
    struct message *dsns[QUEUE_DSNS_MAX]; /* what its sender is told */
    enum mail_dsn_action dsn_actions[QUEUE_DSNS_MAX];
    size_t dsn_count;
    bool message_done;
    struct timer again;          /* the commit failed */
};

struct dispatch {
    struct dispatch_options opt;
    struct schedule *sched;
    struct delivery_policy *policy;
    uint16_t generation;         /* of the policy's routes */
    struct dest **dests;         /* by index; 0 is not used */
    uint32_t dest_count, dest_cap;
    uint32_t *dest_holes;        /* indexes that are free again */
    uint32_t dest_hole_count;
    struct timer dest_sweep;
    struct dest *dest_by_key;
    struct buf dest_key;         /* the one that is looked for */
    struct site *site_by_key;
    struct smarts smarts;
    struct tls_memory *tls_memory;
    struct list starved;         /* sites that wait for a connection */
    unsigned leaving;            /* connections on their way out to make room for them */
    unsigned conn_count;
    unsigned next_loop;
    struct timer tick;
    struct timer health;         /* while the store is broken */
    struct audit *audit;
    struct signing *signings;    /* by message */
    struct list attempts;
    struct list local;           /* attempts without a connection that wait their turn */
    unsigned local_active;
    uint64_t attempt_count;
    _Atomic size_t hot_memory;
    bool draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
    uint64_t delivered, deferred, bounced, expired;
};

/* dispatch.c */
void dispatch_arm_tick(struct dispatch *d);                    /* after the schedule's next time changed */
bool dispatch_is_over(const struct dispatch *d, const struct group *g); /* expired, and tried */
bool dispatch_is_late(const struct dispatch *d, const struct group *g); /* due a delay warning */
/* What is to be told of several groups of a message is told in one
 * notification: g, and its siblings at rest that pass the test. */
void dispatch_tell_together(struct dispatch *d, struct group *g, enum attempt_purpose purpose,
                            bool (*test)(const struct dispatch *d, const struct group *g));
void dispatch_enqueue(struct dispatch *d, struct group *g);    /* to its destination, now */
void dispatch_wait(struct dispatch *d, struct group *g);       /* until its times */
void dispatch_forget(struct dispatch *d, struct group *g);     /* removes it from the schedule */
void dispatch_set_dest(struct dispatch *d, struct group *g, struct dest *dest);
void dispatch_check_drained(struct dispatch *d);

/* pump.c */
void dispatch_pump(struct dispatch *d, struct site *s);
bool dispatch_may_run(struct dispatch *d); /* not draining, storage sound */
void dispatch_health_fire(struct timer *t);
void dispatch_conn_free_if_gone(struct dispatch *d, struct site_conn *sc);
/* For at most longest_ms. */
void dispatch_site_down(struct dispatch *d, struct site *s, const char *why, uint64_t longest_ms);
void dispatch_site_up(struct dispatch *d, struct site *s);
bool dispatch_may_open(struct dispatch *d, struct site *s);
/* Before a connection takes its next message: lets it go if another site has
 * mail and no connection, and its own has others. */
void dispatch_make_room(struct dispatch *d, struct site_conn *sc);
void dispatch_wake_at(struct dispatch *d, struct site *s, uint64_t at_ms);
/* hop NULL: any connection counts. */
bool dispatch_site_full(struct dispatch *d, struct site *s, const struct hop *hop);

/* fail_over.c: the hosts of smart hosts */
struct way { /* of the site's next message */
    struct hop *hop;         /* NULL: by MX */
    struct site_conn *idle;  /* use this one; NULL: open one */
    struct sasl_login *login;
    const char *refusal;     /* there is no way to log in: why */
};
/* False: not now; the site is pumped again when that may have changed. */
bool fail_over_choose(struct dispatch *d, struct site *s, struct way *out);
/* The hop of a connection could not be spoken to. True when another one of the
 * site can be asked at once; else the site is down. */
bool fail_over_failed(struct dispatch *d, struct site_conn *sc, const struct job *j, const char *why);
void fail_over_answered(struct dispatch *d, struct site_conn *sc);
void fail_over_probed(struct site_conn *sc); /* whatever came of it */
/* Lets go of idle connections that are not to be used any more. */
void fail_over_retire(struct dispatch *d, struct site *s);
void fail_over_pump(struct dispatch *d, const struct smart *smart); /* all sites that use it */

/* arrive.c */
uint64_t dispatch_postponed_ms(const struct dispatch *d, const struct recipient *r, uint64_t received_wall_ms);
void dispatch_schedule_message(struct dispatch *d, struct message *m);
/* A stored recipient that is not scheduled: now it is. */
void dispatch_adopt(struct dispatch *d, uint64_t id, const struct recipient *r);

/* audit.c */
void audit_start(struct dispatch *d);
void audit_stop(struct dispatch *d);
void audit_free(struct dispatch *d);
uint64_t audit_repaired(const struct dispatch *d); /* recipients since the start; 0 is right */

/* dest.c */
struct dest *dest_for(struct dispatch *d, const struct route *r, struct slice recipient);
void dest_enqueue(struct dispatch *d, struct dest *dest, struct group *g);
bool dest_is_stale(const struct dispatch *d, const struct dest *dest); /* its MX must be asked again */
void dest_sweep_fire(struct timer *t);
void dest_free(struct dispatch *d, struct dest *dest);

/* attempt.c */
void attempt_deliver(struct dispatch *d, struct site *s, struct site_conn *conn, struct group *g);
/* An attempt without a connection: waits its turn. Takes g out of where it is. */
void attempt_local(struct dispatch *d, enum attempt_purpose purpose, struct site *s, struct group *g, const char *text);
/* The same in steps, for several groups of one message: one transaction, one
 * notification. */
struct attempt *attempt_local_new(struct dispatch *d, enum attempt_purpose purpose, struct site *s, struct group *g);
void attempt_take_along(struct attempt *a, struct group *g);
void attempt_local_start(struct attempt *a);
void attempt_run_local(struct dispatch *d);
void attempt_free(struct attempt *a);

/* Its message's signatures are there; or can't be made, for this reason. */
void attempt_signed(struct attempt *a);
void attempt_unsigned(struct attempt *a, const char *why);

/* signing.c */
enum signing_state {
    SIGNING_READY,      /* signed, or not to be */
    SIGNING_WAIT,       /* attempt_signed() or attempt_unsigned() follows */
    SIGNING_IMPOSSIBLE, /* a->text says why */
};
enum signing_state signing_for(struct attempt *a); /* once its message is loaded */
void signing_ahead(struct dispatch *d, struct message *m); /* before anybody waits for it */
void signing_free_all(struct dispatch *d);

/* outcome.c */
void attempt_finish(struct attempt *a); /* outcomes are known: write them down */

/* notice.c */
void attempt_compose_notices(struct attempt *a); /* from its changes */

/* tell.c */
void attempt_tell(const struct attempt *a);

#endif
