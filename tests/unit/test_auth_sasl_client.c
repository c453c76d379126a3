/* Logins as a client, against libgsasl's server side and against servers that
 * lie. What an exchange must never do: believe a success it can't, pay any
 * price a server asks, or repeat a secret in what it says went wrong. */
#include "tests/unit/check.h"

#include "auth/sasl_client.h"
#include "base/base64.h"

#include <gsasl.h>
#include <stdio.h>

#define BINDING "0123456789abcdef0123456789abcdef"

static struct sasl_login *login(const char *password, const char *token, unsigned allowed)
{
    return sasl_login_new(&(struct sasl_login_options){
        .user = "user@example.com", .password = password, .token = token, .allowed = allowed });
}

static int server_property(Gsasl *ctx, Gsasl_session *s, Gsasl_property prop)
{
    const char *password = gsasl_callback_hook_get(ctx);

    switch (prop) {
    case GSASL_PASSWORD:
        gsasl_property_set(s, prop, password);
        return GSASL_OK;
    case GSASL_SCRAM_ITER:
        gsasl_property_set(s, prop, "4096");
        return GSASL_OK;
    case GSASL_SCRAM_SALT:
        gsasl_property_set(s, prop, "c2FsdHlzYWx0c2FsdA==");
        return GSASL_OK;
    case GSASL_CB_TLS_EXPORTER: {
        struct buf text = { 0 };

        if (gsasl_session_hook_get(s) == NULL)
            return GSASL_NO_CALLBACK;
        base64_add(&text, SLICE(BINDING));
        gsasl_property_set(s, prop, buf_cstr(&text));
        buf_release(&text);
        return GSASL_OK;
    }
    case GSASL_VALIDATE_SIMPLE:
        return strcmp(gsasl_property_fast(s, GSASL_AUTHID), "user@example.com") == 0 &&
                       strcmp(gsasl_property_fast(s, GSASL_PASSWORD), password) == 0
                   ? GSASL_OK
                   : GSASL_AUTHENTICATION_ERROR;
    default:
        return GSASL_NO_CALLBACK;
    }
}

/* Plays one exchange to its end; true when the server, who offers a channel
 * binding or not, was satisfied. */
static bool exchange_with(struct sasl_login *l, enum sasl_mechanism m, const char *servers_password, bool binds,
                          struct slice binding, struct sasl_client **out)
{
    struct sasl_client *c = sasl_client_new(l, m, binding);
    struct buf response = { 0 };
    Gsasl *library;
    Gsasl_session *server;
    int rc = GSASL_NEEDS_MORE;

    assert_non_null(c);
    assert_int_equal(gsasl_init(&library), GSASL_OK);
    gsasl_callback_hook_set(library, (void *)(uintptr_t)servers_password);
    gsasl_callback_set(library, server_property);
    assert_int_equal(gsasl_server_start(library, sasl_mechanism_name(m), &server), GSASL_OK);
    gsasl_session_hook_set(server, binds ? server : NULL);
    if (sasl_client_speaks_first(c))
        assert_true(sasl_client_step(c, SLICE_EMPTY, &response));
    for (int i = 0; i < 6 && rc == GSASL_NEEDS_MORE; i++) {
        struct slice said = buf_bytes(&response);
        char *challenge = NULL;
        size_t len = 0;

        rc = gsasl_step(server, said.ptr != NULL ? said.ptr : "", said.len, &challenge, &len);
        buf_clear(&response);
        if ((rc == GSASL_NEEDS_MORE || (rc == GSASL_OK && len > 0)) &&
            !sasl_client_step(c, slice_make(challenge, len), &response)) {
            gsasl_free(challenge);
            break;
        }
        gsasl_free(challenge);
    }
    gsasl_finish(server);
    gsasl_done(library);
    buf_wipe(&response);
    *out = c;
    return rc == GSASL_OK;
}

static bool exchange(struct sasl_login *l, enum sasl_mechanism m, const char *servers_password, struct slice binding,
                     struct sasl_client **out)
{
    return exchange_with(l, m, servers_password, m == SASL_SCRAM_SHA_256_PLUS, binding, out);
}

