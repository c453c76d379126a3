/* delivery/rate.h - so many messages in so much time, evenly spread.
 *
 * A message is due when the one before is an interval old (GCRA), give or
 * take a second's worth that may go at once: "600/min" lets ten go together
 * and then one every 100 ms; "2/h" is one every half hour. Pure.
 */
#ifndef DELIVERY_RATE_H
#define DELIVERY_RATE_H

#include "base/base.h"

struct rate_limit {
    uint64_t count; /* 0 = unlimited */
    uint64_t per_ms;
};

struct rate_meter { /* zero-initialised: nothing has gone yet */
    uint64_t due_us; /* when the next one would be due */
};

/* In how many ms one more may go; 0: now. */
uint64_t rate_wait_ms(const struct rate_meter *m, const struct rate_limit *limit, uint64_t now_ms);
void rate_take(struct rate_meter *m, const struct rate_limit *limit, uint64_t now_ms); /* one goes */
/* It went nowhere after all. */
void rate_give_back(struct rate_meter *m, const struct rate_limit *limit);

#endif
