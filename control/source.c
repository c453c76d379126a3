/* control/source.c - bounded reads for threads that may wait. */
#include "control/source.h"

#include <pthread.h>

struct read_call {
    struct store_job job;
    source_step *step;
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t finished;
    bool done;
    struct err result;
};

static struct err read_run(struct store_job *j, struct store_txn *t)
{
    struct read_call *r = container_of(j, struct read_call, job);

    return r->step(r->ctx, t);
}

static void read_done(struct store_job *j, struct err e)
{
    struct read_call *r = container_of(j, struct read_call, job);

    pthread_mutex_lock(&r->lock);
    r->result = e;
    r->done = true;
    pthread_cond_signal(&r->finished);
    pthread_mutex_unlock(&r->lock);
}

/* A home without a loop: the completion runs in the reader thread, where it
 * only wakes the one who waits. */
static void post_at_once(struct loop *l, struct post *p)
{
    p->run(p);
}

static struct err read_in_engine(struct store *store, source_step *step, void *ctx)
{
    static const struct loop_ops ops = { .post = post_at_once };
    struct loop home = { .ops = &ops };
    struct read_call r = { .job = { .home = &home, .run = read_run, .done = read_done }, .step = step, .ctx = ctx };

    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.finished, NULL);
    store_read(store, &r.job);
    pthread_mutex_lock(&r.lock);
    while (!r.done)
        pthread_cond_wait(&r.finished, &r.lock);
    pthread_mutex_unlock(&r.lock);
    pthread_mutex_destroy(&r.lock);
    pthread_cond_destroy(&r.finished);
    return r.result;
}

struct err source_read(struct source *s, struct store *store, source_step *step, void *ctx)
{
    struct store_txn *t = NULL;
    struct err e;

    if (s->live != NULL)
        return read_in_engine(store, step, ctx);
    e = store_snapshot(store, &t);
    if (err_failed(e))
        return e;
    e = step(ctx, t);
    store_snapshot_end(t);
    return e;
}
