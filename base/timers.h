/* base/timers.h - what is due when, in one thread.
 *
 * A timer is embedded in its owner, zero-initialised but for `fire`. Timers
 * due at the same moment fire in the order they were armed, so a simulated
 * run repeats exactly.
 */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include "base/base.h"

struct timer {
    void (*fire)(struct timer *t); /* runs disarmed; may arm again or free */
    uint64_t due_ms;
    uint64_t order;
    size_t slot; /* 1-based place in the heap; 0 when not armed */
};

struct timers {
    struct timer **heap;
    size_t len;
    size_t cap;
    uint64_t next_order;
};

#define TIMERS_NEVER UINT64_MAX

void timers_arm(struct timers *ts, struct timer *t, uint64_t due_ms); /* re-arms */
void timers_disarm(struct timers *ts, struct timer *t);               /* fine if not armed */
uint64_t timers_next(const struct timers *ts);                        /* or TIMERS_NEVER */
void timers_run(struct timers *ts, uint64_t now_ms);                  /* fires all due */
void timers_release(struct timers *ts);                               /* fires nothing */

static inline bool timer_armed(const struct timer *t)
{
    return t->slot != 0;
}

#endif
