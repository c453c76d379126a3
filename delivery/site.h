/* delivery/site.h - a next hop as the remote sees it, and what waits for it.
 *
 * Domains that share their MX hosts share a site; so do all domains of a
 * smart host. Its ready messages are taken in turns over their senders, a
 * sender who was not there before first of all, so that a newsletter never
 * delays a password reset: it is begun when the next of the site's connections
 * is done with its message. Loop 0 only.
 */
#ifndef DELIVERY_SITE_H
#define DELIVERY_SITE_H

#include "base/hash.h"
#include "base/list.h"
#include "delivery/conn.h"
#include "delivery/smart.h"
#include "queue/schedule.h"


struct dispatch;

struct sender_queue { /* one sender's ready groups at one site */
    uint32_t sender;
    struct group_queue groups;
    struct list *line;  /* site.fresh or site.turns */
    struct list turn;   /* in it */
    UT_hash_handle hh;
};

/* What happens to mail that goes nowhere: discarded, refused, no such domain. */
struct site_verdict {
    bool set;
    enum event_type event; /* EVENT_BOUNCED or EVENT_DISCARDED */
    struct mail_status status;
    char *text;
};

struct site_conn {
    struct list link;      /* in site.conns */
    struct site *site;
    struct conn *conn;
    bool busy;             /* a job is out, or being loaded for it */
    bool gone;
    bool spent;            /* it takes no further job and will be gone soon */
    bool leaving;          /* its place is wanted for another site */
    bool proven;           /* it has carried mail */
    bool conn_unused;      /* no job was given to it yet */
    struct hop *hop;       /* a smart host's; NULL: by MX */
    unsigned version;      /* of hop->smart when it was opened */
    bool probe;            /* hop->probing is its doing */
};

struct site {
    struct dispatch *dispatch;
    char *key;
    struct host_list *hosts;
    bool literal_ok;
    enum hop_tls tls;        /* by MX */
    struct smart **smarts;   /* via: in order of preference */
    size_t smart_count;
    struct rate_meter meter; /* by MX */
    struct site_verdict verdict;
    struct sender_queue *senders;
    struct list fresh;       /* senders who have had no turn yet */
    struct list turns;       /* those who have; some with nothing more to send */
    unsigned fresh_run;      /* fresh ones served while others waited, since the last of these */
    uint64_t ready;          /* groups in all its queues */
    uint64_t tell_ms;        /* monotonic: before it none of them expires or is due a delay warning */
    struct list conns;
    unsigned conn_count, busy_count;
    bool proven;             /* it has answered since the last failure */
    unsigned failures;       /* in a row */
    uint64_t down_until_ms;  /* monotonic */
    unsigned capped;         /* no more connections than this */
    uint64_t capped_until_ms;
    char *last_error;
    struct timer wake;
    bool starved;            /* waits for a connection under the common limit */
    struct list starved_link;
    unsigned users;          /* destinations that lead here */
    UT_hash_handle hh;
};

struct site *site_new(struct dispatch *d, const char *key, struct host_list *hosts, bool literal_ok);
void site_free(struct site *s);
bool site_unused(const struct site *s); /* nobody leads here, nothing waits, nothing is open */

void site_add(struct site *s, struct schedule *sched, struct group *g);
/* It was taken and not tried: the next of all, but for senders who are fresh. */
void site_add_front(struct site *s, struct schedule *sched, struct group *g);
/* What is left of a group of which a part was taken: its sender's next. */
void site_add_rest(struct site *s, struct schedule *sched, struct group *g);
/* The next group in turn, where it is; NULL when none is ready. One that is not
 * for now after all leaves its queue, and its sender has not had his turn. */
struct group *site_next(struct site *s, struct schedule *sched);
/* The same, taken. */
struct group *site_take(struct site *s, struct schedule *sched);
/* Forgets the places of senders who have nothing here, when nobody has. */
void site_tidy(struct site *s);
/* Looks at every group once; what does not stay is out of its queue, and active. */
void site_pick(struct site *s, struct schedule *sched, bool (*stays)(void *ctx, struct group *g), void *ctx);
/* Moves the groups of one destination elsewhere. */
void site_move(struct site *from, struct schedule *sched, uint32_t dest, struct site *to);

/* An idle connection, or NULL. */
struct site_conn *site_idle_conn(struct site *s);

#endif
