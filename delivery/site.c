/* delivery/site.c - the queues of a site, by sender, in turns.
 *
 * A sender who comes while others wait is fresh: he goes ahead of all who have
 * had a turn here already, so a password reset leaves with the next connection
 * that is free, however many newsletters are in line. From then on he has his
 * place among the others, and keeps it while his queue is empty: else whoever
 * hands in one message at a time would always be fresh.
 */
#include "delivery/site.h"

#include "base/mem.h"
#include "base/timers.h"

#include <stdlib.h>

#define FRESH_RUN_MAX 4u /* in a row, then one of those who wait for their next turn */

struct site *site_new(struct dispatch *d, const char *key, struct host_list *hosts, bool literal_ok)
{
    struct site *s = mem_new(struct site);

    s->dispatch = d;
    s->key = mem_str(key);
    s->hosts = hosts != NULL ? host_list_ref(hosts) : NULL;
    s->literal_ok = literal_ok;
    s->tell_ms = TIMERS_NEVER;
    list_init(&s->fresh);
    list_init(&s->turns);
    list_init(&s->conns);
    list_init(&s->starved_link);
    return s;
}

void site_free(struct site *s)
{
    struct sender_queue *q, *tmp;

    HASH_ITER (hh, s->senders, q, tmp) {
        HASH_DEL(s->senders, q);
        free(q);
    }
    host_list_unref(s->hosts);
    free(s->verdict.text);
    free(s->smarts);
    free(s->last_error);
    free(s->key);
    free(s);
}

bool site_unused(const struct site *s)
{
    return s->users == 0 && s->ready == 0 && s->conn_count == 0 && s->busy_count == 0;
}

/* What a sender has waiting here; one who has nothing comes to the end of `line`. */
static struct sender_queue *sender_queue(struct site *s, uint32_t sender, struct list *line)
{
    struct sender_queue *q;

    HASH_FIND(hh, s->senders, &sender, sizeof sender, q);
    if (q == NULL) {
        q = mem_new(struct sender_queue);
        q->sender = sender;
        q->groups.sum = &s->ready;
        HASH_ADD(hh, s->senders, sender, sizeof q->sender, q);
        q->line = line;
        list_append(line, &q->turn);
    }
    return q;
}

static void sender_forget(struct site *s, struct sender_queue *q)
{
    list_remove(&q->turn);
    HASH_DEL(s->senders, q);
    free(q);
}

static void note_times(struct site *s, const struct group *g)
{
    uint64_t first = g->warn_ms < g->expires_ms ? g->warn_ms : g->expires_ms;

    if (first < s->tell_ms)
        s->tell_ms = first;
}

void site_add(struct site *s, struct schedule *sched, struct group *g)
{
    note_times(s, g);
    group_queue_add(sched, &sender_queue(s, g->sender, &s->fresh)->groups, g);
}

void site_add_front(struct site *s, struct schedule *sched, struct group *g)
{
    struct sender_queue *q = sender_queue(s, g->sender, &s->fresh);

    note_times(s, g);
    group_queue_add_front(sched, &q->groups, g);
    list_remove(&q->turn);
    list_prepend(q->line, &q->turn);
}

void site_add_rest(struct site *s, struct schedule *sched, struct group *g)
{
    note_times(s, g);
    group_queue_add_front(sched, &sender_queue(s, g->sender, &s->turns)->groups, g);
}

static struct list *whose_turn(struct site *s)
{
    if (list_empty(&s->fresh))
        return &s->turns;
    return s->fresh_run < FRESH_RUN_MAX || list_empty(&s->turns) ? &s->fresh : &s->turns;
}

/* The first in line with something to send; who has nothing loses his place. */
static struct sender_queue *next_sender(struct site *s)
{
    while (s->senders != NULL) {
        struct sender_queue *q = list_first(whose_turn(s), struct sender_queue, turn);

        if (q->groups.len != 0)
            return q;
        sender_forget(s, q);
    }
    return NULL;
}

struct group *site_next(struct site *s, struct schedule *sched)
{
    struct sender_queue *q = next_sender(s);

    return q != NULL ? schedule_group(sched, q->groups.head) : NULL;
}

struct group *site_take(struct site *s, struct schedule *sched)
{
    struct sender_queue *q = next_sender(s);
    struct group *g;

    if (q == NULL)
        return NULL;
    g = group_queue_take(sched, &q->groups);
    s->fresh_run = q->line == &s->fresh && !list_empty(&s->turns) ? s->fresh_run + 1 : 0;
    q->line = &s->turns;
    list_remove(&q->turn);
    list_append(q->line, &q->turn);
    site_tidy(s);
    return g;
}

void site_tidy(struct site *s)
{
    if (s->ready == 0)
        next_sender(s);
}

void site_pick(struct site *s, struct schedule *sched, bool (*stays)(void *ctx, struct group *g), void *ctx)
{
    struct sender_queue *q, *tmp;

    s->tell_ms = TIMERS_NEVER;
    HASH_ITER (hh, s->senders, q, tmp) {
        for (uint32_t n = q->groups.len; n > 0; n--) {
            struct group *g = group_queue_take(sched, &q->groups);

            if (g == NULL)
                break; /* others of its message left with one of them */
            if (stays(ctx, g)) {
                note_times(s, g);
                group_queue_add(sched, &q->groups, g);
            }
        }
    }
}

struct move {
    struct schedule *sched;
    uint32_t dest;
    struct site *to;
};

static bool stays(void *ctx, struct group *g)
{
    struct move *m = ctx;

    if (g->dest != m->dest)
        return true;
    site_add(m->to, m->sched, g);
    return false;
}

void site_move(struct site *from, struct schedule *sched, uint32_t dest, struct site *to)
{
    struct move m = { sched, dest, to };

    site_pick(from, sched, stays, &m);
}

struct site_conn *site_idle_conn(struct site *s)
{
    list_foreach (it, &s->conns) {
        struct site_conn *sc = container_of(it, struct site_conn, link);

        if (!sc->busy && !sc->gone && !sc->spent)
            return sc;
    }
    return NULL;
}
