/* delivery/arrive.c - how messages enter the schedule: new ones from their
 * commit, stored ones at start. Each recipient's route is found here first.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define SAME_TIME_MS 100u
#define LEFT_MAX_MS  (30 * DAY_MS) /* as long as a sender may postpone by default: more is a clock set back */

/* ---- a new message --------------------------------------------------------- */

/* How the times of the store become times of the monotonic clock. A wait in
 * the future of a wall clock that has jumped is cut to what we would have
 * chosen at most. */
static uint64_t mono_of_wall(struct dispatch *d, uint64_t now_wall, uint64_t at_wall_ms, uint64_t longest_ms)
{
    uint64_t wait = at_wall_ms > now_wall ? at_wall_ms - now_wall : 0;

    return d->opt.home->now_ms + (wait < longest_ms ? wait : longest_ms);
}

struct times {
    uint64_t next_ms, expires_ms, warn_ms;
};

/* How much later than at its arrival it was to go, as its sender asked. Its
 * arrival may be known by its id only, and ids run ahead of a clock that was
 * set back: then what is left of the wait is all of it. */
uint64_t dispatch_postponed_ms(const struct dispatch *d, const struct recipient *r, uint64_t received_wall_ms)
{
    uint64_t now_wall, left;

    if (r->release_wall_ms == 0)
        return 0;
    now_wall = clock_wall_ms(d->opt.home->clock);
    left = r->release_wall_ms > now_wall ? r->release_wall_ms - now_wall : 0;
    if (received_wall_ms > now_wall && left <= LEFT_MAX_MS)
        return left;
    if (r->release_wall_ms >= received_wall_ms)
        return r->release_wall_ms - received_wall_ms;
    return left < LEFT_MAX_MS ? left : LEFT_MAX_MS;
}

static struct times times_of(struct dispatch *d, const struct recipient *r, uint64_t received_wall_ms)
{
    const struct retry_policy *p = policy_retry(d->policy, r->address);
    uint64_t now_wall = clock_wall_ms(d->opt.home->clock);
    uint64_t longest = p->max_ms + p->max_ms / 4;
    uint64_t begins = recipient_begins(r, received_wall_ms);
    uint64_t later = dispatch_postponed_ms(d, r, received_wall_ms);
    struct times t;

    if (p->doubt_ms > longest)
        longest = p->doubt_ms;
    if (later > longest)
        longest = later;
    t.next_ms = mono_of_wall(d, now_wall, r->next_wall_ms, longest);
    t.expires_ms = mono_of_wall(d, now_wall, begins + p->expire_ms, later + p->expire_ms);
    if (p->warn_ms == 0 || (r->flags & RECIPIENT_WARNED) != 0)
        t.warn_ms = TIMERS_NEVER;
    else
        t.warn_ms = mono_of_wall(d, now_wall, begins + p->warn_ms, later + p->warn_ms);
    return t;
}

static void set_times(struct group *g, const struct times *t)
{
    g->next_ms = t->next_ms;
    g->expires_ms = t->expires_ms;
    g->warn_ms = t->warn_ms;
}

/* Its sender wants it to go another time: the same for all its recipients. */
static bool is_later(const struct dispatch *d, const struct message *m)
{
    return m->recipients[0].release_wall_ms > clock_wall_ms(d->opt.home->clock);
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
        schedule_set_state(d->sched, g, GROUP_HELD);
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
    bool later = is_later(d, m);
    struct group *g, *next;
    struct times times;

    if (schedule_find(d->sched, m->id) != NULL)
        return; /* the audit was faster */
    for (uint32_t i = 0; i < m->recipient_count; i++) {
        const struct recipient *r = &m->recipients[i];
        struct dest *dest = dest_of_recipient(d, r);

        for (g = schedule_find(d->sched, m->id); g != NULL && !same_way(g, dest, r);)
            g = schedule_sibling(d->sched, g);
        if (g != NULL) {
            schedule_append_number(d->sched, g, r->n);
            continue;
        }
        g = add_group(d, m->id, r, dest);
        times = times_of(d, r, m->received_wall_ms);
        set_times(g, &times);
        if (g->state != GROUP_HELD && dest->kind != DEST_HOLD && !later &&
            atomic_load(&d->hot_memory) + memory <= d->opt.hot_memory_max) {
            g->hot = message_ref(m);
            atomic_fetch_add(&d->hot_memory, memory);
            if (!d->draining)
                signing_ahead(d, m);
        }
    }
    for (g = schedule_find(d->sched, m->id); g != NULL; g = next) {
        next = schedule_sibling(d->sched, g);
        if (g->state == GROUP_HELD)
            continue;
        if (d->draining || later)
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
    uint64_t id; /* the message whose recipients come; they come in order of id */
    uint64_t recipients;
};

static void adopt(struct dispatch *d, uint64_t id, const struct recipient *r, struct dest *dest,
                  const struct times *times)
{
    struct group *g = add_group(d, id, r, dest);

    set_times(g, times);
    if (g->state == GROUP_HELD)
        return;
    if (dest->kind == DEST_HOLD)
        schedule_set_state(d->sched, g, GROUP_ROUTE_HELD);
    else
        schedule_wait(d->sched, g);
}

void dispatch_adopt(struct dispatch *d, uint64_t id, const struct recipient *r)
{
    struct times times = times_of(d, r, queue_id_wall_ms(id));

    adopt(d, id, r, dest_of_recipient(d, r), &times);
    dispatch_arm_tick(d);
}

/* Whether a recipient shares the rest of its way with a group. Times of one
 * group were stored as one, and each look at the clock may differ a little. */
static bool same_course(const struct group *g, const struct recipient *r, const struct times *t)
{
    uint64_t apart = g->next_ms > t->next_ms ? g->next_ms - t->next_ms : t->next_ms - g->next_ms;

    return g->attempts == r->attempts && apart <= SAME_TIME_MS &&
           g->released == ((r->flags & RECIPIENT_RELEASED) != 0) &&
           (g->warn_ms == TIMERS_NEVER) == (t->warn_ms == TIMERS_NEVER);
}

/* What was one group before the restart is one again, however its recipients
 * stand among the others: its end is to be told in one notification. */
static void recover_recipient(void *ctx, uint64_t id, const struct recipient *r)
{
    struct recovery *rec = ctx;
    struct dispatch *d = rec->dispatch;
    struct dest *dest = dest_of_recipient(d, r);
    struct times times = times_of(d, r, queue_id_wall_ms(id));
    struct group *g = id == rec->id ? schedule_find(d->sched, id) : NULL;

    rec->id = id;
    rec->recipients++;
    while (g != NULL && !(same_way(g, dest, r) && same_course(g, r, &times)))
        g = schedule_sibling(d->sched, g);
    if (g != NULL)
        schedule_append_number(d->sched, g, r->n);
    else
        adopt(d, id, r, dest, &times);
}

struct err dispatch_recover(struct dispatch *d)
{
    struct recovery rec = { .dispatch = d };
    struct err e = queue_recover(d->opt.queue, recover_recipient, &rec);

    if (err_failed(e))
        return e;
    if (rec.recipients != 0)
        log_info("qmgr", "%llu recipients found in the queue", (unsigned long long)rec.recipients);
    dispatch_arm_tick(d);
    audit_start(d);
    return ERR_OK;
}
