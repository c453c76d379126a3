/* Files of a configuration: read from disk, carried as bytes, parsed back. */
#include "tests/unit/check_conf.h"

#include "conf/conf.h"

static void take_word(struct conf *c, const struct conf_stmt *s, void *into)
{
    buf_printf(c->user, "%.*s ", (int)s->args[0].text.len, s->args[0].text.ptr);
}

static const struct conf_row rows[] = {
    { "", "word", "WORD", CONF_MANY, take_word, 0 },
    { "", "secret_file", "SECRET_FILE", CONF_MANY, conf_take_nothing, 0 },
    { NULL, NULL, NULL, 0, NULL, 0 },
};
static const struct conf_type no_types[] = { { NULL, NULL, NULL, NULL } };
static const struct conf_schema schema = { .rows = rows, .types = no_types, .env_prefix = "TEST_" };

static void load(const struct bundle *b, struct buf *words, struct buf *errors)
{
    struct diagnostics d = { 0 };
    struct conf c = { .schema = &schema, .bundle = b, .pool = pool_new(), .diags = &d, .user = words };

    buf_clear(words);
    conf_load(&c, NULL);
    brief(&d, errors);
    diagnostics_release(&d);
    pool_free(c.pool);
}

/* From disk, through bytes and back; both must say the same. */
static void load_disk(struct scratch *s, const char *name, struct buf *words, struct buf *errors)
{
    struct bundle *b = conf_read(&schema, scratch_path(s, name), NULL);
    struct bundle *copy;
    struct buf bytes = { 0 }, again = { 0 }, again_errors = { 0 };
    char *at;

    load(b, words, errors);
    bundle_write(b, &bytes);
    assert_ok(bundle_parse(buf_bytes(&bytes), &copy));
    bundle_free(b);
    load(copy, &again, &again_errors);
    bundle_free(copy);
    assert_string_equal(buf_cstr(words), buf_cstr(&again));
    assert_string_equal(buf_cstr(errors), buf_cstr(&again_errors));
    buf_release(&bytes);
    buf_release(&again);

    /* the folder's name is different each time */
    buf_clear(&again_errors);
    for (const char *p = buf_cstr(errors); (at = strstr(p, s->path)) != NULL; p = at + strlen(s->path)) {
        buf_add(&again_errors, slice_make(p, (size_t)(at - p)));
        buf_add_byte(&again_errors, '$');
        if (strstr(at + 1, s->path) == NULL)
            buf_add_str(&again_errors, at + strlen(s->path));
    }
    if (buf_len(&again_errors) != 0) {
        buf_clear(errors);
        buf_add(errors, buf_bytes(&again_errors));
    }
    buf_release(&again_errors);
}

static void test_includes(void **state)
{
    struct scratch s;
    struct buf words = { 0 }, errors = { 0 };

    scratch_open(&s);
    assert_int_equal(mkdir(scratch_path(&s, "d"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(&s, "empty"), 0700), 0);
    scratch_write(&s, "one", "word 1", 0600);
    scratch_write(&s, "d/b.conf", "word b", 0600);
    scratch_write(&s, "d/a.conf", "word a; include ../one", 0600);
    scratch_write(&s, "d/a.conf~", "word x", 0600);
    scratch_write(&s, "d/.hidden.conf", "word x", 0600);

    scratch_write(&s, "main", "word 0; include one; word 2\ninclude d\nword 3", 0600);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_string_equal(buf_cstr(&words), "0 1 2 a 1 b 3 ");

    scratch_write(&s, "main", "include d/*.conf\ninclude empty; include \"no*\"; include nowhere/*.conf", 0600);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_string_equal(buf_cstr(&words), "a 1 b ");

    scratch_write(&s, "d/b.conf", "word", 0600);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "$/d/b.conf:1:5: \"word\" needs a word here");
    assert_string_equal(buf_cstr(&words), "a 1 ");

    scratch_close(&s);
    buf_release(&words);
    buf_release(&errors);
}

