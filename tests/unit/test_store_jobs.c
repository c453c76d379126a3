/* Jobs: many threads, one writer; failures cost only who failed; reads see
 * what was acknowledged; batches have borders; nothing is completed twice. */
#include "tests/unit/store_fake.h"

#include "store/store.h"

#include <pthread.h>

static const char *const tables[] = { "a" };

/* What a job is told to do, by bits. */
enum {
    FAIL_BEFORE = 1, /* fails without having written */
    FAIL_AFTER = 2,  /* fails having written */
};

struct test_job {
    struct store_job job;
    uint64_t key;
    int what;
    unsigned *done, *failed, *runs;
    unsigned turn; /* which completion it was */
    bool found;    /* reads */
};

struct fix {
    char *path;
    struct store *store;
    struct fake_loop loop;
    unsigned done, failed, runs;
};

static struct slice key_of(uint64_t *k)
{
    return slice_make(k, sizeof *k);
}

static struct err job_run(struct store_job *j, struct store_txn *t)
{
    struct test_job *tj = container_of(j, struct test_job, job);
    struct err e;

    ++*tj->runs;
    if (tj->what & FAIL_BEFORE)
        return err_make(ERR_SYNTAX, "before");
    e = store_put(t, 0, key_of(&tj->key), SLICE("value"));
    if (err_failed(e))
        return e;
    return tj->what & FAIL_AFTER ? err_make(ERR_SYNTAX, "after") : ERR_OK;
}

static void job_done(struct store_job *j, struct err e)
{
    struct test_job *tj = container_of(j, struct test_job, job);

    tj->turn = ++*tj->done;
    if (err_failed(e))
        ++*tj->failed;
}

static struct err read_run(struct store_job *j, struct store_txn *t)
{
    struct test_job *tj = container_of(j, struct test_job, job);
    struct slice v;
    struct err e = store_get(t, 0, key_of(&tj->key), &v);

    tj->found = !err_failed(e);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static void job_init(struct fix *f, struct test_job *j, uint64_t key, int what)
{
    *j = (struct test_job){
        .job = { .home = &f->loop.loop, .run = job_run, .done = job_done, .cost_bytes = 100 },
        .key = key,
        .what = what,
        .done = &f->done,
        .failed = &f->failed,
        .runs = &f->runs,
    };
}

static bool stored(struct fix *f, uint64_t key)
{
    struct store_txn *t;
    struct slice v;
    struct err e;

    assert_ok(store_snapshot(f->store, &t));
    e = store_get(t, 0, key_of(&key), &v);
    store_snapshot_end(t);
    return !err_failed(e);
}

static void fix_open(struct fix *f, bool stepped, uint64_t map_bytes)
{
    const struct store_options opt = {
        .path = f->path,
        .tables = tables,
        .table_count = 1,
        .stepped = stepped,
        .map_bytes = map_bytes,
        .readers = stepped ? 0 : 2,
        .clock = &clock_system,
        .ahead_bytes = stepped ? 0 : MIB,
    };

    assert_ok(store_open(&opt, &f->store));
}

static struct fix *fix_new(bool stepped)
{
    struct fix *f = calloc(1, sizeof *f);

