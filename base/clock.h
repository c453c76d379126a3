/* base/clock.h - time and dice as parameters, and waiting with a deadline.
 *
 * Intervals and deadlines use the monotonic clock, which counts on while the
 * machine sleeps; what is stored or shown uses the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/base.h"

#include <pthread.h>

struct clock {
    uint64_t (*mono_ms)(void *ctx);
    uint64_t (*wall_ms)(void *ctx);
    void *ctx;
};

extern const struct clock clock_system;

static inline uint64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ms(c->ctx);
}

static inline uint64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c->ctx);
}

/* Notices that the wall clock was set: its distance to the monotonic one, which
 * nobody sets, is another than at the last look.
 *
 *     struct clock_watch w = { 0 };
 *     int64_t by_ms = clock_watch_look(&w, clock);   now and then
 */
struct clock_watch {
    bool begun;
    int64_t apart_ms;
};

/* By how much it was set since the look before, ahead when positive; 0 for less
 * than CLOCK_SET_MIN_MS, which is a clock being steered, and at the first look. */
#define CLOCK_SET_MIN_MS 2000
int64_t clock_watch_look(struct clock_watch *w, const struct clock *c);

/* Waits for a condition that another thread brings about, up to a deadline that
 * no change of the wall clock moves. It stands still while the machine sleeps:
 * who is waited for does, too.
 *
 *     uint64_t until = cond_deadline_ms(SECOND_MS);
 *     bool in_time = true;
 *
 *     pthread_mutex_lock(&lock);
 *     while (!happened && in_time)
 *         in_time = cond_wait_until(&told, &lock, until);
 */
void cond_init(pthread_cond_t *c); /* for cond_wait_until; pthread_cond_destroy ends it */
uint64_t cond_deadline_ms(uint64_t wait_ms); /* from now */
/* With the lock. False when the deadline has passed; the condition is looked at
 * again after either. */
bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ms);

/* Pseudo-random numbers for jitter and shuffles; the same seed gives the same
 * sequence. Not for secrets. One thread at a time. */
struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
void rng_seed_system(struct rng *r);           /* from the kernel */
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 … n-1; n > 0 */

/* Fills buf with bytes fit for secrets, from the kernel. */
void random_secret(void *buf, size_t len);

#endif
