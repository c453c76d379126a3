/* queue/queue.h - the durable queue of accepted messages.
 *
 * Promise: once a queue_done callback reports success the message survives a
 * power cut, so that callback is the earliest place to answer 250 after the
 * end of DATA (RFC 5321 section 6.1).
 *
 * A message arrives as a draft (queue/draft.c), is committed with all its
 * recipients and its first event, is read back by queue_load() and changed by
 * queue_apply(); when its last recipient is final it is gone but for its
 * history.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "base/headroom.h"
#include "net/loop.h"
#include "queue/id.h"
#include "queue/message.h"
#include "queue/record.h"
#include "store/blob.h"
#include "store/store.h"

struct queue;

struct queue_options {
    const char *state_dir;       /* made if missing; copied */
    const struct clock *clock;
    unsigned spool;              /* 0–63, part of every id */
    size_t draft_memory_max;     /* all drafts together; beyond it bodies go to files at once */
    size_t drafts_max;           /* at a time, for the memory each needs outside the budget; 0: no limit */
    const struct headroom_gauge *headroom; /* what the system has left; outlives the queue. NULL: plenty */
    size_t body_file_min;        /* a larger body is a file */
    uint64_t history_keep_ms;
    uint64_t history_bytes_max;
    uint64_t space_reserve;      /* free disk below which new mail is refused */
    uint64_t space_ahead;
    uint64_t map_bytes;          /* address space of each environment; 0 = by the size of the disk */
    bool read_only;              /* tools while the engine is down */
    bool stepped;                /* simulator: queue_step() */
    /* A message became durable. On the loop of its draft; m is lent. */
    void (*arrived)(void *ctx, struct message *m);
    void *ctx;
};

MUST_CHECK struct err queue_open(const struct queue_options *opt, struct queue **out);
/* Finishes what was asked and posts the completions; what they ask in their turn
 * comes back as ERR_CANCELLED. The loops do not run meanwhile. */
void queue_finish(struct queue *q);
void queue_close(struct queue *q); /* finishes, and frees; NULL is fine */
void queue_abandon(struct queue *q); /* stepped: the process dies here, and what waits with it */
/* The store's health: OK, LOW (refuse new mail), BROKEN (start no delivery). Any thread. */
enum store_space queue_space(struct queue *q);
/* How the drafts' budget of memory stands, of which little is left when the system is
 * short of it, and nothing when it has none. SHORT: beyond it, nothing is gathered and
 * less should be read at once; FULL: no further draft should begin. Any thread. */
enum queue_memory { QUEUE_MEMORY_OK, QUEUE_MEMORY_SHORT, QUEUE_MEMORY_FULL };
enum queue_memory queue_memory(struct queue *q);
bool queue_crowded(struct queue *q); /* no further draft should begin: memory is FULL, or there are drafts_max */
size_t queue_step(struct queue *q, size_t max_jobs); /* stepped: one batch of each environment */

/* Start-up: every stored recipient, in order of id, and the sweep of body
 * files without a record. Calling thread. r's slices live during the call. */
typedef void queue_visitor(void *ctx, uint64_t id, const struct recipient *r);
MUST_CHECK struct err queue_recover(struct queue *q, queue_visitor *visit, void *ctx);

/* ---- arriving ---------------------------------------------------------- */

struct envelope {
    struct slice reverse_path;
    const struct slice *recipients; /* canonical addresses */
    const struct slice *originals;  /* per recipient: the address it was sent to, if an alias led on; or NULL */
    const bool *held;               /* per recipient: kept until released; or NULL: none is */
    const struct mail_wish *wishes; /* per recipient (RFC 3461); or NULL: none */
    size_t recipient_count;
    struct slice client_addr, client_name, helo, protocol;
    struct slice envelope_id;       /* ENVID */
    uint64_t release_wall_ms;       /* no attempt before (RFC 4865); 0: at once */
    struct slice signer;            /* who signs, where From does not tell: for an event; or empty: there is none */
    uint32_t flags; /* MESSAGE_* */
};

struct queue_draft;

