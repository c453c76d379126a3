/* A data file with one thing wrong in it, at a place chosen: what is wrong is
 * counted, does not come out, and hides nothing else. test_queue_salvage.c draws
 * the places by lot. */
#include "tests/unit/store_fake.h"

#include "store/store.h"
#include "store/wreck.h"

#include <fcntl.h>
#include <sys/stat.h>

#define PAGE 4096u

static const char *const tables[] = { "a", "empty" };

/* "ka" to "kabc" begin with one another. "k" was put first, so its node stands at
 * the end of the page; the last one's value is empty. */
static const char *const keys[] = { "k", "ka", "kab", "kabc", "l", "z" };
#define KEYS countof(keys)

struct fix {
    char *path;
    struct fake_loop loop;
    unsigned done;
    char *file; /* a copy */
    size_t len;
    unsigned in_table[KEYS], stray[KEYS], others;
    struct wreck_counts counts;
};

static struct err put_all(struct store_job *j, struct store_txn *t)
{
    for (size_t i = 0; i < KEYS; i++)
        assert_ok(store_put(t, 0, slice_str(keys[i]), slice_str(i + 1 < KEYS ? "1" : "")));
    return ERR_OK;
}

static struct err touch(struct store_job *j, struct store_txn *t)
{
    return store_put(t, 0, slice_str(keys[0]), SLICE("1"));
}

static void job_done(struct store_job *j, struct err e)
{
    assert_ok(e);
}

static void make_file(struct fix *f)
{
    struct store_options opt = { .path = f->path, .tables = tables, .table_count = 2, .stepped = true,
                                 .clock = &clock_system };
    struct store_job j = { .home = &f->loop.loop, .run = put_all, .done = job_done };
    struct store *s;

    assert_ok(store_open(&opt, &s));
    store_submit(s, &j);
    store_step(s, 1);
    fake_turn(&f->loop);
    j.run = touch; /* leaves a list of free pages */
    store_submit(s, &j);
    store_step(s, 1);
    fake_turn(&f->loop);
    store_close(s);
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);
    struct slice file;

    f->path = scratch_make();
    fake_init(&f->loop);
    make_file(f);
    assert_ok(wreck_open(f->path, &file));
    f->len = file.len;
    f->file = malloc(f->len);
    memcpy(f->file, file.ptr, f->len);
    wreck_close(file);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    scratch_remove(f->path);
    free(f->path);
    free(f->file);
    free(f);
    return 0;
}

/* ---- the bytes ----------------------------------------------------------------- */

static unsigned u16_at(const char *p)
{
    uint16_t n;

    memcpy(&n, p, sizeof n);
    return n;
}

static uint64_t u64_at(const char *p)
{
    uint64_t n;

    memcpy(&n, p, sizeof n);
    return n;
}

static void set_u16(char *p, unsigned n)
{
    uint16_t small = (uint16_t)n;

    memcpy(p, &small, sizeof small);
}

/* Of the newer of the two meta pages. */
static char *newest_meta(struct fix *f)
{
    char *first = f->file + 16, *second = f->file + PAGE + 16;

    return u64_at(second + 128) > u64_at(first + 128) ? second : first;
}

static char *node_of(char *page, unsigned i)
{
    return page + u16_at(page + 16 + 2 * i);
}

static char *page_of(struct fix *f, uint64_t n)
{
    return f->file + n * PAGE;
}

/* The tree of tables has "a" first, whose value is its tree. */
static char *records(struct fix *f)
{
    char *names = page_of(f, u64_at(newest_meta(f) + 24 + 48 + 40));

    for (unsigned i = 0;; i++) {
        char *node = node_of(names, i);

        if (u16_at(node + 6) == 1 && node[8] == 'a')
            return page_of(f, u64_at(node + 8 + 1 + 40));
    }
}

/* ---- reading it -------------------------------------------------------------------- */

static void visit(void *ctx, const struct wreck_record *r)
{
    struct fix *f = ctx;

    for (size_t i = 0; i < KEYS; i++) {
        if (!slice_eq(r->key, slice_str(keys[i])))
            continue;
        f->in_table[i] += r->table == 0;
        f->stray[i] += r->table == WRECK_TABLE_UNKNOWN;
        return;
    }
    f->others++;
}

