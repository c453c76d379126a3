/* A copy of the configuration for one reader: what is not for it is nowhere
 * in its bytes, and all else is as it was. */
#include "tests/unit/check_conf.h"

#include "conf/conf.h"

#define FOR_MAIL CONF_FOR(0)
#define FOR_KEYS CONF_FOR(1)
#define FOR_NONE CONF_FOR(2)

static void take(struct conf *c, const struct conf_stmt *s, void *into)
{
    buf_printf(c->user, "%s=%.*s;", s->row->name, (int)s->args[0].text.len, s->args[0].text.ptr);
}

static void take_file(struct conf *c, const struct conf_stmt *s, void *into)
{
    const struct bundle_entry *e = conf_secret(c, &s->args[s->arg_count - 1]);

    buf_printf(c->user, "%s=%s;", s->row->name,
               e->withheld ? "(withheld)" : buf_cstr((struct buf *)&e->bytes));
}

static const struct conf_row rows[] = {
    { "", "word", "WORD", CONF_MANY, take, 0 },
    { "", "password", "SECRET", FOR_MAIL, take, 0 },
    { "", "pin", "SECRET", FOR_KEYS, take, 0 },
    { "", "host", "NAME", CONF_MANY | CONF_TITLED | CONF_BLOCK | CONF_ENV_TITLE, conf_take_block, 0 },
    { "host", "password", "SECRET", FOR_MAIL, take, 0 },
    { "host", "login", "auto | WORD password SECRET", FOR_MAIL, take, 0 },
    { "", "key_file", "selector NAME file SECRET_FILE", CONF_MANY | FOR_KEYS, take_file, 0 },
    { "", "token_file", "SECRET_FILE", CONF_MANY | FOR_MAIL, take_file, 0 },
    { NULL, NULL, NULL, 0, NULL, 0 },
};
static const struct conf_type no_types[] = { { NULL, NULL, NULL, NULL } };
static const struct conf_schema schema = { .rows = rows, .types = no_types, .env_prefix = "TEST_" };

struct play {
    struct scratch s;
    struct buf taken, errors, bytes;
};

static void load(struct play *p, const struct bundle *b)
{
    struct diagnostics d = { 0 };
    struct conf c = { .schema = &schema, .bundle = b, .pool = pool_new(), .diags = &d, .user = &p->taken };

    buf_clear(&p->taken);
    conf_load(&c, NULL);
    brief(&d, &p->errors);
    diagnostics_release(&d);
    pool_free(c.pool);
}

/* As the reader comes to see it, by way of bytes. */
static void read_as(struct play *p, unsigned reader, const char *text, char *const *env)
{
    struct bundle *all, *part, *there;

    scratch_write(&p->s, "main", text, 0600);
    all = conf_read(&schema, scratch_path(&p->s, "main"), env);
    part = conf_withhold(&schema, all, reader);
    buf_clear(&p->bytes);
    bundle_write(part, &p->bytes);
    assert_ok(bundle_parse(buf_bytes(&p->bytes), &there));
    load(p, there);
    bundle_free(all);
    bundle_free(part);
    bundle_free(there);
}

static bool holds(const struct play *p, const char *word)
{
    return memmem(p->bytes.ptr + p->bytes.start, buf_len(&p->bytes), word, strlen(word)) != NULL;
}

static int setup(void **state)
{
    struct play *p = calloc(1, sizeof *p);

    assert_non_null(p);
    scratch_open(&p->s);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct play *p = *state;

    scratch_close(&p->s);
    buf_release(&p->taken);
    buf_release(&p->errors);
    buf_release(&p->bytes);
    free(p);
    return 0;
}

static void test_texts(void **state)
{
    static const struct {
        const char *text, *all, *blanked;
    } rows_[] = {
        { "password hunter2; word a", "password=hunter2;word=a;", "password=xxxxxxx;word=a;" },
        { "password \"hun ter2\"\nword a", "password=hun ter2;word=a;", "password=xxxxxxxx;word=a;" },
        { "password \"hun\\\"ter2\" ; word a", "password=hun\"ter2;word=a;", "password=xxxxxxxxx;word=a;" },
        { "password \"hunter2\\\\\" ;word a", "password=hunter2\\;word=a;", "password=xxxxxxxxx;word=a;" },
        { "host a { password hunter2}", "password=hunter2;", "password=xxxxxxx;" },
        { "host a { login me password hunter2 }", "login=me;", "login=me;" },
        { "host a { login auto }", "login=auto;", "login=auto;" },
        { "password hunter2# ; word a", "password=hunter2#;word=a;", "password=xxxxxxxx;word=a;" },
    };

    for (size_t i = 0; i < countof(rows_); i++) {
        struct play *p = *state;

        read_as(p, FOR_MAIL, rows_[i].text, NULL);
        assert_string_equal(buf_cstr(&p->errors), "");
        assert_string_equal(buf_cstr(&p->taken), rows_[i].all);
        read_as(p, FOR_KEYS, rows_[i].text, NULL);
        assert_string_equal(buf_cstr(&p->errors), "");
        assert_string_equal(buf_cstr(&p->taken), rows_[i].blanked);
        assert_false(holds(p, "ter2"));
    }
}

