/* Tables: what is put is got, walks agree with a sorted array, odd sizes are refused. */
#include "tests/unit/store_fake.h"

#include "store/store.h"

enum { T_A, T_B };

static const char *const tables[] = { "a", "b" };

struct fix {
    char *path;
    struct store *store;
    struct fake_loop loop;
    unsigned done;
};

struct step_job {
    struct store_job job;
    struct fix *fix;
    struct err (*body)(struct fix *f, struct store_txn *t);
};

static struct err step_run(struct store_job *j, struct store_txn *t)
{
    struct step_job *s = container_of(j, struct step_job, job);

    return s->body(s->fix, t);
}

static void step_done(struct store_job *j, struct err e)
{
    container_of(j, struct step_job, job)->fix->done++;
}

static struct err in_txn(struct fix *f, struct err (*body)(struct fix *f, struct store_txn *t))
{
    struct step_job j = { .job = { .home = &f->loop.loop, .run = step_run, .done = step_done },
                          .fix = f,
                          .body = body };
    unsigned before = f->done;

    store_submit(f->store, &j.job);
    assert_int_equal(store_step(f->store, 100), 1);
    assert_int_equal(f->done, before); /* only by post */
    fake_turn(&f->loop);
    assert_int_equal(f->done, before + 1);
    return j.job.result;
}

static void fix_open(struct fix *f)
{
    const struct store_options opt = {
        .path = f->path,
        .tables = tables,
        .table_count = 2,
        .stepped = true,
        .clock = &clock_system,
    };

    assert_ok(store_open(&opt, &f->store));
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);

    f->path = scratch_make();
    fake_init(&f->loop);
    fix_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    store_close(f->store);
    scratch_remove(f->path);
    free(f->path);
    free(f);
    return 0;
}

static struct err put_some(struct fix *f, struct store_txn *t)
{
    struct slice v;
    char *room;

    assert_err(store_get(t, T_A, SLICE("k"), &v), ERR_NOT_FOUND);
    assert_ok(store_put(t, T_A, SLICE("k"), SLICE("one")));
    assert_ok(store_put(t, T_A, SLICE("k"), SLICE("two")));
    assert_ok(store_put(t, T_A, SLICE("empty"), SLICE("")));
    assert_ok(store_put_room(t, T_A, SLICE("room"), 3, &room));
    memcpy(room, "abc", 3);
    assert_ok(store_get(t, T_A, SLICE("k"), &v));
    assert_slice_str(v, "two");
    assert_err(store_get(t, T_B, SLICE("k"), &v), ERR_NOT_FOUND);
    assert_err(store_delete(t, T_B, SLICE("k")), ERR_NOT_FOUND);
    return ERR_OK;
}

static struct err see_some(struct fix *f, struct store_txn *t)
{
    struct slice v;

    assert_ok(store_get(t, T_A, SLICE("k"), &v));
    assert_slice_str(v, "two");
    assert_ok(store_get(t, T_A, SLICE("empty"), &v));
    assert_int_equal(v.len, 0);
    assert_ok(store_get(t, T_A, SLICE("room"), &v));
    assert_slice_str(v, "abc");
    return ERR_OK;
}

static void test_put_get(void **state)
{
    struct fix *f = *state;
    struct store_txn *t;

    assert_ok(in_txn(f, put_some));
    assert_ok(in_txn(f, see_some));
    assert_ok(store_snapshot(f->store, &t));
    assert_ok(see_some(f, t));
    store_snapshot_end(t);
    store_close(f->store);
    fix_open(f);
    assert_ok(in_txn(f, see_some));
}

static struct err odd_sizes(struct fix *f, struct store_txn *t)
{
    static char big[STORE_VALUE_MAX + 1], key[STORE_KEY_MAX + 1];
    struct store_cursor *c;
    struct slice k, v;
    char *room;

    memset(key, 'k', sizeof key);
    assert_ok(store_put(t, T_A, slice_make(key, STORE_KEY_MAX), slice_make(big, STORE_VALUE_MAX)));
    assert_ok(store_get(t, T_A, slice_make(key, STORE_KEY_MAX), &v));
    assert_int_equal(v.len, STORE_VALUE_MAX);
    assert_err(store_put(t, T_A, SLICE("k"), slice_make(big, sizeof big)), ERR_LIMIT);
    assert_err(store_put_room(t, T_A, SLICE("k"), sizeof big, &room), ERR_LIMIT);
    assert_null(room);
    assert_err(store_append_room(t, T_A, SLICE("zz"), sizeof big, &room), ERR_LIMIT);
    assert_err(store_put(t, T_A, slice_make(key, sizeof key), SLICE("")), ERR_LIMIT);
    assert_err(store_put(t, T_A, SLICE(""), SLICE("")), ERR_LIMIT);
    assert_err(store_get(t, T_A, SLICE(""), &v), ERR_LIMIT);
    assert_err(store_delete(t, T_A, slice_make(key, sizeof key)), ERR_LIMIT);
    assert_err(store_get(t, T_A, SLICE("k"), &v), ERR_NOT_FOUND);
    assert_ok(store_cursor_open(t, T_A, &c));
    assert_err(store_cursor_seek(c, slice_make(key, sizeof key), &k, &v), ERR_LIMIT);
    return ERR_OK;
}

