/* Certificates in relayd.conf: which files a server works with, what is said of
 * those it can't, and what the clock says of the others. */
#include "tests/unit/check_conf.h"
#include "tests/unit/tls_certs.h"

#include "relayd/settings.h"

static struct cert ca, one, two, old, soon, later;

static int make_all(void **state)
{
    ca = cert_make((struct cert_plan){ .name = "Test CA", .ca = true });
    one = cert_make((struct cert_plan){
        .name = "one", .alternatives = "DNS:one.test", .by = &ca, .begins_s = -60, .ends_s = 90 * 86400 });
    two = cert_make((struct cert_plan){
        .name = "two", .alternatives = "DNS:two.test", .by = &ca, .begins_s = -60, .ends_s = 90 * 86400 });
    old = cert_make((struct cert_plan){
        .name = "old", .alternatives = "DNS:old.test", .by = &ca, .begins_s = -86400, .ends_s = -3600 });
    soon = cert_make((struct cert_plan){
        .name = "soon", .alternatives = "DNS:soon.test", .by = &ca, .begins_s = -60, .ends_s = 13 * 86400 });
    later = cert_make((struct cert_plan){
        .name = "later", .alternatives = "DNS:later.test", .by = &ca, .begins_s = 86400, .ends_s = 90 * 86400 });
    return 0;
}

static int free_all(void **state)
{
    struct cert *all[] = { &ca, &one, &two, &old, &soon, &later };

    for (size_t i = 0; i < countof(all); i++)
        cert_free(all[i]);
    return 0;
}

static void add(struct bundle *b, enum bundle_kind kind, const char *path, const struct buf *bytes)
{
    assert_ok(bundle_add(b, kind, path, buf_bytes(bytes), NULL));
}

/* A configuration beside files of these names. */
static struct bundle *bundle_with(const char *text)
{
    static const char junk[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    struct bundle *b = bundle_new("conf");

    assert_ok(bundle_add(b, BUNDLE_FILE, "/e/conf", slice_str(text), NULL));
    add(b, BUNDLE_CERTIFICATE, "/e/ca.pem", &ca.pem);
    add(b, BUNDLE_CERTIFICATE, "/e/one.pem", &one.pem);
    add(b, BUNDLE_SECRET, "/e/one.key", &one.key_pem);
    add(b, BUNDLE_CERTIFICATE, "/e/two.pem", &two.pem);
    add(b, BUNDLE_SECRET, "/e/two.key", &two.key_pem);
    add(b, BUNDLE_CERTIFICATE, "/e/old.pem", &old.pem);
    add(b, BUNDLE_SECRET, "/e/old.key", &old.key_pem);
    add(b, BUNDLE_CERTIFICATE, "/e/soon.pem", &soon.pem);
    add(b, BUNDLE_SECRET, "/e/soon.key", &soon.key_pem);
    add(b, BUNDLE_CERTIFICATE, "/e/later.pem", &later.pem);
    add(b, BUNDLE_SECRET, "/e/later.key", &later.key_pem);
    assert_ok(bundle_add(b, BUNDLE_CERTIFICATE, "/e/junk.pem", slice_make(junk, sizeof junk - 1), NULL));
    assert_ok(bundle_add(b, BUNDLE_CERTIFICATE, "/e/gone.pem", SLICE_EMPTY, "No such file or directory"));
    assert_ok(bundle_add(b, BUNDLE_SECRET, "/e/open.key", SLICE_EMPTY, "everybody may read or write it"));
    return b;
}

static struct settings *load_bundle(const struct bundle *b, struct buf *errors)
{
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    struct err e = settings_load_bundle(b, &d, &s);

    brief(&d, errors);
    assert_int_equal(err_failed(e), d.errors != 0);
    diagnostics_release(&d);
    return s;
}

static struct settings *load(const char *text, struct buf *errors)
{
    struct bundle *b = bundle_with(text);
    struct settings *s = load_bundle(b, errors);

