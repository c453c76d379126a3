/* store/store.c - the door to the queue's storage: a message comes in here as
 * a job and its "250 queued" leaves here as the job's completion.
 */
#include "store/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void job_done(struct post *p)
{
    struct store_job *j = container_of(p, struct store_job, post);

    j->done(j, j->result);
}

void job_complete(struct store *s, struct store_job *j, struct err e)
{
    j->result = e;
    j->post.run = job_done;
    atomic_fetch_add_explicit(&s->jobs_done, 1, memory_order_relaxed);
    loop_post(j->home, &j->post); /* j may be gone from here on */
}

static struct store *store_new(const struct store_options *opt)
{
    struct store *s = mem_new(struct store);
    char **tables = mem_zero(opt->table_count, sizeof *tables);
    size_t file_size = strlen(opt->path) + sizeof "/data.mdb";

    s->opt = *opt;
    s->opt.path = mem_str(opt->path);
    for (unsigned i = 0; i < opt->table_count; i++)
        tables[i] = mem_str(opt->tables[i]);
    s->opt.tables = (const char *const *)tables;
    s->file = mem_alloc(file_size);
    snprintf(s->file, file_size, "%s/data.mdb", opt->path);
    s->batch = mem_zero(STORE_BATCH_JOBS, sizeof *s->batch);
    s->file_fd = -1;
    s->mapped_commits = UINT64_MAX;
    pthread_mutex_init(&s->gate_lock, NULL);
    pthread_cond_init(&s->gate_free, NULL);
    pthread_mutex_init(&s->read_lock, NULL);
    pthread_cond_init(&s->read_ready, NULL);
    return s;
}

static void store_free(struct store *s)
{
    env_close(s);
    for (unsigned i = 0; i < s->opt.table_count; i++)
        free((char *)s->opt.tables[i]);
    free((void *)s->opt.tables);
    free((char *)s->opt.path);
    free(s->file);
    free(s->batch);
    pthread_mutex_destroy(&s->gate_lock);
    pthread_cond_destroy(&s->gate_free);
    pthread_mutex_destroy(&s->read_lock);
    pthread_cond_destroy(&s->read_ready);
    free(s);
}

struct err store_open(const struct store_options *opt, struct store **out)
{
    struct store *s;
    struct err e;

    *out = NULL;
    assert(opt->table_count > 0 && opt->table_count <= STORE_TABLES_MAX);
    assert(opt->clock != NULL);
    s = store_new(opt);
    e = env_open(s);
    if (err_failed(e)) {
        store_free(s);
        return e;
    }
    if (!opt->read_only) {
        if (opt->compact)
            env_compact(s);
        if (s->env == NULL) {
            store_free(s);
            return err_make(ERR_IO, "open environment after compaction");
        }
        space_check(s);
    }
    if (!opt->stepped) {
        e = readers_start(s);
        if (!err_failed(e) && !opt->read_only && pthread_create(&s->writer, NULL, writer_main, s) != 0) {
            readers_stop(s);
            e = err_make(ERR_SYSTEM, "start store thread");
        }
        if (err_failed(e)) {
            store_free(s);
            return e;
        }
    }
    *out = s;
    return ERR_OK;
}

void store_finish(struct store *s)
{
    if (s == NULL || atomic_exchange(&s->finished, true))
        return;
    if (s->opt.stepped) {
        while (store_step(s, SIZE_MAX) > 0)
            ;
    } else {
        readers_stop(s);
        if (!s->opt.read_only) {
            atomic_store(&s->closing, true);
            wake_up(&s->wake);
            pthread_join(s->writer, NULL);
        }
    }
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    store_finish(s);
    store_free(s);
}

void store_abandon(struct store *s)
{
    if (s == NULL)
        return;
    assert(s->opt.stepped);
    writer_take(s);
    while (s->pending != NULL) {
        struct post *p = s->pending;

        s->pending = p->next;
        job_complete(s, container_of(p, struct store_job, post),
                     err_make(ERR_CANCELLED, "store abandoned"));
    }
    store_free(s);
}

static void submit(struct store *s, struct store_job *j)
{
    if (inbox_push(&s->inbox, &j->post) && !s->opt.stepped)
        wake_up(&s->wake);
}

static bool is_finished(struct store *s)
{
    return atomic_load_explicit(&s->finished, memory_order_acquire);
}

void store_submit(struct store *s, struct store_job *j)
{
    assert(!s->opt.read_only);
    j->kind = JOB_WRITE;
    atomic_fetch_add_explicit(&s->jobs_given, 1, memory_order_relaxed);
    if (is_finished(s))
        job_complete(s, j, err_make(ERR_CANCELLED, "the store is closed"));
    else if (store_space(s) == STORE_BROKEN) /* the writer may be stuck in a trial commit */
        job_complete(s, j, err_make(ERR_IO, "the store is broken"));
    else
        submit(s, j);
}

void store_read(struct store *s, struct store_job *j)
{
    j->kind = JOB_READ;
    atomic_fetch_add_explicit(&s->jobs_given, 1, memory_order_relaxed);
    if (is_finished(s))
        job_complete(s, j, err_make(ERR_CANCELLED, "the store is closed"));
    else if (s->opt.stepped)
        submit(s, j);
    else
        readers_submit(s, j);
}

size_t store_step(struct store *s, size_t max_jobs)
{
    assert(s->opt.stepped);
    writer_take(s);
    writer_probe_if_due(s);
    if (s->pending != NULL && max_jobs > 0)
        return writer_turn(s, max_jobs);
    if (clock_mono_ms(s->opt.clock) >= s->space_due_ms)
        space_check(s);
    return 0;
}

enum store_space store_space(struct store *s)
{
    return (enum store_space)atomic_load_explicit(&s->space, memory_order_relaxed);
}

void store_stats(struct store *s, struct store_stats *out)
{
    uint64_t done = atomic_load_explicit(&s->jobs_done, memory_order_relaxed);
    uint64_t given = atomic_load_explicit(&s->jobs_given, memory_order_relaxed);
    struct stat st;

    *out = (struct store_stats){
        .file_bytes = stat(s->file, &st) == 0 ? (uint64_t)st.st_size : 0,
        .used_bytes = atomic_load_explicit(&s->used_bytes, memory_order_relaxed),
        .commits = atomic_load_explicit(&s->commits, memory_order_relaxed),
        .jobs = done,
        .waiting = given > done ? given - done : 0,
    };
}

struct err store_snapshot(struct store *s, struct store_txn **out)
{
    MDB_txn *txn;
    struct err e;

    *out = NULL;
    env_enter(s);
    e = env_begin(s, MDB_RDONLY, &txn);
    if (err_failed(e)) {
        env_leave(s);
        return e;
    }
    *out = mem_new(struct store_txn);
    txn_init(*out, s, txn, true);
    return ERR_OK;
}

void store_snapshot_end(struct store_txn *t)
{
    if (t == NULL)
        return;
    txn_close_cursors(t);
    mdb_txn_abort(t->txn);
    env_leave(t->store);
    free(t);
}
