/* Who may send to whom: trusted networks anywhere, strangers to our domains
 * only, nobody through tricks in the address. */
#include "tests/unit/check.h"

#include "auth/relay.h"

static struct net_addr addr(const char *text)
{
    struct net_addr a;

    assert_true(net_addr_parse(slice_str(text), &a));
    return a;
}

static struct relay_rules *rules(bool trust_loopback, bool empty)
{
    static const char *const domains[] = { "zeta.test", "dest.test", "xn--bcher-kva.test", "a.test" };
    struct net_prefix trusted[2];
    struct relay_options opt = {
        .trusted = trusted,
        .trusted_count = empty ? 0 : 2,
        .trust_loopback = trust_loopback,
        .domains = domains,
        .domain_count = empty ? 0 : countof(domains),
    };

    assert_true(net_prefix_parse(SLICE("192.0.2.0/24"), &trusted[0]));
    assert_true(net_prefix_parse(SLICE("2001:db8::/32"), &trusted[1]));
    return relay_rules_new(&opt);
}

static void test_trust(void **state)
{
    static const struct {
        const char *client, *listener;
        bool loopback, trusted;
    } rows[] = {
        { "192.0.2.77", "0.0.0.0", false, true },
        { "192.0.3.1", "0.0.0.0", false, false },
        { "2001:db8:1::5", "::", false, true },
        { "2001:db9::5", "::", false, false },
        { "127.0.0.1", "127.0.0.1", true, true },
        { "::1", "::1", true, true },
        { "127.0.0.1", "0.0.0.0", true, false }, /* a stranger behind NAT looks like this */
        { "127.0.0.1", "192.0.2.1", true, false },
        { "127.0.0.1", "127.0.0.1", false, false },
        { "198.51.100.1", "127.0.0.1", true, false },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct relay_rules *r = rules(rows[i].loopback, false);
        struct net_addr client = addr(rows[i].client), listener = addr(rows[i].listener);

        if (relay_trusts(r, &client, &listener) != rows[i].trusted)
            fail_msg("%s at %s", rows[i].client, rows[i].listener);
        relay_rules_free(r);
    }
}

static enum relay_verdict judge(const struct relay_rules *r, bool trusted, const char *path)
{
    struct mail_path p;
    size_t used;

    assert_int_equal(mail_path_parse(slice_str(path), 0, &p, &used), MAIL_PATH_OK);
    return relay_judge(r, trusted, &p);
}

static void test_strangers(void **state)
{
    static const struct {
        const char *to;
        enum relay_verdict verdict;
    } rows[] = {
        { "<b@dest.test>", RELAY_OK },
        { "<b@DEST.Test>", RELAY_OK },
        { "<b@a.test>", RELAY_OK },
        { "<b@zeta.test>", RELAY_OK },
        { "<b@xn--bcher-kva.test>", RELAY_OK },
        { "<b@elsewhere.test>", RELAY_DENIED },
        { "<b@sub.dest.test>", RELAY_DENIED },
        { "<b@dest.test.evil.test>", RELAY_DENIED },
        { "<b@dest.tes>", RELAY_DENIED },
        { "<b@evildest.test>", RELAY_DENIED },
        { "<b@[127.0.0.1]>", RELAY_DENIED },
        { "<@dest.test:b@elsewhere.test>", RELAY_DENIED },
        { "<b%elsewhere.test@dest.test>", RELAY_ROUTED_LOCAL },
        { "<elsewhere.test!b@dest.test>", RELAY_ROUTED_LOCAL },
        { "<\"b@elsewhere.test\"@dest.test>", RELAY_ROUTED_LOCAL },
    };
    struct relay_rules *r = rules(true, false);

    for (size_t i = 0; i < countof(rows); i++) {
        if (judge(r, false, rows[i].to) != rows[i].verdict)
            fail_msg("%s", rows[i].to);
        assert_int_equal(judge(r, true, rows[i].to), RELAY_OK);
    }
    relay_rules_free(r);
}

static void test_without_domains_nothing_is_ours(void **state)
{
    struct relay_rules *r = rules(false, true);

    assert_int_equal(judge(r, false, "<b@dest.test>"), RELAY_DENIED);
    relay_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_without_domains_nothing_is_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
