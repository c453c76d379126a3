/* Addresses and networks: what is read, what is refused, how they are shown. */
#include "tests/unit/check.h"

#include "net/addr.h"

#include <arpa/inet.h>

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        const char *shown; /* NULL: refused */
    } rows[] = {
        { "192.0.2.1", "192.0.2.1" },
        { "0.0.0.0", "0.0.0.0" },
        { "255.255.255.255", "255.255.255.255" },
        { "2001:db8::1", "2001:db8::1" },
        { "2001:DB8:0:0:0:0:0:1", "2001:db8::1" },
        { "::", "::" },
        { "::1", "::1" },
        { "::ffff:192.0.2.1", "192.0.2.1" },
        { "::ffff:c000:201", "192.0.2.1" },
        { "fe80::1%3", "fe80::1%3" },
        { "fe80::1%4294967295", "fe80::1%4294967295" },
        { "", NULL },
        { "192.0.2", NULL },
        { "192.0.2.256", NULL },
        { "192.0.2.1.5", NULL },
        { "192.0.02.1", NULL },
        { "0x7f.1", NULL },
        { "2130706433", NULL },
        { " 192.0.2.1", NULL },
        { "192.0.2.1 ", NULL },
        { "192.0.2.1%1", NULL },
        { "fe80::1%", NULL },
        { "fe80::1%0", NULL },
        { "fe80::1%eth0", NULL },
        { "fe80::1%4294967296", NULL },
        { "%1", NULL },
        { "[::1]", NULL },
        { "::1::", NULL },
        { "1:2:3:4:5:6:7:8:9", NULL },
        { "12345::", NULL },
        { "localhost", NULL },
        { "*", NULL },
        { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", NULL },
    };
    char out[NET_ADDR_TEXT_MAX];

    for (size_t i = 0; i < countof(rows); i++) {
        struct net_addr a = { .family = 99 };
        bool ok = net_addr_parse(slice_str(rows[i].text), &a);

        if (ok != (rows[i].shown != NULL))
            fail_msg("%s: %s", rows[i].text, ok ? "was taken" : "was refused");
        if (ok)
            assert_string_equal(net_addr_format(&a, out), rows[i].shown);
        else
            assert_int_equal(a.family, 99);
    }
    assert_false(net_addr_parse(slice_make("1.2.3.4\0x", 9), &(struct net_addr){ 0 }));
}

static void test_parse_port(void **state)
{
    static const struct {
        const char *text, *shown;
    } rows[] = {
        { "192.0.2.1:25", "192.0.2.1:25" },
        { "[2001:db8::1]:587", "[2001:db8::1]:587" },
        { "[fe80::1%2]:25", "[fe80::1%2]:25" },
        { "*:25", "[::]:25" },
        { "127.0.0.1:0", "127.0.0.1:0" },
        { "127.0.0.1:65535", "127.0.0.1:65535" },
        { "[::ffff:192.0.2.1]:25", "192.0.2.1:25" },
        { "", NULL },
        { ":", NULL },
        { ":25", NULL },
        { "192.0.2.1", NULL },
        { "192.0.2.1:", NULL },
        { "192.0.2.1:65536", NULL },
        { "192.0.2.1:-1", NULL },
        { "192.0.2.1:+1", NULL },
        { "192.0.2.1:2 5", NULL },
        { "192.0.2.1:smtp", NULL },
        { "192.0.2.1:25:26", NULL },
        { "2001:db8::1:25", NULL },
        { "[2001:db8::1]", NULL },
        { "[2001:db8::1]25", NULL },
        { "[2001:db8::1", NULL },
        { "[192.0.2.1]:25", NULL },
        { "[]:25", NULL },
        { "[", NULL },
        { "[*]:25", NULL },
        { "**:25", NULL },
        { "localhost:25", NULL },
    };
    char out[NET_ADDR_TEXT_MAX];

    for (size_t i = 0; i < countof(rows); i++) {
        struct net_addr a;
        bool ok = net_addr_parse_port(slice_str(rows[i].text), &a);

        if (ok != (rows[i].shown != NULL))
            fail_msg("%s: %s", rows[i].text, ok ? "was taken" : "was refused");
        if (ok)
            assert_string_equal(net_addr_format_port(&a, out), rows[i].shown);
    }
}

