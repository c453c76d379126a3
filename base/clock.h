/* base/clock.h - time and dice as parameters.
 *
 * Intervals and deadlines use the monotonic clock, which counts on while the
 * machine sleeps; what is stored or shown uses the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/base.h"

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
