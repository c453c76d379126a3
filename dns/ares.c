/* dns/ares.c - the resolver of a loop: what delivery asks about a recipient's
 * domain and the server about a client.
 *
 * A name and type under way is one question, however many ask it. It goes
 * through steps (EDNS or not, UDP or TCP, CNAME after CNAME) until an answer
 * stands; that goes to the cache and, later in the turn, to the askers.
 */
#include "dns/channel.h"
#include "dns/inside.h"

#include "base/list.h"
#include "base/mem.h"

#include <stdlib.h>

#define ACTIVE_MAX  256u /* more would drown the server and look like its failure */
#define BUCKETS     256u
#define QUESTION_MS (15 * SECOND_MS)
#define TIMEOUT_MS  2000 /* tries of 2 + 4 + 8 s with one server */
#define STEPS_MAX   24u

#define TTL_LEAST_MS         (5 * SECOND_MS)
#define TTL_MOST_MS          DAY_MS
#define TTL_NEGATIVE_MOST_MS (15 * MINUTE_MS)
#define TTL_TEMPFAIL_MS      (5 * SECOND_MS)

struct ares_resolver {
    struct resolver resolver;
    struct dns_cache *cache;
    struct dns_channel *channels[DNS_BY_TCP + 1]; /* but for UDP made when first needed */
    struct net_addr *servers;
    unsigned server_count;
    unsigned timeout_ms, question_ms;
    struct question *buckets[BUCKETS];
    struct list waiting; /* questions not yet sent */
    struct list ready;   /* askers whose answer stands */
    struct timer deliver;
    unsigned active;
};

struct question {
    struct ares_resolver *r;
    struct question *next; /* in its bucket */
    struct list link;      /* in waiting */
    struct list askers;
    struct timer deadline;
    enum dns_type type;
    uint64_t hash;
    bool active;
    bool sent;    /* c-ares has it: memory stays until it calls back */
    bool settled; /* answered, only memory left */
    bool plain;   /* without EDNS */
    bool by_tcp;
    bool authentic;
    unsigned hops, steps;
    unsigned unwilling; /* servers that would not answer */
    uint32_t ttl_s;
    char current[DNS_NAME_SIZE]; /* where the CNAMEs have led to */
    char name[];
};

struct dns_query {    /* one asker */
    struct list link; /* in its question's askers, or ready */
    const struct dns_answer *answer;
    dns_done *done;
    void *ctx;
};

static void take_step(struct question *q);

static struct loop *loop_of(struct ares_resolver *r)
{
    return r->resolver.loop;
}

/* ---- the end of a question ---- */

static void make_ready(struct ares_resolver *r, struct dns_query *asker, const struct dns_answer *a)
{
    asker->answer = dns_answer_ref(a);
    list_append(&r->ready, &asker->link);
    if (!timer_armed(&r->deliver))
        loop_arm(loop_of(r), &r->deliver, 0);
}

static void unlink_question(struct question *q)
{
    struct question **at = &q->r->buckets[q->hash % BUCKETS];

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    list_remove(&q->link);
    loop_disarm(loop_of(q->r), &q->deadline);
    if (q->active)
        q->r->active--;
    q->active = false;
    q->settled = true;
}

/* Takes over the answer. */
static void settle(struct question *q, struct dns_answer *a, uint64_t ttl_ms)
{
    struct ares_resolver *r = q->r;
    uint64_t now = loop_of(r)->now_ms;

    a->good_until_ms = now + ttl_ms;
    if (r->cache != NULL)
        dns_cache_put(r->cache, q->name, a, now);
    unlink_question(q);
    while (!list_empty(&q->askers)) {
        struct dns_query *asker = list_first(&q->askers, struct dns_query, link);

        list_remove(&asker->link);
        make_ready(r, asker, a);
    }
    if (!list_empty(&r->waiting) && !timer_armed(&r->deliver))
        loop_arm(loop_of(r), &r->deliver, 0); /* which sends the next */
    dns_answer_unref(a);
    if (!q->sent)
        free(q);
}

