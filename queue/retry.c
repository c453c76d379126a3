/* queue/retry.c - exponential back-off with jitter. */
#include "queue/retry.h"

static uint64_t jitter(uint64_t wait_ms, struct rng *rng)
{
    uint64_t quarter = wait_ms / 4;

    return quarter != 0 ? wait_ms - quarter + rng_below(rng, 2 * quarter + 1) : wait_ms;
}

uint64_t retry_wait_ms(const struct retry_policy *p, unsigned attempts, struct rng *rng)
{
    uint64_t wait = p->first_ms;

    for (unsigned i = 1; i < attempts && wait < p->max_ms; i++) {
        uint64_t next = wait * p->factor_percent / 100;

        if (next <= wait)
            break; /* a factor of 1: constant waits */
        wait = next;
    }
    return jitter(wait < p->max_ms ? wait : p->max_ms, rng);
}
