/* delivery/order.c - what an admin wants, and what an admin is shown. */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

/* True when the order says anything to a group in this state. */
static bool applies(const struct group *g, enum dispatch_order order)
{
    bool held = g->state == GROUP_HELD || g->state == GROUP_ROUTE_HELD;

    switch (order) {
    case ORDER_RETRY:
        return !held;
    case ORDER_HOLD:
        return g->state != GROUP_HELD;
    case ORDER_RELEASE:
        return held;
    case ORDER_DELETE:
    case ORDER_BOUNCE:
    case ORDER_DAMAGED:
        break;
    }
    return true;
}

/* "Try now" means the site too, though it is thought to be down. */
static void wake_way(struct dispatch *d, struct group *g)
{
    struct dest *dest = d->dests[g->dest];

    if (dest->site != NULL && dest->site->down_until_ms > d->opt.home->now_ms) {
        dest->site->down_until_ms = 0;
        dispatch_pump(d, dest->site);
    }
    if (timer_armed(&dest->retry)) {
        loop_disarm(d->opt.home, &dest->retry);
        dest->retry.fire(&dest->retry);
    }
}

static bool is_idle(const struct group *g)
{
    return g->state != GROUP_ACTIVE;
}

/* All groups of the message that are at rest, together: a message that is
 * bounced has one notification. */
static void order_idle(struct dispatch *d, uint64_t id, enum dispatch_order order)
{
    struct attempt *a = NULL;

    for (struct group *g = schedule_find(d->sched, id); g != NULL; g = schedule_sibling(d->sched, g)) {
        if (!is_idle(g) || !applies(g, order))
            continue;
        if (order == ORDER_RETRY)
            wake_way(d, g);
        if (!is_idle(g))
            continue; /* the way was woken, and took it */
        if (a == NULL)
            a = attempt_local_new(d, ATTEMPT_ORDER, NULL, g);
        else
            attempt_take_along(a, g);
    }
    if (a == NULL)
        return;
    a->order = order;
    attempt_local_start(a);
}

void dispatch_order(struct dispatch *d, uint64_t id, enum dispatch_order order, struct dispatch_answer *out)
{
    struct group *g = schedule_find(d->sched, id);

    if (g != NULL)
        out->messages++;
    for (; g != NULL; g = schedule_sibling(d->sched, g)) {
        if (!applies(g, order))
            continue;
        out->recipients += g->count;
        if (is_idle(g))
            continue;
        out->busy += g->count;
        if (order != ORDER_RETRY)
            g->wish = (uint8_t)order;
    }
    order_idle(d, id, order);
}

/* ---- new configuration ---------------------------------------------------------- */