static void settle_tempfail(struct question *q, const char *detail)
{
    settle(q, dns_answer_failed(q->type, DNS_TEMPFAIL, detail), TTL_TEMPFAIL_MS);
}

static uint64_t ttl_ms(const struct question *q, enum dns_status status)
{
    uint64_t ms = (uint64_t)q->ttl_s * 1000;
    uint64_t most = status == DNS_OK ? TTL_MOST_MS : TTL_NEGATIVE_MOST_MS;

    if (status == DNS_TEMPFAIL)
        return TTL_TEMPFAIL_MS;
    if (ms < TTL_LEAST_MS)
        return TTL_LEAST_MS;
    return ms < most ? ms : most;
}

static void on_deadline(struct timer *t)
{
    settle_tempfail(container_of(t, struct question, deadline), "timed out");
}

/* ---- its steps ---- */

static void read_message(struct question *q, struct slice raw)
{
    struct dns_reading got;

    dns_message_read(raw, q->current, q->type, q->hops, &got);
    if (got.ttl_s < q->ttl_s)
        q->ttl_s = got.ttl_s;
    if (got.next == DNS_NEXT_DONE && got.answer->status == DNS_TEMPFAIL && !q->by_tcp &&
        raw.len == DNS_CUT_BYTES) {
        dns_answer_unref(got.answer);
        got.next = DNS_NEXT_TCP;
    }
    if (got.unwilling && ++q->unwilling < dns_channel_servers(q->r->channels[DNS_BY_UDP])) {
        dns_answer_unref(got.answer);
        take_step(q); /* which goes to the next server */
        return;
    }
    switch (got.next) {
    case DNS_NEXT_DONE:
        got.answer->authentic =
            q->authentic && got.authentic && dns_channel_trusted(q->r->channels[DNS_BY_UDP]);
        settle(q, got.answer, ttl_ms(q, got.answer->status));
        return;
    case DNS_NEXT_FOLLOW:
        q->authentic = q->authentic && got.authentic;
        q->hops = got.hops;
        q->by_tcp = false;
        memcpy(q->current, got.target, sizeof q->current);
        break;
    case DNS_NEXT_TCP:
        if (q->by_tcp) {
            settle_tempfail(q, "truncated answer over TCP");
            return;
        }
        q->by_tcp = true;
        break;
    case DNS_NEXT_PLAIN_DNS:
        if (q->plain) {
            settle_tempfail(q, "FORMERR");
            return;
        }
        q->plain = true;
        break;
    }
    take_step(q);
}

static void step_done(void *ctx, enum dns_reply reply, struct slice raw, const char *detail)
{
    struct question *q = ctx;

    q->sent = false;
    if (q->settled || reply == DNS_REPLY_GONE) {
        if (q->settled) /* else whoever frees the channel sees to it */
            free(q);
        return;
    }
    if (reply == DNS_REPLY_MESSAGE) {
        read_message(q, raw);
    } else {
        settle_tempfail(q, detail);
    }
}

static struct dns_channel *channel_for(struct question *q)
{
    struct ares_resolver *r = q->r;
    enum dns_transport by = q->by_tcp ? DNS_BY_TCP : q->plain ? DNS_BY_PLAIN_UDP : DNS_BY_UDP;

    if (r->channels[by] == NULL &&
        err_failed(dns_channel_new(loop_of(r), r->servers, r->server_count, by, r->timeout_ms,
                                   &r->channels[by])))
        return NULL;
    return r->channels[by];
}

static void take_step(struct question *q)
{
    struct dns_channel *ch = channel_for(q);
    char name[DNS_NAME_SIZE];

    if (ch == NULL || q->steps++ == STEPS_MAX) {
        settle_tempfail(q, ch == NULL ? "no resources" : "too many steps");
        return;
    }
    if (!dns_name_normalise(q->current, name)) { /* a CNAME may lead anywhere */
        settle_tempfail(q, "CNAME leads to no name");
        return;
    }
    q->sent = true;
    dns_channel_ask(ch, q->current, q->type, !q->plain, step_done, q);
}

