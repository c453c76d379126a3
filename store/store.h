/* store/store.h - durable tables with one sync for many writers.
 *
 * One LMDB environment with one writer. Work comes as jobs: the writer takes
 * all that wait, runs them in one transaction, commits (one sync) and posts
 * each job's completion to the loop it came from. Reads run as jobs in
 * reader threads, or directly in a snapshot by tools.
 *
 * Two drivers over the same code: the thread, and store_step() for the
 * simulator.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"
#include "base/slice.h"
#include "net/loop.h"

struct store;
struct store_txn;

#define STORE_TABLES_MAX 8
#define STORE_VALUE_MAX 4080 /* a page less its header; larger values make LMDB search for runs of pages */
#define STORE_KEY_MAX 511

struct store_options {
    const char *path;          /* folder, made if missing (0700) */
    const char *const *tables; /* names; a table is known by its index here */
    unsigned table_count;
    uint64_t map_bytes;        /* address space, sparse; 0 = a default by the size of the disk */
    uint64_t ahead_bytes;      /* file space kept allocated beyond what is used; 0 = none */
    uint64_t reserve_bytes;    /* below this much free disk store_space() says LOW */
    unsigned readers;          /* reader threads; 0 with stepped */
    bool read_only;            /* for tools while the daemon is down: no writer, no lock file */
    bool stepped;              /* no threads: store_step() runs jobs; nothing is synced */
    bool compact;              /* at open: rewrite the file when it is mostly empty */
    const struct clock *clock;
};

/* LOW: jobs still run, since deleting makes room, but new mail is to be
 * refused. BROKEN: a commit or its sync failed and no trial commit has
 * succeeded since; every job fails at once, so nothing may be delivered,
 * for the delivery could not be recorded. A trial is made every second at
 * first, then less often, up to every ten seconds. */
enum store_space { STORE_SPACE_OK, STORE_SPACE_LOW, STORE_BROKEN };

struct store_job {
    struct post post; /* the store's */
    struct loop *home;
    size_t cost_bytes; /* about what it writes; the batch is cut at 32 MiB or 4,096 jobs */

    /* Store thread, inside the transaction. May run twice (the batch is
     * retried without a job that failed), so it must not change the job in a
     * way that a second run would not. An error undoes only this job. */
    struct err (*run)(struct store_job *j, struct store_txn *t);
    /* On home's thread, after the sync that made it durable, or with the
     * error. May free the job. */
    void (*done)(struct store_job *j, struct err e);
    struct err result;
    int kind; /* the store's */
};

MUST_CHECK struct err store_open(const struct store_options *opt, struct store **out);
/* Finishes what was submitted and posts its completions; what is submitted later
 * completes with ERR_CANCELLED. NULL is fine. */
void store_finish(struct store *s);
void store_close(struct store *s); /* the same, and frees it. NULL is fine */
/* Stepped: the process dies here. What waits completes with ERR_CANCELLED, unrun. */
void store_abandon(struct store *s);

void store_submit(struct store *s, struct store_job *j); /* any thread; a write */
void store_read(struct store *s, struct store_job *j);   /* any thread; t is a snapshot, read only */
size_t store_step(struct store *s, size_t max_jobs);     /* stepped: one batch; how many it ran */
enum store_space store_space(struct store *s);           /* any thread, cheap */

/* Size on disk and pages in use, for status. */
struct store_stats {
    uint64_t file_bytes;
    uint64_t used_bytes;
    uint64_t commits;
    uint64_t jobs;
    uint64_t waiting;
};
void store_stats(struct store *s, struct store_stats *out);

/* Inside a transaction. Slices that come out live until the transaction ends
 * or the next write. */
MUST_CHECK struct err store_get(struct store_txn *t, unsigned table, struct slice key, struct slice *out);
MUST_CHECK struct err store_put(struct store_txn *t, unsigned table, struct slice key, struct slice value);
/* Same, and the caller fills `len` bytes at *room before any other call. */
MUST_CHECK struct err store_put_room(struct store_txn *t, unsigned table, struct slice key, size_t len,
                                     char **room);
/* For keys greater than every key in the table: packs pages full. */
MUST_CHECK struct err store_append_room(struct store_txn *t, unsigned table, struct slice key, size_t len,
                                        char **room);
MUST_CHECK struct err store_delete(struct store_txn *t, unsigned table, struct slice key); /* ERR_NOT_FOUND */
/* Deletes every key that begins with prefix; *count may be NULL. */
MUST_CHECK struct err store_delete_prefix(struct store_txn *t, unsigned table, struct slice prefix,
                                          size_t *count);

/* Walks keys in order. store_cursor_seek: first key >= key; an empty key is
 * the first of all. ERR_NOT_FOUND at either end; prev() after a seek gives
 * the last key < key. A cursor left open ends with its job. */
struct store_cursor;
MUST_CHECK struct err store_cursor_open(struct store_txn *t, unsigned table, struct store_cursor **out);
MUST_CHECK struct err store_cursor_seek(struct store_cursor *c, struct slice key, struct slice *k, struct slice *v);
MUST_CHECK struct err store_cursor_last(struct store_cursor *c, struct slice *k, struct slice *v);
MUST_CHECK struct err store_cursor_next(struct store_cursor *c, struct slice *k, struct slice *v);
MUST_CHECK struct err store_cursor_prev(struct store_cursor *c, struct slice *k, struct slice *v);
MUST_CHECK struct err store_cursor_delete(struct store_cursor *c); /* then next() gives the following one */
void store_cursor_close(struct store_cursor *c);

/* A snapshot for tools and start-up, in the calling thread. */
MUST_CHECK struct err store_snapshot(struct store *s, struct store_txn **out);
void store_snapshot_end(struct store_txn *t); /* NULL is fine */

#endif
