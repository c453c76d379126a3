/* tests/sim/sim.h - days of mail in a second, from one seed.
 *
 * The engine's own queue, scheduler, protocol engines and store run on loops,
 * connections and name servers that live here, under a clock that jumps from
 * one event to the next. Clients hand in mail; scripted servers take it or
 * don't; the process dies at random moments and starts again. A ledger knows
 * what was promised and judges every step.
 *
 * All dice are drawn from the seed, so a seed repeats a run exactly.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "delivery/dispatch.h"
#include "net/stream.h"
#include "net/tls.h"
#include "queue/history.h"
#include "queue/queue.h"
#include "relayd/acceptor.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOPS        2u
#define WALL_BASE_MS 1790000000000ull
#define OWN_NAME     "relay.sim.test"

enum { /* ways in */
       LISTEN_TRUSTED,    /* of trusted networks, without logins */
       LISTEN_SUBMISSION, /* STARTTLS and a login */
       LISTEN_IMPLICIT,   /* TLS from the first byte, and a login */
       LISTEN_EITHER,     /* a login, or a trusted network */
       LISTEN_STRANGERS,  /* a relay that strangers may log in to */
       LISTEN_COUNT,
};

struct sim;
struct life;
struct rcpt;
struct host;
struct domain;

/* ---- plants: faults put into the engine to see them caught ---------------- */

enum plant {
    PLANT_NONE,
    PLANT_EARLY_ACK,     /* 250 before the commit */
    PLANT_DROP_DEFERRED, /* a deferred recipient is forgotten */
    PLANT_RETRY_SOON,    /* no back-off */
    PLANT_UNSCHEDULED,   /* a new message is not scheduled */
    PLANT_LOSE_OUTCOME,  /* a delivery is not written down */
    PLANT_DNS_BOUNCE,    /* a dead resolver is taken for NXDOMAIN */
    PLANT_NO_DSN,        /* a failure is not told */
    PLANT_TWO_DSNS,      /* or told twice */
    PLANT_TORN_BODY,     /* a byte of a body changes on its way */
    PLANT_LOSE_WISHES,   /* what its sender asked for is forgotten */
    PLANT_GO_EARLY,      /* and when it was to go */
    PLANT_IN_CLEAR,      /* mail that must be encrypted goes in the clear */
    PLANT_NO_LOGIN,      /* a submission listener wants no login */
    PLANT_OPEN_RELAY,    /* strangers may send anywhere */
    PLANT_ANY_SENDER,    /* a user's sender is not looked at */
    PLANT_ANY_FROM,      /* nor the From field of his message */
    PLANT_NO_RATE,       /* nor how much he sends */
    PLANT_ANY_PASSWORD,  /* nor his password, now and then */
    PLANT_NO_NEWCOMERS,  /* who is new at a site comes last */
    PLANT_TO_THE_END,    /* a message of many transactions is one turn */
    PLANT_KEEP_CONNS,    /* a site with mail gives no connection up */
    PLANT_SLEEPY,        /* a site is not served when it could be, now and then */
    PLANT_LONG_WAIT,     /* a wait twice as long as the longest, now and then */
    PLANT_OVERSLEEP,     /* what is due is looked at a minute later */
    PLANT_BUSY_LOOP,     /* and here all the time */
    PLANT_HOT_LEAK,      /* memory is not given back to its budget */
    PLANT_NO_SYNC,       /* a body file is not synced */
    PLANT_NO_NAME_SYNC,  /* nor its folder */
    PLANT_NO_RESERVE,    /* mail is taken with little room left */
    PLANT_LOOPBACK,      /* a name that leads to ourselves is followed */
    PLANT_GO_ON,         /* mail is delivered while that can't be written down */
    PLANT_COUNT,
    /* Not caught but healed, by the engine's own audit. */
    PLANT_FORGOTTEN, /* a new message is not scheduled */
};
extern const char *const plant_names[PLANT_COUNT];

/* ---- the run ----------------------------------------------------------------- */

struct options {
    uint64_t seed;
    unsigned days;
    const char *folder; /* for the store; made and removed by the caller */
    FILE *trace;        /* or NULL */
    bool paranoid;      /* every check after every step */
    enum plant plant;
    bool log;
    unsigned newsletter; /* not 0: a quiet world, but for one to so many */
};

