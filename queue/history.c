/* queue/history.c - carries events from the queue to the history.
 *
 * The last stage of a message's journey: it is gone from the queue, and what
 * happened to it lies here. A batch is read in a reader thread, put by the
 * history's writer, then deleted by the queue's writer. When mail comes in
 * faster than a batch a tick the history falls behind rather than slow it.
 */
#include "queue/history_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define TICK_MS         1000u
#define AGAIN_MS        20u    /* between batches of a backlog while little comes in */
#define CALM_EVENTS     500u   /* so few new events a tick are "little" */
#define BATCH_EVENTS    8192u
#define BATCH_BYTES     (2u * MIB)
#define TROUBLE_MS      (10 * SECOND_MS)
#define TRIM_EVERY_MS   (60 * SECOND_MS)
#define TRIM_AGAIN_MS   1500u  /* by size: the count of pages in use is a second old */
#define OP_COST_BYTES   64u

uint64_t history_hash(enum history_kind kind, struct slice s)
{
    return slice_hash_nocase(s) ^ (uint64_t)kind * 0x9e3779b97f4a7c15ull;
}

struct codec_key history_index_key(uint32_t bucket, uint64_t hash, uint64_t id)
{
    struct codec_key key = codec_key_u64_u32(0, 0);
    struct codec_key tail = codec_key_u64_u64(hash, id);
    struct codec_key head = codec_key_u64(bucket);

    memcpy(key.bytes, head.bytes + 4, 4);
    memcpy(key.bytes + 4, tail.bytes, tail.len);
    key.len = 4 + tail.len;
    return key;
}

/* ---- first step: read (reader thread) -------------------------------------- */

static void batch_clear(struct batch *b)
{
    b->count = b->index_count = 0;
    b->full = false;
    buf_clear(&b->records);
}

static void index_add(struct batch *b, enum history_kind kind, struct slice s, uint64_t id)
{
    if (s.len == 0)
        return;
    if (b->index_count == b->index_cap) {
        b->index_cap = b->index_cap != 0 ? b->index_cap * 2 : 256;
        b->index = mem_grow(b->index, b->index_cap, sizeof *b->index);
    }
    b->index[b->index_count++] = (struct index_entry){ history_hash(kind, s), id };
}

static void batch_add(struct batch *b, struct slice key, struct slice record)
{
    struct event e = { .id = codec_key_read_u64(key, 0) };
    struct batch_event *to;

    if (b->count == b->cap) {
        b->cap = b->cap != 0 ? b->cap * 2 : 64;
        b->events = mem_grow(b->events, b->cap, sizeof *b->events);
    }
    to = &b->events[b->count++];
    to->key.len = key.len;
    memcpy(to->key.bytes, key.ptr, key.len);
    to->at = buf_len(&b->records);
    to->len = record.len;
    buf_add(&b->records, record);
    /* A record that can't be read moves on as it is; it is found by its id only. */
    if (err_failed(record_event_get(record, &e)))
        return;
    index_add(b, HISTORY_ADDRESS, e.recipient, e.id);
    index_add(b, HISTORY_ADDRESS, e.reverse_path, e.id);
    index_add(b, HISTORY_MESSAGE_ID, e.message_id, e.id);
}