static void start(struct question *q)
{
    list_remove(&q->link);
    q->active = true;
    q->r->active++;
    loop_arm(loop_of(q->r), &q->deadline, q->r->question_ms);
    take_step(q);
}

/* ---- asking ---- */

static void on_deliver(struct timer *t)
{
    struct ares_resolver *r = container_of(t, struct ares_resolver, deliver);
    struct list batch;

    while (r->active < ACTIVE_MAX && !list_empty(&r->waiting))
        start(list_first(&r->waiting, struct question, link));
    list_init(&batch);
    list_append(&r->ready, &batch);
    list_remove(&r->ready);
    while (!list_empty(&batch)) {
        struct dns_query *asker = list_first(&batch, struct dns_query, link);

        list_remove(&asker->link);
        asker->done(asker->ctx, asker->answer);
        dns_answer_unref(asker->answer);
        free(asker);
    }
}

static struct question *find_question(struct ares_resolver *r, const char *name, enum dns_type type,
                                      uint64_t hash)
{
    struct question *q = r->buckets[hash % BUCKETS];

    while (q != NULL && (q->hash != hash || q->type != type || strcmp(q->name, name) != 0))
        q = q->next;
    return q;
}

static struct question *new_question(struct ares_resolver *r, const char *name, enum dns_type type,
                                     uint64_t hash)
{
    size_t len = strlen(name) + 1;
    struct question *q = mem_zero(1, sizeof *q + len);

    memcpy(q->name, name, len);
    memcpy(q->current, name, len);
    q->r = r;
    q->type = type;
    q->hash = hash;
    q->authentic = true;
    q->ttl_s = UINT32_MAX;
    q->deadline.fire = on_deadline;
    list_init(&q->askers);
    list_init(&q->link);
    q->next = r->buckets[hash % BUCKETS];
    r->buckets[hash % BUCKETS] = q;
    return q;
}

static void ask_servers(struct ares_resolver *r, struct dns_query *asker, const char *name,
                        enum dns_type type)
{
    uint64_t hash = slice_hash(slice_str(name)) + (uint64_t)type;
    struct question *q = find_question(r, name, type, hash);

    if (q != NULL) {
        list_append(&q->askers, &asker->link);
        return;
    }
    q = new_question(r, name, type, hash);
    list_append(&q->askers, &asker->link);
    list_append(&r->waiting, &q->link);
    if (r->active < ACTIVE_MAX)
        start(q);
}

static struct dns_query *op_ask(struct resolver *res, const char *name, enum dns_type type,
                                dns_done *done, void *ctx)
{
    struct ares_resolver *r = container_of(res, struct ares_resolver, resolver);
    struct dns_query *asker = mem_new(struct dns_query);
    const struct dns_answer *a = NULL;
    char clean[DNS_NAME_SIZE];

    list_init(&asker->link);
    asker->done = done;
    asker->ctx = ctx;
    if (!dns_name_normalise(name, clean))
        a = dns_answer_failed(type, DNS_NO_NAME, "not a domain name");
    else if (r->cache != NULL)
        a = dns_cache_get(r->cache, clean, type, res->loop->now_ms);
    if (a != NULL)
        make_ready(r, asker, a);
    else
        ask_servers(r, asker, clean, type);
    dns_answer_unref(a);
    return asker;
}

/* The question goes on without the asker: its answer is worth caching. */
static void op_cancel(struct resolver *res, struct dns_query *asker)
{
    (void)res;
    list_remove(&asker->link);
    dns_answer_unref(asker->answer);
    free(asker);
}

static const struct resolver_ops ares_ops = { op_ask, op_cancel };