static void test_each_mechanism(void **state)
{
    static const enum sasl_mechanism all[] = { SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_256, SASL_PLAIN, SASL_LOGIN };

    for (size_t i = 0; i < countof(all); i++) {
        struct sasl_login *l = login("pass word", NULL, 0);
        struct sasl_client *c;

        for (int again = 0; again < 2; again++) { /* SCRAM's second time is from its cache */
            assert_true(exchange(l, all[i], "pass word", SLICE(BINDING), &c));
            assert_true(sasl_client_complete(c));
            assert_null(sasl_client_problem(c));
            sasl_client_free(c);
        }
        assert_false(exchange(l, all[i], "another", SLICE(BINDING), &c));
        assert_true(all[i] != SASL_SCRAM_SHA_256 || !sasl_client_complete(c));
        sasl_client_free(c);
        sasl_login_unref(l);
    }
}

static void test_other_binding(void **state)
{
    struct sasl_login *l = login("pass", NULL, 0);
    struct sasl_client *c;

    assert_false(exchange(l, SASL_SCRAM_SHA_256_PLUS, "pass", SLICE("ffffffffffffffffffffffffffffffff"), &c));
    assert_false(sasl_client_complete(c));
    sasl_client_free(c);
    sasl_login_unref(l);
}

/* -PLUS was offered and did not arrive here: the server hears of it. Where the
 * configuration wants no -PLUS there is nothing to hear. */
static void test_a_stripped_offer(void **state)
{
    struct sasl_login *l = login("pass", NULL, 0), *without = login("pass", NULL, SASL_BIT(SASL_SCRAM_SHA_256));
    struct sasl_client *c;

    assert_false(exchange_with(l, SASL_SCRAM_SHA_256, "pass", true, SLICE(BINDING), &c));
    assert_false(sasl_client_complete(c));
    sasl_client_free(c);
    assert_true(exchange_with(l, SASL_SCRAM_SHA_256, "pass", true, SLICE_EMPTY, &c));
    sasl_client_free(c);
    assert_true(exchange_with(without, SASL_SCRAM_SHA_256, "pass", true, SLICE(BINDING), &c));
    sasl_client_free(c);
    assert_null(sasl_client_new(l, SASL_SCRAM_SHA_256_PLUS, SLICE_EMPTY));
    sasl_login_unref(l);
    sasl_login_unref(without);
}

static void test_choice(void **state)
{
    struct sasl_login *password = login("p", NULL, 0), *token = login(NULL, "t", 0);
    struct sasl_login *plain = login("p", NULL, SASL_BIT(SASL_PLAIN) | SASL_BIT(SASL_XOAUTH2));
    unsigned all = (1u << SASL_MECHANISM_COUNT) - 1;
    enum sasl_mechanism m;

    assert_true(sasl_login_choose(password, all, true, &m));
    assert_int_equal(m, SASL_SCRAM_SHA_256_PLUS);
    assert_true(sasl_login_choose(password, all, false, &m));
    assert_int_equal(m, SASL_SCRAM_SHA_256);
    assert_true(sasl_login_choose(password, SASL_BIT(SASL_LOGIN) | SASL_BIT(SASL_PLAIN), true, &m));
    assert_int_equal(m, SASL_PLAIN);
    assert_true(sasl_login_choose(password, SASL_BIT(SASL_LOGIN), true, &m));
    assert_int_equal(m, SASL_LOGIN);
    assert_false(sasl_login_choose(password, SASL_BIT(SASL_XOAUTH2), true, &m));
    assert_false(sasl_login_choose(password, 0, true, &m));
    assert_true(sasl_login_choose(token, all, true, &m));
    assert_int_equal(m, SASL_XOAUTH2);
    assert_true(sasl_login_choose(plain, all, true, &m));
    assert_int_equal(m, SASL_PLAIN);
    assert_int_equal(sasl_mechanism_bit(SLICE("scram-sha-256-plus")), SASL_BIT(SASL_SCRAM_SHA_256_PLUS));
    assert_int_equal(sasl_mechanism_bit(SLICE("CRAM-MD5")), 0);
    sasl_login_unref(password);
    sasl_login_unref(token);
    sasl_login_unref(plain);
    sasl_login_unref(NULL);
}

static void first_message(struct sasl_client *c, struct buf *out)
{
    buf_clear(out);
    assert_true(sasl_client_step(c, SLICE_EMPTY, out));
}

/* What the first word says of channel binding (RFC 5802 section 6): "p" it is
 * used, "y" we could and see no offer of it, "n" we can't. */
