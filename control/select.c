/* control/select.c - from recipients in the store to whole messages.
 *
 * A step copies the records of what the filter's addresses and ages mean, out
 * of one snapshot; then the scheduler is asked how they stand, and those of
 * another state are dropped.
 */
#include "control/select.h"

#include "base/mem.h"

#include <stdlib.h>

void selection_init(struct selection *s, struct source *source, const struct filter *filter, uint64_t from)
{
    *s = (struct selection){ .source = source, .filter = filter };
    filter_id_range(filter, source_now_ms(source), &s->at_id, &s->end_id);
    if (s->at_id < from)
        s->at_id = from;
    s->give_up_ms = clock_mono_ms(source->clock) + SELECTION_MS;
}

void selection_init_one(struct selection *s, struct source *source, const struct filter *none, uint64_t id)
{
    selection_init(s, source, none, id);
    s->end_id = id != UINT64_MAX ? id + 1 : id;
}

static void forget(struct selection *s)
{
    for (size_t i = 0; i < s->recipient_count; i++)
        live_view_release(&s->recipients[i].view);
    s->message_count = s->recipient_count = 0;
    buf_clear(&s->bytes);
}

void selection_release(struct selection *s)
{
    forget(s);
    free(s->messages);
    free(s->recipients);
    buf_release(&s->bytes);
    *s = (struct selection){ 0 };
}

bool selection_ended(const struct selection *s)
{
    return s->at_id >= s->end_id;
}

bool selection_exhausted(const struct selection *s)
{
    return s->source->live != NULL && clock_mono_ms(s->source->clock) >= s->give_up_ms;
}

/* ---- in the snapshot ---------------------------------------------------------- */

static void add_recipient(struct selection *s, uint32_t n, struct slice record)
{
    struct picked_recipient *p;
    struct recipient r = { .n = n };

    if (err_failed(record_recipient_get(record, &r)))
        return; /* the engine has logged it at its start */
    if (s->recipient_count == s->recipient_cap) {
        s->recipient_cap = s->recipient_cap != 0 ? s->recipient_cap * 2 : 64;
        s->recipients = mem_grow(s->recipients, s->recipient_cap, sizeof *s->recipients);
    }
    p = &s->recipients[s->recipient_count++];
    *p = (struct picked_recipient){
        .r = { .n = n },
        .at = buf_len(&s->bytes),
        .len = record.len,
        .addressed = filter_takes_addresses(s->filter, &r),
    };
    buf_add(&s->bytes, record);
}

/* Keeps the message whose recipients begin at `first`, or drops them. */
static struct err end_message(struct selection *s, struct store_txn *t, uint64_t id, size_t first)
{
    struct codec_key key = codec_key_u64(id);
    struct picked p = { .id = id, .first = first, .count = s->recipient_count - first };
    struct slice record;
    bool meant = false;
    struct err e;

    for (size_t i = first; i < s->recipient_count && !meant; i++)
        meant = s->recipients[i].addressed;
    if (!meant) {
        if (p.count != 0)
            s->bytes.end -= buf_len(&s->bytes) - s->recipients[first].at;
        s->recipient_count = first;
        return ERR_OK;
    }
    e = store_get(t, TABLE_MESSAGE, codec_key_slice(&key), &record);
    if (err_failed(e) && e.kind != ERR_NOT_FOUND)
        return e;
    if (!err_failed(e)) {
        p.at = buf_len(&s->bytes);
        p.len = record.len;
        buf_add(&s->bytes, record);
    }
    if (s->message_count == s->message_cap) {
        s->message_cap = s->message_cap != 0 ? s->message_cap * 2 : 64;
        s->messages = mem_grow(s->messages, s->message_cap, sizeof *s->messages);
    }
    s->messages[s->message_count++] = p;
    return ERR_OK;
}

static struct err pick(void *ctx, struct store_txn *t)
{
    struct selection *s = ctx;
    struct codec_key from = codec_key_u64(s->at_id);
    struct store_cursor *c = NULL;
    struct slice key, record;
    struct err e;

    s->seen = 0;
    e = store_cursor_open(t, TABLE_RECIPIENT, &c);
    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&from), &key, &record);
    while (!err_failed(e)) {
        uint64_t id = codec_key_read_u64(key, 0);
        size_t first = s->recipient_count;

        if (id >= s->end_id || s->message_count >= s->want || s->seen >= SOURCE_STEP)
            break;
        while (!err_failed(e) && codec_key_read_u64(key, 0) == id) {
            add_recipient(s, codec_key_read_u32(key, 8), record);
            s->seen++;
            e = store_cursor_next(c, &key, &record);
        }
        if (!err_failed(e) || e.kind == ERR_NOT_FOUND) {
            struct err kept = end_message(s, t, id, first);

            s->at_id = id + 1;
            if (err_failed(kept))
                e = kept;
        }
    }
    if (e.kind == ERR_NOT_FOUND || (!err_failed(e) && codec_key_read_u64(key, 0) >= s->end_id)) {
        s->at_id = s->end_id;
        e = ERR_OK;
    }
    store_cursor_close(c);
    return e;
}

/* ---- after it -------------------------------------------------------------------- */

/* The bytes stay where they are from now on. */
static void decode(struct selection *s)
{
    const char *bytes = buf_bytes(&s->bytes).ptr;

    for (size_t i = 0; i < s->recipient_count; i++) {
        struct picked_recipient *p = &s->recipients[i];
        struct err same_as_before = record_recipient_get(slice_make(bytes + p->at, p->len), &p->r);

        (void)same_as_before;
    }
}

static struct err look(struct selection *s)
{
    struct live_view *views;
    struct err e;

    if (s->source->live == NULL || s->recipient_count == 0)
        return ERR_OK;
    views = mem_zero(s->recipient_count, sizeof *views);
    for (size_t m = 0; m < s->message_count; m++)
        for (size_t i = s->messages[m].first; i < s->messages[m].first + s->messages[m].count; i++)
            views[i] = (struct live_view){ .id = s->messages[m].id, .n = s->recipients[i].r.n };
    e = live_look(s->source->live, views, s->recipient_count);
    for (size_t i = 0; i < s->recipient_count; i++)
        s->recipients[i].view = views[i];
    free(views);
    return e;
}

static bool state_fits(const struct selection *s, const struct picked *p)
{
    for (size_t i = p->first; i < p->first + p->count; i++) {
        const struct picked_recipient *r = &s->recipients[i];

        if (r->addressed && filter_takes_state(s->filter, &r->r, &r->view))
            return true;
    }
    return false;
}

static void drop_other_states(struct selection *s)
{
    size_t kept = 0;

    if (s->filter->state == FILTER_ANY)
        return;
    for (size_t i = 0; i < s->message_count; i++)
        if (state_fits(s, &s->messages[i]))
            s->messages[kept++] = s->messages[i];
    s->message_count = kept;
}

struct err selection_next(struct selection *s, size_t want)
{
    struct store *store = queue_store(s->source->queue);
    struct err e = ERR_OK;

    do {
        forget(s);
        s->want = want;
        e = source_read(s->source, store, pick, s);
        if (err_failed(e))
            return e;
        decode(s);
        e = look(s);
        if (err_failed(e))
            return e;
        drop_other_states(s);
    } while (s->message_count == 0 && !selection_ended(s) && !selection_exhausted(s));
    return ERR_OK;
}