    f->path = scratch_make();
    fake_init(&f->loop);
    fix_open(f, stepped, 0);
    return f;
}

static int setup_stepped(void **state)
{
    *state = fix_new(true);
    return 0;
}

static int setup_threads(void **state)
{
    *state = fix_new(false);
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    store_close(f->store);
    fake_turn(&f->loop);
    scratch_remove(f->path);
    free(f->path);
    free(f);
    return 0;
}

/* One letter a job: '.' good, 'b' fails before and 'a' after writing. */
static void test_failures(void **state)
{
    static const struct {
        const char *jobs;
        unsigned runs; /* of all jobs together */
        unsigned commits;
    } rows[] = {
        { "", 0, 0 },
        { ".", 1, 1 },
        { "b", 1, 0 },
        { "a", 1, 0 },
        { "....", 4, 1 },
        { "..b.", 4, 1 },
        { "bbbbbbbbbb.", 11, 1 },
        { "..a.", 6, 1 }, /* 3, then the 3 good ones */
        { "a...", 4, 1 },
        { "...a", 7, 1 },
        { "aa..", 4, 1 },
        { ".aa.", 6, 1 },
        { "aaaa..", 6, 1 },
        { "bababa..", 8, 1 },
        { "aaaaaa..", 8, 2 }, /* after five losses one by one */
        { ".aaaaaaa..", 15, 3 },
    };
    struct fix *f = *state;
    struct test_job jobs[16];

    for (unsigned r = 0; r < countof(rows); r++) {
        unsigned n = (unsigned)strlen(rows[r].jobs), bad = 0, steps = 0;
        struct store_stats before, after;

        store_stats(f->store, &before);
        f->done = f->failed = f->runs = 0;
        for (unsigned i = 0; i < n; i++) {
            char c = rows[r].jobs[i];

            job_init(f, &jobs[i], r * 100 + i, c == 'a' ? FAIL_AFTER : c == 'b' ? FAIL_BEFORE : 0);
            bad += c != '.';
            store_submit(f->store, &jobs[i].job);
        }
        while (store_step(f->store, 1000) > 0)
            steps++;
        fake_turn(&f->loop);
        assert_int_equal(f->done, n);
        assert_int_equal(f->failed, bad);
        store_stats(f->store, &after);
        if (f->runs != rows[r].runs || after.commits - before.commits != rows[r].commits)
            fail_msg("%s: %u runs, %u commits", rows[r].jobs, f->runs,
                     (unsigned)(after.commits - before.commits));
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(stored(f, r * 100 + i), rows[r].jobs[i] == '.');
            assert_int_equal(jobs[i].turn, i + 1); /* in the order given */
            assert_int_equal(jobs[i].job.result.kind,
                             rows[r].jobs[i] == '.' ? ERR_NONE : ERR_SYNTAX);
        }
        assert_int_equal(after.waiting, 0);
    }
}

static void test_batch_borders(void **state)
{
    static const struct {
        size_t jobs, cost, max;
        size_t first; /* how many the first step takes */
    } rows[] = {
        { 10, 0, 4, 4 },
        { 10, 0, SIZE_MAX, 10 },
        { 5000, 0, SIZE_MAX, 4096 },
        { 5000, 10, 4097, 4096 },
        { 40, MIB, SIZE_MAX, 32 },
        { 33, MIB + 1, SIZE_MAX, 31 },
        { 3, 100 * MIB, SIZE_MAX, 1 }, /* one too large for a batch goes alone */
        { 3, 0, 0, 0 },
    };
    struct fix *f = *state;

    for (unsigned r = 0; r < countof(rows); r++) {
        struct test_job *jobs = calloc(rows[r].jobs, sizeof *jobs);
        size_t total = 0, got;

        f->done = 0;
        for (size_t i = 0; i < rows[r].jobs; i++) {
            job_init(f, &jobs[i], i, 0);
            jobs[i].job.cost_bytes = rows[r].cost;
            store_submit(f->store, &jobs[i].job);
        }
        assert_int_equal(store_step(f->store, rows[r].max), rows[r].first);
        total = rows[r].first;
        while ((got = store_step(f->store, SIZE_MAX)) > 0)
            total += got;
        assert_int_equal(total, rows[r].jobs);
        fake_turn(&f->loop);
        assert_int_equal(f->done, rows[r].jobs);
        free(jobs);
    }
}

static void test_stepped_order(void **state)
{
    struct fix *f = *state;
    struct test_job w1, w2, r1, r2, r3;

    job_init(f, &r1, 1, 0);
    job_init(f, &w1, 1, 0);
    job_init(f, &r2, 1, 0);
    job_init(f, &r3, 2, 0);
    job_init(f, &w2, 2, 0);
    r1.job.run = r2.job.run = r3.job.run = read_run;
    store_read(f->store, &r1.job);
    store_submit(f->store, &w1.job);
    store_read(f->store, &r2.job);
    store_read(f->store, &r3.job);
    store_submit(f->store, &w2.job);
    assert_int_equal(store_step(f->store, 9), 1);
    assert_int_equal(store_step(f->store, 9), 1);
    assert_int_equal(store_step(f->store, 9), 2);
    assert_int_equal(store_step(f->store, 9), 1);
    assert_int_equal(store_step(f->store, 9), 0);
    fake_turn(&f->loop);
    assert_false(r1.found);
    assert_true(r2.found);
    assert_false(r3.found);
}

