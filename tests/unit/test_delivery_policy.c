/* Which way a recipient's mail goes, in whose name it leaves, and which addresses
 * are our own. */
#include "tests/unit/check.h"

#include "delivery/policy.h"

static const unsigned first[] = { 0 };

static const struct route routes[] = {
    { .from = "@shop.example", .action = ROUTE_VIA, .smarthosts = first, .smarthost_count = 1 },
    { .to = "hold.example", .action = ROUTE_HOLD },
    { .to = "spam@hold.example", .action = ROUTE_DISCARD }, /* never reached */
    { .from = "boss@example.com", .to = "never.example", .action = ROUTE_DIRECT },
    { .to = "never.example", .action = ROUTE_REJECT, .text = "no" },
};

static struct delivery_policy policy(void)
{
    return (struct delivery_policy){
        .routes = routes,
        .route_count = countof(routes),
        .fallback = { .action = ROUTE_DIRECT },
        .retry = { .first_ms = 1 },
    };
}

static void first_match_wins(void **state)
{
    static const struct {
        const char *from, *to;
        bool skip_hold;
        enum route_action want;
    } rows[] = {
        { "a@shop.example", "b@anywhere.example", false, ROUTE_VIA },
        { "a@SHOP.example", "b@hold.example", false, ROUTE_VIA },
        { "a@example.com", "b@hold.example", false, ROUTE_HOLD },
        { "a@example.com", "spam@hold.example", false, ROUTE_HOLD },
        { "a@example.com", "spam@hold.example", true, ROUTE_DISCARD }, /* released */
        { "a@example.com", "b@hold.example", true, ROUTE_DIRECT },
        { "boss@example.com", "b@never.example", false, ROUTE_DIRECT },
        { "aide@example.com", "b@never.example", false, ROUTE_REJECT },
        { "", "b@never.example", false, ROUTE_REJECT }, /* the null reverse-path */
        { "", "b@other.example", false, ROUTE_DIRECT },
        { "a@notshop.example", "b@other.example", false, ROUTE_DIRECT },
        { "a@example.com", "b@notnever.example", false, ROUTE_DIRECT },
    };
    struct delivery_policy p = policy();

    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(
            policy_route(&p, slice_str(rows[i].from), slice_str(rows[i].to), rows[i].skip_hold)->action,
            rows[i].want);
}

static void a_fallback_that_holds(void **state)
{
    struct delivery_policy p = policy();

    p.fallback.action = ROUTE_HOLD;
    assert_int_equal(policy_route(&p, SLICE("a@b.c"), SLICE("x@y.z"), false)->action, ROUTE_HOLD);
    assert_int_equal(policy_route(&p, SLICE("a@b.c"), SLICE("x@y.z"), true)->action, ROUTE_DIRECT);
}

static void waits_by_recipient(void **state)
{
    static const struct retry_rule rules[] = {
        { "slow.example", { .first_ms = 10 } },
        { "slow.example", { .first_ms = 11 } },
        { "vip@fast.example", { .first_ms = 12 } },
    };
    struct delivery_policy p = policy();

    p.retries = rules;
    p.retry_count = countof(rules);
    assert_int_equal(policy_retry(&p, SLICE("a@slow.example"))->first_ms, 10);
    assert_int_equal(policy_retry(&p, SLICE("vip@fast.example"))->first_ms, 12);
    assert_int_equal(policy_retry(&p, SLICE("x@fast.example"))->first_ms, 1);
}

static struct net_addr addr(const char *text)
{
    struct net_addr a = { 0 };

    assert_true(net_addr_parse_port(slice_str(text), &a));
    return a;
}

static void our_own_addresses(void **state)
{
    static const struct {
        const char *own, *other;
        bool want;
    } rows[] = {
        { "192.0.2.1:25", "192.0.2.1:25", true },
        { "192.0.2.1:25", "192.0.2.1:2525", false },
        { "192.0.2.1:25", "192.0.2.2:25", false },
        { "0.0.0.0:25", "127.0.0.1:25", true },
        { "0.0.0.0:25", "127.9.9.9:25", true },
        { "0.0.0.0:25", "192.0.2.2:25", false },
        { "0.0.0.0:25", "127.0.0.1:2525", false },
        { "*:25", "[::1]:25", true },
        { "*:25", "127.0.0.1:25", true },
        { "[2001:db8::1]:25", "[2001:db8::1]:25", true },
        { "[2001:db8::1]:25", "[2001:db8::2]:25", false },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct net_addr own = addr(rows[i].own), other = addr(rows[i].other);
        struct delivery_policy p = policy();

        p.own = &own;
        p.own_count = 1;
        assert_int_equal(policy_is_own_address(&p, &other, other.port), rows[i].want);
    }
}

/* Strangers' mail is not vouched for, and that of a user whose From is not his
 * own only in the name of its envelope's sender, which was checked. */
