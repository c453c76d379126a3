/* The recipients of a message: each once, with the name it came by. */
#include "tests/unit/check.h"

#include "relayd/recipients.h"

#include <stdio.h>

static const struct mail_wish none;

static void test_each_once(void **state)
{
    struct recipients r = { 0 };

    for (unsigned round = 0; round < 3; round++) {
        assert_true(recipients_add(&r, SLICE("a@x.test"), SLICE("a@x.test"), &none, false));
        assert_true(recipients_add(&r, SLICE("b@x.test"), SLICE("list@y.test"), &none, true));
        assert_false(recipients_add(&r, SLICE("a@x.test"), SLICE("list@y.test"), &none, false));
        assert_true(recipients_add(&r, SLICE("c@x.test"), SLICE("list@y.test"), &none, false));
        assert_true(recipients_add(&r, SLICE("A@x.test"), SLICE_EMPTY, &none, false));
        assert_int_equal(r.count, 4);
        assert_slice_str(recipients_at(&r, 2), "c@x.test");
        assert_slice_str(recipients_original(&r, 0), "");
        assert_slice_str(recipients_original(&r, 1), "list@y.test");
        assert_slice_str(recipients_original(&r, 2), "list@y.test");
        assert_slice_str(recipients_original(&r, 3), "");
        assert_true(r.items[1].held && !r.items[2].held);
        recipients_clear(&r);
        assert_int_equal(r.count, 0);
    }
    recipients_release(&r);
}

static void check_wish(const struct recipients *r, uint32_t i, uint8_t notify, const char *original)
{
    struct mail_wish w = recipients_wish(r, i);

    assert_int_equal(w.notify, notify);
    assert_slice_str(w.original, original);
}

static void test_wishes(void **state)
{
    struct mail_wish asked = { MAIL_NOTIFY_DELAY, SLICE("rfc822;before@z.test") };
    struct recipients r = { 0 };

    recipients_add(&r, SLICE("a@x.test"), SLICE("a@x.test"), &none, false);
    recipients_add(&r, SLICE("b@x.test"), SLICE("l+1=2@y.test"), &none, false);
    recipients_add(&r, SLICE("c@x.test"), SLICE("\"a b\"@y.test"), &none, false);
    recipients_add(&r, SLICE("d@x.test"), SLICE("l@y.test"), &asked, false);
    recipients_add(&r, SLICE("e@x.test"), SLICE("\xc3\xbc@y.test"), &none, false);
    check_wish(&r, 0, 0, "");
    check_wish(&r, 1, 0, "rfc822;l+2B1+3D2@y.test");
    check_wish(&r, 2, 0, "rfc822;\"a+20b\"@y.test");
    check_wish(&r, 3, MAIL_NOTIFY_DELAY, "rfc822;before@z.test");
    check_wish(&r, 4, 0, "");
    assert_slice_str(recipients_original(&r, 4), "\xc3\xbc@y.test");
    recipients_release(&r);
}

static void test_many(void **state)
{
    struct recipients r = { 0 };
    char text[32];

    for (unsigned i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "u%u@x.test", i % 10000);
        assert_int_equal(recipients_add(&r, slice_str(text), SLICE("l@y.test"), &none, false), i < 10000);
    }
    assert_slice_str(recipients_at(&r, 9999), "u9999@x.test");
    assert_slice_str(recipients_original(&r, 9999), "l@y.test");
    recipients_clear(&r);
    assert_null(r.items); /* a session does not keep what one message needed */
    recipients_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once),
        cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
