/* Keys: made, read back, and what is no key told apart. */
#include "tests/unit/check.h"

#include "net/keypair.h"

static void test_made_and_read(void **state)
{
    static const struct {
        enum keypair_kind kind;
        unsigned bits, want_bits;
        size_t base64_len;
    } rows[] = {
        { KEYPAIR_RSA, 2048, 2048, 392 },
        { KEYPAIR_ED25519, 0, 256, 44 }, /* 253 by OpenSSL before 3.2 */
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf pem = { 0 };
        struct keypair_public pub;

        assert_ok(keypair_generate(rows[i].kind, rows[i].bits, &pem));
        assert_ok(keypair_read(buf_bytes(&pem), &pub));
        assert_int_equal(pub.kind, rows[i].kind);
        assert_in_range(pub.bits, rows[i].want_bits - 3, rows[i].want_bits);
        assert_int_equal(buf_len(&pub.base64), rows[i].base64_len);
        buf_release(&pub.base64);
        buf_release(&pem);
    }
}

/* RFC 8463 appendix A.2: a key whose public half is known. */
static void test_known_key(void **state)
{
    static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                              "-----END PRIVATE KEY-----\n";
    struct keypair_public pub;

    assert_ok(keypair_read(slice_str(pem), &pub));
    assert_slice_str(buf_bytes(&pub.base64), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    buf_release(&pub.base64);
}

static void test_no_key(void **state)
{
    static const struct {
        const char *pem, *why;
    } rows[] = {
        { "", "it holds no private key in PEM form" },
        { "hello\n", "it holds no private key in PEM form" },
        { "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n", "it holds no private key in PEM form" },
        { "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
          "-----END PUBLIC KEY-----\n",
          "it holds no private key in PEM form" },
        { "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
          "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhIaxcZdKbpcgICCAAw\n"
          "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBW0YV9dVwsPhJJOXYRbUfIEQAZq\n"
          "zRZ6e3qPxaUQpbDK0Z0rZxQm6Ufe0uW5Z8uP9YjX1cvCXZ0cYkRr9mQvGg0mC1lO\n"
          "4hQ0Ri2v8ltO9wz1kZ8=\n"
          "-----END ENCRYPTED PRIVATE KEY-----\n",
          "it is encrypted with a passphrase, and nobody is there to type it: take that away with "
          "\"openssl pkey -in KEY -out NEW_KEY\"" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct keypair_public pub;
        struct err e = keypair_read(slice_str(rows[i].pem), &pub);

        assert_err(e, ERR_SYNTAX);
        assert_string_equal(e.what, rows[i].why);
        assert_int_equal(buf_len(&pub.base64), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_and_read),
        cmocka_unit_test(test_known_key),
        cmocka_unit_test(test_no_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
