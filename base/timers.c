/* base/timers.c - a binary heap of deadlines. */
#include "base/timers.h"

#include "base/mem.h"

#include <stdlib.h>

static bool earlier(const struct timer *a, const struct timer *b)
{
    return a->due_ms < b->due_ms || (a->due_ms == b->due_ms && a->order < b->order);
}

static void put(struct timers *ts, size_t slot, struct timer *t)
{
    ts->heap[slot - 1] = t;
    t->slot = slot;
}

static void sift_up(struct timers *ts, size_t slot, struct timer *t)
{
    while (slot > 1 && earlier(t, ts->heap[slot / 2 - 1])) {
        put(ts, slot, ts->heap[slot / 2 - 1]);
        slot /= 2;
    }
    put(ts, slot, t);
}

static void sift_down(struct timers *ts, size_t slot, struct timer *t)
{
    for (;;) {
        size_t child = slot * 2;

        if (child > ts->len)
            break;
        if (child < ts->len && earlier(ts->heap[child], ts->heap[child - 1]))
            child++;
        if (!earlier(ts->heap[child - 1], t))
            break;
        put(ts, slot, ts->heap[child - 1]);
        slot = child;
    }
    put(ts, slot, t);
}

void timers_arm(struct timers *ts, struct timer *t, uint64_t due_ms)
{
    timers_disarm(ts, t);
    if (ts->len == ts->cap) {
        ts->cap = ts->cap != 0 ? ts->cap * 2 : 64;
        ts->heap = mem_grow(ts->heap, ts->cap, sizeof *ts->heap);
    }
    t->due_ms = due_ms;
    t->order = ts->next_order++;
    ts->len++;
    sift_up(ts, ts->len, t);
}

void timers_disarm(struct timers *ts, struct timer *t)
{
    size_t slot = t->slot;
    struct timer *last;

    if (slot == 0)
        return;
    t->slot = 0;
    last = ts->heap[ts->len - 1];
    ts->len--;
    if (last == t)
        return;
    if (slot > 1 && earlier(last, ts->heap[slot / 2 - 1]))
        sift_up(ts, slot, last);
    else
        sift_down(ts, slot, last);
}

uint64_t timers_next(const struct timers *ts)
{
    return ts->len != 0 ? ts->heap[0]->due_ms : TIMERS_NEVER;
}

void timers_run(struct timers *ts, uint64_t now_ms)
{
    /* One armed while running waits for the next call: no endless turn. */
    uint64_t limit = ts->next_order;

    while (ts->len != 0 && ts->heap[0]->due_ms <= now_ms && ts->heap[0]->order < limit) {
        struct timer *t = ts->heap[0];

        timers_disarm(ts, t);
        t->fire(t);
    }
}

void timers_release(struct timers *ts)
{
    for (size_t i = 0; i < ts->len; i++)
        ts->heap[i]->slot = 0;
    free(ts->heap);
    *ts = (struct timers){ 0 };
}
