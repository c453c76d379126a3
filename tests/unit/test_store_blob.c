/* Body files: bytes come back as they went in, in order, per id; missing,
 * spoiled and forgotten files; the sweep at start. */
#include "tests/unit/store_fake.h"

#include "store/blob.h"

#include <fcntl.h>

struct fix {
    char *path;
    struct blobs *blobs;
    struct fake_loop loop;
    unsigned done;
};

struct test_op {
    struct blob_op op;
    struct fix *fix;
};

static void op_done(struct blob_op *op, struct err e)
{
    container_of(op, struct test_op, op)->fix->done++;
}

static struct test_op *op_new(struct fix *f, uint64_t id, struct slice bytes)
{
    struct test_op *t = calloc(1, sizeof *t);

    t->fix = f;
    t->op.home = &f->loop.loop;
    t->op.done = op_done;
    t->op.id = id;
    buf_add(&t->op.bytes, bytes);
    return t;
}

static void op_free(struct test_op *t)
{
    buf_release(&t->op.bytes);
    free(t);
}

typedef void blob_call(struct blobs *b, struct blob_op *op);

static struct err call(struct fix *f, blob_call *what, uint64_t id, struct slice bytes)
{
    struct test_op *t = op_new(f, id, bytes);
    struct err e;

    f->done = 0;
    what(f->blobs, &t->op);
    fake_run_until(&f->loop, &f->done, 1);
    assert_int_equal(buf_len(&t->op.bytes), 0);
    e = t->op.result;
    op_free(t);
    return e;
}

static struct err read_at(struct fix *f, uint64_t id, uint64_t offset, size_t want, struct buf *out)
{
    struct test_op *t = op_new(f, id, SLICE("left over"));
    struct err e;

    t->op.offset = offset;
    t->op.want = want;
    f->done = 0;
    blob_read(f->blobs, &t->op);
    fake_run_until(&f->loop, &f->done, 1);
    buf_clear(out);
    buf_add(out, buf_bytes(&t->op.bytes));
    e = t->op.result;
    op_free(t);
    return e;
}

static int setup(void **state, unsigned threads)
{
    struct fix *f = calloc(1, sizeof *f);
    char folder[128];

    f->path = scratch_make();
    fake_init(&f->loop);
    snprintf(folder, sizeof folder, "%s/body", f->path);
    assert_ok(blobs_open(&(struct blobs_options){ .path = folder, .threads = threads }, &f->blobs));
    *state = f;
    return 0;
}

static int setup_threads(void **state)
{
    return setup(state, 2);
}

static int setup_direct(void **state)
{
    return setup(state, 0);
}

static int teardown(void **state)
{
    struct fix *f = *state;

    blobs_close(f->blobs);
    fake_turn(&f->loop);
    scratch_remove(f->path);
    free(f->path);
    free(f);
    return 0;
}

static void test_write_read(void **state)
{
    static const struct {
        uint64_t offset;
        size_t want;
        const char *bytes;
    } rows[] = {
        { 0, 100, "hello, blob" }, { 0, 11, "hello, blob" },
        { 0, 5, "hello" },         { 7, 2, "bl" },
        { 7, 100, "blob" },        { 11, 5, "" },
        { 4000, 5, "" },           { 3, 0, "" },
    };
    struct fix *f = *state;
    struct buf got = { 0 };

    assert_ok(call(f, blob_append, 7, SLICE("hello")));
    assert_ok(call(f, blob_append, 7, SLICE("")));
    assert_ok(call(f, blob_append, 7, SLICE(", blob")));
    assert_ok(read_at(f, 7, 0, 5, &got)); /* before the seal too */
    assert_slice_str(buf_bytes(&got), "hello");
    assert_ok(call(f, blob_seal, 7, SLICE_EMPTY));
    assert_ok(call(f, blob_seal, 7, SLICE_EMPTY));
    for (unsigned i = 0; i < countof(rows); i++) {
        assert_ok(read_at(f, 7, rows[i].offset, rows[i].want, &got));
        assert_slice_str(buf_bytes(&got), rows[i].bytes);
    }
    assert_ok(call(f, blob_unlink, 7, SLICE_EMPTY));
    assert_ok(call(f, blob_unlink, 7, SLICE_EMPTY));
    assert_err(read_at(f, 7, 0, 5, &got), ERR_NOT_FOUND);
    buf_release(&got);
}

static void test_missing(void **state)
{
    struct fix *f = *state;

    assert_err(call(f, blob_seal, 1, SLICE_EMPTY), ERR_NOT_FOUND);
    assert_ok(call(f, blob_unlink, 1, SLICE_EMPTY));
    assert_ok(call(f, blob_append, 1, SLICE("x")));
    assert_ok(call(f, blob_unlink, 1, SLICE_EMPTY)); /* a draft dropped */
    assert_err(call(f, blob_seal, 1, SLICE_EMPTY), ERR_NOT_FOUND);
    assert_ok(call(f, blob_append, 1, SLICE("begins anew")));
    assert_ok(call(f, blob_seal, 1, SLICE_EMPTY));
}

