/* queue/retry.h - when to try again, when to give up. Pure. */
#ifndef QUEUE_RETRY_H
#define QUEUE_RETRY_H

#include "base/clock.h"

struct retry_policy {
    uint64_t first_ms;       /* before the second attempt */
    unsigned factor_percent; /* each wait is so much of the one before */
    uint64_t max_ms;
    uint64_t doubt_ms;       /* after an ambiguous end, at least */
    uint64_t expire_ms;      /* from acceptance */
    uint64_t warn_ms;        /* the delay warning; 0 = none */
};

/* How long to wait after attempt number `attempts` (1 = the first) failed:
 * exponential, with up to a quarter of jitter either way, never over max_ms
 * by more than the jitter. */
uint64_t retry_wait_ms(const struct retry_policy *p, unsigned attempts, struct rng *rng);

#endif
