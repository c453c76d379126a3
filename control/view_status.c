/* control/view_status.c - how the relay as a whole is doing. */
#include "control/view.h"

#include "base/mem.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- storage ------------------------------------------------------------------ */

static json_t *store_json(const struct store_stats *st)
{
    json_t *out = json_object();

    json_put_number(out, "file_bytes", st->file_bytes);
    json_put_number(out, "used_bytes", st->used_bytes);
    json_put_number(out, "commits", st->commits);
    json_put_number(out, "waiting_jobs", st->waiting);
    return out;
}

static json_t *storage_json(struct source *s)
{
    static const char *const words[] = {
        [STORE_SPACE_OK] = "ok", [STORE_SPACE_LOW] = "low", [STORE_BROKEN] = "broken"
    };
    struct queue_stats st;
    json_t *out = json_object();

    queue_stats(s->queue, &st);
    if (s->live != NULL) {
        json_object_set_new(out, "state", json_string(words[queue_space(s->queue)]));
        json_put_number(out, "draft_memory", st.draft_memory);
        json_put_number(out, "drafts", st.drafts);
    }
    json_object_set_new(out, "queue", store_json(&st.queue));
    json_object_set_new(out, "history", store_json(&st.history));
    return out;
}

/* Left out where no limit is known. */
static void put_memory(json_t *out, const struct headroom_gauge *g)
{
    static const char *const words[] = {
        [HEADROOM_PLENTY] = "ok", [HEADROOM_SHORT] = "short", [HEADROOM_NONE] = "full"
    };
    uint64_t limit = g != NULL ? atomic_load(&g->limit_bytes) : 0;
    json_t *memory;

    if (limit == 0)
        return;
    memory = json_object();
    json_object_set_new(memory, "state", json_string(words[headroom_level(g)]));
    json_put_number(memory, "used_bytes", atomic_load(&g->used_bytes));
    json_put_number(memory, "limit_bytes", limit);
    json_object_set_new(out, "memory", memory);
}

/* ---- with the engine at work ---------------------------------------------------- */

struct stats_call {
    struct live_call call; /* first */
    struct dispatch_stats stats;
    json_t *smarthosts;
    const struct signers *signers;
    struct signers_stats signing;
};

static void add_smarthost(void *ctx, const struct dispatch_smarthost *s)
{
    json_t *out = json_object(), *hosts = json_array();

    json_object_set_new(out, "title", json_of_slice(slice_str(s->title)));
    json_put_number(out, "connections", s->connections);
    json_object_set_new(out, "on_backup", json_boolean(s->on_backup));
    for (size_t i = 0; i < s->host_count; i++) {
        json_t *host = json_object();

        json_object_set_new(host, "name", json_of_slice(slice_str(s->hosts[i].name)));
        json_put_number(host, "connections", s->hosts[i].connections);
        json_put_number(host, "failures", s->hosts[i].failures);
        if (s->hosts[i].avoided_for_ms != 0)
            json_put_number(host, "avoided_for_ms", s->hosts[i].avoided_for_ms);
        json_put_slice(host, "last_error", slice_str(s->hosts[i].last_error));
        json_array_append_new(hosts, host);
    }
    json_object_set_new(out, "hosts", hosts);
    json_array_append_new(((struct stats_call *)ctx)->smarthosts, out);
}

static void stats_run(struct live_call *c, struct dispatch *d)
{
    dispatch_stats(d, &((struct stats_call *)c)->stats);
    dispatch_each_smarthost(d, add_smarthost, c);
    if (((struct stats_call *)c)->signers != NULL)
        signers_stats(((struct stats_call *)c)->signers, &((struct stats_call *)c)->signing);
}

static void stats_free(struct live_call *c)
{
    json_decref(((struct stats_call *)c)->smarthosts);
    free(c);
}

static void put_figures(json_t *out, const struct signers_figures *f)
{
    json_put_number(out, "signed", f->signed_);
    json_put_number(out, "failed", f->failed);
    json_put_number(out, "recycled", f->recycled);
    json_put_number(out, "lost", f->deaths);
}

/* Left out where nothing is ever signed. */
static void put_signing(json_t *out, const struct signers_stats *st)
{
    json_t *signing, *workers;

    if (st->count == 0 && st->waiting == 0 && st->sum.failed == 0)
        return;
    signing = json_object();
    workers = json_array();
    put_figures(signing, &st->sum);
    json_put_number(signing, "waiting", st->waiting);
    json_put_number(signing, "active", st->under_way);
    for (unsigned i = 0; i < st->count; i++) {
        json_t *worker = json_object();

        json_put_number(worker, "worker", i);
        json_object_set_new(worker, "running", json_boolean(st->each[i].there));
        put_figures(worker, &st->each[i].sum);
        json_put_number(worker, "active", st->each[i].under_way);
        json_array_append_new(workers, worker);
    }
    json_object_set_new(signing, "workers", workers);
    json_object_set_new(out, "signing", signing);
}

static struct err add_live(struct source *s, json_t *out)
{
    struct stats_call *c = mem_new(struct stats_call);
    json_t *queue = json_object(), *since = json_object();
    struct queue_stats queue_now;
    struct err e;

