/* delivery/pump.c - serves the sites: opens connections within their limits,
 * gives each its next message, and waits while one is down.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define UNPROVEN_CONNECTIONS 2u /* until a site has answered once */
#define HEALTH_CHECK_MS 500u
#define CAPPED_FOR_MS MINUTE_MS
#define SWEEP_EVERY_MS (30 * SECOND_MS) /* of a site that is down */

static void site_wake(struct timer *t);

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

void dispatch_health_fire(struct timer *t)
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
bool dispatch_site_full(struct dispatch *d, struct site *s, const struct hop *hop)
{
    unsigned alive = 0;

    list_foreach (it, &s->conns) {
        struct site_conn *sc = container_of(it, struct site_conn, link);

        if (!sc->gone && sc->proven && sc->hop == hop)
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

void dispatch_wake_at(struct dispatch *d, struct site *s, uint64_t at_ms)
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

/* A connection fewer: those who wait for one come before the site that had it,
 * first of all one that has none. */
static struct site *next_starved(struct dispatch *d)
{
    list_foreach (it, &d->starved) {
        struct site *s = container_of(it, struct site, starved_link);

        if (s->conn_count == 0)
            return s;
    }
    return list_empty(&d->starved) ? NULL : list_first(&d->starved, struct site, starved_link);
}

static void feed_starved(struct dispatch *d)
{
    struct site *s;

    while (d->conn_count < d->policy->connections && (s = next_starved(d)) != NULL) {
        list_remove(&s->starved_link);
        s->starved = false;
        dispatch_pump(d, s);
    }
}

void dispatch_conn_free_if_gone(struct dispatch *d, struct site_conn *sc)
{
    struct site *s = sc->site;
    struct smart *smart = sc->hop != NULL ? sc->hop->smart : NULL;

    if (!sc->gone || sc->busy)
        return;
    fail_over_probed(sc);
    list_remove(&sc->link);
    s->conn_count--;
    d->conn_count--;
    if (smart != NULL) {
        smart->connections--;
        sc->hop->connections--;
    }
    d->leaving -= sc->leaving;
    conn_free(sc->conn);
    free(sc);
    if (smart != NULL)
        fail_over_pump(d, smart);
    feed_starved(d);
    dispatch_pump(d, s);
    dispatch_check_drained(d);
}

static struct site_conn *open_conn(struct dispatch *d, struct site *s, const struct way *way)
{
    struct site_conn *sc = mem_new(struct site_conn);
    unsigned at = d->next_loop++ % d->opt.loop_count;
    struct conn_options opt = {
        .loop = d->opt.loops[at],
        .home = d->opt.home,
        .resolver = d->opt.resolvers[at],
        .queue = d->opt.queue,
        .policy = d->policy,
        .sign = d->opt.sign,
        .hosts = way->hop != NULL ? way->hop->hosts : s->hosts,
        .literal_ok = s->literal_ok,
        .tls = way->hop != NULL ? way->hop->smart->tls : s->tls,
        .login = way->login,
        .refusal = way->refusal,
        .tls_client = d->opt.tls,
        .tls_memory = d->tls_memory,
        .gone = conn_gone,
        .ctx = sc,
    };

    sc->site = s;
    sc->conn_unused = true;
    sc->conn = conn_new(&opt);
    list_append(&s->conns, &sc->link);
    s->conn_count++;
    d->conn_count++;
    if (way->hop != NULL) {
        sc->hop = way->hop;
        sc->version = way->hop->smart->version;
        way->hop->connections++;
        way->hop->smart->connections++;
        sc->probe = way->hop->probing = way->hop->failures > 0;
    }
    return sc;
}

static void let_go(struct dispatch *d, struct site_conn *sc)
{
    sc->spent = sc->leaving = true;
    d->leaving++;
    conn_quit(sc->conn);
}

/* Makes room under the common limit by closing an idle connection of a site
 * that has nothing to send. */
static void close_an_idle_conn(struct dispatch *d)
{
    struct site *s, *tmp;

    HASH_ITER (hh, d->site_by_key, s, tmp) {
        struct site_conn *sc = s->ready == 0 ? site_idle_conn(s) : NULL;

        if (sc != NULL) {
            let_go(d, sc);
            return;
        }
    }
}

/* More sites have mail and no connection than there are connections leaving. */
static bool somebody_has_none(struct dispatch *d)
{
    unsigned leaving = d->leaving;

    list_foreach (it, &d->starved) {
        struct site *s = container_of(it, struct site, starved_link);

        if (s->conn_count == 0 && s->ready != 0 && s->down_until_ms <= d->opt.home->now_ms && leaving-- == 0)
            return true;
    }
    return false;
}

static bool has_others(const struct site *s)
{
    unsigned staying = 0;

    list_foreach (it, &s->conns)
        staying += !container_of(it, struct site_conn, link)->spent;
    return staying > 1;
}

/* Without this a newsletter to many domains would keep all connections for as
 * long as it has mail, and the mail of other domains would wait for its end. */
void dispatch_make_room(struct dispatch *d, struct site_conn *sc)
{
    if (!list_empty(&d->starved) && !sc->spent && has_others(sc->site) && somebody_has_none(d))
        let_go(d, sc);
}

/* Under the limits of the site and of all; a site that waits for the latter
 * is served when a connection ends. */
bool dispatch_may_open(struct dispatch *d, struct site *s)
{
    if (s->conn_count >= connection_limit(d, s)) {
        if (s->capped_until_ms > d->opt.home->now_ms)
            dispatch_wake_at(d, s, s->capped_until_ms);
        return false;
    }
    if (d->conn_count < d->policy->connections)
        return true;
    if (!s->starved) {
        s->starved = true;
        list_append(&d->starved, &s->starved_link);
    }
    close_an_idle_conn(d);
    return false;
}

/* True when a message could go now, and how: on an idle connection or on a new
 * one. */
static bool find_way(struct dispatch *d, struct site *s, struct way *out)
{
    uint64_t wait;

    *out = (struct way){ 0 };
    if (s->smarts != NULL)
        return fail_over_choose(d, s, out);
    wait = rate_wait_ms(&s->meter, &d->policy->rate, d->opt.home->now_ms);
    if (wait != 0) {
        dispatch_wake_at(d, s, d->opt.home->now_ms + wait);
        return false;
    }
    out->idle = site_idle_conn(s);
    return out->idle != NULL || dispatch_may_open(d, s);
}

static void count_rate(struct dispatch *d, struct site *s, const struct way *way)
{
    if (way->hop != NULL)
        rate_take(&way->hop->smart->meter, &way->hop->smart->rate, d->opt.home->now_ms);
    else
        rate_take(&s->meter, &d->policy->rate, d->opt.home->now_ms);
}

static bool stays_in_a_down_site(void *ctx, struct group *g)
{
    struct dispatch *d = ctx;

    /* It waited through an attempt of the site: that counts as tried. */
    g->attempted = true;
    if (dispatch_is_over(d, g)) {
        dispatch_tell_together(d, g, ATTEMPT_EXPIRE, dispatch_is_over);
        return false;
    }
    if (dispatch_is_late(d, g)) {
        g->next_ms = d->opt.home->now_ms;
        dispatch_tell_together(d, g, ATTEMPT_WARN, dispatch_is_late);
        return false;
    }
    return true;
}

/* While a site is down its mail waits in its queue; what expires meanwhile,
 * or is due a delay warning, is found here. There may be a million to look at,
 * so it is done only when there is something to find. */
static void sweep_down_site(struct dispatch *d, struct site *s)
{
    if (s->tell_ms > d->opt.home->now_ms)
        return;
    site_pick(s, d->sched, stays_in_a_down_site, d);
}

void dispatch_pump(struct dispatch *d, struct site *s)
{
    uint64_t now = d->opt.home->now_ms;
    struct way way;

    if (!dispatch_may_run(d))
        return;
    if (s->down_until_ms > now && s->ready > 0) {
        uint64_t at = now + SWEEP_EVERY_MS;

        if (!timer_armed(&s->wake) || s->wake.due_ms <= now)
            sweep_down_site(d, s);
        dispatch_wake_at(d, s, at < s->down_until_ms ? at : s->down_until_ms);
        return;
    }
    while (s->ready > 0 && (s->verdict.set || find_way(d, s, &way))) {
        struct group *g = site_next(s, d->sched);

        if (g == NULL)
            return;
        if (s->verdict.set) {
            attempt_local(d, ATTEMPT_VERDICT, s, g, NULL);
            continue;
        }
        if (dispatch_is_over(d, g)) {
            dispatch_tell_together(d, g, ATTEMPT_EXPIRE, dispatch_is_over);
            continue;
        }
        if (dest_is_stale(d, d->dests[g->dest])) {
            group_queue_leave(d->sched, g);
            dispatch_enqueue(d, g); /* its MX may have changed: ask first */
            continue;
        }
        site_take(s, d->sched);
        count_rate(d, s, &way);
        attempt_deliver(d, s, way.idle != NULL ? way.idle : open_conn(d, s, &way), g);
    }
}
