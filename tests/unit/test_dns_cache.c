/* The cache keeps what is good, for as long as it is, and no more than it may. */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "dns/inside.h"

#include <pthread.h>
#include <stdio.h>

static void put(struct dns_cache *c, const char *name, enum dns_type type, uint64_t good_until_ms,
                size_t text_len)
{
    struct dns_answer *a = dns_answer_new(type);

    a->good_until_ms = good_until_ms;
    if (text_len != 0) {
        a->text = mem_zero(1, sizeof *a->text);
        a->text[0] = mem_zero(1, text_len + 1);
        memset(a->text[0], 'x', text_len);
        a->count = 1;
    }
    dns_cache_put(c, name, a, 1000);
    dns_answer_unref(a);
}

static bool has(struct dns_cache *c, const char *name, enum dns_type type, uint64_t now_ms)
{
    const struct dns_answer *a = dns_cache_get(c, name, type, now_ms);

    if (a != NULL)
        assert_int_equal(a->type, type);
    dns_answer_unref(a);
    return a != NULL;
}

static void test_until_its_time_is_up(void **state)
{
    struct dns_cache *c = dns_cache_new(100);
    const struct dns_answer *kept;

    put(c, "a.test", DNS_TXT, 2000, 5);
    assert_true(has(c, "a.test", DNS_TXT, 1999));
    assert_false(has(c, "a.test", DNS_MX, 1000));
    assert_false(has(c, "b.test", DNS_TXT, 1000));
    kept = dns_cache_get(c, "a.test", DNS_TXT, 1500);
    assert_false(has(c, "a.test", DNS_TXT, 2000));
    assert_false(has(c, "a.test", DNS_TXT, 1500)); /* gone for good */
    assert_string_equal(kept->text[0], "xxxxx");
    dns_answer_unref(kept);
    put(c, "old.test", DNS_A, 1000, 0); /* already over */
    assert_false(has(c, "old.test", DNS_A, 0));
    dns_cache_free(c);
    dns_cache_free(NULL);
}

static void test_replace_and_clear(void **state)
{
    struct dns_cache *c = dns_cache_new(100);

    put(c, "a.test", DNS_TXT, 2000, 5);
    put(c, "a.test", DNS_TXT, 9000, 6);
    put(c, "a.test", DNS_A, 9000, 0);
    assert_true(has(c, "a.test", DNS_TXT, 5000));
    assert_true(has(c, "a.test", DNS_A, 5000));
    dns_cache_clear(c);
    assert_false(has(c, "a.test", DNS_TXT, 5000));
    dns_cache_free(c);
}

static void test_bounded(void **state)
{
    struct dns_cache *c = dns_cache_new(320);
    char name[32];
    unsigned kept = 0;

    put(c, "used.test", DNS_A, 9000, 0);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        put(c, name, DNS_A, 9000, 0);
        assert_true(has(c, "used.test", DNS_A, 1000)); /* what is used stays */
    }
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        kept += has(c, name, DNS_A, 1000);
    }
    assert_in_range(kept, 250, 320);
    assert_true(has(c, "n4999.test", DNS_A, 1000));
    dns_cache_free(c);
}

static void test_bounded_in_bytes(void **state)
{
    struct dns_cache *c = dns_cache_new(320); /* 20 KiB a shard */
    char name[32];
    unsigned kept = 0;

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        put(c, name, DNS_TXT, 9000, 9000);
    }
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        kept += has(c, name, DNS_TXT, 1000);
    }
    assert_in_range(kept, 16, 32);
    dns_cache_free(c);
}

static void *hammer(void *arg)
{
    struct dns_cache *c = arg;
    struct rng rng;
    char name[32];

    rng_seed(&rng, (uintptr_t)pthread_self());
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "n%u.test", (unsigned)rng_below(&rng, 200));
        if (rng_below(&rng, 3) == 0)
            put(c, name, DNS_TXT, 1001 + rng_below(&rng, 100), 20);
        else
            has(c, name, DNS_TXT, 1000 + rng_below(&rng, 100));
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct dns_cache *c = dns_cache_new(100);
    pthread_t threads[4];

    for (size_t i = 0; i < countof(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, c), 0);
    for (size_t i = 0; i < countof(threads); i++)
        pthread_join(threads[i], NULL);
    dns_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_until_its_time_is_up), cmocka_unit_test(test_replace_and_clear),
        cmocka_unit_test(test_bounded),              cmocka_unit_test(test_bounded_in_bytes),
        cmocka_unit_test(test_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
