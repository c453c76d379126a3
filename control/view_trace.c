/* control/view_trace.c - the life of messages, from queue and history. */
#include "control/view.h"

#include "queue/history.h"

#define SEARCH_RECORDS SOURCE_STEP
#define SEARCH_BUCKETS 200u
#define EVENTS_MAX 20000u /* of all messages together */

struct trace {
    struct history_search search;
    struct history_events events;
    enum history_place place;
    uint64_t id;
    uint64_t sequence;
    bool done;
    bool truncated;
};

static struct err search_queue_step(void *ctx, struct store_txn *t)
{
    struct trace *tr = ctx;

    return history_search_queue(&tr->search, t, SEARCH_RECORDS, &tr->done);
}

static struct err search_history_step(void *ctx, struct store_txn *t)
{
    struct trace *tr = ctx;

    return history_search_history(&tr->search, t, SEARCH_BUCKETS, &tr->done);
}

static struct err read_step(void *ctx, struct store_txn *t)
{
    struct trace *tr = ctx;

    return history_read(t, tr->place, tr->id, &tr->sequence, SOURCE_STEP, &tr->events, &tr->done);
}

static struct err until_done(struct source *s, struct store *store, source_step *step, struct trace *tr)
{
    struct err e = ERR_OK;

    tr->done = false;
    while (!tr->done && !err_failed(e) && !tr->truncated) {
        e = source_read(s, store, step, tr);
        tr->truncated = tr->events.count >= EVENTS_MAX;
    }
    return e;
}

/* The queue first: what moves meanwhile is then seen twice rather than never. */
static struct err read_events(struct source *s, struct trace *tr, uint64_t id)
{
    struct err e;

    tr->id = id;
    tr->place = IN_QUEUE;
    tr->sequence = 0;
    e = until_done(s, queue_store(s->queue), read_step, tr);
    if (err_failed(e))
        return e;
    tr->place = IN_HISTORY;
    tr->sequence = 0;
    return until_done(s, queue_history_store(s->queue), read_step, tr);
}

static json_t *event_json(const struct event *e, bool readable)
{
    json_t *out = json_object();

    json_object_set_new(out, "id", json_of_id(e->id));
    if (!readable) {
        json_put_time(out, "time", queue_id_wall_ms(e->sequence));
        json_object_set_new(out, "event", json_string("unreadable"));
        return out;
    }
    json_put_time(out, "time", e->wall_ms);
    json_object_set_new(out, "event", json_string(event_type_text(e->type)));
    json_put_slice(out, "recipient", e->recipient);
    if (e->type == EVENT_RECEIVED) {
        json_object_set_new(out, "sender", json_of_slice(e->reverse_path));
        json_put_number(out, "recipient_count", e->recipient_count);
        json_put_number(out, "size", e->size_bytes);
        json_put_slice(out, "message_id", e->message_id);
        json_put_slice(out, "client", e->relay);
        json_put_slice(out, "protocol", e->text);
        return out;
    }
    if (e->type == EVENT_ALIASED) {
        json_put_slice(out, "targets", e->text);
        return out;
    }
    json_put_slice(out, "relay", e->relay);
    json_put_slice(out, "tls", e->tls);
    json_put_reply(out, "reply", e->code, e->status, e->text);
    json_put_number(out, "attempts", e->attempts);
    json_put_number(out, "delay_ms", e->delay_ms);
    return out;
}

/* The events of one message begin at i; the index of the next one's. */
static size_t message_end(const struct history_events *l, size_t i)
{
    uint64_t id = l->items[i].id;

    while (i < l->count && l->items[i].id == id)
        i++;
    return i;
}

static bool is_wanted(const struct trace *tr, size_t from, size_t to)
{
    if (tr->search.text == NULL)
        return true;
    for (size_t i = 0; i < tr->search.count; i++)
        if (tr->search.hits[i].id == tr->events.items[from].id && tr->search.hits[i].certain)
            return true;
    for (size_t i = from; i < to; i++) {
        struct event e;

        if (history_event_get(&tr->events, i, &e) && history_search_matches(&tr->search, &e))
            return true;
    }
    return false;
}

static json_t *document(struct trace *tr, struct slice query)
{
    json_t *out = json_object(), *list = json_array();
    size_t messages = 0;

    history_events_sort(&tr->events);
    for (size_t i = 0, end; i < tr->events.count; i = end) {
        end = message_end(&tr->events, i);
        if (!is_wanted(tr, i, end))
            continue;
        messages++;
        for (; i < end; i++) {
            struct event e;
            bool readable = history_event_get(&tr->events, i, &e);

            json_array_append_new(list, event_json(&e, readable));
        }
    }
    json_object_set_new(out, "query", json_of_slice(query));
    json_put_number(out, "message_count", messages);
    json_object_set_new(out, "events", list);
    json_object_set_new(out, "truncated", json_boolean(tr->truncated));
    return out;
}

static struct err search(struct source *s, struct trace *tr, struct slice query, size_t limit)
{
    struct err e;

    history_search_init(&tr->search, query, limit);
    e = until_done(s, queue_store(s->queue), search_queue_step, tr);
    if (!err_failed(e))
        e = until_done(s, queue_history_store(s->queue), search_history_step, tr);
    history_search_sort(&tr->search);
    for (size_t i = 0; i < tr->search.count && !err_failed(e) && !tr->truncated; i++)
        e = read_events(s, tr, tr->search.hits[i].id);
    return e;
}

struct err view_trace(struct source *s, struct slice query, size_t limit, json_t **out)
{
    struct trace tr = { 0 };
    uint64_t id;
    struct err e;

    *out = NULL;
    query = slice_trim(query);
    if (queue_id_parse(query, &id))
        e = read_events(s, &tr, id);
    else
        e = search(s, &tr, query, limit);
    if (!err_failed(e))
        *out = document(&tr, query);
    history_search_release(&tr.search);
    history_events_release(&tr.events);
    return e;
}