/* What happened, to see that the seeds reach everything: a name, and words for it. */
#define COUNTS(COUNT)                                                                              \
    COUNT(messages, "messages")                                                                    \
    COUNT(recipients, "recipients")                                                                \
    COUNT(acked, "acknowledged")                                                                   \
    COUNT(unacked, "whose client never heard")                                                     \
    COUNT(delivered, "delivered")                                                                  \
    COUNT(duplicates, "twice")                                                                     \
    COUNT(bounced, "bounced")                                                                      \
    COUNT(expired, "expired")                                                                      \
    COUNT(dropped, "dropped")                                                                      \
    COUNT(doubts, "in doubt")                                                                      \
    COUNT(dsns, "notifications")                                                                   \
    COUNT(warnings, "of delay")                                                                    \
    COUNT(relayed_dsns, "of being passed on")                                                      \
    COUNT(silenced, "failures not told as asked")                                                  \
    COUNT(held_for, "held for a time")                                                             \
    COUNT(restarts, "restarts")                                                                    \
    COUNT(cuts, "lost connections")                                                                \
    COUNT(blobs, "body files")                                                                     \
    COUNT(chunks, "chunks")                                                                        \
    COUNT(dns_failures, "failed DNS answers")                                                      \
    COUNT(commit_failures, "failed commits")                                                       \
    COUNT(newsletters, "messages of newsletters")                                                  \
    COUNT(resets, "resets beside them")                                                            \
    COUNT(resets_waited, "that had to wait")                                                       \
    COUNT(yielded, "connections given up for others")                                              \
    COUNT(orders, "orders")                                                                        \
    COUNT(reloads, "reloads")                                                                      \
    COUNT(repaired, "repaired")                                                                    \
    COUNT(write_failures, "failed writes")                                                         \
    COUNT(low_disks, "disks with little room")                                                     \
    COUNT(full_disks, "full")                                                                      \
    COUNT(dead_disks, "broken until a restart")                                                    \
    COUNT(forgotten, "body files forgotten in part")                                               \
    COUNT(disk_full, "refused for want of room")                                                   \
    COUNT(store_broken, "for a broken store")                                                      \
    COUNT(jumps, "jumps of the clock")                                                             \
    COUNT(stillborn, "deaths at the start")                                                        \
    COUNT(early, "replies before the command")                                                     \
    COUNT(dns_lies, "lies of name servers")                                                        \
    COUNT(hostile, "hostile replies")                                                              \
    COUNT(tls, "TLS out")                                                                          \
    COUNT(tls_failed, "failed")                                                                    \
    COUNT(incoming_tls, "TLS in")                                                                  \
    COUNT(incoming_tls_failed, "failed")                                                           \
    COUNT(injected, "injections")                                                                  \
    COUNT(logins, "logins")                                                                        \
    COUNT(logins_good, "good")                                                                     \
    COUNT(logins_wrong, "wrong")                                                                   \
    COUNT(logins_later, "put off")                                                                 \
    COUNT(accounts_deaths, "deaths of the accounts process")                                       \
    COUNT(refused_rightly, "refused rightly")                                                      \
    COUNT(sent_too_much, "over a user's rate")                                                     \
    COUNT(signed_messages, "signed")                                                               \
    COUNT(unsigned_messages, "not signed")                                                         \
    COUNT(worker_deaths, "deaths of sign workers")                                                 \
    COUNT(steps, "steps")

struct counts {
#define COUNT(name, words) uint64_t name;
    COUNTS(COUNT)
#undef COUNT
};

/* One mark of `what` when the engine has been given the bytes up to `offset`. */
struct mark {
    struct mark *next;
    uint64_t offset;
    void (*reached)(struct sim *sim, struct mark *m);
    struct rcpt **about;
    size_t count;
    uint64_t n;
};

/* ---- loops and connections ------------------------------------------------------ */

struct sim_loop {
    struct loop base;
    struct sim *sim;
    struct life *life;
    struct post *posts, *posts_last;
    struct list wires; /* whose engine end is open */
    bool io;           /* a wire has something to do */
};

struct chunk {
    struct chunk *next;
    uint64_t at_ms;
    bool fin;
    struct buf bytes;
};

struct pipe { /* one direction; in order, late */
    struct chunk *first, *last;
    uint64_t busy_until_ms;
    struct timer timer; /* of the world */
    size_t in_flight;
};

enum shake { SHAKE_WORKS, SHAKE_FAILS, SHAKE_SILENT };

