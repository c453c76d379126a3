/* Failures, bans and rates: what counts, what is forgotten, who is let in. */
#include "tests/unit/check.h"

#include "auth/bans.h"
#include "auth/rates.h"
#include "auth/verified.h"

#include <stdio.h>

static struct net_addr addr(const char *text)
{
    struct net_addr a;

    assert_true(net_addr_parse(slice_str(text), &a));
    return a;
}

static void test_slower_then_refused(void **state)
{
    struct bans *b = bans_new(BANS_DELAY_MS);
    struct net_addr a = addr("192.0.2.1"), other = addr("192.0.2.2");
    uint64_t now = 1000, last = 0;

    for (int i = 0; i < 9; i++) {
        char user[32];
        uint64_t delay;

        snprintf(user, sizeof user, "u%d@example.com", i);
        assert_false(bans_refuses(b, now, &a, ""));
        delay = bans_failure(b, now, &a, user);
        assert_true(delay >= last && delay >= 1000 && delay <= 8000);
        last = delay;
    }
    assert_int_equal(last, 8000);
    bans_failure(b, now, &a, "x@example.com");
    assert_true(bans_refuses(b, now, &a, ""));
    assert_true(bans_refuses(b, now + 5 * MINUTE_MS - 1, &a, "new@example.com"));
    assert_false(bans_refuses(b, now, &other, "new@example.com"));
    now += 5 * MINUTE_MS;
    assert_false(bans_refuses(b, now, &a, ""));
    for (int i = 0; i < 5; i++)
        bans_failure(b, now, &a, "x@example.com");
    assert_true(bans_refuses(b, now + 10 * MINUTE_MS - 1, &a, "")); /* twice as long now */
    bans_free(b);
}

static void test_counts_fall(void **state)
{
    struct bans *b = bans_new(BANS_DELAY_MS);
    struct net_addr a = addr("192.0.2.1");
    uint64_t now = 0;

    for (int i = 0; i < 500; i++, now += 2 * MINUTE_MS)
        assert_int_equal(bans_failure(b, now, &a, ""), 1000); /* now and then is nothing */
    assert_false(bans_refuses(b, now, &a, ""));
    bans_free(b);
}

static void test_user_and_who_is_known(void **state)
{
    struct bans *b = bans_new(BANS_DELAY_MS);
    struct net_addr home = addr("198.51.100.7"), stranger = addr("203.0.113.9");
    const char *joe = "joe@example.com";
    char text[32];

    bans_success(b, 0, &home, joe);
    for (int i = 0; i < 30; i++) {
        struct net_addr a;

        snprintf(text, sizeof text, "203.0.113.%d", i + 20);
        a = addr(text);
        bans_failure(b, 1000, &a, joe);
    }
    assert_true(bans_refuses(b, 1000, &stranger, joe));
    assert_false(bans_refuses(b, 1000, &stranger, "ann@example.com"));
    assert_false(bans_refuses(b, 1000, &home, joe));
    for (int i = 0; i < 9; i++)
        bans_failure(b, 1000, &home, joe);
    assert_false(bans_refuses(b, 1000, &home, joe));
    bans_failure(b, 1000, &home, joe); /* it is no longer him */
    assert_true(bans_refuses(b, 1000, &home, joe));
    bans_free(b);
}

static void test_ipv6_by_network(void **state)
{
    struct bans *b = bans_new(BANS_DELAY_MS);
    struct net_addr a = addr("2001:db8::1"), same = addr("2001:db8::ffff"), other = addr("2001:db8:0:1::1");

    for (int i = 0; i < 10; i++)
        bans_failure(b, 0, &a, "");
    assert_true(bans_refuses(b, 0, &same, ""));
    assert_false(bans_refuses(b, 0, &other, ""));
    assert_true(bans_lift(b, "2001:db8::/64"));
    assert_false(bans_refuses(b, 0, &same, ""));
    bans_free(b);
}

static bool collect(void *ctx, const struct bans_view *v)
{
    struct buf *out = ctx;

    buf_printf(out, "%s %s %u %d\n", v->is_user ? "user" : "client", v->what, v->failures, v->refused_ms != 0);
    return true;
}

static void test_list_and_lift(void **state)
{
    struct bans *b = bans_new(BANS_DELAY_MS);
    struct net_addr a = addr("192.0.2.1");
    struct buf out = { 0 };

    assert_false(bans_suspects(b, 0, &a));
    bans_failure(b, 0, &a, "joe@example.com");
    bans_failure(b, 0, &a, "");
    assert_true(bans_suspects(b, 1, &a));
    assert_false(bans_suspects(b, 5 * MINUTE_MS, &a));
    bans_each(b, 0, collect, &out);
    assert_string_equal(buf_cstr(&out), "client 192.0.2.1 2 0\nuser joe@example.com 1 0\n");
    assert_true(bans_lift(b, "192.0.2.1"));
    assert_false(bans_lift(b, "192.0.2.1"));
    assert_true(bans_lift(b, "joe@example.com"));
    buf_clear(&out);
    bans_each(b, 0, collect, &out);
    assert_int_equal(buf_len(&out), 0);
    buf_release(&out);
    bans_free(b);
}

static bool count_entry(void *ctx, const struct bans_view *v)
{
    ++*(size_t *)ctx;
    return true;
}

/* Whoever has a million addresses gets no more memory than this. */
static void test_bounded(void **state)
{
    struct bans *b = bans_new(BANS_DELAY_MS);
    struct net_addr first = addr("192.0.2.1");
    size_t n = 0;

    for (int i = 0; i < 10; i++)
        bans_failure(b, 0, &first, "");
    for (uint32_t i = 0; i < BANS_ENTRIES_MAX + 1000; i++) {
        struct net_addr a = { .family = AF_INET, .bytes = { 10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i } };

        bans_failure(b, 1, &a, "");
    }
    assert_true(bans_refuses(b, 1, &first, "")); /* what is refused stays longest */
    bans_each(b, 1, count_entry, &n);
    assert_int_equal(n, BANS_ENTRIES_MAX);
    bans_free(b);
}

