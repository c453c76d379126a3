/* Which addresses had broken TLS: told apart, forgotten in time, bounded. */
#include "tests/unit/check.h"

#include "delivery/tls_memory.h"
#include "base/clock.h"

#include <stdio.h>

static struct net_addr addr(const char *text)
{
    struct net_addr a;

    assert_true(net_addr_parse_port(slice_str(text), &a));
    return a;
}

static void test_told_apart(void **state)
{
    struct tls_memory *m = tls_memory_new();
    struct net_addr a = addr("192.0.2.1:25"), b = addr("192.0.2.1:587"), c = addr("192.0.2.2:25");

    tls_memory_add(m, "mx.test", &a, 1000);
    assert_true(tls_memory_has(m, "mx.test", &a, 1001));
    assert_false(tls_memory_has(m, "mx.test", &b, 1001));
    assert_false(tls_memory_has(m, "mx.test", &c, 1001));
    assert_false(tls_memory_has(m, "other.test", &a, 1001));
    tls_memory_free(m);
    tls_memory_free(NULL);
}

static void test_forgotten(void **state)
{
    struct tls_memory *m = tls_memory_new();
    struct net_addr a = addr("[2001:db8::1]:25");

    tls_memory_add(m, "mx.test", &a, 0);
    tls_memory_add(m, "mx.test", &a, 1000); /* again: from then on */
    assert_true(tls_memory_has(m, "mx.test", &a, TLS_MEMORY_FOR_MS + 999));
    assert_false(tls_memory_has(m, "mx.test", &a, TLS_MEMORY_FOR_MS + 1000));
    assert_false(tls_memory_has(m, "mx.test", &a, 0)); /* gone for good */
    tls_memory_free(m);
}

static void test_bounded(void **state)
{
    struct tls_memory *m = tls_memory_new();
    struct net_addr a = addr("192.0.2.1:25");
    char name[32];

    for (unsigned i = 0; i <= TLS_MEMORY_MAX; i++) {
        snprintf(name, sizeof name, "mx%u.test", i);
        tls_memory_add(m, name, &a, i);
    }
    assert_false(tls_memory_has(m, "mx0.test", &a, TLS_MEMORY_MAX));
    assert_true(tls_memory_has(m, "mx1.test", &a, TLS_MEMORY_MAX));
    assert_true(tls_memory_has(m, name, &a, TLS_MEMORY_MAX));
    tls_memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_apart),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