/* The world's end of a connection. None runs from inside a call to wire_*. */
struct peer_ops {
    void (*data)(void *ctx, struct slice bytes);
    void (*ended)(void *ctx); /* the engine's end is gone; the wire must not be used any more */
    void (*unheard)(
        void *ctx); /* the engine learns at this moment that the connection is over; or NULL */
    enum shake (*secure)(void *ctx, bool verify); /* the engine's handshake has come */
};

struct wire {
    struct stream s; /* the engine's end */
    struct sim *sim;
    struct sim_loop *loop;
    struct list link;
    struct timer deadline;
    bool opening, opened_due, open;
    bool told;          /* closed() has run: no more events */
    bool engine_closed; /* the engine has closed it */
    bool paused, flush_due, drained_due, undrained;
    bool end_due; /* closed() is to run, after the data */
    struct err end_why;
    bool hole;      /* nothing passes any more */
    bool peer_gone; /* the world has ended its side */
    bool peer_told;
    struct buf in; /* arrived at the engine's end */
    uint64_t in_given, down_total;
    struct pipe up, down;
    struct mark *marks, *marks_last;
    const struct peer_ops *peer;
    void *peer_ctx;
    unsigned latency_ms;
    void (*accepted)(struct wire *w); /* a client's: gives it to its session, once */
    struct timer opening_timer;       /* the world's: when the connection is made or refused */
    struct err opening_err;
    struct host *host;
    struct timer shake_timer; /* the world's: when the handshake comes to its end */
    bool securing, verify, secured_due;
    struct tls_info tls;
    unsigned refs;
};

void wire_write_out(struct wire *w); /* the engine's output, on its way now */

/* secure.c */
struct err sim_secure(struct stream *inner, struct tls_client *client, const struct tls_target *to,
                      struct stream **out);

void loop_init(struct sim_loop *l, struct sim *sim, struct life *life, unsigned index);
bool loop_runnable(const struct sim_loop *l);
void loop_turn(struct sim_loop *l);
void loop_abandon(struct sim_loop *l); /* the process died */
void loop_release(struct sim_loop *l); /* after a clean end */

/* A client connects; `accepted` runs on the loop. */
struct wire *wire_accept(struct sim_loop *l, const struct net_addr *client,
                         const struct peer_ops *peer, void *ctx, void (*accepted)(struct wire *w));
void wire_send(struct wire *w, struct slice bytes, uint64_t delay_ms);
void wire_mark(struct wire *w, struct mark *m);   /* behind all that was sent; taken over */
void wire_fin(struct wire *w, uint64_t delay_ms); /* the world closes */
void wire_reset(struct wire *w); /* both ends lose it; what is on its way is lost */
void wire_hole(struct wire *w);  /* neither end hears of the other again */
void wire_unref(struct wire *w); /* the world's end is done with it */

/* ---- hosts and names --------------------------------------------------------------- */

enum mode { /* of a host at a time */
            MODE_UP,
            MODE_FLAKY,    /* faults by dice at every stage */
            MODE_REFUSE,   /* connection refused */
            MODE_SILENT,   /* packets vanish */
            MODE_NO_ROUTE, /* an error at once */
            MODE_BUSY,     /* 421 in the greeting */
            MODE_HANG,     /* accepts and says nothing */
            MODE_GREY,     /* 4xx for everything */
            MODE_SLOW,     /* every reply takes up to two minutes */
            MODE_COUNT,
};

struct phase {
    uint64_t from_ms;
    int mode;
};

struct host {
    struct sim *sim;
    unsigned index;
    char name[64];
    struct net_addr addrs[4];
    unsigned addr_count;
    struct phase *phases;
    unsigned phase_count;
    unsigned limit; /* connections at once; 0 = any */
    unsigned conns;
    bool tls; /* offers STARTTLS, when it is well */
    bool pipelining, size, eightbit, ehlo, enhanced, dsn, chunking;
    bool slow, steady;
};

enum dns_mode { DNS_GOOD, DNS_SERVFAIL, DNS_SILENT, DNS_GONE /* NXDOMAIN */ };

enum domain_kind {
    DOMAIN_STEADY, /* its hosts are always well */
    DOMAIN_USUAL,
    DOMAIN_IMPLICIT,
    DOMAIN_NULL_MX,
    DOMAIN_NO_NAME,
    DOMAIN_OURS,    /* its MX is us */
    DOMAIN_NO_ADDR, /* its MX has no address */
    DOMAIN_CHANGING,
    DOMAIN_DEAD, /* nobody answers, ever */
    DOMAIN_KIND_COUNT,
};

