/* delivery/audit.c - proves, every hour, that each stored recipient is in the
 * schedule; one that is not would lie in the store until the next start.
 *
 * The walk takes a bounded number of keys at a time in a reader thread. What
 * it reads is a little older than the schedule: a recipient that seems to be
 * missing may just have come to its end, or its message may have been stored
 * this very moment. So it is only suspected, and looked for again a minute
 * later; while it is not scheduled nothing can touch it, so what is still
 * stored then, and still unknown, is missing indeed.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define AUDIT_EVERY_MS   HOUR_MS
#define STEP_RECIPIENTS  1000u
#define STEP_PAUSE_MS    100u
#define SUSPECTS_MAX     1000u /* of one step; more are found by the next walk */
#define SUSPECTED_FOR_MS MINUTE_MS

struct stored { /* a recipient's key, or its record */
    uint64_t id;
    uint32_t n;
    size_t at, len; /* of the record in audit.records */
};

struct audit {
    struct dispatch *dispatch;
    struct timer timer;
    struct store_job job;
    bool busy;
    bool checking;         /* the suspects, not the next step of the walk */
    bool at_end;           /* run's: the table has no further key */
    struct codec_key from; /* the walk goes on here; empty: at the beginning */
    struct stored found[STEP_RECIPIENTS];
    size_t found_count;
    struct stored suspects[SUSPECTS_MAX];
    size_t suspect_count;
    struct buf records; /* of the suspects that are still stored */
    uint64_t repaired;
};

/* A change of it is on its way to the store. */
static bool under_way(struct dispatch *d, uint64_t id)
{
    list_foreach (it, &d->attempts)
        if (container_of(it, struct attempt, link)->id == id)
            return true;
    list_foreach (it, &d->local)
        if (container_of(it, struct attempt, link)->id == id)
            return true;
    return false;
}

static bool seems_missing(struct dispatch *d, const struct stored *s)
{
    return !dispatch_knows(d, s->id, s->n) && !under_way(d, s->id);
}

/* ---- in the reader thread ------------------------------------------------------ */

/* The next keys of the walk; values are not even touched. */
static struct err walk_run(struct store_job *j, struct store_txn *t)
{
    struct audit *a = container_of(j, struct audit, job);
    struct store_cursor *c = NULL;
    struct slice key, value;
    struct err e = store_cursor_open(t, TABLE_RECIPIENT, &c);

    a->found_count = 0;
    a->at_end = false;
    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&a->from), &key, &value);
    while (!err_failed(e) && a->found_count < STEP_RECIPIENTS) {
        a->found[a->found_count++] =
            (struct stored){ .id = codec_key_read_u64(key, 0), .n = codec_key_read_u32(key, 8) };
        e = store_cursor_next(c, &key, &value);
    }
    store_cursor_close(c);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    a->at_end = true;
    return ERR_OK;
}

/* The records of the suspects. */
static struct err check_run(struct store_job *j, struct store_txn *t)
{
    struct audit *a = container_of(j, struct audit, job);

    buf_clear(&a->records);
    for (size_t i = 0; i < a->suspect_count; i++) {
        struct stored *s = &a->suspects[i];
        struct codec_key key = codec_key_u64_u32(s->id, s->n);
        struct slice value;
        struct err e = store_get(t, TABLE_RECIPIENT, codec_key_slice(&key), &value);

        s->at = buf_len(&a->records);
        s->len = 0;
        if (e.kind == ERR_NOT_FOUND)
            continue;
        if (err_failed(e))
            return e;
        s->len = value.len;
        buf_add(&a->records, value);
    }
    return ERR_OK;
}

/* ---- at home ---------------------------------------------------------------------- */

static void pause_for(struct audit *a, uint64_t ms)
{
    if (!a->dispatch->draining)
        loop_arm(a->dispatch->opt.home, &a->timer, ms);
}

