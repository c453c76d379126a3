/* So many in so much time, evenly. */
#include "tests/unit/check.h"

#include "delivery/rate.h"

/* How many go in `ms` when one is always ready, from a moment long after 0. */
static unsigned go(struct rate_meter *m, struct rate_limit limit, uint64_t from_ms, uint64_t ms)
{
    unsigned n = 0;

    for (uint64_t now = from_ms; now < from_ms + ms;) {
        uint64_t wait = rate_wait_ms(m, &limit, now);

        if (wait != 0) {
            now += wait;
            continue;
        }
        rate_take(m, &limit, now);
        n++;
    }
    return n;
}

static void test_even(void **state)
{
    static const struct {
        struct rate_limit limit;
        uint64_t ms;
        unsigned most;
    } rows[] = {
        { { 30, 60000 }, 60000, 30 },        { { 30, 60000 }, 1, 1 },     { { 30, 60000 }, 2001, 2 },
        { { 2, 3600000 }, 3600000, 2 },      { { 1, 3600000 }, 3599999, 1 },
        { { 600, 60000 }, 1, 10 },           { { 600, 60000 }, 60000, 610 },
        { { 1000, 1000 }, 1000, 2000 },      { { 3, 1000 }, 1, 3 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct rate_meter m = { 0 };
        unsigned n = go(&m, rows[i].limit, 1000000, rows[i].ms);

        if (n > rows[i].most || n + 1 < rows[i].most)
            fail_msg("row %zu: %u", i, n);
        /* after a rest no more than one burst is saved up */
        n = go(&m, rows[i].limit, 500000000, 1);
        assert_true(n <= 1 + rows[i].limit.count * 1000 / rows[i].limit.per_ms);
    }
}

static void test_unlimited_and_back(void **state)
{
    struct rate_limit none = { 0, 0 }, hourly = { 1, 3600000 };
    struct rate_meter m = { 0 };

    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rate_wait_ms(&m, &none, 5), 0);
        rate_take(&m, &none, 5);
    }
    rate_take(&m, &hourly, 10);
    assert_int_equal(rate_wait_ms(&m, &hourly, 10), 3600000);
    assert_int_equal(rate_wait_ms(&m, &hourly, 3600009), 1);
    assert_int_equal(rate_wait_ms(&m, &hourly, 3600010), 0);
    rate_give_back(&m, &hourly);
    assert_int_equal(rate_wait_ms(&m, &hourly, 10), 0);
    rate_give_back(&m, &none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_unlimited_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
