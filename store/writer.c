/* store/writer.c - one sync for many messages: takes every job that waits,
 * runs them in one transaction, commits, and only then tells each that it is
 * safe. What arrives during the commit is the next batch; on a busy store the
 * batch stays open a moment longer while more keeps arriving.
 *
 * Undoing a failed job: LMDB's nested transactions copy pages and don't go
 * well with spilling, so there are none. A job that failed before its first
 * write costs nothing; otherwise the transaction is dropped and the other
 * jobs run again without it.
 *
 * After a failed commit the batch is lost and said to be lost, and nothing
 * else is tried until a small commit of our own has come through. A sync
 * that failed is never repeated: the kernel forgets what it could not write.
 */
#include "store/internal.h"

#include "base/log.h"

#include <errno.h>
#include <time.h>

#define RERUNS_MAX       4 /* then the rest of the batch goes one by one */
#define PROBE_FIRST_MS   1000
#define PROBE_SLOWEST_MS 10000
#define IDLE_MS          1000
#define BUSY_BATCH       4      /* jobs: from here on the store counts as busy */
#define GATHER_STEP_NS   100000 /* a batch that grew within a step gets another */
#define GATHER_STEPS     6

void writer_take(struct store *s)
{
    struct post *p = inbox_take(&s->inbox);

    if (p == NULL)
        return;
    if (s->pending == NULL)
        s->pending = p;
    else
        s->pending_last->next = p;
    while (p->next != NULL)
        p = p->next;
    s->pending_last = p;
}

static struct store_job *pending_first(struct store *s)
{
    return s->pending != NULL ? container_of(s->pending, struct store_job, post) : NULL;
}

static struct store_job *pending_pop(struct store *s)
{
    struct store_job *j = pending_first(s);

    s->pending = j->post.next;
    return j;
}

/* The jobs from `from` on wait for the next transaction, still first. */
static void pending_put_back(struct store *s, size_t from, size_t n)
{
    while (n-- > from) {
        struct post *p = &s->batch[n]->post;

        p->next = s->pending;
        if (s->pending == NULL)
            s->pending_last = p;
        s->pending = p;
    }
}

static size_t batch_cut(struct store *s, size_t max_jobs)
{
    size_t n = 0, bytes = 0;
    struct store_job *j;

    if (s->solo > 0) {
        s->solo--;
        max_jobs = 1;
    }
    if (max_jobs > STORE_BATCH_JOBS)
        max_jobs = STORE_BATCH_JOBS;
    while (n < max_jobs && (j = pending_first(s)) != NULL && j->kind == JOB_WRITE) {
        if (n > 0 && bytes + j->cost_bytes > STORE_BATCH_BYTES)
            break;
        bytes += j->cost_bytes;
        s->batch[n++] = pending_pop(s);
    }
    return n;
}

static void batch_complete(struct store *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        job_complete(s, s->batch[i], s->batch[i]->result);
}

static size_t batch_alive(struct store *s, size_t n)
{
    size_t alive = 0;

    for (size_t i = 0; i < n; i++)
        alive += s->batch[i]->kind != JOB_FAILED;
    return alive;
}

static void batch_fail(struct store *s, size_t n, struct err e)
{
    for (size_t i = 0; i < n; i++)
        if (s->batch[i]->kind != JOB_FAILED)
            s->batch[i]->result = e;
}

/* LMDB's own limits, not the disk's. */
static bool room_gone(int rc)
{
    return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL;
}

/* Pages of a large transaction are written before its commit. */
static bool disk_failed(int rc)
{
    struct err e = env_err(rc, NULL);

    return rc > 0 && (e.kind == ERR_NO_SPACE || e.kind == ERR_IO);
}

static void low_for_a_while(struct store *s)
{
    s->low_until_ms = clock_mono_ms(s->opt.clock) + PROBE_FIRST_MS;
}

/* How a run through the batch ended. */
enum run_end {
    RUN_WHOLE, /* commit it */
    RUN_AGAIN, /* a job spoiled the transaction and is marked as failed */
    RUN_SHORT, /* no room for job `*at`; those before it have room */
    RUN_DISK,  /* the disk failed under a large transaction; *at is the job, its result the error */
};

static enum run_end batch_run(struct store *s, MDB_txn *txn, size_t n, size_t *at)
{
    size_t ran = 0;