static void test_refused(void **state)
{
    struct scratch s;
    struct buf words = { 0 }, errors = { 0 };

    scratch_open(&s);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "$/main:can't read it: No such file or directory");

    assert_int_equal(mkdir(scratch_path(&s, "folder"), 0700), 0);
    load_disk(&s, "folder", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "$/folder:can't read it: Is a directory");

    scratch_write(&s, "main", "word 1\ninclude nothing\nword 2", 0600);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors),
                        "$/main:2:9: can't read \"$/nothing\": No such file or directory");
    assert_string_equal(buf_cstr(&words), "1 2 ");

    scratch_write(&s, "main", "include other", 0600);
    scratch_write(&s, "other", "word 1; include main", 0600);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "$/other:1:17: \"$/main\" includes itself");

    assert_int_equal(mkfifo(scratch_path(&s, "fifo"), 0600), 0);
    scratch_write(&s, "main", "include fifo", 0600);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(buf_cstr(&errors),
                        "$/main:1:9: can't read \"$/fifo\": it is not a regular file");

    scratch_close(&s);
    buf_release(&words);
    buf_release(&errors);
}

/* A cycle that changes its name at each turn, and files that fan out. */
static void test_bounds(void **state)
{
    struct scratch s;
    struct buf words = { 0 }, errors = { 0 };
    struct diagnostics d = { 0 };
    struct bundle *b;

    scratch_open(&s);
    assert_int_equal(mkdir(scratch_path(&s, "d"), 0700), 0);
    scratch_write(&s, "d/main", "include ../d/main", 0600);
    load_disk(&s, "d/main", &words, &errors);
    assert_non_null(strstr(buf_cstr(&errors), "files are included more than 16 deep"));

    scratch_write(&s, "d/main", "include ../d/main; include ../d/../d/main\ninclude ../d/main", 0600);
    b = conf_read(&schema, scratch_path(&s, "d/main"), NULL);
    struct conf c = { .schema = &schema, .bundle = b, .pool = pool_new(), .diags = &d, .user = &words };
    conf_load(&c, NULL);
    assert_true(d.errors > 0);
    assert_true(c.includes <= BUNDLE_FILES_MAX + 1);
    pool_free(c.pool);
    diagnostics_release(&d);
    bundle_free(b);

    scratch_write(&s, "huge", "", 0600);
    assert_int_equal(truncate(scratch_path(&s, "huge"), BUNDLE_FILE_MAX + 1), 0);
    load_disk(&s, "huge", &words, &errors);
    assert_string_equal(buf_cstr(&errors), "$/huge:can't read it: it is larger than 4 MiB");
    scratch_close(&s);
    buf_release(&words);
    buf_release(&errors);
}

static void test_secrets(void **state)
{
    struct scratch s;
    struct buf words = { 0 }, errors = { 0 };
    struct bundle *b;
    const struct bundle_entry *e;

    scratch_open(&s);
    scratch_write(&s, "main", "secret_file key; secret_file open; secret_file none", 0600);
    scratch_write(&s, "key", "hunter2", 0640);
    scratch_write(&s, "open", "hunter2", 0604);
    load_disk(&s, "main", &words, &errors);
    assert_string_equal(
        buf_cstr(&errors),
        "$/main:1:30: can't use \"open\": everybody may read or write it; chmod o= takes that away\n"
        "$/main:1:48: can't use \"none\": No such file or directory");

    b = conf_read(&schema, scratch_path(&s, "main"), NULL);
    e = bundle_find(b, BUNDLE_SECRET, slice_str(scratch_path(&s, "key")));
    assert_non_null(e);
    assert_slice_str(buf_bytes(&e->bytes), "hunter2");
    e = bundle_find(b, BUNDLE_SECRET, slice_str(scratch_path(&s, "open")));
    assert_non_null(e);
    assert_int_equal(buf_len(&e->bytes), 0);
    bundle_free(b);
    scratch_close(&s);
    buf_release(&words);
    buf_release(&errors);
}

/* What happens to the files afterwards does not matter. */
static void test_same_bytes(void **state)
{
    char ours[] = "TEST_X=1", other[] = "OTHER=2", odd[] = "TEST";
    char *env[] = { ours, other, odd, NULL };
    struct scratch s;
    struct buf words = { 0 }, errors = { 0 };
    struct bundle *b;

    scratch_open(&s);
    scratch_write(&s, "main", "include one", 0600);
    scratch_write(&s, "one", "word 1", 0600);
    b = conf_read(&schema, scratch_path(&s, "main"), env);
    scratch_close(&s);
    load(b, &words, &errors);
    assert_string_equal(buf_cstr(&words), "1 ");
    assert_int_equal(b->count, 3);
    assert_non_null(bundle_find(b, BUNDLE_ENV, SLICE("TEST_X")));
    bundle_free(b);
    buf_release(&words);
    buf_release(&errors);
}