static void test_prefix(void **state)
{
    static const struct {
        const char *prefix, *addr;
        int want; /* 1 holds, 0 holds not, -1 no prefix */
    } rows[] = {
        { "10.0.0.0/8", "10.255.1.2", 1 },
        { "10.0.0.0/8", "11.0.0.0", 0 },
        { "10.0.0.0/8", "::ffff:10.1.1.1", 1 },
        { "10.0.0.0/8", "a00::", 0 },
        { "0.0.0.0/0", "203.0.113.9", 1 },
        { "0.0.0.0/0", "::1", 0 },
        { "::/0", "2001:db8::1", 1 },
        { "::/0", "127.0.0.1", 0 },
        { "192.0.2.128/25", "192.0.2.128", 1 },
        { "192.0.2.128/25", "192.0.2.127", 0 },
        { "192.0.2.1", "192.0.2.1", 1 },
        { "192.0.2.1", "192.0.2.2", 0 },
        { "192.0.2.1/32", "192.0.2.1", 1 },
        { "2001:db8::/33", "2001:db8:7fff::", 1 },
        { "2001:db8::/33", "2001:db8:8000::", 0 },
        { "::1", "::1", 1 },
        { "::ffff:10.0.0.0/104", "10.2.3.4", 1 },
        { "10.0.0.1/8", "", -1 },
        { "10.0.0.0/33", "", -1 },
        { "10.0.0.0/", "", -1 },
        { "10.0.0.0/-1", "", -1 },
        { "10.0.0.0/008x", "", -1 },
        { "10.0.0.0/0008", "", -1 },
        { "10.0.0.0/8/8", "", -1 },
        { "2001:db8::/129", "", -1 },
        { "2001:db8::1/64", "", -1 },
        { "::ffff:10.0.0.0/8", "", -1 },
        { "fe80::1%2/128", "", -1 },
        { "/8", "", -1 },
        { "", "", -1 },
        { "*", "", -1 },
        { "10/8", "", -1 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct net_prefix p;
        struct net_addr a;

        if (net_prefix_parse(slice_str(rows[i].prefix), &p) != (rows[i].want >= 0))
            fail_msg("%s: wrongly %s", rows[i].prefix, rows[i].want >= 0 ? "refused" : "taken");
        if (rows[i].want < 0)
            continue;
        assert_true(net_addr_parse(slice_str(rows[i].addr), &a));
        if (net_prefix_holds(&p, &a) != (rows[i].want == 1))
            fail_msg("%s in %s", rows[i].addr, rows[i].prefix);
    }
    assert_false(net_prefix_holds(&(struct net_prefix){ { .family = AF_INET }, 0 },
                                  &(struct net_addr){ .family = AF_UNIX }));
}

static void test_kinds(void **state)
{
    static const struct {
        const char *text;
        bool loopback, unspecified;
    } rows[] = {
        { "127.0.0.1", true, false },     { "127.255.255.255", true, false },
        { "128.0.0.1", false, false },    { "::1", true, false },
        { "::ffff:127.0.0.1", true, false }, { "::2", false, false },
        { "0.0.0.0", false, true },       { "::", false, true },
        { "::ffff:0.0.0.0", false, true }, { "0.0.0.1", false, false },
    };
    struct net_addr local = { .family = AF_UNIX }, none = { 0 };
    char out[NET_ADDR_TEXT_MAX];

    for (size_t i = 0; i < countof(rows); i++) {
        struct net_addr a;

        assert_true(net_addr_parse(slice_str(rows[i].text), &a));
        assert_int_equal(net_addr_is_loopback(&a), rows[i].loopback);
        assert_int_equal(net_addr_is_unspecified(&a), rows[i].unspecified);
    }
    assert_true(net_addr_is_loopback(&local));
    assert_false(net_addr_is_unspecified(&local));
    assert_false(net_addr_is_loopback(&none));
    assert_false(net_addr_is_unspecified(&none));
    assert_string_equal(net_addr_format(&local, out), "local");
    assert_string_equal(net_addr_format_port(&none, out), "unknown");
}

static void test_sockaddr(void **state)
{
    static const char *const rows[] = { "192.0.2.1:25", "[2001:db8::1]:587", "[fe80::1%7]:1" };
    struct sockaddr_storage sa;
    struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(25) };
    struct net_addr a, b;
    char out[NET_ADDR_TEXT_MAX];

    for (size_t i = 0; i < countof(rows); i++) {
        assert_true(net_addr_parse_port(slice_str(rows[i]), &a));
        assert_true(net_addr_to_sockaddr(&a, &sa) > 0);
        assert_true(net_addr_from_sockaddr((struct sockaddr *)&sa, &b));
        assert_true(net_addr_equal_host(&a, &b));
        assert_true(net_addr_hash(&a) == net_addr_hash(&b));
        assert_int_equal(a.port, b.port);
    }
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.9", &mapped.sin6_addr), 1);
    assert_true(net_addr_from_sockaddr((struct sockaddr *)&mapped, &a));
    assert_string_equal(net_addr_format_port(&a, out), "192.0.2.9:25");
    b = a;
    b.port = 26;
    assert_true(net_addr_equal_host(&a, &b));
    b.bytes[0]++;
    assert_false(net_addr_equal_host(&a, &b));
    assert_int_equal(net_addr_to_sockaddr(&(struct net_addr){ .family = AF_UNIX }, &sa), 0);
    sa.ss_family = AF_NETLINK;
    assert_false(net_addr_from_sockaddr((struct sockaddr *)&sa, &a));
    assert_int_equal(a.family, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_parse_port),
        cmocka_unit_test(test_prefix), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_sockaddr),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