static void test_odd_sizes(void **state)
{
    assert_ok(in_txn(*state, odd_sizes));
}

static struct err append_out_of_order(struct fix *f, struct store_txn *t)
{
    static const char *const keys[] = { "b", "d", "c", "a", "d", "e" };
    struct store_cursor *c;
    struct slice k, v;
    char *room, seen[8] = "";
    struct err e;

    for (unsigned i = 0; i < countof(keys); i++) {
        assert_ok(store_append_room(t, T_A, slice_str(keys[i]), 1, &room));
        *room = (char)('0' + i);
    }
    assert_ok(store_cursor_open(t, T_A, &c));
    for (e = store_cursor_seek(c, SLICE_EMPTY, &k, &v); !err_failed(e);
         e = store_cursor_next(c, &k, &v))
        strncat(seen, v.ptr, 1);
    assert_err(e, ERR_NOT_FOUND);
    assert_string_equal(seen, "30245");
    return ERR_OK; /* the cursor ends with the job */
}

static void test_append(void **state)
{
    assert_ok(in_txn(*state, append_out_of_order));
}

static struct err prefixes(struct fix *f, struct store_txn *t)
{
    struct slice v;
    size_t n = 99;
    char key[8];

    for (unsigned i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "%c%05u", "abc"[i % 3], i);
        assert_ok(store_put(t, T_A, slice_str(key), SLICE("some value that fills pages")));
    }
    assert_ok(store_delete_prefix(t, T_A, SLICE("b"), &n));
    assert_int_equal(n, 1000);
    assert_ok(store_delete_prefix(t, T_A, SLICE("b"), &n));
    assert_int_equal(n, 0);
    assert_ok(store_delete_prefix(t, T_A, SLICE("c029"), &n));
    assert_int_equal(n, 34);
    assert_ok(store_get(t, T_A, SLICE("a00000"), &v));
    assert_err(store_get(t, T_A, SLICE("b00001"), &v), ERR_NOT_FOUND);
    assert_ok(store_get(t, T_A, SLICE("c00002"), &v));
    assert_ok(store_delete_prefix(t, T_A, SLICE("c"), NULL));
    assert_ok(store_get(t, T_A, SLICE("a02997"), &v));
    assert_ok(store_delete_prefix(t, T_A, SLICE(""), &n));
    assert_int_equal(n, 1000);
    assert_ok(store_delete_prefix(t, T_B, SLICE("x"), &n));
    assert_int_equal(n, 0);
    return ERR_OK;
}

static void test_delete_prefix(void **state)
{
    assert_ok(in_txn(*state, prefixes));
}

/* A walk beside a model: keys are three digits, present[] says which exist;
 * `at` is the place between keys: next() gives the first key > at … */
static struct err random_walks(struct fix *f, struct store_txn *t)
{
    static bool present[1000];
    struct rng rng;

    rng_seed(&rng, 7);
    memset(present, 0, sizeof present);
    for (unsigned round = 0; round < 60; round++) {
        unsigned fill = (unsigned)rng_below(&rng, 3) == 0 ? 5 : 700;
        struct store_cursor *c;
        struct slice k, v;
        char key[8], big[600];
        int at = -1; /* -1: not on a key */

        memset(big, 'v', sizeof big);
        for (unsigned i = 0; i < fill; i++) {
            unsigned n = (unsigned)rng_below(&rng, 1000);

            snprintf(key, sizeof key, "%03u", n);
            assert_ok(
                store_put(t, T_A, slice_str(key), slice_make(big, rng_below(&rng, sizeof big))));
            present[n] = true;
        }
        assert_ok(store_cursor_open(t, T_A, &c));
        for (unsigned step = 0; step < 2000; step++) {
            int want = 0, from = (int)rng_below(&rng, 1000);
            struct err e;

            if (at < 0 || rng_below(&rng, 40) == 0) {
                snprintf(key, sizeof key, "%03d", from);
                e = store_cursor_seek(c, slice_str(key), &k, &v);
                for (want = from; want < 1000 && !present[want]; want++)
                    ;
                if (err_failed(e) && rng_below(&rng, 2) == 0) { /* back from the end */
                    e = store_cursor_next(c, &k, &v);
                    assert_err(e, ERR_NOT_FOUND);
                    e = store_cursor_prev(c, &k, &v);
                    for (want = 999; want >= 0 && !present[want]; want--)
                        ;
                }
            } else {
                bool forward = rng_below(&rng, 8) != 0;

                if (rng_below(&rng, 2) == 0) {
                    assert_ok(store_cursor_delete(c));
                    present[at] = false;
                }
                e = forward ? store_cursor_next(c, &k, &v) : store_cursor_prev(c, &k, &v);
                for (want = at + (forward ? 1 : -1); want >= 0 && want < 1000 && !present[want];
                     want += forward ? 1 : -1)
                    ;
            }
            at = -1;
            if (want < 0 || want > 999) {
                assert_err(e, ERR_NOT_FOUND);
                continue;
            }
            assert_ok(e);
            snprintf(key, sizeof key, "%03d", want);
            assert_slice_str(k, key);
            at = want;
        }
        store_cursor_close(c);
    }
    return ERR_OK;
}

