/* store/reader.c - threads that read for the loops, one snapshot a job, so
 * that no page fault ever stops a network loop.
 *
 * A snapshot pins every page freed after it began, so a transaction is
 * reset between jobs and never older than its job.
 */
#include "store/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

static struct store_job *reader_next(struct store *s)
{
    struct post *p;

    pthread_mutex_lock(&s->read_lock);
    while (s->reads == NULL && !s->read_closing)
        pthread_cond_wait(&s->read_ready, &s->read_lock);
    p = s->reads;
    if (p != NULL)
        s->reads = p->next;
    pthread_mutex_unlock(&s->read_lock);
    return p != NULL ? container_of(p, struct store_job, post) : NULL;
}

void read_job_run(struct store_job *j, struct store *s, MDB_txn *txn)
{
    struct store_txn t;

    txn_init(&t, s, txn, true);
    j->result = j->run(j, &t);
    txn_close_cursors(&t);
}

static struct err reader_renew(struct reader *r)
{
    int rc;

    if (r->txn == NULL)
        return env_begin(r->store, MDB_RDONLY, &r->txn);
    rc = mdb_txn_renew(r->txn);
    if (rc == 0)
        return ERR_OK;
    mdb_txn_abort(r->txn);
    r->txn = NULL;
    return env_err(rc, "renew snapshot");
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct store *s = r->store;
    struct store_job *j;

    while ((j = reader_next(s)) != NULL) {
        struct err e;

        env_enter(s);
        e = reader_renew(r);
        if (!err_failed(e)) {
            read_job_run(j, s, r->txn);
            e = j->result;
            mdb_txn_reset(r->txn);
        }
        env_leave(s);
        job_complete(s, j, e);
    }
    return NULL;
}

struct err readers_start(struct store *s)
{
    unsigned want = s->opt.readers;

    s->readers = mem_zero(s->opt.readers, sizeof *s->readers);
    for (s->opt.readers = 0; s->opt.readers < want; s->opt.readers++) {
        struct reader *r = &s->readers[s->opt.readers];

        r->store = s;
        if (pthread_create(&r->thread, NULL, reader_main, r) != 0) {
            readers_stop(s);
            return err_make(ERR_SYSTEM, "start a reader thread");
        }
    }
    return ERR_OK;
}

void readers_stop(struct store *s)
{
    pthread_mutex_lock(&s->read_lock);
    s->read_closing = true;
    pthread_cond_broadcast(&s->read_ready);
    pthread_mutex_unlock(&s->read_lock);
    for (unsigned i = 0; i < s->opt.readers; i++)
        pthread_join(s->readers[i].thread, NULL);
    readers_forget_txns(s);
    free(s->readers);
    s->readers = NULL;
    s->opt.readers = 0;
}

void readers_submit(struct store *s, struct store_job *j)
{
    assert(s->opt.readers > 0);
    j->post.next = NULL;
    pthread_mutex_lock(&s->read_lock);
    if (s->reads == NULL)
        s->reads = &j->post;
    else
        s->reads_last->next = &j->post;
    s->reads_last = &j->post;
    pthread_cond_signal(&s->read_ready);
    pthread_mutex_unlock(&s->read_lock);
}

void readers_forget_txns(struct store *s)
{
    if (s->readers == NULL)
        return;
    for (unsigned i = 0; i < s->opt.readers; i++) {
        if (s->readers[i].txn != NULL)
            mdb_txn_abort(s->readers[i].txn);
        s->readers[i].txn = NULL;
    }
}