struct domain {
    unsigned index;
    enum domain_kind kind;
    char name[64];
    struct host *hosts[4];
    uint16_t preference[4];
    unsigned host_count;
    struct phase *phases; /* of its name servers */
    unsigned phase_count;
    uint32_t ttl_ms;
    enum hop_tls tls; /* what our route to it wants */
    uint64_t permanent_until_ms; /* a permanent answer was given that holds until then */
    uint64_t last_bad_ms; /* when anything about it was last not well, as met by the engine */
};

struct dns_zone {
    struct host *hosts;
    unsigned host_count;
    struct domain *domains;
    unsigned domain_count;
    struct phase *blackouts; /* the resolver itself is dead: mode is dns_mode */
    unsigned blackout_count;
};

void world_make(struct sim *sim);
void world_free(struct sim *sim);
int phase_at(const struct phase *p, unsigned count, uint64_t now_ms);
enum mode host_mode(const struct host *h);
struct host *host_by_addr(struct sim *sim, const struct net_addr *a);
/* Since when everything a message for it needs has been well; UINT64_MAX: it is not. */
uint64_t domain_well_since(struct sim *sim, const struct domain *d);
const struct domain *domain_by_name(struct sim *sim, struct slice name);

struct sim_resolver {
    struct resolver base;
    struct sim *sim;
    struct list queries;
};
void resolver_init(struct sim_resolver *r, struct sim *sim, struct loop *l);
void resolver_release(struct sim_resolver *r, bool clean); /* clean: nothing may be left */

/* remote.c: the world's SMTP servers */
void remote_accept(struct host *h, struct wire *w);

/* ---- the engine ------------------------------------------------------------------------ */

struct life {          /* from a start to a crash */
    struct life *next; /* the dead ones, so that their memory stays reachable */
    struct sim_loop loops[LOOPS];
    struct sim_resolver resolvers[LOOPS];
    struct loop *loop_list[LOOPS];
    struct resolver *resolver_list[LOOPS];
    struct acceptor acceptors[LOOPS];
    struct clients *clients;
    struct accounts *accounts;
    struct queue *queue;
    struct history *history;
    struct dispatch *dispatch;
    struct sign_service *sign;
};

void life_start(struct sim *sim);
void life_stillborn(struct sim *sim); /* dies while it finds out what is stored */
void life_crash(struct sim *sim);
void life_stop(struct sim *sim, uint64_t drain_ms); /* drains and ends as SIGTERM does */

/* ---- the ledger --------------------------------------------------------------------------- */

struct rcpt {
    struct msg *msg;
    unsigned n;
    char *address;
    const struct domain *domain;
    bool bad;                    /* 550 whenever it is named */
    bool duplicate_ok;           /* not known to the engine's store that it was taken */
    unsigned accepted;           /* by a remote server */
    bool confirmed;              /* and the engine was told so */
    bool failed_ok;              /* there was a reason to give it up */
    bool stored;                 /* at the last walk */
    bool gone;                   /* final: seen leaving the store */
    bool deleted, held, ordered; /* what an admin wanted of it */
    uint64_t not_before_ms;      /* the earliest next attempt */
    uint64_t stored_next_wall;
    uint32_t attempts;
    uint8_t notify;              /* what its sender asked for */
    bool taken_with_dsn, taken_without; /* by a server that does, or does not, tell the sender itself */
    bool delivered_event;
    unsigned dsn_failed, dsn_delayed, dsn_relayed;
    unsigned final_events;
    uint64_t final_sequence;
};

#define HOLD_MAX_S (12 * HOUR_MS / SECOND_MS)

struct msg {
    unsigned token;
    char *reverse_path;
    struct msg *next_of_sender;       /* a newsletter's: another of its messages */
    const struct domain *from_domain; /* NULL: null reverse-path */
    struct rcpt *rcpts;
    size_t count;
    uint64_t id; /* 0: not known yet */
    bool acked, committed;
    const char *forbidden;       /* why it must not be taken; or NULL */
    bool by_sender;              /* its From field is another's: the envelope says who signs */
    const struct domain *forged; /* that of its From field, which is not its sender's; or NULL */
    bool envid;                 /* its MAIL says ENVID=E<token> */
    uint64_t hold_s;            /* HOLDFOR; 0: none */
    uint64_t release_ms;        /* not before; as early as it can be */
    uint64_t begun_ms;           /* its MAIL was sent */
    uint64_t release_wall_ms;
    uint64_t jumped_ms;          /* by when the clock had jumped ahead so far */
    uint64_t committed_ms;
    uint64_t received_wall_ms;
    bool dsn_dropped; /* a notification about it could not be delivered */
    size_t body_bytes;
    struct buf content; /* as the client sends it */
};