static void test_cursor_model(void **state)
{
    assert_ok(in_txn(*state, random_walks));
}

static struct err put_one(struct fix *f, struct store_txn *t)
{
    return store_put(t, T_A, SLICE("k"), SLICE("two"));
}

static void test_read_only(void **state)
{
    static const char *const more[] = { "a", "later" };
    struct fix *f = *state;
    struct store_options opt = {
        .path = f->path,
        .tables = more,
        .table_count = 2,
        .read_only = true,
        .clock = &clock_system,
    };
    struct store_cursor *c;
    struct store *ro;
    struct store_txn *t;
    struct slice k, v;
    char lock[128];

    assert_ok(in_txn(f, put_one));
    store_close(f->store);
    f->store = NULL;
    snprintf(lock, sizeof lock, "%s/lock.mdb", f->path);
    unlink(lock);
    assert_ok(store_open(&opt, &ro));
    assert_ok(store_snapshot(ro, &t));
    assert_ok(store_get(t, 0, SLICE("k"), &v));
    assert_slice_str(v, "two");
    assert_err(store_get(t, 1, SLICE("k"), &v), ERR_NOT_FOUND); /* a table it never had */
    assert_ok(store_cursor_open(t, 1, &c));
    assert_err(store_cursor_seek(c, SLICE_EMPTY, &k, &v), ERR_NOT_FOUND);
    store_snapshot_end(t);
    store_close(ro);
    assert_int_not_equal(access(lock, F_OK), 0);
    opt.path = "/tmp/store-test-no-such-folder";
    assert_err(store_open(&opt, &ro), ERR_NOT_FOUND);
}

/* However the folder is named, its own folder is synced, and found. */
static void test_paths(void **state)
{
    struct fix *f = *state;
    char absolute[128], before[4096], file[128];
    const char *const rows[] = { "relative", "slash/", "slashes///", "./dotted", absolute };
    struct store_options opt = { .tables = tables, .table_count = 2, .clock = &clock_system };

    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(f->path), 0);
    snprintf(absolute, sizeof absolute, "%s/absolute/", f->path);
    for (unsigned i = 0; i < countof(rows); i++) {
        struct store *s;

        opt.path = rows[i];
        assert_ok(store_open(&opt, &s));
        store_close(s);
        snprintf(file, sizeof file, "%s/data.mdb", rows[i]);
        assert_int_equal(access(file, F_OK), 0);
    }
    assert_int_equal(chdir(before), 0);
}

static void test_open_rubbish(void **state)
{
    static const struct {
        size_t len;
        char byte;
        bool opens;
    } rows[] = {
        { 0, 0, true }, /* as a creation that was cut off */
        { 100, 'x', false }, { 8192, 'x', false }, { 8192, '\0', false }, { 65536, '\xff', false },
    };
    struct fix *f = *state;
    struct store_options opt = {
        .path = f->path,
        .tables = tables,
        .table_count = 2,
        .stepped = true,
        .clock = &clock_system,
    };
    char file[128];

    snprintf(file, sizeof file, "%s/data.mdb", f->path);
    for (unsigned i = 0; i < countof(rows); i++) {
        struct err e;
        FILE *out;

        store_close(f->store);
        f->store = NULL;
        out = fopen(file, "w");
        for (size_t n = 0; n < rows[i].len; n++)
            fputc(rows[i].byte, out);
        fclose(out);
        e = store_open(&opt, &f->store);
        assert_int_equal(err_failed(e), !rows[i].opens);
        assert_int_equal(f->store == NULL, !rows[i].opens);
        store_finish(f->store); /* of what did not open, too */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_append, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cursor_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_rubbish, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
