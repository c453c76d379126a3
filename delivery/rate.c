/* delivery/rate.c - how soon a next hop may be given its next message. */
#include "delivery/rate.h"

#define BURST_US 1000000u

static uint64_t interval_us(const struct rate_limit *limit)
{
    return limit->per_ms * 1000 / limit->count;
}

uint64_t rate_wait_ms(const struct rate_meter *m, const struct rate_limit *limit, uint64_t now_ms)
{
    uint64_t now = now_ms * 1000, interval, ahead;

    if (limit->count == 0)
        return 0;
    interval = interval_us(limit);
    ahead = interval < BURST_US ? BURST_US - interval : 0;
    return m->due_us > now + ahead ? (m->due_us - now - ahead + 999) / 1000 : 0;
}

void rate_take(struct rate_meter *m, const struct rate_limit *limit, uint64_t now_ms)
{
    uint64_t now = now_ms * 1000;

    if (limit->count != 0)
        m->due_us = (m->due_us > now ? m->due_us : now) + interval_us(limit);
}

void rate_give_back(struct rate_meter *m, const struct rate_limit *limit)
{
    uint64_t interval = limit->count != 0 ? interval_us(limit) : 0;

    m->due_us -= m->due_us > interval ? interval : m->due_us;
}
