/* Timers fire in order of time, then of arming, and can be moved and removed. */
#include "tests/unit/check.h"

#include "base/clock.h"
#include "base/timers.h"

struct probe {
    struct timer timer;
    struct timers *owner;
    uint64_t fired_at;
    unsigned fires;
    uint64_t again_in;
};

static uint64_t now;
static uint64_t last_due;

static void probe_fire(struct timer *t)
{
    struct probe *p = container_of(t, struct probe, timer);

    assert_true(t->due_ms <= now);
    assert_true(t->due_ms >= last_due);
    last_due = t->due_ms;
    p->fired_at = now;
    p->fires++;
    if (p->again_in != 0)
        timers_arm(p->owner, t, now + p->again_in);
}

static void test_order(void **state)
{
    struct timers ts = { 0 };
    struct probe probes[500] = { 0 };
    struct rng rng;

    rng_seed(&rng, 1);
    for (size_t i = 0; i < countof(probes); i++) {
        probes[i].timer.fire = probe_fire;
        timers_arm(&ts, &probes[i].timer, rng_below(&rng, 1000));
    }
    for (size_t i = 0; i < countof(probes); i += 3)
        timers_arm(&ts, &probes[i].timer, rng_below(&rng, 1000));
    for (size_t i = 1; i < countof(probes); i += 3)
        timers_disarm(&ts, &probes[i].timer);
    last_due = 0;
    for (now = 0; now <= 1000; now += 10)
        timers_run(&ts, now);
    for (size_t i = 0; i < countof(probes); i++)
        assert_int_equal(probes[i].fires, i % 3 == 1 ? 0 : 1);
    assert_true(timers_next(&ts) == TIMERS_NEVER);
    timers_release(&ts);
}

static void test_rearm_does_not_spin(void **state)
{
    struct timers ts = { 0 };
    struct probe p = { .timer = { .fire = probe_fire }, .owner = &ts };

    now = 5;
    last_due = 0;
    timers_arm(&ts, &p.timer, 5);
    timers_run(&ts, now);
    assert_int_equal(p.fires, 1);
    p.again_in = 1;
    timers_arm(&ts, &p.timer, 5);
    now = 100;
    timers_run(&ts, now); /* due again at 101 */
    assert_int_equal(p.fires, 2);
    assert_true(timers_next(&ts) == 101);
    timers_release(&ts);
    assert_false(timer_armed(&p.timer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_rearm_does_not_spin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
