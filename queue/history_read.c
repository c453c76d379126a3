/* queue/history_read.c - the life of a message, for relayctl trace. */
#include "queue/history_internal.h"

#include "base/mem.h"
#include "mail/path.h"
#include "mail/text.h"

#include <stdlib.h>

enum { PHASE_EVENTS, PHASE_RECIPIENTS, PHASE_INDEX };

/* ---- events of one message ------------------------------------------------- */

void history_events_release(struct history_events *l)
{
    free(l->items);
    buf_release(&l->records);
    *l = (struct history_events){ 0 };
}

static void events_add(struct history_events *l, struct slice key, struct slice record)
{
    if (l->count == l->cap) {
        l->cap = l->cap != 0 ? l->cap * 2 : 16;
        l->items = mem_grow(l->items, l->cap, sizeof *l->items);
    }
    l->items[l->count++] = (struct history_event){
        .id = codec_key_read_u64(key, 0),
        .sequence = codec_key_read_u64(key, 8),
        .at = buf_len(&l->records),
        .len = record.len,
    };
    buf_add(&l->records, record);
}

struct err history_read(struct store_txn *t, enum history_place place, uint64_t id, uint64_t *sequence,
                        size_t max, struct history_events *out, bool *done)
{
    struct codec_key from = codec_key_u64_u64(id, *sequence);
    struct store_cursor *c = NULL;
    struct slice key, record;
    struct err e;

    *done = false;
    e = store_cursor_open(t, place == IN_QUEUE ? (unsigned)TABLE_EVENT : (unsigned)HISTORY_EVENT, &c);
    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&from), &key, &record);
    while (!err_failed(e) && codec_key_read_u64(key, 0) == id && max-- > 0) {
        events_add(out, key, record);
        *sequence = codec_key_read_u64(key, 8) + 1;
        e = store_cursor_next(c, &key, &record);
    }
    *done = e.kind == ERR_NOT_FOUND || (!err_failed(e) && codec_key_read_u64(key, 0) != id);
    store_cursor_close(c);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static int compare_events(const void *a_, const void *b_)
{
    const struct history_event *a = a_, *b = b_;

    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

void history_events_sort(struct history_events *l)
{
    size_t kept = 0;

    if (l->count == 0)
        return;
    qsort(l->items, l->count, sizeof *l->items, compare_events);
    for (size_t i = 1; i < l->count; i++)
        if (compare_events(&l->items[kept], &l->items[i]) != 0)
            l->items[++kept] = l->items[i];
    l->count = kept + 1;
}

bool history_event_get(const struct history_events *l, size_t i, struct event *out)
{
    const struct history_event *item = &l->items[i];
    struct slice record = slice_make(buf_bytes(&l->records).ptr + item->at, item->len);

    *out = (struct event){ .id = item->id, .sequence = item->sequence };
    return !err_failed(record_event_get(record, out));
}

/* ---- which messages --------------------------------------------------------- */

void history_search_init(struct history_search *s, struct slice text, size_t limit)
{
    struct mail_path path;

    text = slice_trim(text);
    if (text.len >= 2 && text.ptr[0] == '<' && text.ptr[text.len - 1] == '>')
        text = slice_make(text.ptr + 1, text.len - 2);
    *s = (struct history_search){ .limit = limit, .quota = limit };
    s->text = mem_dup(text.ptr, text.len);
    s->text_len = text.len;
    if (mail_has_eight_bit(text) && mail_address_parse(text, MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK)
        s->address = mem_str(path.text);
    s->hashes[0] = history_hash(HISTORY_ADDRESS, s->address != NULL ? slice_str(s->address) : text);
    s->hashes[1] = history_hash(HISTORY_MESSAGE_ID, text);
}

void history_search_release(struct history_search *s)
{
    free(s->text);
    free(s->address);
    free(s->hits);
    *s = (struct history_search){ 0 };
}

static struct slice search_text(const struct history_search *s)
{
    return slice_make(s->text, s->text_len);
}

/* As addresses are stored, whatever script its domain was asked for in. */
static struct slice search_address(const struct history_search *s)
{
    return s->address != NULL ? slice_str(s->address) : search_text(s);
}

bool history_search_matches(const struct history_search *s, const struct event *e)
{
    struct slice text = search_text(s), address = search_address(s);

    return text.len != 0 && (slice_eq_nocase(e->recipient, address) || slice_eq_nocase(e->reverse_path, address) ||
                             slice_eq_nocase(e->message_id, text));
}

/* False when this phase has found as many as are wanted. */
static bool found(struct history_search *s, uint64_t id)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->hits[i].id == id)
            return true;
    if (s->quota == 0)
        return false;
    s->quota--;
    if (s->count == s->cap) {
        s->cap = s->cap != 0 ? s->cap * 2 : 16;
        s->hits = mem_grow(s->hits, s->cap, sizeof *s->hits);
    }
    s->hits[s->count++] = (struct history_hit){ id, s->phase != PHASE_INDEX };
    return true;
}

