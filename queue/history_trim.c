/* queue/history_trim.c - the end of the end: events too old, or too many, go.
 *
 * A pass by age walks the events of messages that came before the cutoff and
 * deletes those that happened before it; what happened later to an old
 * message (held for weeks, say) stays until its own time. Each call removes a
 * little and the next goes on from there.
 */
#include "queue/history_internal.h"

#define STEP_RECORDS      4096u  /* by age: looked at a step, in each table */
#define SIZE_STEP_EVENTS  16384u
#define SIZE_STEP_INDEX   65536u
#define RECORD_OVERHEAD   24u    /* of a node in its page, about */

static struct codec_key key_of(struct slice key)
{
    struct codec_key k = { .len = key.len < sizeof k.bytes ? key.len : sizeof k.bytes };

    memcpy(k.bytes, key.ptr, k.len);
    return k;
}

/* Index entries in buckets begun before `second`. */
static struct err trim_index(struct store_txn *t, struct trim *tr, uint64_t second, size_t max)
{
    struct store_cursor *c = NULL;
    struct slice key, value;
    size_t removed = 0;
    struct err e = store_cursor_open(t, HISTORY_INDEX, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, SLICE_EMPTY, &key, &value);
    while (!err_failed(e) && codec_key_read_u32(key, 0) < second) {
        if (removed == max) {
            tr->more = true;
            break;
        }
        e = store_cursor_delete(c);
        if (!err_failed(e)) {
            removed++;
            e = store_cursor_next(c, &key, &value);
        }
    }
    store_cursor_close(c);
    tr->removed += removed;
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static bool happened_before(struct slice record, uint64_t wall_ms)
{
    struct event e = { 0 };

    return err_failed(record_event_get(record, &e)) || e.wall_ms < wall_ms;
}

static struct err trim_age(struct store_txn *t, struct trim *tr, uint64_t cutoff_ms)
{
    struct store_cursor *c = NULL;
    struct slice key, record;
    size_t seen = 0;
    struct err e = store_cursor_open(t, HISTORY_EVENT, &c);

    if (err_failed(e))
        return e;
    tr->next_from.len = 0;
    e = store_cursor_seek(c, codec_key_slice(&tr->from), &key, &record);
    while (!err_failed(e) && queue_id_wall_ms(codec_key_read_u64(key, 0)) < cutoff_ms) {
        if (seen++ == STEP_RECORDS) {
            tr->more = true;
            tr->next_from = key_of(key);
            break;
        }
        if (happened_before(record, cutoff_ms)) {
            e = store_cursor_delete(c);
            if (err_failed(e))
                break;
            tr->removed++;
        }
        e = store_cursor_next(c, &key, &record);
    }
    store_cursor_close(c);
    if (err_failed(e) && e.kind != ERR_NOT_FOUND)
        return e;
    if (cutoff_ms / 1000 <= HISTORY_BUCKET_SECONDS)
        return ERR_OK;
    return trim_index(t, tr, cutoff_ms / 1000 - HISTORY_BUCKET_SECONDS, STEP_RECORDS);
}

/* The oldest messages' events, about `excess` bytes of them. */
static struct err trim_size(struct store_txn *t, struct trim *tr, uint64_t excess)
{
    struct store_cursor *c = NULL;
    struct slice key, record;
    uint64_t freed = 0;
    uint64_t oldest_left = UINT64_MAX;
    size_t removed = 0;
    struct err e = store_cursor_open(t, HISTORY_EVENT, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, SLICE_EMPTY, &key, &record);
    while (!err_failed(e)) {
        if (removed == SIZE_STEP_EVENTS || freed >= excess) {
            oldest_left = queue_id_wall_ms(codec_key_read_u64(key, 0));
            break;
        }
        freed += key.len + record.len + RECORD_OVERHEAD;
        e = store_cursor_delete(c);
        if (!err_failed(e)) {
            removed++;
            e = store_cursor_next(c, &key, &record);
        }
    }
    store_cursor_close(c);
    if (err_failed(e) && e.kind != ERR_NOT_FOUND)
        return e;
    tr->removed += removed;
    tr->more = tr->by_size = true;
    return trim_index(t, tr, oldest_left / 1000, SIZE_STEP_INDEX);
}

struct err history_trim_run(struct store_job *j, struct store_txn *t)
{
    struct trim *tr = container_of(j, struct trim, job);
    struct history *h = container_of(tr, struct history, trim);
    uint64_t keep = tr->keep_ms, max = tr->bytes_max;
    struct store_stats st;
    struct err e = ERR_OK;

    tr->more = tr->by_size = false;
    tr->removed = 0;
    tr->next_from = tr->from;
    if (keep != 0 && tr->now_wall_ms > keep)
        e = trim_age(t, tr, tr->now_wall_ms - keep);
    if (err_failed(e) || max == 0)
        return e;
    store_stats(h->q->history, &st);
    return st.used_bytes > max ? trim_size(t, tr, st.used_bytes - max) : ERR_OK;
}