    bundle_free(b);
    return s;
}

static struct settings *load_good(const char *text)
{
    struct buf errors = { 0 };
    struct settings *s = load(text, &errors);

    assert_string_equal(buf_cstr(&errors), "");
    assert_non_null(s);
    buf_release(&errors);
    return s;
}

static void test_pairs(void **state)
{
    struct settings *s = load_good("hostname a.b\n"
                                   "tls { certificate one.pem; key ./one.key }\n"
                                   "tls { certificate /e/two.pem, ca.pem; key /e/two.key }\n"
                                   "listen *:25\n"
                                   "listen *:465 { tls implicit; client_certificates ca.pem }\n"
                                   "listen *:587 { tls required }\n"
                                   "listen *:26 { tls optional }\n"
                                   "listen 127.0.0.1:27 { tls none }\n");
    static const enum settings_tls want[] = { SETTINGS_TLS_OPTIONAL, SETTINGS_TLS_IMPLICIT, SETTINGS_TLS_REQUIRED,
                                              SETTINGS_TLS_OPTIONAL, SETTINGS_TLS_NONE };

    assert_int_equal(s->pair_count, 2);
    assert_string_equal(s->pairs[0].certificate, "/e/one.pem");
    assert_string_equal(s->pairs[0].key, "/e/one.key");
    assert_string_equal(s->pairs[0].name, "one.test");
    assert_string_equal(s->pairs[1].name, "two.test");
    assert_int_equal(s->pairs[1].place.line, 3);
    assert_true(memmem(s->pairs[1].certificate_pem.ptr, s->pairs[1].certificate_pem.len, ca.pem.ptr,
                       buf_len(&ca.pem)) != NULL);
    for (size_t i = 0; i < countof(want); i++) {
        assert_int_equal(s->listens[i].tls, want[i]);
        assert_int_equal(s->listens[i].index, i);
    }
    assert_true(slice_eq(s->listens[1].client_ca, buf_bytes(&ca.pem)));
    assert_int_equal(s->listens[0].client_ca.len, 0);
    settings_unref(s);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *errors;
    } bad[] = {
        { "tls { certificate one.pem; key two.key }",
          "1:1: certificate /e/one.pem with key /e/two.key: the key is not the certificate's" },
        { "tls { certificate junk.pem; key two.key }",
          "1:1: certificate /e/junk.pem with key /e/two.key: the certificate is damaged" },
        { "tls { certificate one.pem, junk.pem; key one.key }",
          "1:1: certificate /e/one.pem with key /e/one.key: a certificate of its chain is damaged" },
        { "tls { certificate gone.pem; key one.key }",
          "1:19: can't use \"gone.pem\": No such file or directory" },
        { "tls { certificate one.pem; key open.key }",
          "1:32: can't use \"open.key\": everybody may read or write it" },
        { "tls { certificate one.pem }", "1:1: \"tls\" has no \"key\"" },
        { "tls { key one.key }", "1:1: \"tls\" has no \"certificate\"" },
        { "tls { certificat one.pem }",
          "1:1: \"tls\" has no \"certificate\"\n1:7: unknown directive \"certificat\" in \"tls\"; did you mean \"certificate\"?" },
        { "listen *:25 { client_certificates junk.pem }", "1:35: /e/junk.pem: a certificate is damaged" },
        { "listen 127.0.0.1:25 { tls none; client_certificates ca.pem }",
          "1:33: client certificates need TLS, and here is \"tls none\"" },
        { "listen *:25 { tls maybe }",
          "1:19: \"tls\" needs \"none\", \"optional\", \"required\" or \"implicit\" here, not \"maybe\"" },
    };
    struct buf errors = { 0 };

    for (size_t i = 0; i < countof(bad); i++) {
        assert_null(load(bad[i].text, &errors));
        assert_string_equal(buf_cstr(&errors), bad[i].errors);
    }
    buf_release(&errors);
}