static void test_abandon(void **state)
{
    struct fix *f = *state;
    struct test_job done, lost;

    job_init(f, &done, 1, 0);
    job_init(f, &lost, 2, 0);
    store_submit(f->store, &done.job);
    assert_int_equal(store_step(f->store, 1), 1);
    store_submit(f->store, &lost.job);
    store_abandon(f->store);
    fake_turn(&f->loop);
    assert_int_equal(f->done, 2);
    assert_err(lost.job.result, ERR_CANCELLED);
    fix_open(f, true, 0);
    assert_true(stored(f, 1));
    assert_false(stored(f, 2));
}

/* A map of 1 MiB: what does not fit is refused, the rest of its batch is
 * not, deleting still works and makes room again. */
struct big_job {
    struct store_job job;
    unsigned number, pages;
    bool delete;
    unsigned *done;
};

static struct err big_run(struct store_job *j, struct store_txn *t)
{
    struct big_job *b = container_of(j, struct big_job, job);
    static const char value[STORE_VALUE_MAX];
    char key[32];
    struct err e = ERR_OK;

    snprintf(key, sizeof key, "%06u:", b->number);
    if (b->delete)
        return store_delete_prefix(t, 0, slice_str(key), NULL);
    for (unsigned i = 0; i < b->pages && !err_failed(e); i++) {
        snprintf(key, sizeof key, "%06u:%06u", b->number, i);
        e = store_put(t, 0, slice_str(key), slice_make(value, sizeof value));
    }
    return e;
}

static void big_done(struct store_job *j, struct err e)
{
    ++*container_of(j, struct big_job, job)->done;
}

static void test_7_map_full(void **state)
{
    struct fix *f = *state;
    struct big_job jobs[100];
    unsigned good = 0;

    store_close(f->store);
    scratch_remove(f->path);
    fix_open(f, true, MIB);
    for (unsigned i = 0; i < countof(jobs); i++) {
        jobs[i] = (struct big_job){
            .job = { .home = &f->loop.loop, .run = big_run, .done = big_done },
            .number = i,
            .pages = i == 50 ? 1000 : 10,
            .done = &f->done,
        };
        store_submit(f->store, &jobs[i].job);
    }
    while (store_step(f->store, 1000) > 0)
        ;
    fake_turn(&f->loop);
    assert_int_equal(f->done, countof(jobs));
    for (unsigned i = 0; i < countof(jobs); i++) {
        if (err_failed(jobs[i].job.result))
            assert_err(jobs[i].job.result, ERR_NO_SPACE);
        else
            good++;
    }
    assert_in_range(good, 15, 25);
    assert_int_equal(store_space(f->store), STORE_SPACE_LOW);
    for (unsigned i = 0; i < countof(jobs); i++) {
        jobs[i].delete = true;
        store_submit(f->store, &jobs[i].job);
        store_step(f->store, 1);
    }
    fake_turn(&f->loop);
    for (unsigned i = 0; i < countof(jobs); i++)
        assert_ok(jobs[i].job.result);
    usleep(1100000); /* LOW lasts a second at least */
    jobs[0].delete = false;
    store_submit(f->store, &jobs[0].job);
    store_step(f->store, 1);
    fake_turn(&f->loop);
    assert_ok(jobs[0].job.result);
    assert_int_equal(store_space(f->store), STORE_SPACE_OK);
}

#define PRODUCERS 8
#define EACH      2000

struct producer {
    struct fix *fix;
    pthread_t thread;
    struct fake_loop loop;
    struct test_job jobs[EACH];
    unsigned done, failed, number, runs;
    unsigned lost; /* acknowledged and not to be read */
};