static void test_flag(void **state)
{
    static const struct {
        enum sasl_mechanism mechanism;
        const char *binding;
        unsigned allowed;
        const char *flag;
    } rows[] = {
        { SASL_SCRAM_SHA_256_PLUS, BINDING, 0, "p=tls-exporter,," },
        { SASL_SCRAM_SHA_256, BINDING, 0, "y,," },
        { SASL_SCRAM_SHA_256, BINDING, SASL_BIT(SASL_SCRAM_SHA_256_PLUS) | SASL_BIT(SASL_SCRAM_SHA_256), "y,," },
        { SASL_SCRAM_SHA_256, BINDING, SASL_BIT(SASL_SCRAM_SHA_256) | SASL_BIT(SASL_PLAIN), "n,," },
        { SASL_SCRAM_SHA_256, "", 0, "n,," },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct sasl_login *l = login("pass", NULL, rows[i].allowed);
        struct sasl_client *c = sasl_client_new(l, rows[i].mechanism, slice_str(rows[i].binding));
        struct buf out = { 0 };

        first_message(c, &out);
        if (strncmp(buf_cstr(&out), rows[i].flag, strlen(rows[i].flag)) != 0)
            fail_msg("row %zu: %s and not %s", i, buf_cstr(&out), rows[i].flag);
        buf_release(&out);
        sasl_client_free(c);
        sasl_login_unref(l);
    }
}

/* Names keep their commas; what SASLprep forbids is for other mechanisms. */
static void test_names(void **state)
{
    struct sasl_login *l = sasl_login_new(&(struct sasl_login_options){ .user = "a=b,\xc2\xaa", .password = "p" });
    struct sasl_login *bad = sasl_login_new(&(struct sasl_login_options){ .user = "a\x01", .password = "p\x01" });
    struct sasl_login *bad_password = login("p\x01", NULL, 0);
    struct sasl_client *c = sasl_client_new(l, SASL_SCRAM_SHA_256, SLICE_EMPTY);
    struct buf out = { 0 }, challenge = { 0 };

    first_message(c, &out);
    assert_memory_equal(buf_cstr(&out), "n,,n=a=3Db=2Ca,r=", 17);
    sasl_client_free(c);
    assert_null(sasl_client_new(bad, SASL_SCRAM_SHA_256, SLICE_EMPTY));
    c = sasl_client_new(bad, SASL_PLAIN, SLICE_EMPTY);
    first_message(c, &out);
    assert_memory_equal(buf_cstr(&out), "\0a\x01\0p\x01", 6);
    sasl_client_free(c);

    c = sasl_client_new(bad_password, SASL_SCRAM_SHA_256, SLICE_EMPTY);
    first_message(c, &out);
    buf_add_str(&challenge, strstr(buf_cstr(&out), "r="));
    buf_add_str(&challenge, "more,s=c2FsdA==,i=4096");
    assert_false(sasl_client_step(c, buf_bytes(&challenge), &out));
    assert_non_null(strstr(sasl_client_problem(c), "SASLprep forbids"));
    sasl_client_free(c);
    buf_release(&out);
    buf_release(&challenge);
    sasl_login_unref(l);
    sasl_login_unref(bad);
    sasl_login_unref(bad_password);
}

