/* relayd/engine_clock.c - says when the wall clock was set.
 *
 * No wait depends on it: those use the monotonic clock. But times in the log, in
 * the history and in what relayctl shows make a step there, which an admin who
 * reads them should know of.
 */
#include "relayd/engine_internal.h"

#include "base/log.h"

#include <stdio.h>

#define LOOK_MS (5 * SECOND_MS)

static const char *span(uint64_t ms, char *out, size_t room)
{
    unsigned long long s = ms / SECOND_MS;

    snprintf(out, room, "%llu d %llu h %llu min %llu s", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60);
    return out;
}

static void look(struct timer *t)
{
    struct engine *en = container_of(t, struct engine, clock_timer);
    int64_t by = clock_watch_look(&en->clock_watch, &clock_system);
    char text[64];

    if (by != 0)
        log_warning("engine", "the clock was set %s by %s: waits and limits go on as they were",
                    by > 0 ? "ahead" : "back", span((uint64_t)(by > 0 ? by : -by), text, sizeof text));
    loop_arm(en->loops[0].loop, &en->clock_timer, LOOK_MS);
}

/* A restart knows no more than what the queue holds: a clock set ahead looks
 * like a machine that was off. */
static void compare_with_queue(struct engine *en)
{
    uint64_t newest = queue_newest_wall_ms(en->queue), now = clock_wall_ms(&clock_system);
    char text[64];

    if (newest > now + CLOCK_SET_MIN_MS)
        log_warning("engine", "the clock is %s before the newest message in the queue or the history: it was set back, "
                              "or is wrong; mail goes on as it would have",
                    span(newest - now, text, sizeof text));
}

void engine_clock_start(struct engine *en)
{
    compare_with_queue(en);
    en->clock_timer.fire = look;
    look(&en->clock_timer);
}
