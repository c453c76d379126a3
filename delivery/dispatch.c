/* delivery/dispatch.c - the dispatcher's life, and the groups that come due.
 * How messages enter the schedule is in arrive.c, how sites are served in
 * pump.c. */
#include "delivery/dispatch_internal.h"

#include "base/mem.h"

#include <stdlib.h>

#define DUE_PER_TURN 500u /* groups woken in one turn of the loop */

static void tick_fire(struct timer *t);

struct dispatch *dispatch_new(const struct dispatch_options *opt)
{
    struct dispatch *d = mem_new(struct dispatch);

    d->opt = *opt;
    d->policy = policy_ref(opt->policy);
    d->sched = schedule_new();
    d->generation = 1;
    d->tick.fire = tick_fire;
    d->health.fire = dispatch_health_fire;
    d->dest_sweep.fire = dest_sweep_fire;
    d->dest_count = 1;
    d->tls_memory = tls_memory_new();
    d->smarts.dispatch = d;
    smarts_take(&d->smarts, d->policy, NULL);
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

void dispatch_arm_tick(struct dispatch *d)
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
    dispatch_arm_tick(d);
}

void dispatch_enqueue(struct dispatch *d, struct group *g)
{
    bool let_go = g->released && d->dests[g->dest]->kind == DEST_HOLD;

    if (g->generation != d->generation || let_go)
        attempt_local(d, ATTEMPT_REROUTE, NULL, g, NULL);
    else
        dest_enqueue(d, d->dests[g->dest], g);
}

bool dispatch_is_over(const struct dispatch *d, const struct group *g)
{
    return g->attempted && g->expires_ms <= d->opt.home->now_ms;
}

bool dispatch_is_late(const struct dispatch *d, const struct group *g)
{
    return g->warn_ms <= d->opt.home->now_ms;
}

/* What is to be told of several groups of a message is told in one
 * notification. */
void dispatch_tell_together(struct dispatch *d, struct group *g, enum attempt_purpose purpose,
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
    if (dispatch_is_over(d, g))
        dispatch_tell_together(d, g, ATTEMPT_EXPIRE, dispatch_is_over);
    else if (g->next_ms > d->opt.home->now_ms && dispatch_is_late(d, g))
        dispatch_tell_together(d, g, ATTEMPT_WARN, dispatch_is_late);
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
    dispatch_arm_tick(d);
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
    signing_free_all(d);
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
    smarts_release(&d->smarts);
    tls_memory_free(d->tls_memory);
    free(d->dests);
    free(d->dest_holes);
    buf_release(&d->dest_key);
    schedule_free(d->sched);
    policy_unref(d->policy);
    free(d);
}
