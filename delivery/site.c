/* delivery/site.c - the queues of a site, by sender, in turns. */
#include "delivery/site.h"

#include "base/mem.h"

#include <stdlib.h>

struct site *site_new(struct dispatch *d, const char *key, struct host_list *hosts, bool literal_ok)
{
    struct site *s = mem_new(struct site);

    s->dispatch = d;
    s->key = mem_str(key);
    s->hosts = hosts != NULL ? host_list_ref(hosts) : NULL;
    s->literal_ok = literal_ok;
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

static struct sender_queue *sender_queue(struct site *s, uint32_t sender)
{
    struct sender_queue *q;

    HASH_FIND(hh, s->senders, &sender, sizeof sender, q);
    if (q == NULL) {
        q = mem_new(struct sender_queue);
        q->sender = sender;
        q->groups.sum = &s->ready;
        HASH_ADD(hh, s->senders, sender, sizeof q->sender, q);
        list_append(&s->turns, &q->turn);
    }
    return q;
}

void site_add(struct site *s, struct schedule *sched, struct group *g)
{
    group_queue_add(sched, &sender_queue(s, g->sender)->groups, g);
}

void site_add_front(struct site *s, struct schedule *sched, struct group *g)
{
    struct sender_queue *q = sender_queue(s, g->sender);

    group_queue_add_front(sched, &q->groups, g);
    list_remove(&q->turn);
    list_prepend(&s->turns, &q->turn);
}

struct group *site_take(struct site *s, struct schedule *sched)
{
    while (!list_empty(&s->turns)) {
        struct sender_queue *q = list_first(&s->turns, struct sender_queue, turn);
        struct group *g = group_queue_take(sched, &q->groups);

        list_remove(&q->turn);
        if (q->groups.len == 0) {
            HASH_DEL(s->senders, q);
            free(q);
        } else {
            list_append(&s->turns, &q->turn);
        }
        if (g != NULL)
            return g;
    }
    return NULL;
}

void site_move(struct site *from, struct schedule *sched, uint32_t dest, struct site *to)
{
    for (uint64_t n = from->ready; n > 0; n--) {
        struct group *g = site_take(from, sched);

        if (g == NULL)
            break;
        site_add(g->dest == dest ? to : from, sched, g);
    }
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