/* ---- rates --------------------------------------------------------------------------------- */

#define T0 (1795449600000ull / RATES_SLOT_MS * RATES_SLOT_MS)

static void test_rate_slides(void **state)
{
    struct rates *r = rates_new();
    struct rates_verdict v;
    uint64_t messages, recipients;

    for (unsigned i = 0; i < 10; i++)
        assert_true(rates_charge(r, T0 + i * 6 * MINUTE_MS, "joe", 2, 10, 100).ok);
    v = rates_charge(r, T0 + 55 * MINUTE_MS, "joe", 1, 10, 100);
    assert_false(v.ok);
    assert_false(v.recipients);
    assert_true(v.wait_ms > 0 && v.wait_ms <= 8 * MINUTE_MS);
    assert_true(rates_charge(r, T0 + 55 * MINUTE_MS, "ann", 1, 10, 100).ok);
    assert_true(rates_charge(r, T0 + 55 * MINUTE_MS + v.wait_ms, "joe", 1, 10, 100).ok);
    rates_now(r, T0 + 55 * MINUTE_MS + v.wait_ms, "joe", &messages, &recipients);
    assert_int_equal(messages, 10);
    assert_int_equal(recipients, 19);
    rates_free(r);
}

static void test_rate_recipients(void **state)
{
    struct rates *r = rates_new();
    struct rates_verdict v;

    assert_true(rates_charge(r, T0, "joe", 60, 0, 100).ok);
    v = rates_charge(r, T0, "joe", 41, 0, 100);
    assert_false(v.ok);
    assert_true(v.recipients);
    assert_true(v.wait_ms > 0);
    assert_true(rates_charge(r, T0, "joe", 40, 0, 100).ok);
    v = rates_charge(r, T0, "ann", 101, 0, 100);
    assert_false(v.ok);
    assert_int_equal(v.wait_ms, 0); /* never */
    for (unsigned i = 0; i < 5000; i++)
        assert_true(rates_charge(r, T0, "unlimited", 1000, 0, 0).ok);
    rates_free(r);
}

static void keep(void *ctx, const char *user, struct slice window)
{
    rates_restore(ctx, user, window);
}

static void test_rate_kept(void **state)
{
    struct rates *r = rates_new(), *later = rates_new();
    uint64_t messages, recipients;

    for (unsigned i = 0; i < 7; i++)
        rates_charge(r, T0, "joe", 3, 0, 0);
    rates_each_changed(r, T0, keep, later);
    rates_free(r);
    rates_now(later, T0 + MINUTE_MS, "joe", &messages, &recipients);
    assert_int_equal(messages, 7);
    assert_int_equal(recipients, 21);
    rates_restore(later, "joe", SLICE("damaged"));
    rates_now(later, T0 + MINUTE_MS, "joe", &messages, &recipients);
    assert_int_equal(messages, 7);
    rates_now(later, T0 + HOUR_MS + RATES_SLOT_MS, "joe", &messages, &recipients);
    assert_int_equal(messages, 0);
    rates_free(later);
}

/* A clock that is set back, by a little or by years. */
static void test_rate_clock_back(void **state)
{
    struct rates *r = rates_new();

    assert_true(rates_charge(r, T0, "joe", 1, 2, 0).ok);
    assert_true(rates_charge(r, T0 - 10 * MINUTE_MS, "joe", 1, 2, 0).ok);
    assert_false(rates_charge(r, T0 - 10 * MINUTE_MS, "joe", 1, 2, 0).ok);
    assert_true(rates_charge(r, 1000, "joe", 1, 2, 0).ok);
    rates_free(r);
}

/* ---- remembered passwords --------------------------------------------------------------------- */

static void test_verified(void **state)
{
    struct verified *v = verified_new();

    verified_add(v, 0, "joe", "$y$one", SLICE("secret"));
    assert_true(verified_check(v, 1000, "joe", "$y$one", SLICE("secret")));
    assert_false(verified_check(v, 1000, "joe", "$y$one", SLICE("secre")));
    assert_false(verified_check(v, 1000, "joe", "$y$two", SLICE("secret"))); /* changed */
    assert_false(verified_check(v, 1000, "ann", "$y$one", SLICE("secret")));
    assert_false(verified_check(v, VERIFIED_KEEP_MS, "joe", "$y$one", SLICE("secret")));
    verified_add(v, 0, "joe", "$y$one", SLICE("secret"));
    verified_forget(v, "joe");
    assert_false(verified_check(v, 1, "joe", "$y$one", SLICE("secret")));
    for (unsigned i = 0; i < VERIFIED_MAX + 10; i++) {
        char user[32];

        snprintf(user, sizeof user, "u%u", i);
        verified_add(v, 0, user, "", SLICE("x"));
    }
    assert_false(verified_check(v, 1, "u0", "", SLICE("x")));
    assert_true(verified_check(v, 1, "u10", "", SLICE("x")));
    verified_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slower_then_refused),
        cmocka_unit_test(test_counts_fall),
        cmocka_unit_test(test_user_and_who_is_known),
        cmocka_unit_test(test_ipv6_by_network),
        cmocka_unit_test(test_list_and_lift),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_rate_slides),
        cmocka_unit_test(test_rate_recipients),
        cmocka_unit_test(test_rate_kept),
        cmocka_unit_test(test_rate_clock_back),
        cmocka_unit_test(test_verified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