static void who_signs(void **state)
{
    static const struct signing_domain signing[] = { { .name = "a.example" }, { .name = "b.example" },
                                                     { .name = "post.example" } };
    static const struct {
        uint32_t flags;
        const char *header, *sender;
        const char *want; /* NULL: nobody */
    } rows[] = {
        { MESSAGE_OURS, "From: x@a.example\r\n", "y@elsewhere.example", "a.example" },
        { MESSAGE_OURS, "From: x@A.Example, z@b.example\r\n", "", "a.example" },
        { MESSAGE_OURS, "From: x@elsewhere.example\r\n", "x@a.example", NULL },
        { MESSAGE_OURS, "From: x@sub.a.example\r\n", "x@a.example", NULL },
        { MESSAGE_OURS, "Subject: none\r\n", "x@a.example", "a.example" },
        { MESSAGE_OURS, "From: root\r\n", "x@b.example", "b.example" },
        { MESSAGE_OURS, "From: root\r\n", "", NULL },
        { MESSAGE_OURS | MESSAGE_EIGHT_BIT, "From: x@a.example\r\n", "", "a.example" },
        { 0, "From: x@a.example\r\n", "x@a.example", NULL },
        { MESSAGE_EIGHT_BIT | MESSAGE_SMTPUTF8, "From: x@a.example\r\n", "x@a.example", NULL },
        { MESSAGE_OURS_BY_SENDER, "From: x@b.example\r\n", "x@a.example", "a.example" },
        { MESSAGE_OURS_BY_SENDER, "From: x@elsewhere.example\r\n", "x@a.example", "a.example" },
        { MESSAGE_OURS_BY_SENDER, "From: x@b.example\r\n", "x@elsewhere.example", NULL },
        { MESSAGE_OURS_BY_SENDER, "From: x@b.example\r\n", "", NULL },
        /* our notices: the host's domain, one above it, postmaster's */
        { MESSAGE_DSN, "From: MAILER-DAEMON@a.example\r\n", "", "a.example" },
        { MESSAGE_DSN, "From: MAILER-DAEMON@mx.sub.b.example\r\n", "", "b.example" },
        { MESSAGE_DSN, "From: MAILER-DAEMON@nota.example\r\n", "", "post.example" },
    };
    struct delivery_policy p = policy();

    for (size_t i = 0; i < countof(rows); i++) {
        struct message m = { .flags = rows[i].flags, .header = slice_str(rows[i].header),
                             .reverse_path = slice_str(rows[i].sender) };
        const struct signing_domain *found;

        p.signing = NULL;
        p.signing_count = 0;
        assert_null(policy_signing(&p, &m));
        p.signing = signing;
        p.signing_count = countof(signing);
        p.postmaster_domain = "post.example";
        found = policy_signing(&p, &m);
        if ((found != NULL) != (rows[i].want != NULL) || (found != NULL && strcmp(found->name, rows[i].want) != 0))
            fail_msg("row %zu: signed by %s", i, found != NULL ? found->name : "none");
    }
    p.postmaster_domain = NULL;
    assert_null(policy_signing(&p, &(struct message){ .flags = MESSAGE_DSN, .header = SLICE("From: m@c.example\r\n") }));
}

static void a_domain_that_signs(void **state)
{
    static const struct signing_domain signing[] = { { .name = "a.example" }, { .name = "c.example" } };
    struct delivery_policy p = policy();

    assert_null(policy_signing_domain(&p, "a.example"));
    p.signing = signing;
    p.signing_count = countof(signing);
    assert_ptr_equal(policy_signing_domain(&p, "a.example"), &signing[0]);
    assert_ptr_equal(policy_signing_domain(&p, "c.example"), &signing[1]);
    assert_null(policy_signing_domain(&p, "b.example"));
    assert_null(policy_signing_domain(&p, ""));
}

/* A reload keeps what is known of a smart host, and its connections, only when
 * nothing about it has changed. */
static void unchanged_smarthosts(void **state)
{
    static const struct next_host hosts[] = { { .name = "a.test", .port = 587 }, { .name = "b.test", .port = 465 } };
    static const struct next_host first_tls[] = { { .name = "a.test", .port = 587, .tls_first = true },
                                                  { .name = "b.test", .port = 465 } };
    static const struct next_host swapped[] = { { .name = "b.test", .port = 465 }, { .name = "a.test", .port = 587 } };
    static const char *const command[] = { "/bin/token", "-x", NULL }, *const same_command[] = { "/bin/token", "-x", NULL },
                             *const longer[] = { "/bin/token", "-x", "y", NULL };
    const struct smarthost base = { .title = "t", .hosts = hosts, .host_count = 2, .tls = HOP_TLS_VERIFIED,
                                    .user = "u", .token_command = command, .rate = { 1, 1000 } };
    struct smarthost o = base;

    o.token_command = same_command;
    assert_true(policy_same_smarthost(&base, &o));
    o.token_command = longer;
    assert_false(policy_same_smarthost(&base, &o));
    assert_false(policy_same_smarthost(&o, &base));
    o.token_command = NULL;
    assert_false(policy_same_smarthost(&base, &o));
#define DIFFERS(field, value)                                                                      \
    do {                                                                                           \
        o = base;                                                                                  \
        o.field = value;                                                                           \
        assert_false(policy_same_smarthost(&base, &o));                                            \
    } while (0)
    DIFFERS(title, "other");
    DIFFERS(hosts, first_tls);
    DIFFERS(hosts, swapped);
    DIFFERS(host_count, 1);
    DIFFERS(tls, HOP_TLS_REQUIRED);
    DIFFERS(user, "v");
    DIFFERS(user, NULL);
    DIFFERS(password, "p");
    DIFFERS(token_file, "/t");
    DIFFERS(mechanisms, 1);
    DIFFERS(connections, 1);
    DIFFERS(rate.count, 2);
    DIFFERS(rate.per_ms, 1);
#undef DIFFERS
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_match_wins),
        cmocka_unit_test(a_fallback_that_holds),
        cmocka_unit_test(waits_by_recipient),
        cmocka_unit_test(our_own_addresses),
        cmocka_unit_test(who_signs),
        cmocka_unit_test(a_domain_that_signs),
        cmocka_unit_test(unchanged_smarthosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
