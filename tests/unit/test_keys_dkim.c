/* Keys from their files to those they are for, and to nobody else. */
#include "tests/unit/check_conf.h"

#include "net/keypair.h"
#include "relayd/settings_dkim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define WALL_MS 1795737600000ull /* 2026-11-27 */

static char *make_pem(enum keypair_kind kind)
{
    struct buf pem = { 0 };

    assert_ok(keypair_generate(kind, 1024, &pem));
    return buf_detach(&pem);
}

static struct settings *load(const struct bundle *b, struct buf *text)
{
    struct diagnostics d = { 0 };
    struct settings *s = NULL;

    assert_ok(settings_load_bundle(b, &d, &s));
    diagnostics_format(&d, text);
    diagnostics_release(&d);
    return s;
}

/* As a process of that kind has it: through bytes. */
static struct settings *load_as(const struct bundle *b, enum process_kind kind, const char *never)
{
    struct bundle *part = settings_withhold(b, kind), *copy;
    struct buf bytes = { 0 }, text = { 0 };
    struct settings *s;

    bundle_write(part, &bytes);
    if (never != NULL)
        assert_null(memmem(buf_bytes(&bytes).ptr, buf_len(&bytes), never, strlen(never)));
    assert_ok(bundle_parse(buf_bytes(&bytes), &copy));
    s = load(copy, &text);
    bundle_free(part);
    bundle_free(copy);
    buf_release(&bytes);
    buf_release(&text);
    return s;
}

static void test_key_files(void **state)
{
    char *rsa = make_pem(KEYPAIR_RSA), *ed = make_pem(KEYPAIR_ED25519);
    struct scratch dir;
    struct buf text = { 0 };
    struct bundle *b;
    struct settings *s;
    const struct settings_domain *d;

    scratch_open(&dir);
    scratch_write(&dir, "r.pem", rsa, 0600);
    scratch_write(&dir, "e.pem", ed, 0640);
    scratch_write(&dir, "relayd.conf",
                  "hostname a.b\ndomain a.test {\n dkim selector r1 key_file r.pem\n"
                  " dkim selector 20261127 key_file e.pem }\n",
                  0600);
    b = settings_read(scratch_path(&dir, "relayd.conf"), NULL);
    s = load(b, &text);
    assert_slice_str(buf_bytes(&text), "");
    assert_true(settings_has_dkim(s));
    d = &s->domains[0];
    assert_int_equal(d->dkim_count, 2);
    assert_string_equal(d->dkim[0].selector, "r1");
    assert_int_equal(d->dkim[0].kind, MAIL_DKIM_RSA);
    assert_string_equal(d->dkim[0].pem, rsa);
    assert_string_equal(d->dkim[1].selector, "20261127");
    assert_int_equal(d->dkim[1].kind, MAIL_DKIM_ED25519);
    assert_int_equal(strncmp(d->dkim[1].record, "v=DKIM1; k=ed25519; p=", 22), 0);
    settings_unref(s);

    s = load_as(b, PROCESS_SIGN, NULL);
    assert_string_equal(s->domains[0].dkim[0].pem, rsa);
    assert_string_equal(s->domains[0].dkim[1].pem, ed);
    settings_unref(s);
    s = load_as(b, PROCESS_ENGINE, "PRIVATE KEY");
    assert_null(s->domains[0].dkim[0].pem);
    assert_null(s->domains[0].dkim[0].problem);
    assert_int_equal(s->domains[0].dkim[0].kind, MAIL_DKIM_RSA);
    assert_non_null(s->domains[0].dkim[1].record);
    settings_unref(s);
    settings_unref(load_as(b, PROCESS_ACCOUNTS, "PRIVATE KEY"));
    bundle_free(b);
    buf_release(&text);
    scratch_close(&dir);
    free(rsa);
    free(ed);
}

