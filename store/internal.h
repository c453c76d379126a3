/* store/internal.h - what the files of store/ share.
 *
 * Who touches what: everything under "writer" belongs to the writer thread
 * (or to the caller of store_step), and so does replacing the environment;
 * readers use it between env_enter() and env_leave().
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "base/clock.h"
#include "base/list.h"
#include "store/store.h"
#include "store/wake.h"

#include <lmdb.h>
#include <pthread.h>

#define STORE_BATCH_BYTES ((size_t)32 * MIB) /* LMDB 0.9.24 spills larger transactions, not always well */
#define STORE_BATCH_JOBS  4096u

enum { JOB_WRITE, JOB_READ, JOB_FAILED };

struct reader {
    struct store *store;
    pthread_t thread;
    MDB_txn *txn; /* reset between jobs; NULL before the first and after a reopening */
};

struct store {
    struct store_options opt; /* path and tables are copies */
    char *file;               /* path of the data file */

    MDB_env *env; /* NULL when reopening failed */
    MDB_dbi dbi[STORE_TABLES_MAX];
    bool has[STORE_TABLES_MAX]; /* read_only: an old store may lack a table */
    MDB_dbi probe_dbi;
    uint64_t map_bytes;
    uint64_t page_bytes;
    int file_fd; /* LMDB's */

    /* Who reads now; the environment is replaced when nobody does. */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_free;
    unsigned gate_users;
    bool gate_shut;

    struct inbox inbox;
    struct wake wake;
    _Atomic bool closing;
    _Atomic bool finished; /* whatever is asked from now on is cancelled */
    _Atomic int space;

    /* writer */
    pthread_t writer;
    struct post *pending, *pending_last; /* taken from the inbox, oldest first */
    struct store_job **batch;            /* STORE_BATCH_JOBS slots */
    size_t solo;                         /* so many of the next jobs get a transaction each */
    bool broken;
    struct err broken_why;
    uint64_t probe_due_ms, probe_delay_ms;
    uint64_t space_due_ms;
    uint64_t mapped_commits; /* so many when the map was last looked at */
    uint64_t low_until_ms;  /* a commit found no space: LOW at least until then */
    uint64_t ahead_end;     /* the file's blocks are allocated up to here */
    bool ahead_failed;
    bool ahead_unsupported;
    bool disk_low, map_low;

    /* readers */
    pthread_mutex_t read_lock;
    pthread_cond_t read_ready;
    struct post *reads, *reads_last;
    bool read_closing;
    struct reader *readers;

    _Atomic uint64_t commits, jobs_done, jobs_given;
    _Atomic uint64_t used_bytes;
};

struct store_txn {
    struct store *store;
    MDB_txn *txn;
    bool read_only;
    bool wrote;          /* this job has changed something */
    int bad;             /* LMDB's code after which the transaction is good for nothing */
    struct list cursors; /* open ones */
};

/* env.c */
struct err env_err(int rc, const char *what);
struct err env_open(struct store *s);
void env_close(struct store *s);
struct err env_reopen(struct store *s); /* after a fatal error; settles the meta pages first */
void env_enter(struct store *s);
void env_leave(struct store *s);
struct err env_begin(struct store *s, unsigned flags, MDB_txn **out);
uint64_t env_used_bytes(struct store *s, MDB_txn *txn); /* pages in a tree, not free ones; not read_only */

/* compact.c */
void env_compact(struct store *s); /* between env_open and the first job */

/* space.c */
void space_check(struct store *s);        /* everything; about once a second */
void space_after_commit(struct store *s); /* only what a commit can change */
bool space_disk_full(struct store *s);
void space_publish(struct store *s);

/* writer.c */
void *writer_main(void *store);
void writer_take(struct store *s);
size_t writer_turn(struct store *s, size_t max_jobs); /* one batch of what is pending */
void writer_probe_if_due(struct store *s);

/* reader.c */
MUST_CHECK struct err readers_start(struct store *s);
void readers_stop(struct store *s);
void readers_submit(struct store *s, struct store_job *j);
void readers_forget_txns(struct store *s); /* with the gate shut */
void read_job_run(struct store_job *j, struct store *s, MDB_txn *txn);

/* txn.c */
void txn_init(struct store_txn *t, struct store *s, MDB_txn *txn, bool read_only);
void txn_close_cursors(struct store_txn *t);

/* store.c */
void job_complete(struct store *s, struct store_job *j, struct err e);

#endif
