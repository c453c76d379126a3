/* delivery/dispatch.c - decides what goes next, and where to. */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/path.h"

#include <stdlib.h>

#define DUE_PER_TURN 500u      /* groups woken in one turn of the loop */
#define UNPROVEN_CONNECTIONS 2u /* until a site has answered once */
#define HEALTH_CHECK_MS 500u
#define CAPPED_FOR_MS MINUTE_MS
#define SWEEP_EVERY_MS (30 * SECOND_MS) /* of a site that is down */

static void tick_fire(struct timer *t);
static void health_fire(struct timer *t);
static void site_wake(struct timer *t);

struct dispatch *dispatch_new(const struct dispatch_options *opt)
{
    struct dispatch *d = mem_new(struct dispatch);

    d->opt = *opt;
    d->policy = policy_ref(opt->policy);
    d->sched = schedule_new();
    d->generation = 1;
    d->tick.fire = tick_fire;
    d->health.fire = health_fire;
    d->dest_sweep.fire = dest_sweep_fire;
    d->dest_count = 1;
    list_init(&d->starved);
    list_init(&d->attempts);
    list_init(&d->local);
    return d;
}

/* ---- groups ---------------------------------------------------------------- */

void dispatch_set_dest(struct dispatch *d, struct group *g, struct dest *dest)
{
    struct dest *old = g->dest != 0 ? d->dests[g->dest] : NULL;

    g->dest = dest->index;
    g->generation = d->generation;
    dest->groups++;
    if (old != NULL)
        old->groups--;
}

void dispatch_forget(struct dispatch *d, struct group *g)
{
    struct dest *dest = d->dests[g->dest];

    if (g->hot != NULL)
        atomic_fetch_sub(&d->hot_memory, message_memory(g->hot));
    schedule_remove(d->sched, g);
    dest->groups--;
}

static void arm_tick(struct dispatch *d)
{
    uint64_t next = schedule_next_ms(d->sched);
    uint64_t now = d->opt.home->now_ms;

    if (next == TIMERS_NEVER)
        loop_disarm(d->opt.home, &d->tick);
    else if (!timer_armed(&d->tick) || next < d->tick.due_ms)
        loop_arm(d->opt.home, &d->tick, next > now ? next - now : 0);
}

void dispatch_wait(struct dispatch *d, struct group *g)
{
    schedule_wait(d->sched, g);
    arm_tick(d);
}

void dispatch_enqueue(struct dispatch *d, struct group *g)
{
    bool let_go = g->released && d->dests[g->dest]->kind == DEST_HOLD;

    if (g->generation != d->generation || let_go)
        attempt_local(d, ATTEMPT_REROUTE, NULL, g, NULL);
    else
        dest_enqueue(d, d->dests[g->dest], g);
}

static bool is_over(const struct dispatch *d, const struct group *g)
{
    return g->attempted && g->expires_ms <= d->opt.home->now_ms;
}

static bool is_late(const struct dispatch *d, const struct group *g)
{
    return g->warn_ms <= d->opt.home->now_ms;
}

/* What is to be told of several groups of a message is told in one
 * notification. */
static void tell_together(struct dispatch *d, struct group *g, enum attempt_purpose purpose,
                          bool (*test)(const struct dispatch *d, const struct group *g))
{
    struct attempt *a = attempt_local_new(d, purpose, NULL, g);

    for (struct group *it = schedule_find(d->sched, g->id); it != NULL; it = schedule_sibling(d->sched, it))
        if ((it->state == GROUP_WAITING || it->state == GROUP_READY) && test(d, it))
            attempt_take_along(a, it);
    attempt_local_start(a);
}

/* One group that is due: gives it up, tells of its delay, or tries it. */
static void wake_group(struct dispatch *d, struct group *g)
{
    if (is_over(d, g))
        tell_together(d, g, ATTEMPT_EXPIRE, is_over);
    else if (g->next_ms > d->opt.home->now_ms && is_late(d, g))
        tell_together(d, g, ATTEMPT_WARN, is_late);
    else
        dispatch_enqueue(d, g);
}