/* As a session does: some at once, some waiting for the answer, some read
 * back right after the acknowledgement. */
static void *producer_main(void *arg)
{
    struct producer *p = arg;

    for (unsigned i = 0; i < EACH; i++) {
        struct test_job *j = &p->jobs[i];

        job_init(p->fix, j, p->number * 100000ull + i,
                 i % 97 == 5   ? FAIL_AFTER
                 : i % 31 == 7 ? FAIL_BEFORE
                               : 0);
        j->job.home = &p->loop.loop;
        j->done = &p->done;
        j->failed = &p->failed;
        j->runs = &p->runs;
        store_submit(p->fix->store, &j->job);
        if (i % 64 != 63)
            continue;
        fake_run_until(&p->loop, &p->done, i + 1);
        struct test_job r = *j;
        unsigned read_done = 0;

        r.job.run = read_run;
        r.done = &read_done;
        r.found = false;
        store_read(p->fix->store, &r.job);
        fake_run_until(&p->loop, &read_done, 1);
        p->lost += !r.found && j->what == 0;
    }
    fake_run_until(&p->loop, &p->done, EACH);
    return NULL;
}

static void test_many_threads(void **state)
{
    struct fix *f = *state;
    struct producer *ps = calloc(PRODUCERS, sizeof *ps);
    struct store_stats st;

    for (unsigned i = 0; i < PRODUCERS; i++) {
        ps[i].fix = f;
        ps[i].number = i;
        fake_init(&ps[i].loop);
        pthread_create(&ps[i].thread, NULL, producer_main, &ps[i]);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(ps[i].thread, NULL);
    store_stats(f->store, &st);
    assert_int_equal(st.waiting, 0);
    assert_in_range(st.commits, 1, PRODUCERS * EACH);
    assert_true(st.used_bytes > 0 && st.file_bytes >= st.used_bytes);
    store_close(f->store); /* what was acknowledged survives a new start */
    fix_open(f, false, 0);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        unsigned failed = 0;

        for (unsigned k = 0; k < EACH; k++) {
            bool good = ps[i].jobs[k].what == 0;

            failed += !good;
            assert_int_equal(stored(f, ps[i].jobs[k].key), good);
            assert_int_equal(err_failed(ps[i].jobs[k].job.result), !good);
            assert_int_equal(ps[i].jobs[k].turn, k + 1);
        }
        assert_int_equal(ps[i].lost, 0);
        assert_int_equal(ps[i].failed, failed);
    }
    free(ps);
}

static pthread_barrier_t together;

static struct err read_together(struct store_job *j, struct store_txn *t)
{
    pthread_barrier_wait(&together);
    return read_run(j, t);
}

/* More than LMDB has room for unless it is told. */
static void test_many_readers_at_once(void **state)
{
    enum { READERS = 150 };
    struct fix *f = *state;
    struct test_job *jobs = calloc(READERS, sizeof *jobs);
    const struct store_options opt = {
        .path = f->path,
        .tables = tables,
        .table_count = 1,
        .readers = READERS,
        .clock = &clock_system,
    };

    store_close(f->store);
    assert_ok(store_open(&opt, &f->store));
    pthread_barrier_init(&together, NULL, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        job_init(f, &jobs[i], i, 0);
        jobs[i].job.run = read_together;
        store_read(f->store, &jobs[i].job);
    }
    fake_run_until(&f->loop, &f->done, READERS);
    assert_int_equal(f->failed, 0);
    pthread_barrier_destroy(&together);
    free(jobs);
}

static void test_close_finishes(void **state)
{
    struct fix *f = *state;
    struct test_job *jobs = calloc(10000, sizeof *jobs);

    for (unsigned i = 0; i < 10000; i++) {
        job_init(f, &jobs[i], i, 0);
        if (i % 3 == 0) {
            jobs[i].job.run = read_run;
            store_read(f->store, &jobs[i].job);
        } else {
            store_submit(f->store, &jobs[i].job);
        }
    }
    store_close(f->store);
    fake_turn(&f->loop);
    assert_int_equal(f->done, 10000);
    assert_int_equal(f->failed, 0);
    fix_open(f, false, 0);
    assert_true(stored(f, 9998));
    free(jobs);
}

