/* SASL dialogues: the client's half is libgsasl's client, or bytes by hand. */
#include "tests/unit/check.h"

#include "auth/sasl.h"
#include "base/base64.h"

#include <dlfcn.h>
#include <gsasl.h>

/* Stands before the library's. */
static int step_fails; /* with that, once */

int gsasl_step(Gsasl_session *session, const char *in, size_t in_len, char **out, size_t *out_len)
{
    int (*real)(Gsasl_session *, const char *, size_t, char **, size_t *) =
        (int (*)(Gsasl_session *, const char *, size_t, char **, size_t *))dlsym(RTLD_NEXT, "gsasl_step");
    int rc = step_fails;

    step_fails = 0;
    return rc != 0 ? rc : real(session, in, in_len, out, out_len);
}

static const char binding[] = "0123456789abcdef0123456789ABCDEF";

struct fixture {
    struct sasl *sasl;
    struct sasl_session *session;
    struct scram_keys keys;
    unsigned asked;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_ok(sasl_new(&f->sasl));
    assert_ok(password_scram(SLICE("pencil"), &f->keys));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sasl_end(f->session);
    sasl_free(f->sasl);
    free(f);
    return 0;
}

static void keys_of(void *ctx, const char *authid, struct scram_keys *out)
{
    struct fixture *f = ctx;

    f->asked++;
    *out = f->keys;
    if (strcmp(authid, "joe") != 0)
        memset(out->stored_key, 7, sizeof out->stored_key);
}

static void begin(struct fixture *f, const char *mechanism, struct slice bind, const char *external)
{
    sasl_end(f->session);
    assert_ok(sasl_begin(f->sasl, sasl_mechanism(mechanism), bind, external, keys_of, f, &f->session));
}

static struct sasl_step step(struct fixture *f, struct slice response)
{
    struct sasl_step out;

    sasl_step(f->session, response, true, &out);
    return out;
}

static struct sasl_step step_without(struct fixture *f)
{
    struct sasl_step out;

    sasl_step(f->session, SLICE_EMPTY, false, &out);
    return out;
}

static void test_names(void **state)
{
    assert_string_equal(sasl_mechanism("plain"), "PLAIN");
    assert_string_equal(sasl_mechanism("scram-sha-256-plus"), "SCRAM-SHA-256-PLUS");
    assert_null(sasl_mechanism("CRAM-MD5"));
    assert_null(sasl_mechanism("GSSAPI"));
    assert_null(sasl_mechanism(""));
    assert_true(sasl_sends_password("LOGIN"));
    assert_false(sasl_sends_password("SCRAM-SHA-256"));
}

static void test_plain(void **state)
{
    struct fixture *f = *state;
    struct sasl_step s;

    begin(f, "PLAIN", SLICE_EMPTY, NULL);
    s = step(f, SLICE("\0joe\0pencil"));
    assert_int_equal(s.state, SASL_VERIFY);
    assert_string_equal(s.authid, "joe");
    assert_string_equal(s.authzid, "joe"); /* none given: himself */
    assert_slice_str(s.password, "pencil");

    begin(f, "PLAIN", SLICE_EMPTY, NULL); /* without an initial response */
    s = step_without(f);
    assert_int_equal(s.state, SASL_CHALLENGE);
    assert_int_equal(s.challenge.len, 0);
    s = step(f, SLICE("ann\0joe\0pen cil"));
    assert_int_equal(s.state, SASL_VERIFY);
    assert_string_equal(s.authzid, "ann");
    assert_slice_str(s.password, "pen cil");
}

/* It is not his password that was wrong. */
static void test_36_library_without_memory(void **state)
{
    struct fixture *f = *state;

    begin(f, "PLAIN", SLICE_EMPTY, NULL);
    step_fails = GSASL_MALLOC_ERROR;
    assert_int_equal(step(f, SLICE("\0joe\0pencil")).state, SASL_UNABLE);
    begin(f, "PLAIN", SLICE_EMPTY, NULL);
    assert_int_equal(step(f, SLICE("\0joe\0pencil")).state, SASL_VERIFY);
}

static void test_plain_malformed(void **state)
{
    static const struct slice rows[] = {
        SLICE("joe"), SLICE("joe\0pencil"), SLICE("\0joe"), SLICE("\0joe\0pen\0cil"), SLICE(""), SLICE("\0\0\0\0"),
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        struct sasl_step s;

        begin(f, "PLAIN", SLICE_EMPTY, NULL);
        s = step(f, rows[i]);
        assert_int_equal(s.state, SASL_FAILED);
    }
}