static void tick_fire(struct timer *t)
{
    struct dispatch *d = container_of(t, struct dispatch, tick);
    struct group *g;

    if (d->draining)
        return;
    for (unsigned n = 0; n < DUE_PER_TURN; n++) {
        g = schedule_take_due(d->sched, d->opt.home->now_ms);
        if (g == NULL)
            break;
        wake_group(d, g);
    }
    arm_tick(d);
}

/* ---- a new message --------------------------------------------------------- */

/* How the times of the store become times of the monotonic clock. A wait in
 * the future of a wall clock that has jumped is cut to what we would have
 * chosen at most. */
static uint64_t mono_of_wall(struct dispatch *d, uint64_t at_wall_ms, uint64_t longest_ms)
{
    uint64_t now_wall = clock_wall_ms(d->opt.home->clock);
    uint64_t wait = at_wall_ms > now_wall ? at_wall_ms - now_wall : 0;

    return d->opt.home->now_ms + (wait < longest_ms ? wait : longest_ms);
}

static void set_times(struct dispatch *d, struct group *g, const struct recipient *r, uint64_t received_wall_ms)
{
    const struct retry_policy *p = policy_retry(d->policy, r->address);
    uint64_t longest = p->max_ms + p->max_ms / 4;

    if (p->doubt_ms > longest)
        longest = p->doubt_ms;
    g->next_ms = mono_of_wall(d, r->next_wall_ms, longest);
    g->expires_ms = mono_of_wall(d, received_wall_ms + p->expire_ms, p->expire_ms);
    if (p->warn_ms == 0 || (r->flags & RECIPIENT_WARNED) != 0)
        g->warn_ms = TIMERS_NEVER;
    else
        g->warn_ms = mono_of_wall(d, received_wall_ms + p->warn_ms, p->warn_ms);
}

static bool same_way(const struct group *g, const struct dest *dest, const struct recipient *r)
{
    return g->dest == dest->index && (g->state == GROUP_HELD) == (r->state == RECIPIENT_HELD);
}

static struct group *add_group(struct dispatch *d, uint64_t id, const struct recipient *r, struct dest *dest)
{
    struct group *g = schedule_add(d->sched, id, &r->n, 1);

    dispatch_set_dest(d, g, dest);
    g->sender = (uint32_t)slice_hash_nocase(r->reverse_path);
    g->attempts = r->attempts;
    g->released = (r->flags & RECIPIENT_RELEASED) != 0;
    if (r->state == RECIPIENT_HELD)
        g->state = GROUP_HELD;
    return g;
}

static struct dest *dest_of_recipient(struct dispatch *d, const struct recipient *r)
{
    const struct route *route =
        policy_route(d->policy, r->reverse_path, r->address, (r->flags & RECIPIENT_RELEASED) != 0);

    return dest_for(d, route, r->address);
}

void dispatch_schedule_message(struct dispatch *d, struct message *m)
{
    size_t memory = message_memory(m);
    struct group *g, *next;

    if (schedule_find(d->sched, m->id) != NULL)
        return; /* the audit was faster */
    for (uint32_t i = 0; i < m->recipient_count; i++) {
        const struct recipient *r = &m->recipients[i];
        struct dest *dest = dest_of_recipient(d, r);

        for (g = schedule_find(d->sched, m->id); g != NULL && !same_way(g, dest, r);)
            g = schedule_sibling(d->sched, g);
        if (g != NULL) {
            schedule_append_number(g, r->n);
            continue;
        }
        g = add_group(d, m->id, r, dest);
        set_times(d, g, r, m->received_wall_ms);
        if (g->state != GROUP_HELD && dest->kind != DEST_HOLD &&
            atomic_load(&d->hot_memory) + memory <= d->opt.hot_memory_max) {
            g->hot = message_ref(m);
            atomic_fetch_add(&d->hot_memory, memory);
        }
    }
    for (g = schedule_find(d->sched, m->id); g != NULL; g = next) {
        next = schedule_sibling(d->sched, g);
        if (g->state == GROUP_HELD)
            continue;
        if (d->draining)
            dispatch_wait(d, g);
        else
            dispatch_enqueue(d, g);
    }
}

struct arrival {
    struct post post;
    struct dispatch *dispatch;
    struct message *message;
};