    for (size_t i = 0; i < n; i++) {
        struct store_job *j = s->batch[i];
        struct store_txn t;

        if (j->kind == JOB_FAILED)
            continue;
        txn_init(&t, s, txn, false);
        j->result = j->run(j, &t);
        txn_close_cursors(&t);
        if (!err_failed(j->result) && t.bad == 0) {
            ran++;
            continue;
        }
        *at = i;
        if (disk_failed(t.bad)) {
            j->result = env_err(t.bad, "write pages");
            return RUN_DISK;
        }
        if (room_gone(t.bad) && ran > 0)
            return RUN_SHORT;
        if (room_gone(t.bad))
            low_for_a_while(s);
        if (!err_failed(j->result))
            j->result = env_err(t.bad, "write record");
        j->kind = JOB_FAILED;
        if (t.wrote || t.bad != 0)
            return RUN_AGAIN;
    }
    return RUN_WHOLE;
}

static void probe(struct store *s);

static void commit_failed(struct store *s, size_t n, struct err e)
{
    char text[256];

    if (e.kind == ERR_IO && space_disk_full(s))
        e.kind = ERR_NO_SPACE;
    if (e.kind != ERR_NO_SPACE)
        e.kind = ERR_IO;
    log_error("store", "%s: %zu jobs failed: %s", s->opt.path, batch_alive(s, n),
              err_text(e, text, sizeof text));
    batch_fail(s, n, e);
    s->broken = true;
    s->broken_why = e;
    s->probe_delay_ms = PROBE_FIRST_MS;
    s->probe_due_ms = clock_mono_ms(s->opt.clock) + PROBE_FIRST_MS;
    if (e.kind == ERR_NO_SPACE) {
        low_for_a_while(s);
        probe(s); /* a small commit may still fit, and deletions with it */
    }
    space_publish(s);
}

/* The transaction can't go on: how many of the batch are tried in the next, all
 * that are left being put back. */
static size_t batch_shorten(struct store *s, enum run_end end, size_t at, size_t n)
{
    if (end == RUN_AGAIN)
        at++;
    if (end == RUN_AGAIN && s->solo < n - at)
        s->solo = n - at;
    pending_put_back(s, at, n);
    return at;
}

/* False: LMDB has no room for so many at once; less than *n are to be run again. */
static bool batch_end(struct store *s, MDB_txn *txn, size_t *n)
{
    int rc = mdb_txn_commit(txn);

    if (rc == 0) {
        atomic_fetch_add_explicit(&s->commits, 1, memory_order_relaxed);
        return true;
    }
    if (!room_gone(rc)) {
        commit_failed(s, *n, env_err(rc, "commit"));
        return true;
    }
    low_for_a_while(s);
    if (*n == 1) {
        batch_fail(s, *n, env_err(rc, "commit"));
        return true;
    }
    pending_put_back(s, *n / 2, *n);
    *n /= 2;
    return false;
}

/* Runs and commits the first n of the batch; every one of them has its
 * result then. Less than n when the rest had to be put back. */
static size_t batch_commit(struct store *s, size_t n)
{
    unsigned reruns = 0;

    for (;;) {
        enum run_end end;
        MDB_txn *txn;
        size_t at = 0;
        struct err e = env_begin(s, 0, &txn);

        if (err_failed(e)) {
            commit_failed(s, n, e);
            return n;
        }
        end = batch_run(s, txn, n, &at);
        if (end == RUN_WHOLE && batch_alive(s, n) > 0) {
            if (batch_end(s, txn, &n))
                return n;
            continue;
        }
        mdb_txn_abort(txn);
        if (end == RUN_WHOLE)
            return n;
        if (end == RUN_DISK) {
            commit_failed(s, n, s->batch[at]->result);
            return n;
        }
        if (end == RUN_SHORT || ++reruns > RERUNS_MAX)
            n = batch_shorten(s, end, at, n);
    }
}

static size_t fail_pending(struct store *s)
{
    struct store_job *j;
    size_t n = 0;

    while ((j = pending_first(s)) != NULL && j->kind == JOB_WRITE) {
        pending_pop(s);
        job_complete(s, j, s->broken_why);
        n++;
    }
    return n;
}