static void walk_on(struct audit *a)
{
    a->checking = false;
    a->suspect_count = 0;
    if (a->at_end) {
        a->from.len = 0;
        pause_for(a, AUDIT_EVERY_MS);
    } else {
        pause_for(a, STEP_PAUSE_MS);
    }
}

static void repair(struct audit *a, const struct stored *s)
{
    struct dispatch *d = a->dispatch;
    struct recipient r = { .n = s->n };
    char id_text[QUEUE_ID_TEXT_MAX];

    if (s->len == 0 || !seems_missing(d, s))
        return;
    queue_id_format(s->id, id_text);
    /* One that can't be read was told of at the start, and stays untouched. */
    if (err_failed(
            record_recipient_get(slice_make(buf_bytes(&a->records).ptr + s->at, s->len), &r)))
        return;
    log_error("qmgr", "%s: to=<%.*s> was stored but not scheduled; it is now", id_text,
              (int)r.address.len, r.address.ptr);
    dispatch_adopt(d, s->id, &r);
    a->repaired++;
}

static void check_done(struct store_job *j, struct err e)
{
    struct audit *a = container_of(j, struct audit, job);

    a->busy = false;
    if (a->dispatch->draining)
        return;
    for (size_t i = 0; !err_failed(e) && i < a->suspect_count; i++)
        repair(a, &a->suspects[i]);
    walk_on(a);
}

static void walk_done(struct store_job *j, struct err e)
{
    struct audit *a = container_of(j, struct audit, job);

    a->busy = false;
    if (a->dispatch->draining)
        return;
    if (err_failed(e)) {
        pause_for(a, AUDIT_EVERY_MS); /* the store has told its trouble itself */
        return;
    }
    for (size_t i = 0; i < a->found_count; i++)
        if (a->suspect_count < SUSPECTS_MAX && seems_missing(a->dispatch, &a->found[i]))
            a->suspects[a->suspect_count++] = a->found[i];
    if (a->found_count > 0) {
        const struct stored *last = &a->found[a->found_count - 1];

        /* The next key after it; n never reaches its type's end. */
        a->from = codec_key_u64_u32(last->id, last->n + 1);
    }
    if (a->suspect_count == 0) {
        walk_on(a);
        return;
    }
    a->checking = true;
    pause_for(a, SUSPECTED_FOR_MS);
}

static void keep_suspects(struct audit *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < a->suspect_count; i++)
        if (seems_missing(a->dispatch, &a->suspects[i]))
            a->suspects[kept++] = a->suspects[i];
    a->suspect_count = kept;
}

static void audit_fire(struct timer *t)
{
    struct audit *a = container_of(t, struct audit, timer);
    struct store *store = queue_store(a->dispatch->opt.queue);

    if (store == NULL || a->busy)
        return;
    if (a->checking) {
        keep_suspects(a);
        if (a->suspect_count == 0) {
            walk_on(a);
            return;
        }
    }
    a->busy = true;
    a->job.home = a->dispatch->opt.home;
    a->job.run = a->checking ? check_run : walk_run;
    a->job.done = a->checking ? check_done : walk_done;
    store_read(store, &a->job);
}

void audit_start(struct dispatch *d)
{
    struct audit *a = mem_new(struct audit);

    a->dispatch = d;
    a->timer.fire = audit_fire;
    d->audit = a;
    loop_arm(d->opt.home, &a->timer, AUDIT_EVERY_MS);
}

void audit_stop(struct dispatch *d)
{
    if (d->audit != NULL)
        loop_disarm(d->opt.home, &d->audit->timer);
}

void audit_free(struct dispatch *d)
{
    if (d->audit == NULL)
        return;
    audit_stop(d);
    buf_release(&d->audit->records);
    free(d->audit);
    d->audit = NULL;
}

uint64_t audit_repaired(const struct dispatch *d)
{
    return d->audit != NULL ? d->audit->repaired : 0;
}