static void arrival_run(struct post *p)
{
    struct arrival *a = container_of(p, struct arrival, post);

    dispatch_schedule_message(a->dispatch, a->message);
    message_unref(a->message);
    free(a);
}

void dispatch_arrived(struct dispatch *d, struct message *m)
{
    struct arrival *a = mem_new(struct arrival);

    a->post.run = arrival_run;
    a->dispatch = d;
    a->message = message_ref(m);
    loop_post(d->opt.home, &a->post);
}

/* ---- start ------------------------------------------------------------------- */

struct recovery {
    struct dispatch *dispatch;
    struct group *last; /* recipients come in order of id */
    uint64_t last_next_wall_ms;
    uint64_t recipients;
};

static struct group *adopt(struct dispatch *d, uint64_t id, const struct recipient *r, struct dest *dest)
{
    struct group *g = add_group(d, id, r, dest);

    set_times(d, g, r, queue_id_wall_ms(id));
    if (g->state != GROUP_HELD) {
        if (dest->kind == DEST_HOLD)
            g->state = GROUP_ROUTE_HELD;
        else
            schedule_wait(d->sched, g);
    }
    return g;
}

void dispatch_adopt(struct dispatch *d, uint64_t id, const struct recipient *r)
{
    adopt(d, id, r, dest_of_recipient(d, r));
    arm_tick(d);
}

static void recover_recipient(void *ctx, uint64_t id, const struct recipient *r)
{
    struct recovery *rec = ctx;
    struct dispatch *d = rec->dispatch;
    struct dest *dest = dest_of_recipient(d, r);
    struct group *g = rec->last;

    rec->recipients++;
    if (g != NULL && g->id == id && same_way(g, dest, r) && rec->last_next_wall_ms == r->next_wall_ms) {
        schedule_append_number(g, r->n);
        return;
    }
    g = adopt(d, id, r, dest);
    rec->last = g;
    rec->last_next_wall_ms = r->next_wall_ms;
}

struct err dispatch_recover(struct dispatch *d)
{
    struct recovery rec = { .dispatch = d };
    struct err e = queue_recover(d->opt.queue, recover_recipient, &rec);

    if (err_failed(e))
        return e;
    if (rec.recipients != 0)
        log_info("qmgr", "%llu recipients found in the queue", (unsigned long long)rec.recipients);
    arm_tick(d);
    audit_start(d);
    return ERR_OK;
}

/* ---- sites ----------------------------------------------------------------- */

bool dispatch_may_run(struct dispatch *d)
{
    if (d->draining)
        return false;
    if (queue_space(d->opt.queue) != STORE_BROKEN)
        return true;
    /* What can't be written down must not be delivered: it would go twice. */
    if (!timer_armed(&d->health))
        loop_arm(d->opt.home, &d->health, HEALTH_CHECK_MS);
    return false;
}

static void health_fire(struct timer *t)
{
    struct dispatch *d = container_of(t, struct dispatch, health);
    struct site *s, *tmp;

    if (!dispatch_may_run(d))
        return;
    attempt_run_local(d);
    HASH_ITER (hh, d->site_by_key, s, tmp)
        dispatch_pump(d, s);
}

void dispatch_site_down(struct dispatch *d, struct site *s, const char *why, uint64_t longest_ms)
{
    uint64_t wait;

    free(s->last_error);
    s->last_error = mem_str(why);
    s->proven = false;
    if (s->down_until_ms > d->opt.home->now_ms)
        return; /* attempts that were under way when it went down */
    s->failures++;
    wait = retry_wait_ms(&d->policy->retry, s->failures, &d->opt.home->rng);
    if (wait > longest_ms)
        wait = longest_ms;
    s->down_until_ms = d->opt.home->now_ms + wait;
    if (s->failures == 1)
        log_warning("qmgr", "site %s is down: %s; next try in %llu s", s->key, why,
                    (unsigned long long)(wait / 1000));
}

/* Another connection of the site still works: the site is not down, it only
 * wants no more of them. */
bool dispatch_site_full(struct dispatch *d, struct site *s)
{
    unsigned alive = 0;

    list_foreach (it, &s->conns) {
        struct site_conn *sc = container_of(it, struct site_conn, link);

        if (!sc->gone && sc->proven)
            alive++;
    }
    if (alive == 0)
        return false;
    s->capped = alive;
    s->capped_until_ms = d->opt.home->now_ms + CAPPED_FOR_MS;
    return true;
}

