/* tests/sim/names.c - the world's name servers: right, wrong, slow or silent. */
#include "tests/sim/sim.h"

#define SILENCE_MS      (15 * SECOND_MS)
#define NEGATIVE_TTL_MS (5 * MINUTE_MS)

#define LEAST_TTL_MS    (5 * SECOND_MS) /* dns/ares.c makes nothing shorter */

/* What a name server makes up, once; the next answer may be true. */
enum lie {
    LIE_NONE,
    LIE_GONE,     /* no such name */
    LIE_SERVFAIL, /* as a lame server, or a CNAME that leads nowhere, ends as well */
    LIE_NOTHING,  /* the name, and nothing of what was asked for */
    LIE_CROWD,    /* as many records as an answer may hold, all but the true ones lead nowhere */
    LIE_LOOPBACK, /* our own address, first of all */
    LIE_OURS,     /* the mail host is us */
    LIE_SLOW,     /* true, but late */
    LIE_SHORT,    /* true for no time at all */
    LIE_COUNT,
};

struct dns_query {
    struct list link;
    struct sim_resolver *resolver;
    struct timer timer; /* of the resolver's loop */
    char name[256];
    enum dns_type type;
    enum dns_mode mode;
    enum lie lie;
    dns_done *done;
    void *ctx;
};

static struct domain *find_domain(struct sim *sim, const char *name)
{
    return (struct domain *)domain_by_name(sim, slice_str(name));
}

static struct host *find_host(struct sim *sim, const char *name)
{
    for (unsigned i = 0; i < sim->zone.host_count; i++)
        if (strcmp(sim->zone.hosts[i].name, name) == 0)
            return &sim->zone.hosts[i];
    return NULL;
}

static enum dns_mode mode_of(struct sim *sim, const char *name)
{
    const struct domain *d = find_domain(sim, name);
    int dark =
        sim->healed ? 0 : phase_at(sim->zone.blackouts, sim->zone.blackout_count, sim->now_ms);

    if (dark != DNS_GOOD)
        return (enum dns_mode)dark;
    if (d == NULL || sim->healed)
        return DNS_GOOD;
    return (enum dns_mode)phase_at(d->phases, d->phase_count, sim->now_ms);
}

/* ---- answers ------------------------------------------------------------------- */

struct room { /* of an answer */
    struct dns_mx mx[DNS_RECORDS_MAX];
    struct net_addr addr[DNS_RECORDS_MAX];
    char names[DNS_RECORDS_MAX][32];
};

/* ---- lies ------------------------------------------------------------------------ */

static bool uses(const struct domain *d, const struct host *h)
{
    for (unsigned i = 0; i < d->host_count; i++)
        if (d->hosts[i] == h)
            return true;
    return false;
}

/* Mail may be given up for it for as long as it holds. */
static void note_lie(struct sim *sim, const struct dns_query *q, uint64_t until_ms)
{
    const struct domain *d = q->type == DNS_MX ? find_domain(sim, q->name) : NULL;
    const struct host *h = q->type != DNS_MX ? find_host(sim, q->name) : NULL;

    for (unsigned i = 0; i < sim->zone.domain_count; i++) {
        struct domain *it = &sim->zone.domains[i];

        if (it != d && (h == NULL || !uses(it, h)))
            continue;
        it->last_bad_ms = sim->now_ms;
        if (it->permanent_until_ms < until_ms)
            it->permanent_until_ms = until_ms;
    }
}

static enum lie choose_lie(struct sim *sim, const struct dns_query *q)
{
    struct domain *d = find_domain(sim, q->name);
    struct host *h = q->type != DNS_MX ? find_host(sim, q->name) : NULL;
    bool may = q->type != DNS_MX ? h != NULL && !h->steady
                                 : d != NULL && (d->kind == DOMAIN_USUAL || d->kind == DOMAIN_CHANGING);
    enum lie lie;

    if (!may || sim->healed || sim->opt.newsletter != 0 || q->mode != DNS_GOOD || !chance(sim, 4))
        return LIE_NONE;
    lie = (enum lie)(1 + roll(sim, LIE_COUNT - 1));
    if (lie == LIE_OURS && q->type != DNS_MX)
        return LIE_NONE;
    sim->counts.dns_lies++;
    trace(sim, "dns %s %d: lie %d", q->name, q->type, lie);
    return lie;
}

