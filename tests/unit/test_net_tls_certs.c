/* Certificates: which are believed, which is shown, what is wrong with a pair. */
#include "tests/unit/tls_fixture.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

struct judgement {
    const struct cert *cert;
    const char *name;
    const char *error; /* NULL: good */
};

static void test_names_and_trust(void **state)
{
    const struct judgement rows[] = {
        { &site, "mx.test", NULL },
        { &site, "mail.test", NULL },
        { &wild, "a.wild.test", NULL },
        { &expired, "mx.test", "certificate has expired" },
        { &self_signed, "mx.test", "self-signed certificate" },
        { &other_name, "mx.test", "hostname mismatch" },
        { &wild, "a.b.wild.test", "hostname mismatch" },
        { &wild, "wild.test", "hostname mismatch" },
        { &site, "192.0.2.1", "IP address mismatch" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        struct tls_server *t = server_make(&rows[i].cert, 1, SLICE_EMPTY);
        struct tls_target to = { rows[i].name, TLS_NAME, NULL };
        struct pair p;

        pair_open(f, &p, t, &to);
        say(p.c.stream, "secret");
        turn_until(f, p.c.closed + p.c.opened > 0);
        if (rows[i].error == NULL) {
            assert_true(stream_tls(p.c.stream)->verified);
        } else {
            assert_int_equal(p.c.opened, 0);
            assert_err(p.c.why, ERR_TLS);
            assert_string_equal(tls_error_text(p.c.stream), rows[i].error);
            turn_until(f, p.s.closed == 1);
            assert_int_equal(buf_len(&p.s.in), 0); /* nothing was said */
            assert_err(p.s.why, ERR_TLS);
        }
        pair_close(f, &p);

        /* Any certificate will do, and what it was worth is known. */
        to.verify = TLS_ANY;
        pair_open(f, &p, t, &to);
        turn_until(f, p.c.opened == 1);
        assert_int_equal(stream_tls(p.c.stream)->verified, rows[i].error == NULL);
        if (rows[i].error != NULL)
            assert_string_equal(stream_tls(p.c.stream)->why_not, rows[i].error);
        pair_close(f, &p);
        tls_server_unref(t);
    }
}

static void test_sni(void **state)
{
    static const struct {
        const char *asked;
        bool wild;
    } rows[] = {
        { "mx.test", false },      { "MAIL.test", false },  { "a.wild.test", true }, { "A.WILD.TEST", true },
        { "a.b.wild.test", false }, { "wild.test", false }, { "nobody.test", false },  { NULL, false },
        { "192.0.2.1", false },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        /* Only the certificate that was shown is good for this name. */
        struct tls_target to = { rows[i].asked, TLS_ANY, NULL };
        struct pair p;

        pair_open(f, &p, server, &to);
        turn_until(f, p.c.opened == 1);
        if (rows[i].asked != NULL)
            assert_int_equal(stream_tls(p.c.stream)->verified, rows[i].wild || i < 2);
        assert_true(stream_tls(p.c.stream)->peer_certified);
        pair_close(f, &p);
    }
}

static void test_pair_check(void **state)
{
    struct tls_pair_facts facts;
    struct buf why = { 0 }, chain = { 0 };
    const char *locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n";
    struct tls_pair p = cert_pair(&site);
    BIO *b = BIO_new(BIO_s_mem());

    (void)locked;
    assert_ok(tls_pair_check(&p, &facts, &why));
    assert_string_equal(facts.name, "mx.test");
    assert_false(facts.self_signed);
    assert_true(facts.begins_s < time(NULL) && facts.expires_s > time(NULL) + 80000);
    p = cert_pair(&self_signed);
    assert_ok(tls_pair_check(&p, &facts, &why));
    assert_true(facts.self_signed);
    p = cert_pair(&expired); /* the caller judges times */
    assert_ok(tls_pair_check(&p, &facts, &why));
    assert_true(facts.expires_s < time(NULL));

    p = (struct tls_pair){ buf_bytes(&site.pem), buf_bytes(&wild.key_pem) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "the key is not the certificate's");
    buf_clear(&why);
    p = (struct tls_pair){ buf_bytes(&site.key_pem), buf_bytes(&site.key_pem) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "no certificate in PEM found");
    buf_clear(&why);
    p = (struct tls_pair){ buf_bytes(&site.pem), SLICE_EMPTY };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "the key: it holds no private key in PEM form");
    buf_clear(&why);

    PEM_write_bio_PKCS8PrivateKey(b, site.key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    cert_take(b, &chain);
    p = (struct tls_pair){ buf_bytes(&site.pem), buf_bytes(&chain) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_non_null(strstr(buf_cstr(&why), "encrypted with a passphrase"));
    buf_clear(&why);
    buf_clear(&chain);

    buf_add(&chain, buf_bytes(&site.pem)); /* a chain that is cut short */
    buf_add(&chain, slice_head(buf_bytes(&ca.pem), buf_len(&ca.pem) / 2));
    p = (struct tls_pair){ buf_bytes(&chain), buf_bytes(&site.key_pem) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "a certificate of its chain is damaged");
    buf_clear(&why);
    buf_clear(&chain);

    buf_add(&chain, buf_bytes(&site.pem)); /* all in one file */
    buf_add(&chain, buf_bytes(&ca.pem));
    buf_add(&chain, buf_bytes(&site.key_pem));
    p = (struct tls_pair){ buf_bytes(&chain), buf_bytes(&chain) };
    assert_ok(tls_pair_check(&p, &facts, &why));
    buf_release(&chain);
    buf_release(&why);
}

static void test_self_signed(void **state)
{
    struct fixture *f = *state;
    struct buf cert = { 0 }, key = { 0 }, why = { 0 };
    struct tls_pair pair;
    struct tls_server_options opt = { &pair, 1, tickets, SLICE_EMPTY };
    struct tls_pair_facts facts;
    struct tls_server *t;
    struct tls_client *trusting, *before = client;
    struct pair p;

    assert_ok(tls_self_signed("mx.test", clock_wall_ms(&clock_system), &cert, &key));
    pair = (struct tls_pair){ buf_bytes(&cert), buf_bytes(&key) };
    assert_ok(tls_pair_check(&pair, &facts, &why));
    assert_true(facts.self_signed && facts.expires_s > time(NULL) + 9 * 365 * 86400);
    assert_ok(tls_server_new(&opt, &why, &t));
    trusting = client = cert_client(buf_bytes(&cert));
    pair_open(f, &p, t, &to_site);
    turn_until(f, p.c.opened == 1);
    pair_close(f, &p);
    client = before;
    tls_client_unref(trusting);
    tls_server_unref(t);
    buf_release(&cert);
    buf_wipe(&key);
    buf_release(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_names_and_trust),
        EACH(test_sni),
        EACH(test_pair_check),
        EACH(test_self_signed),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
