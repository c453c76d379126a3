/* Ids go up whatever the clock does and whoever asks; waits grow and stay in
 * their bounds. */
#include "tests/unit/check.h"

#include "queue/id.h"
#include "queue/retry.h"

#include <pthread.h>

static uint64_t fake_wall(void *ctx)
{
    return *(uint64_t *)ctx;
}

static struct clock fake_clock(uint64_t *now)
{
    return (struct clock){ fake_wall, fake_wall, now };
}

static void ids_go_up_when_the_clock_goes_back(void **state)
{
    uint64_t now = 1795449912000ull, last = 0;
    struct clock clock = fake_clock(&now);
    struct id_source s;

    id_source_init(&s, &clock, 0);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t id = id_source_next(&s);

        assert_true(id > last);
        last = id;
        if (i == 50000)
            now -= 10ull * 365 * DAY_MS;
    }
}

static void an_id_tells_its_time_and_spool(void **state)
{
    uint64_t now = 1795449912000ull;
    struct clock clock = fake_clock(&now);

    for (unsigned spool = 0; spool < 64; spool++) {
        struct id_source s;
        uint64_t id;

        id_source_init(&s, &clock, spool);
        for (unsigned i = 0; i < 3; i++) {
            id = id_source_next(&s);
            assert_int_equal(id & 63, spool);
            assert_true(queue_id_wall_ms(id) == now);
            assert_true(id >= queue_id_of_wall_ms(now));
        }
        /* Another spool's id was seen, from the future. */
        id_source_raise(&s, queue_id_of_wall_ms(now + 1000) | 63);
        id = id_source_next(&s);
        assert_int_equal(id & 63, spool);
        assert_true(id > (queue_id_of_wall_ms(now + 1000) | 63));
        id_source_raise(&s, 5); /* lower: nothing */
        assert_true(id_source_next(&s) > id);
    }
}

#define THREADS 4u
#define IDS 20000u

struct asker {
    struct id_source *source;
    uint64_t ids[IDS];
};

static void *ask(void *arg)
{
    struct asker *a = arg;

    for (unsigned i = 0; i < IDS; i++)
        a->ids[i] = id_source_next(a->source);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void threads_get_different_ids(void **state)
{
    struct id_source s;
    pthread_t threads[THREADS];
    struct asker *askers = calloc(THREADS, sizeof *askers);
    uint64_t *all = calloc(THREADS * IDS, sizeof *all);

    id_source_init(&s, &clock_system, 1);
    for (unsigned i = 0; i < THREADS; i++) {
        askers[i].source = &s;
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        for (unsigned k = 1; k < IDS; k++)
            assert_true(askers[i].ids[k] > askers[i].ids[k - 1]);
        memcpy(all + i * IDS, askers[i].ids, sizeof askers[i].ids);
    }
    qsort(all, THREADS * IDS, sizeof *all, by_value);
    for (unsigned i = 1; i < THREADS * IDS; i++)
        assert_true(all[i] != all[i - 1]);
    free(askers);
    free(all);
}

static void text(void **state)
{
    static const char *const bad[] = {
        "", "0", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", " 123456789abcdef",
        "0x23456789abcdef", "-123456789abcdef", "0123456789abcde\n",
    };
    char out[QUEUE_ID_TEXT_MAX];
    uint64_t id;

    assert_string_equal(queue_id_format(0, out), "0000000000000000");
    assert_string_equal(queue_id_format(UINT64_MAX, out), "ffffffffffffffff");
    assert_string_equal(queue_id_format(0x0123456789abcdefull, out), "0123456789abcdef");
    assert_true(queue_id_parse(SLICE("0123456789ABCdef"), &id));
    assert_true(id == 0x0123456789abcdefull);
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(queue_id_parse(slice_str(bad[i]), &id));
}

/* ---- waits --------------------------------------------------------------------- */

static void waits_stay_in_their_bounds(void **state)
{
    static const struct {
        struct retry_policy p;
        unsigned attempts;
        uint64_t base;
    } rows[] = {
        { { .first_ms = 60000, .factor_percent = 200, .max_ms = 14400000 }, 1, 60000 },
        { { .first_ms = 60000, .factor_percent = 200, .max_ms = 14400000 }, 2, 120000 },
        { { .first_ms = 60000, .factor_percent = 200, .max_ms = 14400000 }, 5, 960000 },
        { { .first_ms = 60000, .factor_percent = 200, .max_ms = 14400000 }, 9, 14400000 },
        { { .first_ms = 60000, .factor_percent = 200, .max_ms = 14400000 }, UINT32_MAX, 14400000 },
        { { .first_ms = 60000, .factor_percent = 150, .max_ms = 14400000 }, 3, 135000 },
        { { .first_ms = 60000, .factor_percent = 100, .max_ms = 14400000 }, 1000000, 60000 },
        { { .first_ms = 60000, .factor_percent = 0, .max_ms = 14400000 }, 7, 60000 },
        { { .first_ms = 60000, .factor_percent = 200, .max_ms = 1000 }, 1, 1000 },
        { { .first_ms = 0, .factor_percent = 200, .max_ms = 1000 }, 3, 0 },
        { { .first_ms = 3, .factor_percent = 200, .max_ms = 3 }, 3, 3 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        uint64_t least = UINT64_MAX, most = 0;
        struct rng rng;

        rng_seed(&rng, i);
        for (unsigned k = 0; k < 2000; k++) {
            uint64_t wait = retry_wait_ms(&rows[i].p, rows[i].attempts, &rng);

            if (wait < least)
                least = wait;
            if (wait > most)
                most = wait;
        }
        assert_true(least >= rows[i].base - rows[i].base / 4);
        assert_true(most <= rows[i].base + rows[i].base / 4);
        if (rows[i].base > 1000) { /* it does spread */
            assert_true(least < rows[i].base - rows[i].base / 5);
            assert_true(most > rows[i].base + rows[i].base / 5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_go_up_when_the_clock_goes_back),
        cmocka_unit_test(an_id_tells_its_time_and_spool),
        cmocka_unit_test(threads_get_different_ids),
        cmocka_unit_test(text),
        cmocka_unit_test(waits_stay_in_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