struct dsn { /* a notification seen at a remote */
    char *message_id;
    unsigned accepted;
    bool confirmed;
};

struct ledger {
    struct msg **msgs;
    size_t count, cap;
    struct dsn *dsns;
    size_t dsn_count, dsn_cap;
};

struct msg *ledger_new_message(struct sim *sim);
/* Without wishes, to addresses that exist; of a new sender, or the same as another's. */
struct msg *ledger_new_plain(struct sim *sim, struct msg *same_sender, const struct domain *const *to, size_t count);
void ledger_free(struct sim *sim);
struct msg *ledger_find_sender(struct sim *sim, struct slice address); /* or NULL */
struct rcpt *ledger_find(struct sim *sim, struct slice address);
void ledger_committed(struct sim *sim, const struct message *m); /* from the engine */
void ledger_acked(struct sim *sim, struct msg *m);
void ledger_attempt(struct sim *sim, struct rcpt *r);  /* RCPT at a remote */
void ledger_deferred(struct sim *sim, struct rcpt *r); /* the engine was told 4xx */
void ledger_doubt(struct sim *sim, struct rcpt *r);    /* lost after the final dot */
void ledger_accept(struct sim *sim, struct slice reverse_path, struct rcpt **about, size_t count,
                   struct slice content, bool dsn);
/* From when a message's time counts. */
uint64_t ledger_begins_wall(const struct msg *m);
void ledger_confirm(struct sim *sim, struct rcpt *r);
/* A message with a null reverse-path for one of our senders. */
int ledger_accept_dsn(struct sim *sim, struct slice to, struct slice content);

void audit_store(struct sim *sim);    /* schedule, store and ledger agree */
void audit_recovery(struct sim *sim); /* after a start */
void audit_end(struct sim *sim);      /* all is over */

/* watch.c: the scheduler, whenever nothing is left to do at a moment */
void watch_rest(struct sim *sim);
void watch_waits(struct sim *sim);                    /* all of them: now and then */
void watch_turn(struct sim *sim, bool timers_only);   /* of a loop */
void watch_question(struct sim *sim, const char *name); /* to a name server */
void watch_floor(struct sim *sim);                    /* all is over */

/* ---- logins.c: the accounts process ------------------------------------------------------------ */

struct user {
    char name[80];
    const char *password;
    bool sender_any;     /* else: from the first domain only */
    bool always_limited;
    unsigned messages_per_hour, recipients_per_hour;
    uint64_t let_in;     /* logins of his that were found good */
    uint64_t granted;    /* messages he was allowed */
    uint64_t told;       /* and clients of his were told to go on with */
};

struct logins;

void logins_make(struct sim *sim);
void logins_free(struct sim *sim);
void logins_engine_started(struct sim *sim); /* it is to be linked */
void logins_engine_gone(struct sim *sim);    /* it crashed */
struct user *user_some(struct sim *sim, bool victim);
bool user_owns(const struct user *u, const struct domain *d);

/* ---- clients --------------------------------------------------------------------------------- */

void clients_begin(struct sim *sim);
/* One connects, now; source NULL: it hands in whatever the dice say. */
void client_begin(struct sim *sim, struct msg *(*source)(struct sim *sim), unsigned messages);

/* newsletter.c: a newsletter and single messages beside it */
struct news;
struct site;
struct site_conn;
struct group;
void news_begin(struct sim *sim);
void news_free(struct sim *sim);
void news_tell(struct sim *sim);         /* of the waits, in words */
void news_life_began(struct sim *sim);
void news_added(struct sim *sim, const struct site *s, const struct group *g);    /* it will be */
void news_moved(struct sim *sim, const struct site *to);
void news_returned(struct sim *sim, const struct site *s, const struct group *g); /* unattempted */
void news_given(struct sim *sim, const struct site *s, const struct site_conn *conn, const struct group *g);