static struct bundle *sample(void)
{
    struct bundle *b = bundle_new("relayd.conf");

    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/relayd.conf", SLICE("word a\0b"), NULL));
    assert_ok(bundle_add(b, BUNDLE_LIST, "/etc/d", SLICE(""), NULL));
    assert_ok(bundle_add(b, BUNDLE_SECRET, "/etc/key", SLICE_EMPTY, "Permission denied"));
    assert_ok(bundle_add(b, BUNDLE_ENV, "TEST_X", SLICE("1"), NULL));
    return b;
}

static void test_round_trip(void **state)
{
    struct bundle *b = sample();
    struct bundle *copy;
    struct buf bytes = { 0 }, again = { 0 };

    bundle_write(b, &bytes);
    assert_ok(bundle_parse(buf_bytes(&bytes), &copy));
    assert_string_equal(copy->name, "relayd.conf");
    assert_int_equal(copy->count, 4);
    assert_slice_str(slice_head(buf_bytes(&copy->entries[0].bytes), 6), "word a");
    assert_int_equal(buf_len(&copy->entries[0].bytes), 8);
    assert_null(copy->entries[1].problem);
    assert_string_equal(copy->entries[2].problem, "Permission denied");
    bundle_write(copy, &again);
    assert_true(slice_eq(buf_bytes(&bytes), buf_bytes(&again)));
    bundle_free(copy);
    bundle_free(b);
    buf_release(&bytes);
    buf_release(&again);
}

static void test_hostile(void **state)
{
    struct bundle *b = sample();
    struct bundle *copy;
    struct buf bytes = { 0 };
    char *wrong;
    size_t len;

    bundle_write(b, &bytes);
    bundle_free(b);
    len = buf_len(&bytes);
    for (size_t cut = 0; cut < len; cut++) {
        wrong = memcpy(malloc(cut + 1), buf_bytes(&bytes).ptr, cut); /* so that a sanitizer sees its end */
        assert_err(bundle_parse(slice_make(wrong, cut), &copy), ERR_CORRUPT);
        assert_null(copy);
        free(wrong);
    }
    buf_add_byte(&bytes, 'x');
    assert_err(bundle_parse(buf_bytes(&bytes), &copy), ERR_CORRUPT);

    /* any byte may be anything: refused or parsed, never more */
    for (size_t at = 0; at < len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct err e;

            wrong = memcpy(malloc(len), buf_bytes(&bytes).ptr, len);
            wrong[at] = (char)(wrong[at] ^ (1 << bit));
            e = bundle_parse(slice_make(wrong, len), &copy);
            if (!err_failed(e))
                bundle_free(copy);
            free(wrong);
        }
    }
    buf_release(&bytes);
}

static void test_limits(void **state)
{
    struct bundle *b = bundle_new("x");
    char *large = calloc(1, BUNDLE_TABLE_MAX + 1);

    assert_err(bundle_add(b, BUNDLE_FILE, "/a", slice_make(large, BUNDLE_FILE_MAX + 1), NULL), ERR_LIMIT);
    assert_err(bundle_add(b, BUNDLE_TABLE, "/a", slice_make(large, BUNDLE_TABLE_MAX + 1), NULL), ERR_LIMIT);
    assert_ok(bundle_add(b, BUNDLE_FILE, "/a", slice_make(large, BUNDLE_FILE_MAX), NULL));
    for (unsigned i = 0; i < BUNDLE_BYTES_MAX / BUNDLE_TABLE_MAX - 1; i++)
        assert_ok(bundle_add(b, BUNDLE_TABLE, "/a", slice_make(large, BUNDLE_TABLE_MAX), NULL));
    assert_err(bundle_add(b, BUNDLE_TABLE, "/a", slice_make(large, BUNDLE_TABLE_MAX), NULL), ERR_LIMIT);
    assert_ok(bundle_add(b, BUNDLE_TABLE, "/a", slice_make(large, BUNDLE_TABLE_MAX - BUNDLE_FILE_MAX), NULL));
    assert_err(bundle_add(b, BUNDLE_FILE, "/a", SLICE("x"), NULL), ERR_LIMIT);
    while (b->count < BUNDLE_FILES_MAX)
        assert_ok(bundle_add(b, BUNDLE_FILE, "/a", SLICE_EMPTY, NULL));
    assert_err(bundle_add(b, BUNDLE_FILE, "/a", SLICE_EMPTY, NULL), ERR_LIMIT);
    bundle_free(b);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_includes),   cmocka_unit_test(test_refused),    cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_secrets),    cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
