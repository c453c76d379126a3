/* Keys read once: libcrypto's function gives out what the ring holds, and only
 * that. */
#include "tests/unit/check.h"

#include "base/buf.h"
#include "net/keypair.h"
#include "net/keyring.h"

static struct buf one, two;

static int make_keys(void **state)
{
    assert_ok(keypair_generate(KEYPAIR_ED25519, 0, &one));
    assert_ok(keypair_generate(KEYPAIR_ED25519, 0, &two));
    return 0;
}

static int free_keys(void **state)
{
    keyring_clear();
    buf_release(&one);
    buf_release(&two);
    return 0;
}

/* keypair_read() reads as libopendkim does. */
static void assert_reads(const struct buf *pem, bool from_ring)
{
    unsigned long before = keyring_uses();
    struct keypair_public public;

    assert_ok(keypair_read(buf_bytes(pem), &public));
    assert_int_equal(public.kind, KEYPAIR_ED25519);
    assert_int_equal(keyring_uses() - before, from_ring);
    buf_release(&public.base64);
}

static void test_only_what_is_held(void **state)
{
    assert_reads(&one, false);
    assert_ok(keyring_add(buf_bytes(&one)));
    assert_reads(&two, false);
    assert_reads(&one, true);
    assert_reads(&one, true);
    assert_ok(keyring_add(buf_bytes(&two)));
    assert_reads(&two, true);
    assert_reads(&one, true);
    keyring_clear();
    assert_reads(&one, false);
}

static void test_no_key(void **state)
{
    static const char *const none[] = { "", "-----BEGIN PRIVATE KEY-----\n", "no key" };
    struct keypair_public public;

    for (size_t i = 0; i < countof(none); i++)
        assert_err(keyring_add(slice_str(none[i])), ERR_SYNTAX);
    assert_err(keyring_add(slice_head(buf_bytes(&one), buf_len(&one) - 30)), ERR_SYNTAX);
    assert_err(keypair_read(SLICE("no key"), &public), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_is_held),
        cmocka_unit_test(test_no_key),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