/* All at once and unanswered; more files than a thread keeps open. */
static void test_order(void **state)
{
    enum { FILES = 300, PIECES = 20 };
    struct fix *f = *state;
    struct test_op **ops = calloc(FILES * (PIECES + 1), sizeof *ops);
    struct buf got = { 0 };
    unsigned n = 0;

    for (unsigned p = 0; p < PIECES; p++) {
        for (uint64_t id = 0; id < FILES; id++) {
            char piece[64];

            snprintf(piece, sizeof piece, "%u:%u ", (unsigned)id, p);
            ops[n] = op_new(f, id << 6, slice_str(piece));
            blob_append(f->blobs, &ops[n++]->op);
        }
    }
    for (uint64_t id = 0; id < FILES; id++) {
        ops[n] = op_new(f, id << 6, SLICE_EMPTY);
        blob_seal(f->blobs, &ops[n++]->op);
    }
    fake_run_until(&f->loop, &f->done, n);
    for (unsigned i = 0; i < n; i++) {
        assert_ok(ops[i]->op.result);
        op_free(ops[i]);
    }
    free(ops);
    for (uint64_t id = 0; id < FILES; id++) {
        char want[1024];
        size_t len = 0;

        for (unsigned p = 0; p < PIECES; p++)
            len += (size_t)snprintf(want + len, sizeof want - len, "%u:%u ", (unsigned)id, p);
        assert_ok(read_at(f, id << 6, 0, 10000, &got));
        assert_slice_str(buf_bytes(&got), want);
    }
    buf_release(&got);
}

static bool is_even(void *ctx, uint64_t id)
{
    ++*(unsigned *)ctx;
    return id % 2 == 0;
}

static void test_sweep(void **state)
{
    struct fix *f = *state;
    struct buf got = { 0 };
    unsigned asked = 0;
    size_t removed = 99;
    char other[128];

    for (uint64_t id = 100; id < 150; id++)
        assert_ok(call(f, blob_append, id, SLICE("x")));
    for (uint64_t id = 100; id < 150; id++)
        assert_ok(call(f, blob_seal, id, SLICE_EMPTY));
    snprintf(other, sizeof other, "%s/body/00/README", f->path);
    fclose(fopen(other, "w"));
    assert_ok(blobs_sweep(f->blobs, is_even, &asked, &removed));
    assert_int_equal(asked, 50);
    assert_int_equal(removed, 25);
    for (uint64_t id = 100; id < 150; id++)
        assert_err(read_at(f, id, 0, 1, &got), id % 2 == 0 ? ERR_NONE : ERR_NOT_FOUND);
    assert_int_equal(access(other, F_OK), 0); /* not ours */
    buf_release(&got);
}

/* A folder where the file should be: the append fails, and so does all that follows. */
static void test_spoiled(void **state)
{
    struct fix *f = *state;
    char folder[128], name[256];
    unsigned found = 0;

    snprintf(folder, sizeof folder, "%s/body", f->path);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "%s/%02x/00000000000000aa", folder, i);
        assert_int_equal(mkdir(name, 0700), 0);
        found++;
    }
    assert_int_equal(found, 256);
    assert_true(err_failed(call(f, blob_append, 0xaa, SLICE("x"))));
    for (unsigned i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "%s/%02x/00000000000000aa", folder, i);
        rmdir(name);
    }
    assert_true(err_failed(call(f, blob_append, 0xaa, SLICE("y"))));
    assert_true(err_failed(call(f, blob_seal, 0xaa, SLICE_EMPTY)));
    assert_ok(call(f, blob_unlink, 0xaa, SLICE_EMPTY));
    assert_ok(call(f, blob_append, 0xaa, SLICE("z")));
    assert_ok(call(f, blob_seal, 0xaa, SLICE_EMPTY));
}

static void test_close_finishes(void **state)
{
    struct fix *f = *state;
    struct test_op *ops[200];

    for (unsigned i = 0; i < countof(ops); i++) {
        ops[i] = op_new(f, i / 2, SLICE("x"));
        (i % 2 == 0 ? blob_append : blob_seal)(f->blobs, &ops[i]->op);
    }
    blobs_close(f->blobs);
    f->blobs = NULL;
    fake_turn(&f->loop);
    assert_int_equal(f->done, countof(ops));
    for (unsigned i = 0; i < countof(ops); i++) {
        assert_ok(ops[i]->op.result);
        op_free(ops[i]);
    }
}

static void test_what_comes_after_the_end_is_cancelled(void **state)
{
    struct fix *f = *state;

    assert_ok(call(f, blob_append, 7, SLICE("hello")));
    blobs_finish(f->blobs);
    blobs_finish(f->blobs);
    assert_err(call(f, blob_seal, 7, SLICE_EMPTY), ERR_CANCELLED);
    assert_err(call(f, blob_unlink, 7, SLICE_EMPTY), ERR_CANCELLED);
}

static void test_open_fails(void **state)
{
    struct blobs *b;

    assert_true(
        err_failed(blobs_open(&(struct blobs_options){ .path = "/dev/null", .threads = 1 }, &b)));
    assert_null(b);
    blobs_finish(b);
    assert_err(blobs_open(&(struct blobs_options){ .path = "/nonexistent/a/b" }, &b),
               ERR_NOT_FOUND);
    blobs_close(NULL);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, setup_threads, teardown),                                \
        cmocka_unit_test_setup_teardown(test, setup_direct, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_write_read),
        BOTH(test_missing),
        BOTH(test_order),
        BOTH(test_sweep),
        BOTH(test_close_finishes),
        BOTH(test_spoiled),
        BOTH(test_what_comes_after_the_end_is_cancelled),
        cmocka_unit_test(test_open_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
