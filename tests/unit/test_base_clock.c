/* Waiting for another thread, with a deadline. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_happens),
        cmocka_unit_test(test_it_happens),
        cmocka_unit_test(test_woken_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