/* Its way may lead elsewhere now: that is found out when it is due, at once. */
static void reconsider(void *ctx, struct group *g)
{
    struct dispatch *d = ctx;

    if (g->state != GROUP_ROUTE_HELD && g->state != GROUP_READY)
        return;
    group_queue_leave(d->sched, g);
    dispatch_wait(d, g);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_route(const struct route *a, const struct route *b)
{
    return same_text(a->from, b->from) && same_text(a->to, b->to) && a->action == b->action &&
           same_text(a->text, b->text) && a->tls == b->tls && a->smarthost_count == b->smarthost_count &&
           (a->smarthost_count == 0 ||
            memcmp(a->smarthosts, b->smarthosts, a->smarthost_count * sizeof *a->smarthosts) == 0);
}

static bool same_ways(const struct delivery_policy *a, const struct delivery_policy *b)
{
    if (a->route_count != b->route_count || a->smarthost_count != b->smarthost_count || a->port != b->port ||
        !same_route(&a->fallback, &b->fallback))
        return false;
    for (size_t i = 0; i < a->route_count; i++)
        if (!same_route(&a->routes[i], &b->routes[i]))
            return false;
    for (size_t i = 0; i < a->smarthost_count; i++)
        if (!policy_same_smarthost(&a->smarthosts[i], &b->smarthosts[i]))
            return false;
    return true;
}

/* Whatever was wrong with a smart host may be put right: its mail need not
 * wait any longer. */
static void pump_changed(struct dispatch *d)
{
    for (size_t i = 0; i < d->smarts.count; i++) {
        struct smart *s = d->smarts.list[i];

        if (s->changed)
            fail_over_pump(d, s);
        s->changed = false;
    }
}

void dispatch_reload(struct dispatch *d, struct delivery_policy *policy)
{
    struct delivery_policy *old = d->policy;

    d->policy = policy_ref(policy);
    smarts_take(&d->smarts, policy, old);
    if (!same_ways(old, policy)) {
        d->generation++;
        schedule_each(d->sched, reconsider, d);
    }
    policy_unref(old);
    pump_changed(d);
}

/* ---- views ------------------------------------------------------------------------ */

void dispatch_each_site(struct dispatch *d, void (*visit)(void *ctx, const struct dispatch_site *s), void *ctx)
{
    struct site *s, *tmp;
    uint64_t now = d->opt.home->now_ms;

    HASH_ITER (hh, d->site_by_key, s, tmp) {
        struct dispatch_site view = {
            .key = s->key,
            .ready = s->ready,
            .connections = s->conn_count,
            .busy = s->busy_count,
            .failures = s->failures,
            .down_for_ms = s->down_until_ms > now ? s->down_until_ms - now : 0,
            .last_error = s->last_error,
        };

        if (!s->verdict.set)
            visit(ctx, &view);
    }
}

void dispatch_each_smarthost(struct dispatch *d, void (*visit)(void *ctx, const struct dispatch_smarthost *s), void *ctx)
{
    uint64_t now = d->opt.home->now_ms;

    for (size_t i = 0; i < d->policy->smarthost_count; i++) {
        const struct smart *smart = smarts_find(&d->smarts, d->policy->smarthosts[i].title);
        struct dispatch_smarthost view = {
            .title = smart->title,
            .host_count = smart->hop_count,
            .connections = smart->connections,
        };
        struct dispatch_hop *hops = mem_zero(smart->hop_count, sizeof *hops);

        view.hosts = hops;
        for (size_t k = 0; k < smart->hop_count; k++) {
            const struct hop *h = smart->hops[k];

            hops[k].name = h->name;
            hops[k].failures = h->failures;
            hops[k].avoided_for_ms = h->avoid_until_ms > now ? h->avoid_until_ms - now : 0;
            hops[k].last_error = h->last_error;
            hops[k].connections = h->connections;
        }
        view.on_backup = smart->hop_count > 1 && smart->hops[0]->failures > 0;
        visit(ctx, &view);
        free(hops);
    }
}

void dispatch_stats(struct dispatch *d, struct dispatch_stats *out)
{
    *out = (struct dispatch_stats){
        .delivered = d->delivered,
        .deferred = d->deferred,
        .bounced = d->bounced,
        .expired = d->expired,
        .connections = d->conn_count,
        .storage_broken = queue_space(d->opt.queue) == STORE_BROKEN,
    };
    schedule_counts(d->sched, &out->counts);
}

static struct group *group_of(struct dispatch *d, uint64_t id, uint32_t n)
{
    for (struct group *g = schedule_find(d->sched, id); g != NULL; g = schedule_sibling(d->sched, g)) {
        const uint32_t *numbers = group_numbers(g);

        for (uint32_t i = 0; i < g->count; i++)
            if (numbers[i] == n)
                return g;
    }
    return NULL;
}

bool dispatch_knows(struct dispatch *d, uint64_t id, uint32_t n)
{
    return group_of(d, id, n) != NULL;
}

bool dispatch_view(struct dispatch *d, uint64_t id, uint32_t n, struct dispatch_view *out)
{
    struct group *g = group_of(d, id, n);
    uint64_t now = d->opt.home->now_ms;
    struct dest *dest;

    *out = (struct dispatch_view){ 0 };
    if (g == NULL)
        return false;
    dest = d->dests[g->dest];
    switch (g->state) {
    case GROUP_WAITING:
        out->state = "waiting";
        out->next_in_ms = g->next_ms > now ? g->next_ms - now : 0;
        break;
    case GROUP_READY:
        out->state = "ready";
        break;
    case GROUP_HELD:
    case GROUP_ROUTE_HELD:
        out->state = "held";
        break;
    default:
        out->state = "active";
        break;
    }
    if (dest->site != NULL) {
        out->site = dest->site->key;
        out->site_error = dest->site->last_error;
        out->site_down_for_ms = dest->site->down_until_ms > now ? dest->site->down_until_ms - now : 0;
    } else {
        out->site_error = dest->last_error;
    }
    return true;
}