static void add_mx(struct dns_answer *a, uint16_t preference, char *host)
{
    a->mx[a->count++] = (struct dns_mx){ preference, host };
}

static void answer_mx(struct sim *sim, struct domain *d, struct dns_answer *a)
{
    static char root[] = "", own[] = OWN_NAME, nowhere[] = "nowhere.hosts.test";
    unsigned from = 0;

    a->good_until_ms = sim->now_ms + d->ttl_ms;
    switch (d->kind) {
    case DOMAIN_STEADY:
    case DOMAIN_USUAL:
    case DOMAIN_DEAD:
        break;
    case DOMAIN_CHANGING: /* another set of hosts every few hours */
        from = (unsigned)(sim->now_ms / (5 * HOUR_MS)) % d->host_count;
        break;
    case DOMAIN_NULL_MX:
        add_mx(a, 0, root);
        break;
    case DOMAIN_OURS:
        add_mx(a, 10, own);
        break;
    case DOMAIN_NO_ADDR:
        add_mx(a, 10, nowhere);
        break;
    default:
        break;
    }
    for (unsigned i = from; i < d->host_count; i++)
        add_mx(a, d->preference[i], d->hosts[i]->name);
    if (d->kind == DOMAIN_NULL_MX || d->kind == DOMAIN_OURS || d->kind == DOMAIN_NO_ADDR)
        d->permanent_until_ms = a->good_until_ms;
    a->status = DNS_OK;
}

static void crowd(struct dns_answer *a, struct room *room)
{
    while (a->count < DNS_RECORDS_MAX) {
        char *name = room->names[a->count];

        if (a->type == DNS_MX) {
            snprintf(name, sizeof room->names[0], "x%u.nowhere.test", a->count);
            add_mx(a, 60000, name);
        } else {
            a->addr[a->count] = (struct net_addr){ .family = a->type == DNS_A ? AF_INET : AF_INET6,
                                                   .bytes = { 192, 0, 2, (uint8_t)a->count } };
            a->count++;
        }
    }
}

static void lie_first(struct dns_answer *a, struct room *room)
{
    static char loop[] = "loop.hosts.test";

    a->count++;
    if (a->type == DNS_MX) {
        memmove(room->mx + 1, room->mx, (a->count - 1) * sizeof *room->mx);
        room->mx[0] = (struct dns_mx){ 0, loop };
        return;
    }
    memmove(room->addr + 1, room->addr, (a->count - 1) * sizeof *room->addr);
    room->addr[0] = (struct net_addr){ .family = a->type == DNS_A ? AF_INET : AF_INET6 };
    if (a->type == DNS_A)
        memcpy(room->addr[0].bytes, (uint8_t[]){ 127, 0, 0, 1 }, 4);
    else
        room->addr[0].bytes[15] = 1;
}

/* What is made of the true answer. */
static void twist(struct sim *sim, const struct dns_query *q, struct dns_answer *a, struct room *room)
{
    static char own[] = OWN_NAME;

    switch (q->lie) {
    case LIE_GONE:
    case LIE_NOTHING:
        a->count = 0;
        a->status = q->lie == LIE_GONE ? DNS_NO_NAME : DNS_NO_DATA;
        a->good_until_ms = sim->now_ms + NEGATIVE_TTL_MS;
        break;
    case LIE_SERVFAIL:
        a->count = 0;
        a->status = DNS_TEMPFAIL;
        a->detail = "SERVFAIL";
        a->good_until_ms = sim->now_ms + LEAST_TTL_MS;
        break;
    case LIE_CROWD:
        if (a->status == DNS_OK)
            crowd(a, room);
        break;
    case LIE_LOOPBACK:
        if (a->status == DNS_OK)
            lie_first(a, room);
        break;
    case LIE_OURS:
        a->count = 0;
        a->status = DNS_OK;
        add_mx(a, 10, own);
        a->good_until_ms = sim->now_ms + NEGATIVE_TTL_MS;
        break;
    case LIE_SHORT:
        a->good_until_ms = sim->now_ms + LEAST_TTL_MS;
        break;
    default:
        break;
    }
    if (q->lie != LIE_NONE)
        note_lie(sim, q, a->good_until_ms);
}