/* admin.c: orders in the middle of it all */
void admin_begin(struct sim *sim);
void admin_release_all(struct sim *sim);

/* ---- disk.c ------------------------------------------------------------------------------------- */

#define DISK_RESERVE ((uint64_t)1024 * MIB)

void disk_begin(struct sim *sim);
void disk_free(struct sim *sim);
void disk_heal(struct sim *sim);
void disk_life_begins(struct sim *sim);
void disk_crash(struct sim *sim);               /* the power is cut */
bool disk_takes_mail(const struct sim *sim, uint64_t since_ms); /* nothing was wrong with it since then */
bool disk_refuses_mail(const struct sim *sim, uint64_t since_ms);

/* ---- workers.c: who signs --------------------------------------------------------------------- */

#define NOTICE_DOMAIN "sim.test" /* above OWN_NAME: in whose name notices are signed */

struct sign_service *workers_new(struct sim *sim);
void workers_free(struct sign_service *s);
/* It begins with a signature of that domain over all that follows. */
bool signature_fits(struct slice content, const char *domain);

/* ---- the whole ---------------------------------------------------------------------------------
 */

#define PLENTY_OF_MEMORY (64 * MIB)

struct sim {
    struct options opt;
    struct rng rng;
    uint64_t now_ms;
    struct clock clock;
    struct timers timers; /* the world's */
    struct timer disk, disk_look, arrival, faults, start, admin, jump;
    bool jumps;              /* of the wall clock, in this run */
    int64_t wall_offset_ms;
    uint64_t jumped_ms;      /* ahead, all in all */
    uint64_t set_back_ms;    /* by days, all in all: what was postponed waits for the clock on the wall */
    uint64_t last_jump_ms;
    struct life *life, *dead;
    struct dns_zone zone;
    struct ledger ledger;
    struct counts counts;
    struct route routes[8], more_routes[8];
    struct sign_identity identities[2]; /* of the first domain, and for notices */
    struct signing_domain signing[2];
    struct delivery_policy policy,
        other_policy; /* the other one has more routes to the same ends */
    bool reloaded;    /* the other one rules */
    struct retry_policy retry;
    uint64_t end_ms; /* no new mail from then on, and all is healed */
    bool healed, stopping;
    bool dirty;          /* commits since the last walk */
    uint64_t stored;     /* recipients, at the last walk */
    uint64_t started_ms; /* this life */
    uint64_t fuse;       /* things that still happen before the next crash */
    uint64_t fuse_max;
    bool may_crash;
    unsigned slow_disk; /* a commit takes up to so many ms */
    bool commit_faults; /* of this run */
    bool commit_fails_now, writes_fail_now, disk_low;
    bool sticky;      /* until the next start */
    bool restart_due; /* somebody has had enough of it */
    uint64_t disk_changed_ms;
    struct unsafe *unsafe; /* body files that a crash may cut */
    int commit_error;
    struct settings settings;
    struct settings_listen listens[LISTEN_COUNT];
    struct logins *logins;
    struct news *news;
    struct alias_rules *aliases; /* none: an address is itself */
    struct acceptor_config *config;
    uint64_t hash; /* of the trace */
    uint64_t second, second_steps, second_timer_turns, second_questions;
    uint64_t audit_after_ms;
    unsigned session_goal;
    size_t body_file_min, draft_memory_max; /* less than PLENTY_OF_MEMORY: a few messages at once fill it */
};

static inline uint64_t roll(struct sim *sim, uint64_t n)
{
    return rng_below(&sim->rng, n);
}

static inline bool chance(struct sim *sim, unsigned percent)
{
    return roll(sim, 100) < percent;
}

static inline uint64_t wall_ms(const struct sim *sim)
{
    return WALL_BASE_MS + sim->now_ms + (uint64_t)sim->wall_offset_ms;
}

/* When the wall clock will show that, as it goes now. */
static inline uint64_t mono_of_wall(const struct sim *sim, uint64_t wall)
{
    uint64_t zero = WALL_BASE_MS + (uint64_t)sim->wall_offset_ms;

    return wall > zero ? wall - zero : 0;
}

void trace(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The run breaks a promise: says so and how to repeat it, and ends the process. */
_Noreturn void broken(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sim_disk_soon(struct sim *sim);
void sim_step(struct sim *sim); /* one thing that is due, or time passes */

struct result {
    uint64_t hash;
    struct counts counts;
};
struct result sim_run(const struct options *opt);

#endif
