/* The accounts link: what is written is read; what was cut, lengthened or
 * bent is refused. */
#include "tests/unit/check.h"

#include "auth/accounts_wire.h"

static const struct accounts_wire samples[] = {
    {
        .type = ACCOUNTS_WIRE_LOGIN,
        .id = 7,
        .mechanism = SLICE("SCRAM-SHA-256-PLUS"),
        .service = SLICE("smtp"),
        .binding = SLICE("0123456789abcdef0123456789\0bcdef"),
        .has_external = true,
        .external = SLICE("joe@example.com"),
        .tls = true,
        .addr = { .family = AF_INET6, .port = 5, .scope = 2, .bytes = { 0x20, 1, 0xd, 0xb8 } },
        .has_response = true,
        .response = SLICE("\0joe\0secret"),
    },
    { .type = ACCOUNTS_WIRE_LOGIN, .mechanism = SLICE("LOGIN"), .clear_ok = true },
    { .type = ACCOUNTS_WIRE_STEP, .id = UINT64_MAX, .has_response = true, .response = SLICE("") },
    { .type = ACCOUNTS_WIRE_CANCEL, .id = 9 },
    { .type = ACCOUNTS_WIRE_CHARGE, .user = SLICE("joe@example.com"), .recipients = 1000000 },
    { .type = ACCOUNTS_WIRE_ADMIN, .payload = SLICE("\1\0\2") },
    { .type = ACCOUNTS_WIRE_ADMIN_ANSWER, .payload = SLICE("") },
    { .type = ACCOUNTS_WIRE_HELLO, .generation = 1ull << 60 },
    {
        .type = ACCOUNTS_WIRE_ANSWER,
        .verdict = ACCOUNTS_OK,
        .user = SLICE("joe@example.com"),
        .senders = { SLICE("joe@example.com"), SLICE("example.org") },
        .sender_count = 2,
        .sender_any = true,
        .messages_per_hour = 100,
        .recipients_per_hour = 500,
    },
    { .type = ACCOUNTS_WIRE_ANSWER, .verdict = ACCOUNTS_CHALLENGE, .challenge = SLICE("r=\0x") },
    { .type = ACCOUNTS_WIRE_CHARGED, .ok = false, .why = SLICE("4.7.1 too many") },
};

static void test_round_trip(void **state)
{
    for (size_t i = 0; i < countof(samples); i++) {
        struct buf first = { 0 }, second = { 0 };
        struct accounts_wire w;

        accounts_wire_put(&first, &samples[i]);
        assert_ok(accounts_wire_get(buf_bytes(&first), &w));
        assert_int_equal(w.type, samples[i].type);
        assert_int_equal(w.id, samples[i].id);
        assert_true(slice_eq(w.response, samples[i].response));
        assert_true(slice_eq(w.user, samples[i].user));
        assert_true(slice_eq(w.binding, samples[i].binding));
        assert_int_equal(w.sender_count, samples[i].sender_count);
        assert_int_equal(w.verdict, samples[i].verdict);
        accounts_wire_put(&second, &w);
        assert_true(slice_eq(buf_bytes(&first), buf_bytes(&second)));
        buf_release(&first);
        buf_release(&second);
    }
}

static void test_cut_and_lengthened(void **state)
{
    for (size_t i = 0; i < countof(samples); i++) {
        struct buf b = { 0 };
        struct accounts_wire w;

        accounts_wire_put(&b, &samples[i]);
        for (size_t len = 0; len < buf_len(&b); len++)
            assert_err(accounts_wire_get(slice_head(buf_bytes(&b), len), &w), ERR_PROTOCOL);
        buf_add_byte(&b, 0);
        assert_err(accounts_wire_get(buf_bytes(&b), &w), ERR_PROTOCOL);
        buf_release(&b);
    }
}

static void refused(const struct accounts_wire *w)
{
    struct accounts_wire out;
    struct buf b = { 0 };

    accounts_wire_put(&b, w);
    assert_err(accounts_wire_get(buf_bytes(&b), &out), ERR_PROTOCOL);
    buf_release(&b);
}

static void test_limits(void **state)
{
    static char large[ACCOUNTS_ADMIN_MAX + 1];
    struct accounts_wire version = samples[3];
    struct accounts_wire out;
    struct buf b = { 0 };

    memset(large, 'a', sizeof large);
    refused(&(struct accounts_wire){ .type = ACCOUNTS_WIRE_CHARGE, .user = SLICE("joe\0@example.com") });
    refused(&(struct accounts_wire){ .type = ACCOUNTS_WIRE_CHARGE,
                                     .user = slice_make(large, ACCOUNTS_NAME_MAX + 1) });
    refused(&(struct accounts_wire){ .type = ACCOUNTS_WIRE_STEP, .has_response = true,
                                     .response = slice_make(large, ACCOUNTS_RESPONSE_MAX + 1) });
    refused(&(struct accounts_wire){ .type = ACCOUNTS_WIRE_ADMIN, .payload = slice_make(large, sizeof large) });
    refused(&(struct accounts_wire){ .type = ACCOUNTS_WIRE_ANSWER, .verdict = ACCOUNTS_BAD + 1 });
    refused(&(struct accounts_wire){ .type = ACCOUNTS_WIRE_LOGIN, .addr = { .family = 99 } });
    accounts_wire_put(&b, &version);
    b.ptr[0] = ACCOUNTS_WIRE_VERSION + 1;
    assert_err(accounts_wire_get(buf_bytes(&b), &out), ERR_PROTOCOL);
    b.ptr[0] = ACCOUNTS_WIRE_VERSION;
    b.ptr[1] = ACCOUNTS_WIRE_ADMIN_ANSWER + 1;
    assert_err(accounts_wire_get(buf_bytes(&b), &out), ERR_PROTOCOL);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_and_lengthened),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