void dispatch_site_up(struct dispatch *d, struct site *s)
{
    if (s->failures > 0)
        log_info("qmgr", "site %s answers again", s->key);
    s->proven = true;
    s->failures = 0;
    s->down_until_ms = 0;
    free(s->last_error);
    s->last_error = NULL;
}

static void site_wake(struct timer *t)
{
    struct site *s = container_of(t, struct site, wake);

    dispatch_pump(s->dispatch, s);
}

static void wake_at(struct dispatch *d, struct site *s, uint64_t at_ms)
{
    s->wake.fire = site_wake;
    if (!timer_armed(&s->wake) || at_ms < s->wake.due_ms)
        loop_arm(d->opt.home, &s->wake, at_ms - d->opt.home->now_ms);
}

/* How many connections may be open or opening right now. */
static unsigned connection_limit(const struct dispatch *d, const struct site *s)
{
    unsigned limit = d->policy->connections_per_site;

    /* It refused a connection while it served others: no more than those, for
     * a while. */
    if (s->capped_until_ms > d->opt.home->now_ms && s->capped < limit)
        return s->capped;
    if (s->failures > 0)
        return 1; /* the probe */
    return s->proven || limit < UNPROVEN_CONNECTIONS ? limit : UNPROVEN_CONNECTIONS;
}

static void conn_gone(struct conn *c, void *ctx)
{
    struct site_conn *sc = ctx;

    sc->gone = true;
    dispatch_conn_free_if_gone(sc->site->dispatch, sc);
}

static void feed_starved(struct dispatch *d)
{
    if (list_empty(&d->starved))
        return;
    {
        struct site *s = list_first(&d->starved, struct site, starved_link);

        list_remove(&s->starved_link);
        s->starved = false;
        dispatch_pump(d, s);
    }
}

void dispatch_conn_free_if_gone(struct dispatch *d, struct site_conn *sc)
{
    struct site *s = sc->site;

    if (!sc->gone || sc->busy)
        return;
    list_remove(&sc->link);
    s->conn_count--;
    d->conn_count--;
    conn_free(sc->conn);
    free(sc);
    dispatch_pump(d, s);
    feed_starved(d);
    dispatch_check_drained(d);
}

static struct site_conn *open_conn(struct dispatch *d, struct site *s)
{
    struct site_conn *sc = mem_new(struct site_conn);
    unsigned at = d->next_loop++ % d->opt.loop_count;
    struct conn_options opt = {
        .loop = d->opt.loops[at],
        .home = d->opt.home,
        .resolver = d->opt.resolvers[at],
        .queue = d->opt.queue,
        .policy = d->policy,
        .hosts = s->hosts,
        .literal_ok = s->literal_ok,
        .gone = conn_gone,
        .ctx = sc,
    };

    sc->site = s;
    sc->conn_unused = true;
    sc->conn = conn_new(&opt);
    list_append(&s->conns, &sc->link);
    s->conn_count++;
    d->conn_count++;
    return sc;
}

/* Makes room under the common limit by closing an idle connection of a site
 * that has nothing to send. */
static void close_an_idle_conn(struct dispatch *d)
{
    struct site *s, *tmp;

    HASH_ITER (hh, d->site_by_key, s, tmp) {
        struct site_conn *sc = s->ready == 0 ? site_idle_conn(s) : NULL;

        if (sc != NULL) {
            conn_quit(sc->conn);
            return;
        }
    }
}

/* True when a message could go now: on an idle connection or on a new one. */
static bool conn_available(struct dispatch *d, struct site *s)
{
    if (site_idle_conn(s) != NULL)
        return true;
    if (s->conn_count >= connection_limit(d, s))
        return false;
    if (d->conn_count < d->policy->connections)
        return true;
    if (!s->starved) {
        s->starved = true;
        list_append(&d->starved, &s->starved_link);
    }
    close_an_idle_conn(d);
    return false;
}

/* While a site is down its mail waits in its queue; what expires meanwhile,
 * or is due a delay warning, is found here. */
