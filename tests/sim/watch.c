/* tests/sim/watch.c - looks over the scheduler's shoulder whenever nothing is
 * left to do at a moment: no mail lies where it could go, nothing that is due is
 * slept over, no wait is longer than the policy allows, nobody turns in circles,
 * and in the end all memory is given back.
 */
#include "tests/sim/sim.h"

#include "delivery/dispatch_internal.h"

#include <inttypes.h>

#define LATE_MS         SECOND_MS /* a tick that comes later than this is lost */
#define UNPROVEN_MAX    2u        /* connections to a site that has not answered yet */
#define TIMER_TURNS_MAX 400u      /* turns of a loop in a second for nothing but timers */
#define QUESTIONS_MAX   400u      /* asked of name servers in a second */
#define ODD_MS          (10 * DAY_MS) /* what clocks that jump may add to a wait */

/* ---- sites ------------------------------------------------------------------------- */

static unsigned limit_of(const struct dispatch *d, const struct site *s, uint64_t now_ms)
{
    unsigned limit = d->policy->connections_per_site;

    if (s->capped_until_ms > now_ms && s->capped < limit)
        return s->capped;
    if (s->failures > 0)
        return 1;
    return s->proven || limit < UNPROVEN_MAX ? limit : UNPROVEN_MAX;
}

static void watch_site(struct sim *sim, const struct dispatch *d, const struct site *s)
{
    if (s->ready == 0 || s->verdict.set)
        return;
    if (s->down_until_ms > sim->now_ms) {
        if (!timer_armed(&s->wake))
            broken(sim, "site %s is down and nobody will look at its mail", s->key);
        return;
    }
    list_foreach (it, &s->conns) {
        const struct site_conn *sc = container_of(it, struct site_conn, link);

        if (!sc->busy && !sc->gone && !sc->spent)
            broken(sim, "site %s has mail and an idle connection", s->key);
    }
    if (s->conn_count >= limit_of(d, s, sim->now_ms))
        return;
    if (d->conn_count < d->policy->connections)
        broken(sim, "site %s has mail and %u connections, and may have %u", s->key, s->conn_count,
               limit_of(d, s, sim->now_ms));
    if (!s->starved)
        broken(sim, "site %s has mail and does not wait for a connection", s->key);
}

static void watch_dest(struct sim *sim, const struct dest *dest)
{
    if (dest->waiting.len != 0 && dest->query == NULL && !timer_armed(&dest->retry))
        broken(sim, "mail for %s waits for name servers that nobody asks", dest->domain);
}

/* Nothing is runnable now. */
void watch_rest(struct sim *sim)
{
    struct dispatch *d = sim->life->dispatch;
    uint64_t next = schedule_next_ms(d->sched);
    struct dest *dest, *dest_tmp;
    struct site *s, *site_tmp;

    if (d->draining || queue_space(sim->life->queue) == STORE_BROKEN)
        return;
    if (next != TIMERS_NEVER && next + LATE_MS < sim->now_ms)
        broken(sim, "mail that is due is slept over, %" PRIu64 " ms", sim->now_ms - next);
    if (timer_armed(&d->health))
        return; /* the store was broken; all are looked at when it fires */
    HASH_ITER (hh, d->dest_by_key, dest, dest_tmp)
        watch_dest(sim, dest);
    HASH_ITER (hh, d->site_by_key, s, site_tmp)
        watch_site(sim, d, s);
}

/* ---- waits ------------------------------------------------------------------------------ */

/* Jitter is a quarter; what its sender asked for comes on top. */
static uint64_t longest_wait(const struct sim *sim)
{
    uint64_t longest = sim->retry.max_ms + sim->retry.max_ms / 4;

    if (sim->retry.doubt_ms > longest)
        longest = sim->retry.doubt_ms;
    return longest + LATE_MS;
}

/* Its sender wants it to go later; whoever lets it go now and then is an admin. */
static bool is_postponed(const struct sim *sim, uint64_t id)
{
    for (size_t i = 0; i < sim->ledger.count; i++)
        if (sim->ledger.msgs[i]->id == id)
            return sim->ledger.msgs[i]->hold_s != 0;
    return false;
}

