/* queue/schedule.h - in memory: which recipients wait for what, until when.
 *
 * A group is the recipients of one message that go the same way (one
 * destination) and share their next attempt. Groups that wait for a time are
 * in a heap by what is due first: attempt, delay warning or expiry. All else
 * about them is in the store.
 *
 * A destination is a number that delivery/ gives; so is a sender. One thread.
 */
#ifndef QUEUE_SCHEDULE_H
#define QUEUE_SCHEDULE_H

#include "queue/message.h"

enum group_state {
    GROUP_FREE,
    GROUP_WAITING,   /* in the heap */
    GROUP_READY,     /* in a queue of its destination or site */
    GROUP_ACTIVE,    /* an attempt or a change is under way */
    GROUP_HELD,      /* by an admin */
    GROUP_ROUTE_HELD, /* by a hold route; not stored */
    GROUP_STATES
};

struct group {
    uint64_t id;
    uint64_t next_ms;     /* monotonic: the next attempt */
    uint64_t expires_ms;  /* monotonic; TIMERS_NEVER while held */
    uint64_t warn_ms;     /* monotonic; TIMERS_NEVER once told */
    struct message *hot;  /* content still in memory from its arrival; or NULL */
    union {
        uint32_t one;     /* recipient numbers, ascending: count == 1 */
        uint32_t *many;
    } n;
    uint32_t count;
    uint32_t self;        /* its own index */
    uint32_t dest;
    uint32_t sender;
    uint32_t sibling;     /* next group of the same message; 0 = none */
    uint32_t link, back;  /* neighbours in its queue; 0 = none */
    struct group_queue *queue; /* where it stands; NULL = in none */
    uint32_t heap_slot;   /* 1-based; 0 = not waiting */
    uint32_t attempts;
    uint16_t generation;  /* of the routing that chose dest */
    uint8_t state;        /* schedule_set_state() changes it */
    bool released;        /* the next attempt ignores hold routes */
    bool attempted;       /* since this start: only then may it expire */
    uint8_t wish;         /* what an admin asked of it while it was active */
};

struct schedule;

struct schedule *schedule_new(void);
void schedule_free(struct schedule *s); /* drops hot messages too; NULL is fine */

static inline const uint32_t *group_numbers(const struct group *g)
{
    return g->count == 1 ? &g->n.one : g->n.many;
}

/* A new group of these recipients, in no queue and not waiting. */
struct group *schedule_add(struct schedule *s, uint64_t id, const uint32_t *numbers, uint32_t count);
void schedule_append_number(struct schedule *s, struct group *g, uint32_t n); /* n above all others */
void schedule_set_numbers(struct schedule *s, struct group *g, const uint32_t *numbers, uint32_t count);
void schedule_set_state(struct schedule *s, struct group *g, enum group_state state);
/* Splits the first `count` recipients off into a new group like it. */
struct group *schedule_split(struct schedule *s, struct group *g, uint32_t count);
void schedule_remove(struct schedule *s, struct group *g); /* out of heap and queue too */
struct group *schedule_group(struct schedule *s, uint32_t index); /* 0 gives NULL */

/* The groups of a message, chained by sibling; NULL if there is none. */
struct group *schedule_find(struct schedule *s, uint64_t id);
static inline struct group *schedule_sibling(struct schedule *s, const struct group *g)
{
    return g->sibling != 0 ? schedule_group(s, g->sibling) : NULL;
}

void schedule_wait(struct schedule *s, struct group *g); /* into the heap, by its times */
void schedule_unwait(struct schedule *s, struct group *g); /* fine if not waiting */
uint64_t schedule_due_ms(const struct group *g);
uint64_t schedule_next_ms(const struct schedule *s); /* TIMERS_NEVER when none waits */
struct group *schedule_take_due(struct schedule *s, uint64_t now_ms); /* NULL: nothing is due */

void group_drop_hot(struct group *g);

struct schedule_counts {
    uint64_t messages, groups, recipients;
    uint64_t waiting, ready, active, held; /* recipients by their group's state */
    size_t memory;
};
void schedule_counts(const struct schedule *s, struct schedule_counts *out);
/* Every group once; visit may not add or remove. */
void schedule_each(struct schedule *s, void (*visit)(void *ctx, struct group *g), void *ctx);

/* First in, first out. A queue stays where it is while groups are in it. */
struct group_queue {
    uint32_t head, tail;
    uint32_t len;
    uint64_t *sum; /* counts the groups of several queues; or NULL */
};
void group_queue_add(struct schedule *s, struct group_queue *q, struct group *g); /* now READY */
void group_queue_add_front(struct schedule *s, struct group_queue *q, struct group *g);
struct group *group_queue_take(struct schedule *s, struct group_queue *q); /* now ACTIVE; NULL: empty */
void group_queue_leave(struct schedule *s, struct group *g); /* fine if in none */

#endif
