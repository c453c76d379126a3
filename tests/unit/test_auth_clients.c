/* Limits on connections: all together and of one client. */
#include "tests/unit/check.h"

#include "auth/clients.h"

static struct net_addr addr(const char *text)
{
    struct net_addr a;

    assert_true(net_addr_parse(slice_str(text), &a));
    return a;
}

static void test_limits(void **state)
{
    struct clients *c = clients_new();
    struct net_addr one = addr("192.0.2.1"), two = addr("192.0.2.2");

    assert_int_equal(clients_enter(c, &one, 3, 2), CLIENTS_OK);
    assert_int_equal(clients_enter(c, &one, 3, 2), CLIENTS_OK);
    assert_int_equal(clients_enter(c, &one, 3, 2), CLIENTS_TOO_MANY_OF_THIS);
    assert_int_equal(clients_enter(c, &two, 3, 2), CLIENTS_OK);
    assert_int_equal(clients_enter(c, &two, 3, 2), CLIENTS_TOO_MANY);
    assert_int_equal(clients_count(c), 3);
    clients_leave(c, &one);
    assert_int_equal(clients_enter(c, &two, 3, 2), CLIENTS_OK);
    clients_leave(c, &one);
    clients_leave(c, &one); /* one too many changes nothing */
    assert_int_equal(clients_count(c), 2);
    clients_free(c);
}

static void test_no_limits(void **state)
{
    struct clients *c = clients_new();
    struct net_addr one = addr("192.0.2.1");

    for (int i = 0; i < 5000; i++)
        assert_int_equal(clients_enter(c, &one, 0, 0), CLIENTS_OK);
    assert_int_equal(clients_count(c), 5000);
    clients_free(c);
}

/* Whoever has a /64 has as many addresses as he likes. */
static void test_ipv6_by_network(void **state)
{
    struct clients *c = clients_new();
    struct net_addr a = addr("2001:db8::1"), b = addr("2001:db8::ffff"), other = addr("2001:db8:0:1::1");

    assert_int_equal(clients_enter(c, &a, 0, 1), CLIENTS_OK);
    assert_int_equal(clients_enter(c, &b, 0, 1), CLIENTS_TOO_MANY_OF_THIS);
    assert_int_equal(clients_enter(c, &other, 0, 1), CLIENTS_OK);
    clients_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_limits),
        cmocka_unit_test(test_ipv6_by_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