static void test_servers_that_lie(void **state)
{
    static const struct {
        const char *challenge; /* behind the client's nonce */
        const char *problem;   /* part of it */
    } rows[] = {
        { "more,s=c2FsdA==,i=1000000000", "iterations" },
        { "more,s=c2FsdA==,i=100001", "iterations" },
        { "more,s=c2FsdA==,i=0", "malformed" },
        { "more,s=c2FsdA==,i=-1", "malformed" },
        { "more,s=c2FsdA==,i=99999999999999999999999", "malformed" },
        { "more,s=c2FsdA==", "malformed" },
        { "more,i=4096", "malformed" },
        { "more", "malformed" },
        { ",s=c2FsdA==,i=4096", "malformed" }, /* nothing of its own in the nonce */
        { "more,i=4096,s=c2FsdA==", "malformed" },
        { "more,s=,i=4096", "malformed" },
        { "more,s=****,i=4096", "salt" },
        { "more,s=c2FsdA,i=4096", "salt" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct sasl_login *l = login("pass", NULL, 0);
        struct sasl_client *c = sasl_client_new(l, SASL_SCRAM_SHA_256, SLICE_EMPTY);
        struct buf out = { 0 }, challenge = { 0 };

        first_message(c, &out);
        buf_add_str(&challenge, strstr(buf_cstr(&out), "r="));
        buf_add_str(&challenge, rows[i].challenge);
        buf_clear(&out);
        assert_false(sasl_client_step(c, buf_bytes(&challenge), &out));
        assert_int_equal(buf_len(&out), 0);
        assert_false(sasl_client_complete(c));
        assert_non_null(sasl_client_problem(c));
        if (strstr(sasl_client_problem(c), rows[i].problem) == NULL)
            fail_msg("%s: %s", rows[i].challenge, sasl_client_problem(c));
        buf_release(&out);
        buf_release(&challenge);
        sasl_client_free(c);
        sasl_login_unref(l);
    }
}

/* A nonce that is not ours, and a signature of somebody without the password. */
static void test_impostors(void **state)
{
    struct sasl_login *l = login("pass", NULL, 0);
    struct sasl_client *c = sasl_client_new(l, SASL_SCRAM_SHA_256, SLICE_EMPTY);
    struct buf out = { 0 }, challenge = { 0 };

    first_message(c, &out);
    assert_false(sasl_client_step(c, SLICE("r=someone-elses,s=c2FsdA==,i=4096"), &out));
    /* nothing was proven, so nothing can be an answer to it */
    assert_false(sasl_client_step(c, SLICE("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), &out));
    sasl_client_free(c);

    c = sasl_client_new(l, SASL_SCRAM_SHA_256, SLICE_EMPTY);
    first_message(c, &out);
    buf_add_str(&challenge, "m=must-know,");
    buf_add_str(&challenge, strstr(buf_cstr(&out), "r="));
    buf_add_str(&challenge, "more,s=c2FsdA==,i=4096");
    assert_false(sasl_client_step(c, buf_bytes(&challenge), &out));
    buf_clear(&challenge);
    sasl_client_free(c);

    c = sasl_client_new(l, SASL_SCRAM_SHA_256, SLICE_EMPTY);
    first_message(c, &out);
    buf_add_str(&challenge, strstr(buf_cstr(&out), "r="));
    buf_add_str(&challenge, "more,s=c2FsdA==,i=4096");
    buf_clear(&out);
    assert_true(sasl_client_step(c, buf_bytes(&challenge), &out));
    assert_false(sasl_client_complete(c)); /* a 235 now would be a lie */
    buf_clear(&out);
    assert_false(sasl_client_step(c, SLICE("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), &out));
    assert_false(sasl_client_complete(c));
    assert_string_equal(sasl_client_problem(c), "the server does not know the password");
    sasl_client_free(c);
    sasl_login_unref(l);
    buf_release(&out);
    buf_release(&challenge);
}

static void test_bearer(void **state)
{
    struct sasl_login *l = login(NULL, "ya29.token", 0);
    struct sasl_client *c = sasl_client_new(l, SASL_XOAUTH2, SLICE_EMPTY);
    struct buf out = { 0 };

    assert_true(sasl_client_speaks_first(c));
    assert_true(sasl_client_step(c, SLICE_EMPTY, &out));
    assert_string_equal(buf_cstr(&out), "user=user@example.com\001auth=Bearer ya29.token\001\001");
    assert_true(sasl_client_complete(c));
    buf_clear(&out);
    assert_true(sasl_client_step(c, SLICE("{\"status\":\"400\",\n\t\"scope\":\"\x1b[31m ya29.token\"}"), &out));
    assert_int_equal(buf_len(&out), 0);
    assert_false(sasl_client_complete(c));
    assert_string_equal(sasl_client_problem(c), "{\"status\":\"400\", \"scope\":\" [31m (secret)\"}");
    assert_false(sasl_client_step(c, SLICE("again"), &out));
    sasl_client_free(c);
    sasl_login_unref(l);
    buf_release(&out);
}

static void test_censor(void **state)
{
    struct sasl_login *l = login("hunter2", NULL, 0), *short_one = login("a", NULL, 0);
    struct buf out = { 0 };

    sasl_login_censor(l, SLICE("no hunter2, hunter2hunter2 hunter"), &out);
    assert_string_equal(buf_cstr(&out), "no (secret), (secret)(secret) hunter");
    buf_clear(&out);
    sasl_login_censor(short_one, SLICE("a bad day"), &out);
    assert_string_equal(buf_cstr(&out), "a bad day");
    buf_release(&out);
    sasl_login_unref(l);
    sasl_login_unref(short_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_mechanism),  cmocka_unit_test(test_other_binding),
        cmocka_unit_test(test_choice),          cmocka_unit_test(test_servers_that_lie),
        cmocka_unit_test(test_impostors),       cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_censor),          cmocka_unit_test(test_flag),
        cmocka_unit_test(test_a_stripped_offer), cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
