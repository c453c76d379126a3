/* tests/sim/admin.c - somebody holds, releases, retries, deletes and bounces
 * messages at the worst of times, and changes the configuration.
 */
#include "tests/sim/sim.h"

struct order {
    struct post post;
    struct sim *sim;
    uint64_t id;
    struct msg *msg;
    enum dispatch_order what;
};

/* What may happen to its recipients from now on. */
static void expect(struct order *o, struct rcpt *r)
{
    r->ordered = true;
    switch (o->what) {
    case ORDER_RETRY:
        r->not_before_ms = 0;
        r->held = false;
        break;
    case ORDER_RELEASE: /* of a hold, not of the time its sender named */
        r->not_before_ms = r->msg->release_ms;
        if (o->sim->jumps && mono_of_wall(o->sim, r->msg->release_wall_ms) < r->not_before_ms)
            r->not_before_ms = mono_of_wall(o->sim, r->msg->release_wall_ms);
        r->held = false;
        break;
    case ORDER_DELETE:
        r->deleted = true;
        break;
    case ORDER_BOUNCE:
        r->failed_ok = true;
        break;
    default:
        break;
    }
}

static void order_run(struct post *p)
{
    struct order *o = container_of(p, struct order, post);
    struct sim *sim = o->sim;
    struct dispatch_answer answer = { 0 };

    dispatch_order(sim->life->dispatch, o->id, o->what, &answer);
    trace(sim, "order %d for message %u: %u recipients, %u busy", o->what, o->msg->token,
          answer.recipients, answer.busy);
    if (answer.recipients != 0)
        for (size_t i = 0; i < o->msg->count; i++)
            expect(o, &o->msg->rcpts[i]);
    sim->counts.orders += answer.recipients;
    free(o);
}

static void give(struct sim *sim, struct msg *m, enum dispatch_order what)
{
    struct order *o = mem_new(struct order);

    o->post.run = order_run;
    o->sim = sim;
    o->id = m->id;
    o->msg = m;
    o->what = what;
    loop_post(&sim->life->loops[0].base, &o->post);
}

struct reload {
    struct post post;
    struct sim *sim;
};

static void reload_run(struct post *p)
{
    struct reload *r = container_of(p, struct reload, post);
    struct sim *sim = r->sim;

    sim->reloaded = !sim->reloaded;
    trace(sim, "reload");
    dispatch_reload(sim->life->dispatch, sim->reloaded ? &sim->other_policy : &sim->policy);
    sim->counts.reloads++;
    free(r);
}

static void reload(struct sim *sim)
{
    struct reload *r = mem_new(struct reload);

    r->post.run = reload_run;
    r->sim = sim;
    loop_post(&sim->life->loops[0].base, &r->post);
}

static bool alive(const struct msg *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (!m->rcpts[i].gone)
            return m->committed;
    return false;
}

static void admin_fire(struct timer *t)
{
    static const enum dispatch_order orders[] = { ORDER_RETRY,   ORDER_HOLD,   ORDER_RELEASE,
                                                  ORDER_RELEASE, ORDER_DELETE, ORDER_BOUNCE };
    struct sim *sim = container_of(t, struct sim, admin);

    timers_arm(&sim->timers, t, sim->now_ms + roll(sim, 4 * HOUR_MS));
    if (sim->life == NULL || sim->stopping || sim->ledger.count == 0)
        return;
    if (chance(sim, 30)) {
        reload(sim);
        return;
    }
    for (unsigned i = 0; i < 20; i++) {
        /* Mostly the latest: they are under way. */
        size_t back = roll(sim, chance(sim, 50) ? 4 : sim->ledger.count);
        struct msg *m =
            back < sim->ledger.count ? sim->ledger.msgs[sim->ledger.count - 1 - back] : NULL;

        if (m == NULL || !alive(m))
            continue;
        give(sim, m, orders[roll(sim, countof(orders))]);
        return;
    }
}

void admin_begin(struct sim *sim)
{
    sim->admin.fire = admin_fire;
    if (chance(sim, 50))
        timers_arm(&sim->timers, &sim->admin, sim->now_ms + roll(sim, DAY_MS));
}

void admin_release_all(struct sim *sim)
{
    timers_disarm(&sim->timers, &sim->admin);
    for (size_t i = 0; i < sim->ledger.count; i++) {
        struct msg *m = sim->ledger.msgs[i];

        for (size_t k = 0; k < m->count; k++) {
            if (m->rcpts[k].held && !m->rcpts[k].gone) {
                give(sim, m, ORDER_RELEASE);
                break;
            }
        }
    }
}