/* Who hears of the end by a completion may still ask for something. */
static void test_what_comes_after_the_end_is_cancelled(void **state)
{
    struct fix *f = *state;
    struct test_job jobs[3];

    for (uint64_t i = 0; i < 3; i++)
        job_init(f, &jobs[i], i, 0);
    jobs[2].job.run = read_run;
    store_submit(f->store, &jobs[0].job);
    store_finish(f->store);
    store_finish(f->store);
    store_submit(f->store, &jobs[1].job);
    store_read(f->store, &jobs[2].job);
    fake_turn(&f->loop);
    assert_int_equal(f->done, 3);
    assert_int_equal(f->runs, 1);
    assert_ok(jobs[0].job.result);
    assert_err(jobs[1].job.result, ERR_CANCELLED);
    assert_err(jobs[2].job.result, ERR_CANCELLED);
}

/* Fills 300 MiB, deletes nearly all, opens again with `compact`. */
static void test_compaction(void **state)
{
    struct fix *f = *state;
    struct store_options opt = {
        .path = f->path,
        .tables = tables,
        .table_count = 1,
        .stepped = true,
        .compact = true,
        .clock = &clock_system,
    };
    struct big_job j = { .job = { .home = &f->loop.loop, .run = big_run, .done = big_done },
                         .pages = 3900,
                         .done = &f->done };
    struct store_stats full, open_again, small;
    char copy[128];

    for (j.number = 0; j.number < 20; j.number++) {
        store_submit(f->store, &j.job);
        store_step(f->store, 1);
        fake_turn(&f->loop);
        assert_ok(j.job.result);
    }
    store_stats(f->store, &full);
    assert_true(full.file_bytes > 256ull * MIB);
    store_close(f->store);
    assert_ok(store_open(&opt, &f->store)); /* full of records: stays */
    store_stats(f->store, &open_again);
    assert_int_equal(open_again.file_bytes, full.file_bytes);
    j.delete = true;
    for (j.number = 0; j.number < 19; j.number++) {
        store_submit(f->store, &j.job);
        store_step(f->store, 1);
        fake_turn(&f->loop);
    }
    store_close(f->store);
    snprintf(copy, sizeof copy, "%s/data.mdb.compact", f->path);
    fclose(fopen(copy, "w")); /* left by a start that was cut off */
    assert_ok(store_open(&opt, &f->store));
    store_stats(f->store, &small);
    assert_true(small.file_bytes < 32ull * MIB);
    assert_int_not_equal(access(copy, F_OK), 0);
    j.delete = false;
    j.number = 19;
    struct store_txn *t;
    struct slice v;

    assert_ok(store_snapshot(f->store, &t));
    assert_ok(store_get(t, 0, SLICE("000019:003899"), &v));
    assert_int_equal(v.len, STORE_VALUE_MAX);
    assert_err(store_get(t, 0, SLICE("000018:000000"), &v), ERR_NOT_FOUND);
    store_snapshot_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failures, setup_stepped, teardown),
        cmocka_unit_test_setup_teardown(test_batch_borders, setup_stepped, teardown),
        cmocka_unit_test_setup_teardown(test_stepped_order, setup_stepped, teardown),
        cmocka_unit_test_setup_teardown(test_abandon, setup_stepped, teardown),
        cmocka_unit_test_setup_teardown(test_7_map_full, setup_stepped, teardown),
        cmocka_unit_test_setup_teardown(test_many_threads, setup_threads, teardown),
        cmocka_unit_test_setup_teardown(test_many_readers_at_once, setup_threads, teardown),
        cmocka_unit_test_setup_teardown(test_close_finishes, setup_threads, teardown),
        cmocka_unit_test_setup_teardown(test_what_comes_after_the_end_is_cancelled, setup_stepped, teardown),
        cmocka_unit_test_setup_teardown(test_what_comes_after_the_end_is_cancelled, setup_threads, teardown),
        cmocka_unit_test_setup_teardown(test_compaction, setup_stepped, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