struct round {
    struct sim *sim;
    struct schedule_counts seen;
};

static void watch_group(void *ctx, struct group *g)
{
    struct round *round = ctx;
    struct sim *sim = round->sim;
    uint64_t more = HOLD_MAX_S * SECOND_MS + (sim->jumps ? ODD_MS : 0);
    uint64_t wait = g->next_ms > sim->now_ms ? g->next_ms - sim->now_ms : 0;

    round->seen.recipients += g->count;
    round->seen.ready += g->state == GROUP_READY ? g->count : 0;
    round->seen.active += g->state == GROUP_ACTIVE ? g->count : 0;
    if (g->state != GROUP_WAITING)
        return;
    round->seen.waiting += g->count;
    if (wait > longest_wait(sim) && !(is_postponed(sim, g->id) && wait <= more))
        broken(sim, "%" PRIx64 " waits for %" PRIu64 " ms, longer than any wait", g->id, wait);
    if (g->expires_ms != TIMERS_NEVER && g->expires_ms > sim->now_ms + sim->retry.expire_ms + more)
        broken(sim, "%" PRIx64 " expires in %" PRIu64 " ms only", g->id, g->expires_ms - sim->now_ms);
    if (g->attempted && g->expires_ms + LATE_MS < sim->now_ms)
        broken(sim, "%" PRIx64 " lives on after its time", g->id);
}

void watch_waits(struct sim *sim)
{
    struct dispatch *d = sim->life->dispatch;
    struct round round = { .sim = sim };
    struct schedule_counts told;

    if (d->draining || queue_space(sim->life->queue) == STORE_BROKEN)
        return;
    schedule_each(d->sched, watch_group, &round);
    schedule_counts(d->sched, &told);
    if (told.recipients != round.seen.recipients || told.waiting != round.seen.waiting ||
        told.ready != round.seen.ready || told.active != round.seen.active)
        broken(sim, "the schedule tells of %" PRIu64 " recipients and has %" PRIu64, told.recipients,
               round.seen.recipients);
}

/* ---- circles ------------------------------------------------------------------------------ */

void watch_turn(struct sim *sim, bool timers_only)
{
    if (timers_only && ++sim->second_timer_turns > TIMER_TURNS_MAX + sim->opt.newsletter)
        broken(sim, "a loop turns and turns for its timers");
}

void watch_question(struct sim *sim, const char *name)
{
    if (++sim->second_questions > QUESTIONS_MAX + sim->opt.newsletter)
        broken(sim, "the name servers are asked again and again, now for %s", name);
}

/* ---- in the end ------------------------------------------------------------------------------ */

/* All mail is gone and all is quiet. */
void watch_floor(struct sim *sim)
{
    struct dispatch *d = sim->life->dispatch;
    struct schedule_counts counts;
    struct queue_stats stats;
    struct site *s, *tmp;

    schedule_counts(d->sched, &counts);
    queue_stats(sim->life->queue, &stats);
    if (counts.groups != 0)
        broken(sim, "%" PRIu64 " groups are left with nothing stored", counts.groups);
    if (atomic_load(&d->hot_memory) != 0)
        broken(sim, "%zu bytes of content are still accounted for", atomic_load(&d->hot_memory));
    if (stats.draft_memory != 0 && clients_count(sim->life->clients) == 0)
        broken(sim, "%zu bytes of drafts are still accounted for", stats.draft_memory);
    if (d->attempt_count != 0 || !list_empty(&d->attempts) || !list_empty(&d->local) || d->signings != NULL)
        broken(sim, "attempts are left with nothing stored");
    if (d->leaving > d->conn_count)
        broken(sim, "%u of %u connections are leaving", d->leaving, d->conn_count);
    HASH_ITER (hh, d->site_by_key, s, tmp)
        if (s->ready != 0 || s->senders != NULL)
            broken(sim, "%s remembers %u senders, and nobody waits there", s->key, HASH_COUNT(s->senders));
}