static void test_login(void **state)
{
    struct fixture *f = *state;
    struct sasl_step s;

    begin(f, "LOGIN", SLICE_EMPTY, NULL);
    s = step_without(f);
    assert_slice_str(s.challenge, "Username:");
    s = step(f, SLICE("joe"));
    assert_int_equal(s.state, SASL_CHALLENGE);
    assert_slice_str(s.challenge, "Password:");
    s = step(f, SLICE("pencil"));
    assert_int_equal(s.state, SASL_VERIFY);
    assert_string_equal(s.authid, "joe");
    assert_slice_str(s.password, "pencil");

    begin(f, "LOGIN", SLICE_EMPTY, NULL); /* the user as initial response */
    s = step(f, SLICE("joe"));
    assert_slice_str(s.challenge, "Password:");
    s = step(f, SLICE("pencil"));
    assert_int_equal(s.state, SASL_VERIFY);
    assert_string_equal(s.authid, "joe");

    begin(f, "LOGIN", SLICE_EMPTY, NULL);
    step_without(f);
    assert_int_equal(step(f, SLICE("jo\0e")).state, SASL_FAILED);
}

static void test_external(void **state)
{
    struct fixture *f = *state;
    struct sasl_step s;

    begin(f, "EXTERNAL", SLICE_EMPTY, "joe@example.com");
    s = step_without(f);
    assert_int_equal(s.state, SASL_CHALLENGE);
    s = step(f, SLICE(""));
    assert_int_equal(s.state, SASL_PROVEN);
    assert_string_equal(s.authid, "joe@example.com");
    assert_string_equal(s.authzid, "");

    begin(f, "EXTERNAL", SLICE_EMPTY, "joe@example.com");
    s = step(f, SLICE("ann@example.com"));
    assert_int_equal(s.state, SASL_PROVEN);
    assert_string_equal(s.authzid, "ann@example.com");

    begin(f, "EXTERNAL", SLICE_EMPTY, NULL); /* no certificate */
    assert_int_equal(step(f, SLICE("joe")).state, SASL_FAILED);
}

/* ---- SCRAM: against libgsasl's client ---------------------------------------------------------- */

struct client {
    const char *user, *password, *binding; /* binding in base64 */
};

static int client_callback(Gsasl *lib, Gsasl_session *session, Gsasl_property prop)
{
    const struct client *c = gsasl_session_hook_get(session);

    switch (prop) {
    case GSASL_AUTHID:
        return gsasl_property_set(session, prop, c->user);
    case GSASL_PASSWORD:
        return gsasl_property_set(session, prop, c->password);
    case GSASL_CB_TLS_EXPORTER:
        if (c->binding == NULL)
            return GSASL_NO_CALLBACK;
        return gsasl_property_set(session, prop, c->binding);
    default:
        return GSASL_NO_CALLBACK;
    }
}

/* Plays it to its end; what the server said last. */
static enum sasl_state play(struct fixture *f, const char *mechanism, const struct client *c)
{
    struct sasl_step s = step_without(f);
    Gsasl_session *session;
    Gsasl *lib;

    assert_int_equal(gsasl_init(&lib), GSASL_OK);
    gsasl_callback_set(lib, client_callback);
    assert_int_equal(gsasl_client_start(lib, mechanism, &session), GSASL_OK);
    gsasl_session_hook_set(session, (void *)c);
    while (s.state == SASL_CHALLENGE) {
        char *out = NULL;
        size_t len = 0;
        int rc = gsasl_step(session, s.challenge.ptr != NULL ? s.challenge.ptr : "", s.challenge.len, &out, &len);

        assert_true(rc == GSASL_OK || rc == GSASL_NEEDS_MORE);
        s = step(f, slice_make(out, len));
        gsasl_free(out);
    }
    if (s.state == SASL_PROVEN)
        assert_string_equal(s.authid, c->user);
    gsasl_finish(session);
    gsasl_done(lib);
    return s.state;
}

static void test_scram(void **state)
{
    struct fixture *f = *state;

    begin(f, "SCRAM-SHA-256", SLICE_EMPTY, NULL);
    assert_int_equal(play(f, "SCRAM-SHA-256", &(struct client){ "joe", "pencil", NULL }), SASL_PROVEN);
    assert_int_equal(f->asked, 1);
    begin(f, "SCRAM-SHA-256", SLICE_EMPTY, NULL);
    assert_int_equal(play(f, "SCRAM-SHA-256", &(struct client){ "joe", "pencils", NULL }), SASL_FAILED);
    begin(f, "SCRAM-SHA-256", SLICE_EMPTY, NULL);
    assert_int_equal(play(f, "SCRAM-SHA-256", &(struct client){ "ann", "pencil", NULL }), SASL_FAILED);
}