static void next_phase(struct history_search *s)
{
    s->phase++;
    s->started = false;
    s->quota = s->limit;
}

static bool record_matches(const struct history_search *s, struct slice record)
{
    if (s->phase == PHASE_RECIPIENTS) {
        struct recipient r = { 0 };

        return !err_failed(record_recipient_get(record, &r)) &&
               (slice_eq_nocase(r.address, search_address(s)) || slice_eq_nocase(r.reverse_path, search_address(s)));
    } else {
        struct event e = { 0 };

        return !err_failed(record_event_get(record, &e)) && history_search_matches(s, &e);
    }
}

/* The record before s->from, or the last of all. */
static struct err step_back(const struct history_search *s, struct store_cursor *c, struct slice *key,
                            struct slice *record)
{
    struct err e;

    if (!s->started)
        return store_cursor_last(c, key, record);
    e = store_cursor_seek(c, codec_key_slice(&s->from), key, record);
    if (err_failed(e) && e.kind != ERR_NOT_FOUND)
        return e;
    return store_cursor_prev(c, key, record);
}

/* Events not yet moved, then the recipients that wait: a message of many has
 * no event that names each of them until something happens to them. */
struct err history_search_queue(struct history_search *s, struct store_txn *t, size_t max, bool *done)
{
    struct store_cursor *c = NULL;
    struct slice key, record;
    bool enough = false;
    struct err e = store_cursor_open(t, s->phase == PHASE_EVENTS ? TABLE_EVENT : TABLE_RECIPIENT, &c);

    *done = false;
    if (err_failed(e))
        return e;
    e = step_back(s, c, &key, &record);
    while (!err_failed(e) && !enough && max-- > 0) {
        if (key.len <= sizeof s->from.bytes) {
            s->from.len = key.len;
            memcpy(s->from.bytes, key.ptr, key.len);
            s->started = true;
        }
        enough = record_matches(s, record) && !found(s, codec_key_read_u64(key, 0));
        e = store_cursor_prev(c, &key, &record);
    }
    store_cursor_close(c);
    if (e.kind == ERR_NOT_FOUND || enough) {
        next_phase(s);
        *done = s->phase == PHASE_INDEX;
        e = ERR_OK;
    }
    return e;
}

/* All ids that bucket and hash have, the newest first. */
static struct err take_bucket(struct history_search *s, struct store_cursor *c, uint32_t bucket, uint64_t hash,
                              bool *enough)
{
    struct codec_key last = history_index_key(bucket, hash, UINT64_MAX);
    struct slice prefix = slice_head(codec_key_slice(&last), HISTORY_INDEX_KEY_LEN - sizeof(uint64_t));
    struct slice key, value;
    struct err e = store_cursor_seek(c, codec_key_slice(&last), &key, &value);

    if (err_failed(e) && e.kind != ERR_NOT_FOUND)
        return e;
    e = store_cursor_prev(c, &key, &value);
    while (!err_failed(e) && slice_eq(slice_head(key, prefix.len), prefix)) {
        if (!found(s, codec_key_read_u64(key, prefix.len))) {
            *enough = true;
            break;
        }
        e = store_cursor_prev(c, &key, &value);
    }
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

/* From the newest bucket to the oldest; `max` buckets a call. s->from is the
 * beginning of the bucket looked at last. */
struct err history_search_history(struct history_search *s, struct store_txn *t, size_t max, bool *done)
{
    struct store_cursor *c = NULL;
    struct slice key, value;
    bool enough = false;
    struct err e = store_cursor_open(t, HISTORY_INDEX, &c);

    *done = false;
    if (err_failed(e))
        return e;
    while (!enough && max-- > 0) {
        uint32_t bucket;

        e = step_back(s, c, &key, &value);
        if (err_failed(e))
            break;
        bucket = codec_key_read_u32(key, 0);
        s->from = history_index_key(bucket, 0, 0);
        s->started = true;
        for (size_t i = 0; i < countof(s->hashes) && !enough && !err_failed(e); i++)
            e = take_bucket(s, c, bucket, s->hashes[i], &enough);
        if (err_failed(e))
            break;
    }
    store_cursor_close(c);
    *done = enough || e.kind == ERR_NOT_FOUND;
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static int newest_first(const void *a_, const void *b_)
{
    const struct history_hit *a = a_, *b = b_;

    return a->id > b->id ? -1 : a->id < b->id;
}

void history_search_sort(struct history_search *s)
{
    if (s->count == 0)
        return;
    qsort(s->hits, s->count, sizeof *s->hits, newest_first);
    if (s->count > s->limit)
        s->count = s->limit;
}
