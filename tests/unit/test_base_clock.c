/* Waiting for another thread, with a deadline; a wall clock that is set. */
#include "tests/unit/check.h"

#include "base/clock.h"

struct told {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool happened;
};

static void told_init(struct told *t)
{
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->cond);
    t->happened = false;
}

static void told_release(struct told *t)
{
    pthread_cond_destroy(&t->cond);
    pthread_mutex_destroy(&t->lock);
}

/* As clock.h shows it; true when it happened. */
static bool wait_for(struct told *t, uint64_t wait_ms)
{
    uint64_t until = cond_deadline_ms(wait_ms);
    bool in_time = true, happened;

    pthread_mutex_lock(&t->lock);
    while (!t->happened && in_time)
        in_time = cond_wait_until(&t->cond, &t->lock, until);
    happened = t->happened;
    pthread_mutex_unlock(&t->lock);
    return happened;
}

static void test_nothing_happens(void **state)
{
    struct told t;
    uint64_t begin;

    told_init(&t);
    begin = cond_deadline_ms(0);
    assert_false(wait_for(&t, 30));
    /* Not before its time: a deadline of another clock would be far in the past
     * or for ever in the future. */
    assert_true(cond_deadline_ms(0) - begin >= 30);
    /* A deadline that has passed does not wait. */
    assert_false(wait_for(&t, 0));
    told_release(&t);
}

static void *tell(void *arg)
{
    struct told *t = arg;

    pthread_mutex_lock(&t->lock);
    t->happened = true;
    pthread_cond_broadcast(&t->cond);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void test_it_happens(void **state)
{
    struct told t;
    pthread_t thread;
    uint64_t begin;

    told_init(&t);
    begin = cond_deadline_ms(0);
    assert_int_equal(pthread_create(&thread, NULL, tell, &t), 0);
    assert_true(wait_for(&t, 60 * SECOND_MS));
    assert_true(cond_deadline_ms(0) - begin < 50 * SECOND_MS);
    assert_true(wait_for(&t, 0)); /* already so */
    pthread_join(thread, NULL);
    told_release(&t);
}

/* Who is woken for another's sake waits on, up to the same deadline. */
static void test_woken_for_nothing(void **state)
{
    struct told t;
    uint64_t until, begin;

    told_init(&t);
    begin = cond_deadline_ms(0);
    until = cond_deadline_ms(30);
    pthread_mutex_lock(&t.lock);
    while (cond_wait_until(&t.cond, &t.lock, until))
        ;
    pthread_mutex_unlock(&t.lock);
    assert_true(cond_deadline_ms(0) - begin >= 30);
    told_release(&t);
}

struct hands { /* of a clock that the test sets */
    uint64_t mono_ms, wall_ms, pause_ms;
};

static uint64_t hands_mono(void *ctx)
{
    return ((struct hands *)ctx)->mono_ms;
}

/* pause_ms pass while it is read. */
static uint64_t hands_wall(void *ctx)
{
    struct hands *h = ctx;
    uint64_t read = h->wall_ms;

    h->mono_ms += h->pause_ms;
    h->wall_ms += h->pause_ms;
    return read;
}

static void pass(struct hands *h, uint64_t ms)
{
    h->mono_ms += ms;
    h->wall_ms += ms;
}

static void test_42_a_clock_that_is_set_is_noticed(void **state)
{
    static const int64_t days[] = { 1, -1, -3652, 3652 };
    struct hands h = { .mono_ms = 1000, .wall_ms = 1800000000000 };
    struct clock c = { hands_mono, hands_wall, &h };
    struct clock_watch w = { 0 };

    assert_true(clock_watch_look(&w, &c) == 0);
    for (size_t i = 0; i < countof(days); i++) {
        int64_t by = days[i] * 24 * 3600 * 1000;

        pass(&h, 10000);
        assert_true(clock_watch_look(&w, &c) == 0);
        pass(&h, 5000);
        h.wall_ms += (uint64_t)by;
        assert_true(clock_watch_look(&w, &c) == by);
        assert_true(clock_watch_look(&w, &c) == 0);
    }
    /* What a time server does all day is not worth a word. */
    for (int i = 0; i < 10; i++) {
        pass(&h, 10000);
        h.wall_ms += i % 2 != 0 ? 1500 : (uint64_t)-1500;
        assert_true(clock_watch_look(&w, &c) == 0);
    }
}

/* A process that is stopped between its looks at the two clocks. */
static void test_42_a_pause_is_not_taken_for_a_change(void **state)
{
    struct hands h = { .mono_ms = 1000, .wall_ms = 1800000000000 };
    struct clock c = { hands_mono, hands_wall, &h };
    struct clock_watch w = { 0 };

    assert_true(clock_watch_look(&w, &c) == 0);
    h.pause_ms = 60000;
    assert_true(clock_watch_look(&w, &c) == 0);
    h.pause_ms = 0;
    assert_true(clock_watch_look(&w, &c) == 0);
    h.wall_ms += 60000;
    assert_true(clock_watch_look(&w, &c) == 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_happens),
        cmocka_unit_test(test_it_happens),
        cmocka_unit_test(test_woken_for_nothing),
        cmocka_unit_test(test_42_a_clock_that_is_set_is_noticed),
        cmocka_unit_test(test_42_a_pause_is_not_taken_for_a_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