static int compare_entries(const void *a_, const void *b_)
{
    const struct index_entry *a = a_, *b = b_;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static void index_sort(struct batch *b)
{
    size_t kept = 0;

    if (b->index_count == 0)
        return;
    qsort(b->index, b->index_count, sizeof *b->index, compare_entries);
    for (size_t i = 1; i < b->index_count; i++)
        if (compare_entries(&b->index[kept], &b->index[i]) != 0)
            b->index[++kept] = b->index[i];
    b->index_count = kept + 1;
}

static struct err read_run(struct store_job *j, struct store_txn *t)
{
    struct batch *b = &container_of(j, struct history, job)->batch;
    struct store_cursor *c = NULL;
    struct slice key, record;
    struct err e;

    batch_clear(b);
    e = store_cursor_open(t, TABLE_EVENT, &c);
    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, SLICE_EMPTY, &key, &record);
    while (!err_failed(e)) {
        if (b->count >= BATCH_EVENTS || buf_len(&b->records) >= BATCH_BYTES) {
            b->full = true;
            break;
        }
        if (key.len <= sizeof ((struct codec_key *)0)->bytes)
            batch_add(b, key, record);
        e = store_cursor_next(c, &key, &record);
    }
    store_cursor_close(c);
    index_sort(b);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

/* ---- second step: put (the history's writer) --------------------------------- */

static struct err put_run(struct store_job *j, struct store_txn *t)
{
    struct history *h = container_of(j, struct history, job);
    const struct batch *b = &h->batch;
    struct err e = ERR_OK;

    for (size_t i = 0; i < b->count && !err_failed(e); i++) {
        const struct batch_event *ev = &b->events[i];

        e = store_put(t, HISTORY_EVENT, codec_key_slice(&ev->key),
                      slice_make(buf_bytes(&b->records).ptr + ev->at, ev->len));
    }
    for (size_t i = 0; i < b->index_count && !err_failed(e); i++) {
        struct codec_key key = history_index_key(h->bucket, b->index[i].hash, b->index[i].id);

        e = store_put(t, HISTORY_INDEX, codec_key_slice(&key), SLICE_EMPTY);
    }
    return e;
}

/* ---- third step: delete (the queue's writer) ----------------------------------- */

static int compare_keys(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = memcmp(a.ptr, b.ptr, len);

    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* Both are in order, so one walk does: events that came in between stay. */
static struct err delete_run(struct store_job *j, struct store_txn *t)
{
    const struct batch *b = &container_of(j, struct history, job)->batch;
    struct store_cursor *c = NULL;
    struct slice key, record;
    size_t i = 0;
    struct err e = store_cursor_open(t, TABLE_EVENT, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&b->events[0].key), &key, &record);
    while (!err_failed(e) && i < b->count) {
        int order = compare_keys(key, codec_key_slice(&b->events[i].key));

        if (order > 0) {
            i++;
            continue;
        }
        if (order == 0) {
            i++;
            e = store_cursor_delete(c);
            if (err_failed(e))
                break;
        }
        e = store_cursor_next(c, &key, &record);
    }
    store_cursor_close(c);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

/* ---- from step to step (home's thread) ------------------------------------------ */

static void rest(struct history *h, uint64_t ms)
{
    h->busy = false;
    if (!h->stopped)
        loop_arm(h->home, &h->tick, ms);
}

static void trouble(struct history *h, struct err e)
{
    char text[256];

    if (!h->complained)
        log_warning("history", "events can't be moved for now: %s; they wait in the queue",
                    err_text(e, text, sizeof text));
    h->complained = true;
    h->more = true;
    rest(h, TROUBLE_MS);
}

static void job_begin(struct history *h, struct err (*run)(struct store_job *, struct store_txn *),
                      void (*done)(struct store_job *, struct err))
{
    h->busy = true;
    h->job.home = h->home;
    h->job.run = run;
    h->job.done = done;
    h->job.cost_bytes = 0;
}

static uint64_t pause_ms(const struct history *h)
{
    return h->more && h->calm ? AGAIN_MS : h->opt.tick_ms;
}

static void delete_done(struct store_job *j, struct err e)
{
    struct history *h = container_of(j, struct history, job);

    if (err_failed(e)) {
        trouble(h, e);
        return;
    }
    if (h->complained)
        log_info("history", "events are moved again");
    h->complained = false;
    h->more = h->batch.full;
    rest(h, pause_ms(h));
}

static void put_done(struct store_job *j, struct err e)
{
    struct history *h = container_of(j, struct history, job);

    if (err_failed(e)) {
        trouble(h, e);
        return;
    }
    if (h->stopped) { /* the events are in both places: the next start goes on from here */
        h->busy = false;
        return;
    }
    h->bucket_entries += (uint32_t)h->batch.index_count;
    job_begin(h, delete_run, delete_done);
    h->job.cost_bytes = h->batch.count * OP_COST_BYTES;
    store_submit(h->q->store, &h->job);
}

static void choose_bucket(struct history *h)
{
    uint32_t now = (uint32_t)(clock_wall_ms(h->q->opt.clock) / 1000);

    if (h->bucket_entries != 0 && now < h->bucket + HISTORY_BUCKET_SECONDS &&
        h->bucket_entries + h->batch.index_count <= HISTORY_BUCKET_ENTRIES)
        return;
    h->bucket = now > h->bucket ? now : h->bucket + 1;
    h->bucket_entries = 0;
}

static void read_done(struct store_job *j, struct err e)
{
    struct history *h = container_of(j, struct history, job);

    if (err_failed(e)) {
        trouble(h, e);
        return;
    }
    if (h->batch.count == 0 || h->stopped) {
        h->more = false;
        rest(h, h->opt.tick_ms);
        return;
    }
    choose_bucket(h);
    job_begin(h, put_run, put_done);
    h->job.cost_bytes = buf_len(&h->batch.records) + (h->batch.count + h->batch.index_count) * OP_COST_BYTES;
    store_submit(h->q->history, &h->job);
}

static void read_begin(struct history *h)
{
    job_begin(h, read_run, read_done);
    store_read(h->q->store, &h->job);
}

static void trim_done(struct store_job *j, struct err e)
{
    struct history *h = container_of(j, struct history, trim.job);
    uint64_t next = TRIM_EVERY_MS;

    if (err_failed(e)) {
        trouble(h, e);
        next = TROUBLE_MS;
    } else {
        h->trim.from = h->trim.next_from;
        if (h->trim.more)
            next = h->trim.by_size ? TRIM_AGAIN_MS : AGAIN_MS;
        if (h->more && !h->stopped)
            read_begin(h);
        else
            rest(h, next < h->opt.tick_ms ? next : h->opt.tick_ms);
    }
    h->trim_due_ms = h->home->now_ms + next;
}

static void trim_begin(struct history *h)
{
    h->busy = true;
    h->trim.job.home = h->home;
    h->trim.job.run = history_trim_run;
    h->trim.job.done = trim_done;
    h->trim.now_wall_ms = clock_wall_ms(h->q->opt.clock);
    h->trim.keep_ms = h->opt.keep_ms;
    h->trim.bytes_max = h->opt.bytes_max;
    store_submit(h->q->history, &h->trim.job);
}

static void tick_fire(struct timer *t)
{
    struct history *h = container_of(t, struct history, tick);
    uint64_t fresh = atomic_exchange(&h->q->events_waiting, 0);

    h->calm = fresh <= CALM_EVENTS;
    h->more = h->more || fresh != 0;
    if (queue_space(h->q) == STORE_BROKEN) {
        rest(h, TROUBLE_MS);
    } else if (h->home->now_ms >= h->trim_due_ms) {
        trim_begin(h);
    } else if (h->more) {
        read_begin(h);
    } else {
        rest(h, h->opt.tick_ms);
    }
}

/* ---- life -------------------------------------------------------------------------- */

/* The bucket in use when the last run ended; its count is not known, so a new one follows. */
static struct err last_bucket(struct history *h)
{
    struct store_txn *t = NULL;
    struct store_cursor *c = NULL;
    struct slice key, value;
    struct err e = store_snapshot(h->q->history, &t);

    if (err_failed(e))
        return e;
    e = store_cursor_open(t, HISTORY_INDEX, &c);
    if (!err_failed(e)) {
        e = store_cursor_last(c, &key, &value);
        if (!err_failed(e))
            h->bucket = codec_key_read_u32(key, 0);
        else if (e.kind == ERR_NOT_FOUND)
            e = ERR_OK;
        store_cursor_close(c);
    }
    store_snapshot_end(t);
    return e;
}

void history_configure(struct history *h, const struct history_options *opt)
{
    uint64_t tick_ms = opt->tick_ms != 0 ? opt->tick_ms : TICK_MS;

    h->opt = *opt;
    h->opt.tick_ms = tick_ms;
    h->trim_due_ms = 0;
}

struct err history_start(struct queue *q, struct loop *home, const struct history_options *opt,
                         struct history **out)
{
    struct history *h = mem_new(struct history);
    struct err e;

    h->q = q;
    h->home = home;
    h->tick.fire = tick_fire;
    h->more = true;
    history_configure(h, opt);
    e = last_bucket(h);
    if (err_failed(e)) {
        free(h);
        return e;
    }
    loop_arm(home, &h->tick, h->opt.tick_ms);
    *out = h;
    return ERR_OK;
}

void history_stop(struct history *h)
{
    h->stopped = true;
    loop_disarm(h->home, &h->tick);
}

bool history_idle(const struct history *h)
{
    return !h->busy;
}

void history_free(struct history *h)
{
    if (h == NULL)
        return;
    loop_disarm(h->home, &h->tick);
    free(h->batch.events);
    free(h->batch.index);
    buf_release(&h->batch.records);
    free(h);
}