    c->call.run = stats_run;
    c->call.free = stats_free;
    c->smarthosts = json_array();
    c->signers = s->signers;
    json_object_set_new(out, "queue", queue);
    json_object_set_new(out, "since_start", since);
    e = live_ask(s->live, &c->call);
    if (err_failed(e))
        return e;
    json_put_number(queue, "messages", c->stats.counts.messages);
    json_put_number(queue, "recipients", c->stats.counts.recipients);
    json_put_number(queue, "waiting", c->stats.counts.waiting);
    json_put_number(queue, "ready", c->stats.counts.ready);
    json_put_number(queue, "active", c->stats.counts.active);
    json_put_number(queue, "held", c->stats.counts.held);
    json_put_number(queue, "memory", c->stats.counts.memory);
    json_put_number(since, "delivered", c->stats.delivered);
    json_put_number(since, "deferred", c->stats.deferred);
    json_put_number(since, "bounced", c->stats.bounced);
    json_put_number(since, "expired", c->stats.expired);
    json_put_number(out, "connections_out", c->stats.connections);
    if (json_array_size(c->smarthosts) != 0)
        json_object_set(out, "smarthosts", c->smarthosts);
    put_signing(out, &c->signing);
    queue_stats(s->queue, &queue_now);
    put_memory(out, queue_now.headroom);
    json_put_time(out, "started", s->started_wall_ms);
    json_put_number(out, "uptime_ms", source_now_ms(s) - s->started_wall_ms);
    json_put_number(out, "pid", (uint64_t)getpid());
    stats_free(&c->call);
    return ERR_OK;
}

/* ---- with the engine down --------------------------------------------------------- */

struct count {
    struct codec_key from;
    bool done;
    uint64_t last_id, messages, recipients, held, damaged;
};

static struct err count_step(void *ctx, struct store_txn *t)
{
    struct count *n = ctx;
    struct store_cursor *c = NULL;
    struct slice key, record;
    size_t left = SOURCE_STEP;
    struct err e = store_cursor_open(t, TABLE_RECIPIENT, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_seek(c, codec_key_slice(&n->from), &key, &record);
    for (; !err_failed(e) && left-- > 0; e = store_cursor_next(c, &key, &record)) {
        struct recipient r = { 0 };
        uint64_t id = codec_key_read_u64(key, 0);

        n->messages += n->recipients == 0 || id != n->last_id;
        n->recipients++;
        n->last_id = id;
        n->from = codec_key_u64_u32(id, codec_key_read_u32(key, 8) + 1);
        if (err_failed(record_recipient_get(record, &r)))
            n->damaged++;
        else
            n->held += r.state == RECIPIENT_HELD;
    }
    store_cursor_close(c);
    n->done = e.kind == ERR_NOT_FOUND;
    return n->done ? ERR_OK : e;
}

static struct err add_counts(struct source *s, json_t *out)
{
    struct count n = { 0 };
    json_t *queue = json_object();
    struct err e = ERR_OK;

    while (!n.done && !err_failed(e))
        e = source_read(s, queue_store(s->queue), count_step, &n);
    json_put_number(queue, "messages", n.messages);
    json_put_number(queue, "recipients", n.recipients);
    json_put_number(queue, "held", n.held);
    if (n.damaged != 0)
        json_put_number(queue, "damaged", n.damaged);
    json_object_set_new(out, "queue", queue);
    return e;
}

struct err view_status(struct source *s, json_t **out)
{
    json_t *doc = json_object();
    struct err e;

    json_object_set_new(doc, "running", json_boolean(s->live != NULL));
    json_object_set_new(doc, "version", json_string(s->version));
    json_put_slice(doc, "hostname", slice_str(s->hostname));
    e = s->live != NULL ? add_live(s, doc) : add_counts(s, doc);
    json_object_set_new(doc, "storage", storage_json(s));
    if (err_failed(e)) {
        json_decref(doc);
        doc = NULL;
    }
    *out = doc;
    return e;
}

/* ---- sites -------------------------------------------------------------------------- */

#define SITES_MAX 10000u /* shown; a site is a few hundred bytes */

struct sites_call {
    struct live_call call; /* first */
    json_t *list;
    bool truncated;
};

static void add_site(void *ctx, const struct dispatch_site *site)
{
    struct sites_call *c = ctx;
    json_t *out;

    c->truncated = json_array_size(c->list) >= SITES_MAX;
    if (c->truncated)
        return;
    out = json_object();
    json_object_set_new(out, "key", json_of_slice(slice_str(site->key)));
    json_put_number(out, "ready", site->ready);
    json_put_number(out, "connections", site->connections);
    json_put_number(out, "busy", site->busy);
    json_put_number(out, "failures", site->failures);
    if (site->down_for_ms != 0)
        json_put_number(out, "down_for_ms", site->down_for_ms);
    json_put_slice(out, "last_error", slice_str(site->last_error));
    json_array_append_new(c->list, out);
}

static void sites_run(struct live_call *c, struct dispatch *d)
{
    dispatch_each_site(d, add_site, c);
}

static void sites_free(struct live_call *c)
{
    json_decref(((struct sites_call *)c)->list);
    free(c);
}

struct err view_sites(struct source *s, json_t **out)
{
    struct sites_call *c = mem_new(struct sites_call);
    struct err e;

    *out = NULL;
    c->call.run = sites_run;
    c->call.free = sites_free;
    c->list = json_array();
    e = live_ask(s->live, &c->call);
    if (err_failed(e))
        return e;
    *out = json_object();
    json_object_set(*out, "sites", c->list);
    json_object_set_new(*out, "truncated", json_boolean(c->truncated));
    sites_free(&c->call);
    return ERR_OK;
}