struct err ares_resolver_new_timed(struct loop *l, struct dns_cache *cache,
                                   const struct net_addr *servers, unsigned server_count,
                                   unsigned timeout_ms, unsigned question_ms, struct resolver **out)
{
    struct ares_resolver *r = mem_new(struct ares_resolver);
    struct err e =
        dns_channel_new(l, servers, server_count, DNS_BY_UDP, timeout_ms, &r->channels[DNS_BY_UDP]);

    if (err_failed(e)) {
        free(r);
        return e;
    }
    r->resolver.ops = &ares_ops;
    r->resolver.loop = l;
    r->cache = cache;
    r->server_count = server_count;
    r->timeout_ms = timeout_ms;
    r->question_ms = question_ms;
    if (server_count != 0)
        r->servers = (struct net_addr *)mem_dup(servers, server_count * sizeof *servers);
    r->deliver.fire = on_deliver;
    list_init(&r->waiting);
    list_init(&r->ready);
    *out = &r->resolver;
    return ERR_OK;
}

struct err ares_resolver_new(struct loop *l, struct dns_cache *cache,
                             const struct net_addr *servers, unsigned server_count,
                             struct resolver **out)
{
    return ares_resolver_new_timed(l, cache, servers, server_count, TIMEOUT_MS, QUESTION_MS, out);
}

static bool same_servers(const struct ares_resolver *r, const struct net_addr *servers,
                         unsigned count)
{
    if (count != r->server_count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (!net_addr_equal_host(&servers[i], &r->servers[i]) ||
            servers[i].port != r->servers[i].port)
            return false;
    }
    return true;
}

/* Questions under way lost their channel: they are asked once more. */
static void ask_again(struct ares_resolver *r)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct question *q, *next;

        for (q = r->buckets[i]; q != NULL; q = next) {
            next = q->next;
            if (q->active && !q->sent)
                take_step(q);
        }
    }
}

struct err ares_resolver_set_servers(struct resolver *res, const struct net_addr *servers,
                                     unsigned server_count)
{
    struct ares_resolver *r = container_of(res, struct ares_resolver, resolver);
    struct dns_channel *old[countof(r->channels)], *fresh;
    struct err e;

    /* The system's own may have changed without our knowing. */
    if (server_count != 0 && same_servers(r, servers, server_count))
        return ERR_OK;
    e = dns_channel_new(res->loop, servers, server_count, DNS_BY_UDP, r->timeout_ms, &fresh);
    if (err_failed(e))
        return e;
    memcpy(old, r->channels, sizeof old);
    memset(r->channels, 0, sizeof r->channels);
    r->channels[DNS_BY_UDP] = fresh;
    free(r->servers);
    r->servers = NULL;
    r->server_count = server_count;
    if (server_count != 0)
        r->servers = (struct net_addr *)mem_dup(servers, server_count * sizeof *servers);
    for (size_t i = 0; i < countof(old); i++)
        dns_channel_free(old[i]); /* every question hears DNS_REPLY_GONE */
    ask_again(r);
    return ERR_OK;
}

static void drop_askers(struct list *askers)
{
    while (!list_empty(askers))
        op_cancel(NULL, list_first(askers, struct dns_query, link));
}

void ares_resolver_free(struct resolver *res)
{
    struct ares_resolver *r;

    if (res == NULL)
        return;
    r = container_of(res, struct ares_resolver, resolver);
    for (size_t i = 0; i < countof(r->channels); i++)
        dns_channel_free(r->channels[i]); /* every question hears DNS_REPLY_GONE */
    for (size_t i = 0; i < BUCKETS; i++) {
        while (r->buckets[i] != NULL) {
            struct question *q = r->buckets[i];

            unlink_question(q);
            drop_askers(&q->askers);
            free(q);
        }
    }
    drop_askers(&r->ready);
    loop_disarm(res->loop, &r->deliver);
    free(r->servers);
    free(r);
}