static void sweep_down_site(struct dispatch *d, struct site *s)
{
    for (uint64_t n = s->ready; n > 0; n--) {
        struct group *g = site_take(s, d->sched);

        if (g == NULL)
            break;
        /* It waited through an attempt of the site: that counts as tried. */
        g->attempted = true;
        if (is_over(d, g)) {
            tell_together(d, g, ATTEMPT_EXPIRE, is_over);
        } else if (is_late(d, g)) {
            g->next_ms = d->opt.home->now_ms;
            tell_together(d, g, ATTEMPT_WARN, is_late);
        } else {
            site_add(s, d->sched, g);
        }
    }
}

void dispatch_pump(struct dispatch *d, struct site *s)
{
    uint64_t now = d->opt.home->now_ms;

    if (!dispatch_may_run(d))
        return;
    if (s->down_until_ms > now && s->ready > 0) {
        if (!timer_armed(&s->wake) || s->wake.due_ms <= now) {
            uint64_t at = now + SWEEP_EVERY_MS;

            sweep_down_site(d, s);
            wake_at(d, s, at < s->down_until_ms ? at : s->down_until_ms);
        }
        return;
    }
    while (s->ready > 0 && (s->verdict.set || conn_available(d, s))) {
        struct group *g = site_take(s, d->sched);
        struct site_conn *sc;

        if (g == NULL)
            return;
        if (s->verdict.set) {
            attempt_local(d, ATTEMPT_VERDICT, s, g, NULL);
            continue;
        }
        if (is_over(d, g)) {
            tell_together(d, g, ATTEMPT_EXPIRE, is_over);
            continue;
        }
        if (dest_is_stale(d, d->dests[g->dest])) {
            dispatch_enqueue(d, g); /* its MX may have changed: ask first */
            continue;
        }
        sc = site_idle_conn(s);
        attempt_deliver(d, s, sc != NULL ? sc : open_conn(d, s), g);
    }
}

/* ---- the end --------------------------------------------------------------- */

void dispatch_check_drained(struct dispatch *d)
{
    if (!d->draining || d->drained == NULL)
        return;
    if (d->attempt_count == 0 && d->conn_count == 0) {
        void (*drained)(void *ctx) = d->drained;

        d->drained = NULL;
        drained(d->drained_ctx);
    }
}

void dispatch_drain(struct dispatch *d, void (*drained)(void *ctx), void *ctx)
{
    struct site *s, *tmp;

    d->draining = true;
    d->drained = drained;
    d->drained_ctx = ctx;
    loop_disarm(d->opt.home, &d->tick);
    audit_stop(d);
    list_foreach_safe (it, next, &d->local)
        attempt_free(container_of(it, struct attempt, link));
    HASH_ITER (hh, d->site_by_key, s, tmp) {
        loop_disarm(d->opt.home, &s->wake);
        list_foreach (it, &s->conns) {
            struct site_conn *sc = container_of(it, struct site_conn, link);

            if (!sc->busy)
                conn_quit(sc->conn);
        }
    }
    dispatch_check_drained(d);
}

void dispatch_free(struct dispatch *d)
{
    struct site *s, *tmp;
    struct dest *dest, *dest_tmp;

    if (d == NULL)
        return;
    loop_disarm(d->opt.home, &d->tick);
    loop_disarm(d->opt.home, &d->health);
    loop_disarm(d->opt.home, &d->dest_sweep);
    audit_free(d);
    list_foreach_safe (it, next, &d->local)
        attempt_free(container_of(it, struct attempt, link));
    list_foreach_safe (it, next, &d->attempts)
        attempt_free(container_of(it, struct attempt, link));
    HASH_ITER (hh, d->dest_by_key, dest, dest_tmp)
        dest_free(d, dest);
    HASH_ITER (hh, d->site_by_key, s, tmp) {
        loop_disarm(d->opt.home, &s->wake);
        HASH_DEL(d->site_by_key, s);
        list_foreach_safe (it, next, &s->conns) {
            struct site_conn *sc = container_of(it, struct site_conn, link);

            conn_free(sc->conn);
            free(sc);
        }
        site_free(s);
    }
    free(d->dests);
    free(d->dest_holes);
    schedule_free(d->sched);
    policy_unref(d->policy);
    free(d);
}
