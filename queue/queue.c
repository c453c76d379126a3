/* queue/queue.c - opening and closing the queue, and what is found at start. */
#include "queue/queue_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BLOB_THREADS 2
#define READER_THREADS 2

static struct err make_folder(const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_sys(errno, "make state folder");
    return ERR_OK;
}

static struct err open_store(struct queue *q, const char *name, const char *const *tables, unsigned count,
                             struct store **out)
{
    char path[4096];
    struct store_options opt = {
        .path = path,
        .tables = tables,
        .table_count = count,
        .map_bytes = q->opt.map_bytes,
        .ahead_bytes = q->opt.read_only ? 0 : q->opt.space_ahead,
        .reserve_bytes = q->opt.space_reserve,
        .readers = q->opt.stepped || q->opt.read_only ? 0 : READER_THREADS,
        .read_only = q->opt.read_only,
        .stepped = q->opt.stepped,
        .compact = !q->opt.read_only && !q->opt.stepped,
        .clock = q->opt.clock,
    };

    snprintf(path, sizeof path, "%s/%s", q->state_dir, name);
    return store_open(&opt, out);
}

static struct err open_blobs(struct queue *q)
{
    char path[4096];
    struct blobs_options opt = { .path = path, .threads = q->opt.stepped ? 0 : BLOB_THREADS, .unsynced = q->opt.stepped };

    snprintf(path, sizeof path, "%s/" QUEUE_BODY_FOLDER, q->state_dir);
    return blobs_open(&opt, &q->blobs);
}

/* ---- format version ------------------------------------------------------ */

struct format_job {
    struct store_job job;
};

static const char format_key[] = "format";

static struct err format_run(struct store_job *j, struct store_txn *t)
{
    uint32_t version = QUEUE_FORMAT;
    struct buf b = { 0 };
    struct err e;

    codec_put_u32(&b, version);
    e = store_put(t, TABLE_SYSTEM, slice_str(format_key), buf_bytes(&b));
    buf_release(&b);
    return e;
}

static void format_done(struct store_job *j, struct err e)
{
    struct format_job *f = container_of(j, struct format_job, job);

    if (err_failed(e))
        log_error("qmgr", "the queue's format mark could not be written: %s", e.what);
    free(f);
}

static void format_post(struct loop *l, struct post *p)
{
    p->run(p);
}

/* *mark: there is none yet (a new queue), or that of the release before. */
static struct err check_format(struct queue *q, bool *mark)
{
    struct store_txn *t = NULL;
    struct slice value;
    struct err e = store_snapshot(q->store, &t);

    if (err_failed(e))
        return e;
    e = store_get(t, TABLE_SYSTEM, slice_str(format_key), &value);
    *mark = e.kind == ERR_NOT_FOUND;
    if (*mark) {
        e = ERR_OK;
    } else if (!err_failed(e)) {
        uint32_t format = codec_key_read_u32(value, 0);

        *mark = format == QUEUE_FORMAT_BEFORE;
        if (format > QUEUE_FORMAT)
            e = err_make(ERR_VERSION, "the queue was written by a later release of relayd; it is left as it is: "
                                      "install that release again, or one after it");
        else if (format != QUEUE_FORMAT && !*mark)
            e = err_make(ERR_VERSION, "the queue was written by a release too old to be read; it is left as it is: "
                                      "start one of the releases between first");
    }
    store_snapshot_end(t);
    return e;
}

/* The mark is written with the first batch; nobody waits for it. */
static void write_format(struct queue *q)
{
    static const struct loop_ops direct = { .post = format_post };
    static struct loop nowhere = { .ops = &direct };
    struct format_job *f = mem_new(struct format_job);

    f->job.home = &nowhere;
    f->job.run = format_run;
    f->job.done = format_done;
    f->job.cost_bytes = 64;
    store_submit(q->store, &f->job);
}

/* ---- open ---------------------------------------------------------------- */

/* New ids must be above every id that anything still speaks of. */
static struct err raise_ids(struct queue *q, struct store *s, unsigned table)
{
    struct store_txn *t = NULL;
    struct store_cursor *c = NULL;
    struct slice key, value;
    struct err e = store_snapshot(s, &t);

    if (err_failed(e))
        return e;
    e = store_cursor_open(t, table, &c);
    if (!err_failed(e)) {
        e = store_cursor_last(c, &key, &value);
        if (!err_failed(e))
            id_source_raise(&q->ids, codec_key_read_u64(key, 0));
        else if (e.kind == ERR_NOT_FOUND)
            e = ERR_OK;
        store_cursor_close(c);
    }
    store_snapshot_end(t);
    return e;
}