static void answer_addresses(const struct host *h, struct dns_answer *a)
{
    uint8_t family = a->type == DNS_A ? AF_INET : AF_INET6;

    for (unsigned i = 0; i < h->addr_count; i++)
        if (h->addrs[i].family == family)
            a->addr[a->count++] = h->addrs[i];
    a->status = a->count != 0 ? DNS_OK : DNS_NO_DATA;
}

static void answer_good(struct sim *sim, const struct dns_query *q, struct dns_answer *a)
{
    struct domain *d = find_domain(sim, q->name);
    struct host *h = find_host(sim, q->name);

    a->good_until_ms = sim->now_ms + NEGATIVE_TTL_MS;
    if (q->type != DNS_MX) {
        a->status = DNS_NO_NAME;
        if (h != NULL)
            answer_addresses(h, a);
        if (strcmp(q->name, "loop.hosts.test") == 0 && q->type == DNS_A) {
            memcpy(a->addr[0].bytes, (uint8_t[]){ 127, 0, 0, 1 }, 4);
            a->addr[0].family = AF_INET;
            a->count = 1;
            a->status = DNS_OK;
        }
        return;
    }
    if (d == NULL || d->kind == DOMAIN_NO_NAME || q->mode == DNS_GONE) {
        a->status = DNS_NO_NAME;
        if (d != NULL)
            d->permanent_until_ms = a->good_until_ms;
    } else if (d->kind == DOMAIN_IMPLICIT) {
        a->status = DNS_NO_DATA;
    } else {
        answer_mx(sim, d, a);
    }
}

static void query_free(struct dns_query *q)
{
    loop_disarm(q->resolver->base.loop, &q->timer);
    list_remove(&q->link);
    free(q);
}

static void query_fire(struct timer *t)
{
    struct dns_query *q = container_of(t, struct dns_query, timer);
    struct sim *sim = q->resolver->sim;
    struct room room = { 0 };
    struct dns_answer a = { .type = q->type, .status = DNS_TEMPFAIL, .refs = 1 };
    dns_done *done = q->done;
    void *ctx = q->ctx;

    if (q->type == DNS_MX)
        a.mx = room.mx;
    else
        a.addr = room.addr;
    if (q->mode == DNS_GOOD || q->mode == DNS_GONE) {
        answer_good(sim, q, &a);
        twist(sim, q, &a, &room);
    } else {
        a.good_until_ms = sim->now_ms + 5 * SECOND_MS;
        a.detail = q->mode == DNS_SILENT ? "timed out" : "SERVFAIL";
        sim->counts.dns_failures++;
    }
    trace(sim, "dns %s %d: %d, %u records", q->name, q->type, a.status, a.count);
    query_free(q);
    done(ctx, &a);
}

static struct dns_query *do_ask(struct resolver *r, const char *name, enum dns_type type,
                                dns_done *done, void *ctx)
{
    struct sim_resolver *sr = container_of(r, struct sim_resolver, base);
    struct dns_query *q = mem_new(struct dns_query);

    watch_question(sr->sim, name);
    q->resolver = sr;
    q->timer.fire = query_fire;
    q->type = type;
    q->done = done;
    q->ctx = ctx;
    snprintf(q->name, sizeof q->name, "%s", name);
    q->mode = mode_of(sr->sim, name);
    list_append(&sr->queries, &q->link);
    q->lie = choose_lie(sr->sim, q);
    loop_arm(r->loop, &q->timer,
             q->mode == DNS_SILENT ? SILENCE_MS : roll(sr->sim, q->lie == LIE_SLOW ? SILENCE_MS : 80));
    return q;
}

static void do_cancel(struct resolver *r, struct dns_query *q)
{
    query_free(q);
}

static const struct resolver_ops resolver_ops = { do_ask, do_cancel };

void resolver_init(struct sim_resolver *r, struct sim *sim, struct loop *l)
{
    r->base.ops = &resolver_ops;
    r->base.loop = l;
    r->sim = sim;
    list_init(&r->queries);
}

void resolver_release(struct sim_resolver *r, bool clean)
{
    if (clean && !list_empty(&r->queries))
        broken(r->sim, "DNS questions are left after the end");
    list_foreach_safe (it, next, &r->queries)
        query_free(container_of(it, struct dns_query, link));
}