static void test_lines_and_columns_stay(void **state)
{
    struct play *p = *state;
    const char *text = "password \"b\xc3\xbc" "cher\"; pin 12\n  word a";
    const char *want = "password \"xxxxxxx\"; pin 12\n  word a";

    read_as(p, FOR_KEYS, text, NULL);
    assert_true(holds(p, want));
}

static void test_files(void **state)
{
    struct play *p = *state;

    scratch_write(&p->s, "key", "PRIVATE", 0600);
    scratch_write(&p->s, "token", "hunter2", 0600);
    scratch_write(&p->s, "both", "common", 0600);
    read_as(p, FOR_MAIL,
            "key_file selector s1 file key; token_file token\n"
            "token_file both; key_file selector s2 file both",
            NULL);
    assert_string_equal(buf_cstr(&p->errors), "");
    assert_string_equal(buf_cstr(&p->taken),
                        "key_file=(withheld);token_file=hunter2;token_file=common;key_file=common;");
    assert_false(holds(p, "PRIVATE"));
    read_as(p, FOR_KEYS, "key_file selector s1 file key; token_file token", NULL);
    assert_string_equal(buf_cstr(&p->taken), "key_file=PRIVATE;token_file=(withheld);");
    assert_false(holds(p, "hunter2"));
    read_as(p, FOR_NONE, "key_file selector s1 file key; token_file token; pin 1234; password hunter2", NULL);
    assert_string_equal(buf_cstr(&p->taken), "key_file=(withheld);token_file=(withheld);pin=xxxx;password=xxxxxxx;");
}

static void test_included_files(void **state)
{
    struct play *p = *state;

    scratch_write(&p->s, "more.conf", "host a { password hunter2 }\n", 0600);
    read_as(p, FOR_KEYS, "include *.conf", NULL);
    assert_string_equal(buf_cstr(&p->taken), "password=xxxxxxx;");
    assert_false(holds(p, "hunter2"));
}

/* The variable's value, and what it replaces in the text. */
static void test_variables(void **state)
{
    struct play *p = *state;
    char over[] = "TEST_HOST_A_PASSWORD=hunter2 \"x", pin[] = "TEST_PIN=4711";
    char login[] = "TEST_HOST_A_LOGIN=me password \"hunter 2\"";
    char *env[] = { over, pin, login, NULL };

    read_as(p, FOR_KEYS, "host a { password hunter1 }", env);
    assert_string_equal(buf_cstr(&p->errors), "");
    assert_string_equal(buf_cstr(&p->taken), "password=xxxxxxxxxx;login=me;pin=4711;");
    assert_false(holds(p, "hunter"));
    read_as(p, FOR_MAIL, "host a { password hunter1 }", env);
    assert_string_equal(buf_cstr(&p->taken), "password=hunter2 \"x;login=me;pin=xxxx;");
    assert_false(holds(p, "4711"));
}

/* A secret that no directive names goes to whom its entry says. */
static void test_unnamed_secrets(void **state)
{
    struct play *p = *state;
    struct bundle *b, *part;
    const struct bundle_entry *e;

    scratch_write(&p->s, "main", "word a", 0600);
    b = conf_read(&schema, scratch_path(&p->s, "main"), NULL);
    assert_ok(bundle_add(b, BUNDLE_SECRET, "/keys/a", SLICE("PRIVATE"), NULL));
    b->entries[b->count - 1].readers = FOR_KEYS;
    part = conf_withhold(&schema, b, FOR_KEYS);
    e = bundle_find(part, BUNDLE_SECRET, SLICE("/keys/a"));
    assert_slice_str(buf_bytes(&e->bytes), "PRIVATE");
    bundle_free(part);
    part = conf_withhold(&schema, b, FOR_MAIL);
    e = bundle_find(part, BUNDLE_SECRET, SLICE("/keys/a"));
    assert_true(e->withheld);
    assert_int_equal(buf_len(&e->bytes), 0);
    bundle_free(part);
    bundle_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        EACH(test_texts),          EACH(test_lines_and_columns_stay), EACH(test_files),
        EACH(test_included_files), EACH(test_variables),              EACH(test_unnamed_secrets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