struct err queue_open(const struct queue_options *opt, struct queue **out)
{
    struct queue *q = mem_new(struct queue);
    bool mark = false;
    struct err e;

    q->opt = *opt;
    q->state_dir = mem_str(opt->state_dir);
    id_source_init(&q->ids, opt->clock, opt->spool);
    id_source_init(&q->sequences, opt->clock, opt->spool);
    e = opt->read_only ? ERR_OK : make_folder(q->state_dir);
    if (!err_failed(e))
        e = open_store(q, "queue", queue_table_names, QUEUE_TABLE_COUNT, &q->store);
    if (!err_failed(e)) {
        e = check_format(q, &mark);
        if (!err_failed(e) && mark && !opt->read_only)
            write_format(q);
    }
    if (!err_failed(e))
        e = open_store(q, "history", history_table_names, HISTORY_TABLE_COUNT, &q->history);
    if (!err_failed(e) && !opt->read_only)
        e = open_blobs(q);
    if (!err_failed(e))
        e = raise_ids(q, q->store, TABLE_MESSAGE);
    if (!err_failed(e))
        e = raise_ids(q, q->store, TABLE_EVENT);
    if (!err_failed(e))
        e = raise_ids(q, q->history, HISTORY_EVENT);
    if (err_failed(e)) {
        queue_close(q);
        return e;
    }
    *out = q;
    return ERR_OK;
}

void queue_finish(struct queue *q)
{
    blobs_finish(q->blobs);
    store_finish(q->store);
    store_finish(q->history);
}

void queue_close(struct queue *q)
{
    if (q == NULL)
        return;
    blobs_close(q->blobs);
    store_close(q->store);
    store_close(q->history);
    free(q->state_dir);
    free(q);
}

void queue_abandon(struct queue *q)
{
    blobs_close(q->blobs);
    store_abandon(q->store);
    store_abandon(q->history);
    free(q->state_dir);
    free(q);
}

enum store_space queue_space(struct queue *q)
{
    return store_space(q->store);
}

size_t queue_step(struct queue *q, size_t max_jobs)
{
    return store_step(q->store, max_jobs) + store_step(q->history, max_jobs);
}

void queue_stats(struct queue *q, struct queue_stats *out)
{
    store_stats(q->store, &out->queue);
    store_stats(q->history, &out->history);
    out->draft_memory = atomic_load(&q->draft_memory);
    out->drafts = atomic_load(&q->drafts);
    out->headroom = q->opt.headroom;
}

uint64_t queue_new_id(struct queue *q)
{
    return id_source_next(&q->ids);
}

uint64_t queue_newest_wall_ms(const struct queue *q)
{
    return queue_id_wall_ms(atomic_load(&q->ids.last));
}

struct store *queue_store(struct queue *q)
{
    return q->store;
}

struct store *queue_history_store(struct queue *q)
{
    return q->history;
}

/* ---- start --------------------------------------------------------------- */

static struct err visit_recipients(struct store_txn *t, queue_visitor *visit, void *ctx)
{
    struct store_cursor *c = NULL;
    struct slice key, value;
    struct err e = store_cursor_open(t, TABLE_RECIPIENT, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, SLICE_EMPTY, &key, &value);
    while (!err_failed(e)) {
        struct recipient r = { .n = codec_key_read_u32(key, 8) };
        uint64_t id = codec_key_read_u64(key, 0);
        struct err damage = record_recipient_get(value, &r);
        char id_text[QUEUE_ID_TEXT_MAX];

        /* One damaged record must not keep the other mail from its way. */
        if (err_failed(damage))
            log_error("qmgr", "%s: recipient %u can't be read: %s; it stays in the store untouched",
                      queue_id_format(id, id_text), r.n, damage.what);
        else
            visit(ctx, id, &r);
        e = store_cursor_next(c, &key, &value);
    }
    store_cursor_close(c);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static bool blob_has_record(void *ctx, uint64_t id)
{
    struct codec_key key = codec_key_u64(id);
    struct slice value;

    return !err_failed(store_get(ctx, TABLE_MESSAGE, codec_key_slice(&key), &value));
}

struct err queue_recover(struct queue *q, queue_visitor *visit, void *ctx)
{
    struct store_txn *t = NULL;
    size_t removed = 0;
    struct err e = store_snapshot(q->store, &t);

    if (err_failed(e))
        return e;
    e = visit_recipients(t, visit, ctx);
    if (!err_failed(e))
        e = blobs_sweep(q->blobs, blob_has_record, t, &removed);
    store_snapshot_end(t);
    if (removed != 0)
        log_info("qmgr", "removed %zu body files of messages that were never acknowledged", removed);
    return e;
}
