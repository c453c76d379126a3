/* The inbox loses nothing, doubles nothing, keeps each sender's order. */
#include "tests/unit/check.h"

#include "base/post.h"

#include <pthread.h>

#define SENDERS 4
#define LETTERS 20000

struct letter {
    struct post post;
    unsigned sender, number;
};

static struct inbox in;

static void *sender_main(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *l = calloc(1, sizeof *l);

        l->sender = sender;
        l->number = i;
        inbox_push(&in, &l->post);
    }
    return NULL;
}

static void test_order_across_threads(void **state)
{
    pthread_t threads[SENDERS];
    unsigned next[SENDERS] = { 0 };
    unsigned got = 0;

    for (uintptr_t i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sender_main, (void *)i), 0);
    while (got < SENDERS * LETTERS) {
        struct post *p = inbox_take(&in);

        while (p != NULL) {
            struct letter *l = container_of(p, struct letter, post);

            p = p->next;
            assert_int_equal(l->number, next[l->sender]);
            next[l->sender]++;
            got++;
            free(l);
        }
    }
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_null(inbox_take(&in));
}

static void test_wake_only_when_empty(void **state)
{
    struct post a = { 0 }, b = { 0 };

    assert_true(inbox_push(&in, &a));
    assert_false(inbox_push(&in, &b));
    assert_ptr_equal(inbox_take(&in), &a);
    assert_ptr_equal(a.next, &b);
    assert_true(inbox_push(&in, &a));
    inbox_take(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_across_threads),
        cmocka_unit_test(test_wake_only_when_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