/* m is lent, NULL on error. */
typedef void queue_done(void *ctx, struct err e, struct message *m);

struct queue_draft *queue_draft_new(struct queue *q, struct loop *home);
uint64_t queue_draft_id(const struct queue_draft *d);
uint64_t queue_draft_wall_ms(const struct queue_draft *d);
/* Takes content in order, our own trace fields first. False: hold the sender
 * back until `room` runs; the bytes were taken all the same. */
bool queue_draft_append(struct queue_draft *d, struct slice bytes);
void queue_draft_on_room(struct queue_draft *d, void (*room)(void *ctx), void *ctx);
void queue_draft_free(struct queue_draft *d); /* drops it; NULL is fine */
/* Takes over d whatever happens; env is copied. done runs on home, later. */
void queue_draft_commit(struct queue_draft *d, const struct envelope *env, queue_done *done, void *ctx);

/* A message made here (a DSN), not yet stored: give it to queue_apply(). */
struct message *queue_compose(struct queue *q, const struct envelope *env, struct slice header,
                              struct slice body);

/* ---- reading ----------------------------------------------------------- */

/* done on home. Header, recipients and, unless it is a file, the body are in
 * memory; checksums were verified (ERR_CORRUPT). ERR_NOT_FOUND: no such id. */
void queue_load(struct queue *q, uint64_t id, struct loop *home, queue_done *done, void *ctx);
/* The same for a thread that may wait, in its own snapshot of queue_store(). *out
 * is the caller's, and NULL on any error: damaged content is none. */
MUST_CHECK struct err queue_read(struct store_txn *t, uint64_t id, struct message **out);
/* For such a thread, too: a body file's descriptor, the caller's to close. */
MUST_CHECK struct err queue_body_file(struct queue *q, const struct message *m, int *fd);
/* A piece of a body file: op->offset, want, home and done are the caller's. */
void queue_read_body(struct queue *q, const struct message *m, struct blob_op *op);
/* A body file's descriptor, in op->fd; home and done are the caller's. */
void queue_open_body(struct queue *q, const struct message *m, struct blob_op *op);

/* ---- changing ---------------------------------------------------------- */

/* What happens to one recipient. */
struct queue_change {
    enum event_type event;
    bool final;            /* its record goes */
    bool silent;           /* no event: a deferral's bookkeeping only */
    struct recipient now;  /* as it is from now on; slices are copied */
    uint64_t delay_ms;
    struct slice tls;      /* of the session with the next hop, as in struct event; lent */
};

struct queue_update {
    uint64_t id;
    const struct message *message; /* may be NULL when nothing of it is needed */
    struct queue_change *changes;
    size_t change_count;
    bool message_done;             /* no recipient is left: the message goes */
    bool body_is_file;             /* then its file goes too */
    struct message *const *dsns;   /* committed in the same transaction; each taken over */
    size_t dsn_count;              /* at most QUEUE_DSNS_MAX */
};

#define QUEUE_DSNS_MAX 2u /* of failure, and that some were passed on */

/* All or nothing, in one transaction. done on home, its m always NULL; a
 * failed update changed nothing and may be given again. */
void queue_apply(struct queue *q, const struct queue_update *u, struct loop *home, queue_done *done,
                 void *ctx);

/* Signatures of a message, to be found in message.signatures when it is loaded
 * later. Nothing is stored when it is gone by then. fields are copied; done
 * gets no message. */
void queue_store_signatures(struct queue *q, uint64_t id, struct slice fields, struct loop *home,
                            queue_done *done, void *ctx);

struct queue_stats {
    struct store_stats queue, history;
    size_t draft_memory;
    size_t drafts;
    const struct headroom_gauge *headroom; /* of the options */
};
void queue_stats(struct queue *q, struct queue_stats *out);

/* A number never used before, above all earlier ones. Any thread. */
uint64_t queue_new_id(struct queue *q);
/* About when the newest one there is was given. */
uint64_t queue_newest_wall_ms(const struct queue *q);

/* For queue/ itself and for tools' snapshots. */
struct store *queue_store(struct queue *q);
struct store *queue_history_store(struct queue *q);

#endif