/* Stepped only: the reads that come next, in one snapshot. */
static size_t run_reads(struct store *s, size_t max_jobs)
{
    struct store_job *j;
    MDB_txn *txn;
    struct err e = env_begin(s, MDB_RDONLY, &txn);
    size_t n = 0;

    while (n < max_jobs && (j = pending_first(s)) != NULL && j->kind == JOB_READ) {
        pending_pop(s);
        if (err_failed(e))
            j->result = e;
        else
            read_job_run(j, s, txn);
        job_complete(s, j, j->result);
        n++;
    }
    if (txn != NULL)
        mdb_txn_abort(txn);
    return n;
}

size_t writer_turn(struct store *s, size_t max_jobs)
{
    size_t n;

    if (pending_first(s)->kind == JOB_READ)
        return run_reads(s, max_jobs);
    if (s->broken)
        return fail_pending(s);
    n = batch_commit(s, batch_cut(s, max_jobs));
    space_after_commit(s);
    batch_complete(s, n);
    return n;
}

static struct err probe_commit(struct store *s)
{
    uint64_t count = atomic_load_explicit(&s->commits, memory_order_relaxed);
    MDB_val k = { 5, (void *)"probe" }, v = { sizeof count, &count };
    MDB_txn *txn;
    struct err e = env_begin(s, 0, &txn);
    int rc;

    if (err_failed(e))
        return e;
    rc = mdb_put(txn, s->probe_dbi, &k, &v, 0);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return env_err(rc, "write trial record");
    }
    return env_err(mdb_txn_commit(txn), "trial commit");
}

static bool environment_dead(struct store *s)
{
    MDB_txn *txn;
    int rc = s->env != NULL ? mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) : MDB_PANIC;

    if (rc == 0)
        mdb_txn_abort(txn);
    return rc == MDB_PANIC;
}

static void probe(struct store *s)
{
    struct err e = ERR_OK;
    char text[256];

    if (environment_dead(s))
        e = env_reopen(s);
    if (!err_failed(e))
        e = probe_commit(s);
    if (!err_failed(e)) {
        log_info("store", "%s: a trial commit succeeded", s->opt.path);
        s->broken = false;
        return;
    }
    log_error("store", "%s: still failing: %s", s->opt.path, err_text(e, text, sizeof text));
    s->probe_due_ms = clock_mono_ms(s->opt.clock) + s->probe_delay_ms;
    s->probe_delay_ms *= 2;
    if (s->probe_delay_ms > PROBE_SLOWEST_MS)
        s->probe_delay_ms = PROBE_SLOWEST_MS;
}

void writer_probe_if_due(struct store *s)
{
    if (!s->broken || clock_mono_ms(s->opt.clock) < s->probe_due_ms)
        return;
    probe(s);
    space_check(s);
}

static uint64_t idle_ms(struct store *s)
{
    uint64_t now = clock_mono_ms(s->opt.clock);
    uint64_t due = s->space_due_ms;

    if (s->broken && s->probe_due_ms < due)
        due = s->probe_due_ms;
    if (due <= now)
        return 1;
    return due - now < IDLE_MS ? due - now : IDLE_MS;
}

/* A sync costs as much processor time as dozens of jobs. On a busy store
 * waiting for those that are nearly there saves a third of all it uses; a
 * lone job never waits. */
static void gather(struct store *s)
{
    static const struct timespec step = { 0, GATHER_STEP_NS };
    struct post *last;

    for (unsigned i = 0; i < GATHER_STEPS; i++) {
        last = s->pending_last;
        nanosleep(&step, NULL);
        writer_take(s);
        if (s->pending_last == last)
            return;
    }
}

void *writer_main(void *store)
{
    struct store *s = store;
    size_t last_batch = 0;

    for (;;) {
        bool closing = atomic_load(&s->closing);

        writer_take(s);
        writer_probe_if_due(s);
        if (s->pending != NULL) {
            if (last_batch >= BUSY_BATCH && !closing)
                gather(s);
            last_batch = writer_turn(s, SIZE_MAX);
            continue;
        }
        if (closing)
            return NULL;
        if (clock_mono_ms(s->opt.clock) >= s->space_due_ms)
            space_check(s);
        wake_wait(&s->wake, &s->inbox, idle_ms(s));
    }
}