static void test_scram_plus(void **state)
{
    struct slice bind = slice_str(binding);
    struct fixture *f = *state;
    struct buf right = { 0 }, wrong = { 0 };

    base64_add(&right, bind);
    base64_add(&wrong, SLICE("another connection's binding....."));
    begin(f, "SCRAM-SHA-256-PLUS", bind, NULL);
    assert_int_equal(play(f, "SCRAM-SHA-256-PLUS", &(struct client){ "joe", "pencil", buf_cstr(&right) }),
                     SASL_PROVEN);
    begin(f, "SCRAM-SHA-256-PLUS", bind, NULL);
    assert_int_equal(play(f, "SCRAM-SHA-256-PLUS", &(struct client){ "joe", "pencil", buf_cstr(&wrong) }),
                     SASL_FAILED);
    /* without -PLUS on a connection that has a binding: a client that can't bind */
    begin(f, "SCRAM-SHA-256", bind, NULL);
    assert_int_equal(play(f, "SCRAM-SHA-256", &(struct client){ "joe", "pencil", NULL }), SASL_PROVEN);
    buf_release(&right);
    buf_release(&wrong);
}

static void test_scram_downgrade_and_lies(void **state)
{
    static const struct {
        const char *mechanism;
        bool bound;
        struct slice first;
    } rows[] = {
        { "SCRAM-SHA-256", true, SLICE("y,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256", true, SLICE("p=tls-exporter,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256", false, SLICE("p=tls-exporter,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256-PLUS", true, SLICE("n,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256-PLUS", true, SLICE("y,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256-PLUS", true, SLICE("p=tls-unique,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256-PLUS", true, SLICE("p=nonsense,,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256", false, SLICE("n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256", false, SLICE("n,,n=joe") },
        { "SCRAM-SHA-256", false, SLICE("n,,r=abcdefghijkl") },
        { "SCRAM-SHA-256", false, SLICE("n,,m=ext,n=joe,r=abcdefghijkl") },
        { "SCRAM-SHA-256", false, SLICE("n,,n=j=2Xoe,r=abcdefghijkl") },
        { "SCRAM-SHA-256", false, SLICE("\0\0\0\0") },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        struct sasl_step s;

        begin(f, rows[i].mechanism, rows[i].bound ? slice_str(binding) : SLICE_EMPTY, NULL);
        s = step(f, rows[i].first);
        if (s.state != SASL_FAILED) { /* only the proof would tell: a wrong one must not do */
            s = step(f, SLICE("c=biws,r=abc,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        }
        if (s.state != SASL_FAILED)
            fail_msg("row %zu ended in state %d", i, s.state);
    }
    /* "y" without an offer of -PLUS is fine */
    begin(f, "SCRAM-SHA-256", SLICE_EMPTY, NULL);
    assert_int_equal(step(f, SLICE("y,,n=joe,r=abcdefghijkl")).state, SASL_CHALLENGE);
}

static void test_scram_ends_with_nothing(void **state)
{
    struct fixture *f = *state;
    struct client c = { "joe", "pencil", NULL };
    struct sasl_step s = { 0 };
    Gsasl_session *session;
    Gsasl *lib;
    char *out;
    size_t len;

    assert_int_equal(gsasl_init(&lib), GSASL_OK);
    gsasl_callback_set(lib, client_callback);
    assert_int_equal(gsasl_client_start(lib, "SCRAM-SHA-256", &session), GSASL_OK);
    gsasl_session_hook_set(session, &c);
    begin(f, "SCRAM-SHA-256", SLICE_EMPTY, NULL);
    for (int i = 0; i < 2; i++) {
        gsasl_step(session, s.challenge.ptr != NULL ? s.challenge.ptr : "", s.challenge.len, &out, &len);
        s = step(f, slice_make(out, len));
        gsasl_free(out);
    }
    assert_int_equal(s.state, SASL_CHALLENGE); /* v=… */
    assert_int_equal(s.challenge.ptr[0], 'v');
    s = step(f, SLICE("what?"));
    assert_int_equal(s.state, SASL_FAILED);
    gsasl_finish(session);
    gsasl_done(lib);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        EACH(test_plain),
        EACH(test_plain_malformed),
        EACH(test_36_library_without_memory),
        EACH(test_login),
        EACH(test_external),
        EACH(test_scram),
        EACH(test_scram_plus),
        EACH(test_scram_downgrade_and_lies),
        EACH(test_scram_ends_with_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