static void read_it(struct fix *f)
{
    memset(f->in_table, 0, sizeof f->in_table);
    memset(f->stray, 0, sizeof f->stray);
    f->others = 0;
    wreck_read(slice_make(f->file, f->len), tables, 2, visit, f, &f->counts);
}

static void assert_all_in_table_but(const struct fix *f, size_t a, size_t b)
{
    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(f->in_table[i], i != a && i != b);
}

static void test_12_a_whole_file(void **state)
{
    static const char *const more[] = { "a", "empty", "later" };
    struct fix *f = *state;

    read_it(f);
    assert_all_in_table_but(f, KEYS, KEYS);
    assert_int_equal(f->others, 0);
    assert_int_equal(f->counts.damaged, 0);
    assert_int_equal(f->counts.stray, 0);
    assert_false(f->counts.tree_lost);
    wreck_read(slice_make(f->file, f->len), more, 3, visit, f, &f->counts); /* of a release to come */
    assert_int_equal(f->counts.damaged, 0);
    assert_false(f->counts.tree_lost);
}

/* "kabc" is cut to "ka": it, and "kab" before it, may be anybody's. */
static void test_12_a_key_that_stands_out_of_order(void **state)
{
    struct fix *f = *state;
    char *leaf = records(f);

    set_u16(node_of(leaf, 3) + 6, 2);
    read_it(f);
    assert_all_in_table_but(f, 2, 3);
    assert_int_equal(f->counts.damaged, 3); /* and the tree's number of records is another */
}

/* A value is said to stand in pages of its own, and no number of a page is there:
 * for the one there is no room, the other has a length of nothing. */
static void test_12_values_that_are_nowhere(void **state)
{
    struct fix *f = *state;
    char *leaf = records(f);

    set_u16(node_of(leaf, 0) + 4, 1);
    set_u16(node_of(leaf, KEYS - 1) + 4, 1);
    read_it(f);
    assert_all_in_table_but(f, 0, KEYS - 1);
    assert_int_equal(f->counts.damaged, 3);
}

/* Then nobody can tell old pages from those in use, but what the trees hold is sure. */
static void test_12_a_damaged_list_of_free_pages(void **state)
{
    struct fix *f = *state;
    char *node = node_of(page_of(f, u64_at(newest_meta(f) + 24 + 40)), 0);

    set_u16(node, u16_at(node) - 4);
    read_it(f);
    assert_int_equal(f->counts.damaged, 1);
    assert_false(f->counts.tree_lost);
    for (size_t i = 0; i < KEYS; i++) {
        assert_int_equal(f->in_table[i], 1);
        assert_true(f->stray[i] > 0);
    }
}

/* What is newest is not known then, and the older tree is read. */
static void test_12_a_meta_page_of_another_version(void **state)
{
    struct fix *f = *state;

    newest_meta(f)[4] ^= 2;
    read_it(f);
    assert_true(f->counts.tree_lost);
    for (size_t i = 0; i < KEYS; i++)
        assert_true(f->in_table[i] + f->stray[i] > 0);
}

static void test_12_files_that_are_none(void **state)
{
    struct fix *f = *state;
    char path[128];
    struct slice file;

    snprintf(path, sizeof path, "%s/data.mdb", f->path);
    assert_true(err_failed(wreck_open(path, &file))); /* not a folder */
    assert_int_equal(truncate(path, 0), 0);
    assert_ok(wreck_open(f->path, &file));
    assert_int_equal(file.len, 0);
    wreck_read(file, tables, 2, visit, f, &f->counts);
    assert_true(f->counts.tree_lost);
    wreck_close(file);
    assert_int_equal(unlink(path), 0);
    assert_err(wreck_open(f->path, &file), ERR_NOT_FOUND);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(err_failed(wreck_open(f->path, &file)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_12_a_whole_file),
        TEST(test_12_a_key_that_stands_out_of_order),
        TEST(test_12_values_that_are_nowhere),
        TEST(test_12_a_damaged_list_of_free_pages),
        TEST(test_12_a_meta_page_of_another_version),
        TEST(test_12_files_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