/* A key that can't be used stops mail of its domain and nothing else. */
static void test_bad_key_files(void **state)
{
    static const struct {
        const char *content;
        mode_t mode;
        const char *problem; /* behind the path */
    } rows[] = {
        { NULL, 0, ": No such file or directory" },
        { "", 0600, ": it holds no private key in PEM form" },
        { "garbage\n", 0600, ": it holds no private key in PEM form" },
        { "garbage\n", 0644, ": everybody may read or write it; chmod o= takes that away" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct scratch dir;
        struct buf text = { 0 };
        struct bundle *b;
        struct settings *s;

        scratch_open(&dir);
        if (rows[i].content != NULL)
            scratch_write(&dir, "k.pem", rows[i].content, rows[i].mode);
        scratch_write(&dir, "relayd.conf", "hostname a.b\ndomain a.test { dkim selector s key_file k.pem }\n", 0600);
        b = settings_read(scratch_path(&dir, "relayd.conf"), NULL);
        s = load(b, &text);
        assert_int_equal(strncmp(s->domains[0].dkim[0].problem, dir.path, strlen(dir.path)), 0);
        assert_non_null(strstr(s->domains[0].dkim[0].problem, rows[i].problem));
        assert_non_null(strstr(buf_cstr(&text), "warning: mail from this domain can't be signed and waits: "));
        assert_non_null(strstr(buf_cstr(&text), rows[i].problem));
        settings_unref(s);
        s = load_as(b, PROCESS_ENGINE, NULL);
        assert_non_null(strstr(s->domains[0].dkim[0].problem, rows[i].problem));
        settings_unref(s);
        assert_true(settings_check(scratch_path(&dir, "relayd.conf")));
        bundle_free(b);
        buf_release(&text);
        scratch_close(&dir);
    }
}

static struct bundle *read_auto(struct scratch *dir, bool make)
{
    struct bundle *b = settings_read(scratch_path(dir, "relayd.conf"), NULL);
    struct buf text = { 0 };
    struct settings *s = load(b, &text);

    settings_auto_keys(s, b, make, WALL_MS);
    settings_unref(s);
    buf_release(&text);
    return b;
}

static void begin_auto(struct scratch *dir)
{
    scratch_open(dir);
    scratch_write(dir, "relayd.conf",
                  "hostname a.b\ndomain a.test { dkim auto }\nstate_dir state\ndomain b.a.test { dkim auto }\n", 0600);
    assert_int_equal(mkdir(scratch_path(dir, "state"), 0711), 0);
}

static void test_auto(void **state)
{
    struct scratch dir;
    struct bundle *b;
    struct settings *s;
    struct buf text = { 0 };
    char *record;
    struct stat st;

    begin_auto(&dir);
    b = read_auto(&dir, false);
    s = load(b, &text);
    assert_int_equal(s->domains[0].dkim_count, 0);
    assert_null(s->domains[0].dkim_problem);
    settings_unref(s);
    bundle_free(b);
    assert_int_equal(access(scratch_path(&dir, "state/keys"), F_OK), -1);

    b = read_auto(&dir, true);
    s = load_as(b, PROCESS_ENGINE, "PRIVATE KEY");
    assert_int_equal(s->domains[0].dkim_count, 2);
    assert_string_equal(s->domains[0].dkim[0].selector, "rsa20261127");
    assert_int_equal(s->domains[0].dkim[0].kind, MAIL_DKIM_RSA);
    assert_string_equal(s->domains[0].dkim[1].selector, "ed20261127");
    assert_int_equal(s->domains[1].dkim_count, 2);
    assert_string_not_equal(s->domains[0].dkim[0].record, s->domains[1].dkim[0].record);
    record = strdup(s->domains[0].dkim[0].record);
    settings_unref(s);
    s = load_as(b, PROCESS_SIGN, NULL);
    assert_non_null(s->domains[0].dkim[1].pem);
    settings_unref(s);
    bundle_free(b);
    assert_int_equal(stat(scratch_path(&dir, "state/keys"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(scratch_path(&dir, "state/keys/rsa20261127._domainkey.a.test.pem"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    b = read_auto(&dir, true); /* the same again */
    s = load(b, &text);
    assert_int_equal(s->domains[0].dkim_count, 2);
    assert_string_equal(s->domains[0].dkim[0].record, record);
    assert_slice_str(buf_bytes(&text), "");
    settings_unref(s);
    bundle_free(b);
    free(record);
    buf_release(&text);
    scratch_close(&dir);
}

/* Stands before the C library's. */
static int no_listing; /* errno */

DIR *fdopendir(int fd)
{
    DIR *(*real)(int) = (DIR * (*)(int)) dlsym(RTLD_NEXT, "fdopendir");

    if (no_listing == 0)
        return real(fd);
    errno = no_listing;
    return NULL;
}

/* Keys that could not be looked for are not taken for keys that are not there:
 * others in their place would be in nobody's DNS. */
static void test_36_auto_not_listed(void **state)
{
    struct scratch dir;
    struct bundle *b;
    struct settings *s;
    struct buf text = { 0 };
    char *record;

    begin_auto(&dir);
    b = read_auto(&dir, true);
    s = load(b, &text);
    record = strdup(s->domains[0].dkim[0].record);
    settings_unref(s);
    bundle_free(b);

    no_listing = EMFILE;
    b = read_auto(&dir, true);
    no_listing = 0;
    assert_int_equal(b->trouble, EMFILE);
    s = load(b, &text);
    assert_int_equal(s->domains[0].dkim_count, 0);
    assert_non_null(strstr(s->domains[0].dkim_problem, "Too many open files"));
    settings_unref(s);
    bundle_free(b);

    b = read_auto(&dir, true);
    assert_int_equal(b->trouble, 0);
    s = load(b, &text);
    assert_string_equal(s->domains[0].dkim[0].record, record);
    settings_unref(s);
    bundle_free(b);
    free(record);
    buf_release(&text);
    scratch_close(&dir);
}

/* A folder that others could have put there, or can change, is not used. */
static void test_auto_elsewhere(void **state)
{
    for (int way = 0; way < 2; way++) {
        struct scratch dir;
        struct bundle *b;
        struct settings *s;
        struct buf text = { 0 };
        char *target;

        begin_auto(&dir);
        target = strdup(scratch_path(&dir, "elsewhere"));
        assert_int_equal(mkdir(target, 0700), 0);
        if (way == 0)
            assert_int_equal(symlink(target, scratch_path(&dir, "state/keys")), 0);
        else
            assert_int_equal(mkdir(scratch_path(&dir, "state/keys"), 0755) | chmod(scratch_path(&dir, "state/keys"), 0755), 0);
        b = read_auto(&dir, true);
        s = load(b, &text);
        assert_int_equal(s->domains[0].dkim_count, 0);
        assert_non_null(strstr(s->domains[0].dkim_problem, "/state/keys: "));
        assert_non_null(strstr(buf_cstr(&text), "mail from a.test can't be signed and waits: "));
        assert_int_equal(rmdir(target), 0); /* empty */
        settings_unref(s);
        bundle_free(b);
        buf_release(&text);
        free(target);
        scratch_close(&dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_bad_key_files),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_36_auto_not_listed),
        cmocka_unit_test(test_auto_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