static void judge(const char *text, const char *running_text, const char *want)
{
    struct settings *s = load_good(text);
    struct settings *running = running_text != NULL ? load_good(running_text) : NULL;
    struct diagnostics d = { 0 };
    struct buf told = { 0 };

    settings_judge_certificates(s, running, clock_wall_ms(&clock_system), &d);
    diagnostics_format(&d, &told);
    if (want == NULL)
        assert_string_equal(buf_cstr(&told), "");
    else if (strstr(buf_cstr(&told), want) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", want, buf_cstr(&told));
    assert_int_equal(d.errors > 0, want != NULL && strstr(want, "error: ") != NULL);
    diagnostics_release(&d);
    buf_release(&told);
    settings_unref(s);
    settings_unref(running);
}

#define PAIR(name) "hostname a.b\ntls { certificate " name ".pem; key " name ".key }\n"

static void test_by_the_clock(void **state)
{
    judge(PAIR("one"), NULL, NULL);
    judge(PAIR("one"), PAIR("two"), NULL);
    judge(PAIR("old"), NULL, "conf:2:1: warning: the certificate /e/old.pem (old.test) has expired on ");
    judge(PAIR("old"), PAIR("one"), "conf:2:1: error: the certificate /e/old.pem (old.test) has expired on ");
    judge(PAIR("old"), PAIR("old"), "warning: the certificate /e/old.pem (old.test) has expired on "); /* not new */
    judge(PAIR("soon"), NULL, "warning: the certificate /e/soon.pem (soon.test) expires on ");
    judge(PAIR("soon"), PAIR("one"), "in less than two weeks; renew it");
    judge(PAIR("later"), PAIR("one"), "error: the certificate /e/later.pem (later.test) is not valid before ");
    judge(PAIR("later"), NULL, "warning: the certificate /e/later.pem (later.test) is not valid before ");
}

/* A process that is not to see the key is not troubled by its absence. */
static void test_withheld_key(void **state)
{
    struct bundle *all = bundle_with(PAIR("one"));
    struct buf errors = { 0 };
    struct settings *s;

    for (size_t i = 0; i < all->count; i++) {
        if (all->entries[i].kind != BUNDLE_SECRET)
            continue;
        buf_wipe(&all->entries[i].bytes);
        all->entries[i].withheld = true;
    }
    s = load_bundle(all, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_non_null(s);
    assert_int_equal(s->pairs[0].key_pem.len, 0);
    settings_unref(s);
    bundle_free(all);
    buf_release(&errors);
}

/* Certificate and key in one file: the key is not in what all processes get. */
static void test_one_file(void **state)
{
    struct scratch dir;
    struct buf both = { 0 }, errors = { 0 };
    struct bundle *b;
    unsigned public = 0, secret = 0;

    scratch_open(&dir);
    buf_add(&both, buf_bytes(&one.key_pem));
    buf_add(&both, buf_bytes(&one.pem));
    scratch_write(&dir, "both.pem", buf_cstr(&both), 0600);
    scratch_write(&dir, "conf", "hostname a.b\ntls { certificate both.pem; key both.pem }\n", 0644);
    b = settings_read(scratch_path(&dir, "conf"), NULL);
    for (size_t i = 0; i < b->count; i++) {
        struct slice s = buf_bytes(&b->entries[i].bytes);
        bool key = s.len > 0 && memmem(s.ptr, s.len, "PRIVATE KEY", 11) != NULL;

        if (b->entries[i].kind == BUNDLE_CERTIFICATE) {
            assert_true(slice_eq(s, buf_bytes(&one.pem)));
            public++;
        }
        secret += key;
    }
    assert_int_equal(public, 1);
    assert_int_equal(secret, 1);
    settings_unref(load_bundle(b, &errors));
    assert_string_equal(buf_cstr(&errors), "");
    bundle_free(b);
    buf_release(&both);
    buf_release(&errors);
    scratch_close(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),        cmocka_unit_test(test_errors),   cmocka_unit_test(test_by_the_clock),
        cmocka_unit_test(test_withheld_key), cmocka_unit_test(test_one_file),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
