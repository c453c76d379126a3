/* queue/history.h - what became of each message, kept after it is gone.
 *
 * Events are committed in the queue environment together with the change they
 * tell. From there they move, in batches, to the history environment: put
 * there first, then deleted here, so that a crash between the two leaves an
 * event in both places and never in none. Readers look into the queue first,
 * then into the history, and drop doubles by sequence.
 *
 * Keys of the history environment:
 *   event   id, sequence     → as in the queue
 *   index   bucket, hash, id → nothing
 * The hash is of an address (sender or recipient) or of a Message-ID. A
 * bucket is the second in which it was begun; it ends after an hour or some
 * thousand entries, so that a batch touches few pages and a search has to
 * look into few buckets.
 */
#ifndef QUEUE_HISTORY_H
#define QUEUE_HISTORY_H

#include "queue/queue.h"

/* ---- moving and keeping -------------------------------------------------- */

struct history;

struct history_options {
    uint64_t keep_ms;   /* older events go; 0 = by size only */
    uint64_t bytes_max; /* pages in use; the oldest events go; 0 = by age only */
    uint64_t tick_ms;   /* how often to look for events to move; 0 = a second */
};

/* On loop 0, before it runs or while it does. What an earlier run left is
 * moved first. */
MUST_CHECK struct err history_start(struct queue *q, struct loop *home, const struct history_options *opt,
                                    struct history **out);
void history_configure(struct history *h, const struct history_options *opt); /* home's thread */
/* Home's thread, or its loop runs no more: begins nothing further. */
void history_stop(struct history *h);
/* When none of its completions can come any more: the loop has ended, or
 * history_idle(). Before the loop is freed. NULL is fine. */
void history_free(struct history *h);
bool history_idle(const struct history *h); /* nothing is under way */

/* ---- looking up ------------------------------------------------------------
 * All of these work inside a reader's job, or in a tool's snapshot, and do a
 * bounded amount of work a call; the caller comes back with a new snapshot. */

enum history_place { IN_QUEUE, IN_HISTORY };

struct history_event { /* one stored record, copied */
    uint64_t id, sequence;
    size_t at, len;
};

struct history_events { /* zero-initialise */
    struct history_event *items;
    size_t count, cap;
    struct buf records;
};
void history_events_release(struct history_events *l);

/* Adds up to `max` events of message id, from *sequence on; *sequence is then
 * where to go on, and *done says whether that was all of this place. */
MUST_CHECK struct err history_read(struct store_txn *t, enum history_place place, uint64_t id,
                                   uint64_t *sequence, size_t max, struct history_events *out, bool *done);
/* Orders by id and sequence and drops doubles. */
void history_events_sort(struct history_events *l);
/* False: the record can't be read; id and sequence are set all the same. */
bool history_event_get(const struct history_events *l, size_t i, struct event *out);

struct history_hit {
    uint64_t id;
    bool certain; /* seen in the queue; else by a hash: ask history_search_matches() of its events */
};

/* Which messages had to do with an address or a Message-ID: the newest
 * first, at most `limit` of them. Search the queue to its end, then the
 * history; sort; then read each message's events. */
struct history_search {
    char *text;
    size_t text_len;
    char *address; /* text as addresses are stored, when that is another spelling; or NULL */
    size_t limit;
    struct history_hit *hits; /* after history_search_sort(): newest first, each once */
    size_t count, cap;
    /* private */
    uint64_t hashes[2];
    unsigned phase;
    struct codec_key from;
    bool started;
    size_t quota; /* of ids, in this phase */
};

/* text: an address, or a Message-ID with or without brackets. Copied. */
void history_search_init(struct history_search *s, struct slice text, size_t limit);
void history_search_release(struct history_search *s);
MUST_CHECK struct err history_search_queue(struct history_search *s, struct store_txn *t, size_t max, bool *done);
MUST_CHECK struct err history_search_history(struct history_search *s, struct store_txn *t, size_t max, bool *done);
void history_search_sort(struct history_search *s);
bool history_search_matches(const struct history_search *s, const struct event *e);

#endif
