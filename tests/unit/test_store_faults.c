/* Disks that fail: nothing is acknowledged that is not there afterwards, the
 * store says so, and recovers by itself but only after a trial commit.
 *
 * This program's own write and sync calls stand in front of the C library's,
 * for liblmdb too, and fail or wait when told to.
 */
#include "tests/unit/store_fake.h"

#include "base/log.h"
#include "store/blob.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { ON_WRITE = 1, ON_SYNC = 2, ON_META = 4, ON_ALLOC = 8, ON_ANY = 15 };

static struct {
    _Atomic int on;      /* which calls */
    _Atomic int skip;    /* so many of them pass first */
    _Atomic bool sticky; /* all from then on fail */
    _Atomic int error;
    _Atomic int delay_ms; /* of each sync */
    _Atomic int syncs;    /* that have returned */
    _Atomic int hits;
} fault;

static void fault_arm(int on, int skip, bool sticky, int error)
{
    fault.skip = skip;
    fault.sticky = sticky;
    fault.error = error;
    fault.hits = 0;
    fault.on = on;
}

static bool fault_hits(int kind, int fd)
{
    if (fd <= 2 || (fault.on & kind) == 0)
        return false;
    if (fault.skip-- > 0)
        return false;
    if (!fault.sticky)
        fault.on = 0;
    fault.hits++;
    errno = fault.error;
    return true;
}

static int write_kind(int fd)
{
    return fcntl(fd, F_GETFL) & O_DSYNC ? ON_META : ON_WRITE;
}

ssize_t write(int fd, const void *buf, size_t len)
{
    return fault_hits(write_kind(fd), fd) ? -1 : syscall(SYS_write, fd, buf, len);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
    return fault_hits(write_kind(fd), fd) ? -1 : syscall(SYS_pwrite64, fd, buf, len, at);
}

/* With 64-bit offsets asked for, the one above is pwrite64 to the linker. */
ssize_t pwrite_plain(int fd, const void *buf, size_t len, off_t at) __asm__("pwrite");

ssize_t pwrite_plain(int fd, const void *buf, size_t len, off_t at)
{
    return pwrite(fd, buf, len, at);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    return fault_hits(write_kind(fd), fd) ? -1 : syscall(SYS_writev, fd, iov, count);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    return fault_hits(ON_ALLOC, fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, len);
}

static int synced(int fd, long number)
{
    int rc;

    if (fault.delay_ms > 0)
        usleep((useconds_t)fault.delay_ms * 1000);
    if (fault_hits(ON_SYNC, fd))
        return -1;
    rc = (int)syscall(number, fd);
    fault.syncs++;
    return rc;
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

/* LMDB 0.9.24 loses a list of pages whenever a transaction has spilled. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:mdb_midl_alloc\n";
}

static const char *const tables[] = { "a" };

struct fix {
    char *scratch;    /* the folder made for the test */
    const char *path; /* the store's: that one, or inside */
    bool mounted;
    struct store *store;
    struct fake_loop loop;
    unsigned done;
    uint64_t ahead, reserve;
};

struct test_job {
    struct store_job job;
    struct fix *fix;
    unsigned number, pages;
    bool delete;
    int syncs; /* when done */
};

static struct err job_run(struct store_job *j, struct store_txn *t)
{
    struct test_job *tj = container_of(j, struct test_job, job);
    static const char value[STORE_VALUE_MAX];
    struct err e = ERR_OK;
    char key[32];

    snprintf(key, sizeof key, "%06u:", tj->number);
    if (tj->delete)
        return store_delete_prefix(t, 0, slice_str(key), NULL);
    for (unsigned i = 0; i < tj->pages && !err_failed(e); i++) {
        snprintf(key, sizeof key, "%06u:%06u", tj->number, i);
        e = store_put(t, 0, slice_str(key), slice_make(value, sizeof value));
    }
    return e;
}

static void job_done(struct store_job *j, struct err e)
{
    struct test_job *tj = container_of(j, struct test_job, job);

    tj->syncs = fault.syncs;
    tj->fix->done++;
}

static struct err work(struct fix *f, unsigned number, unsigned pages, bool delete)
{
    struct test_job j = {
        .job = { .home = &f->loop.loop, .run = job_run, .done = job_done, .cost_bytes = 4096 },
        .fix = f,
        .number = number,
        .pages = pages,
        .delete = delete,
    };

    f->done = 0;
    store_submit(f->store, &j.job);
    fake_run_until(&f->loop, &f->done, 1);
    return j.job.result;
}

static struct err add(struct fix *f, unsigned number)
{
    return work(f, number, 3, false);
}

static bool stored(struct fix *f, unsigned number, unsigned pages)
{
    struct store_txn *t;
    struct slice v;
    unsigned found = 0;
    char key[32];

    assert_ok(store_snapshot(f->store, &t));
    for (unsigned i = 0; i < pages; i++) {
        snprintf(key, sizeof key, "%06u:%06u", number, i);
        found += !err_failed(store_get(t, 0, slice_str(key), &v));
    }
    store_snapshot_end(t);
    assert_true(found == 0 || found == pages); /* never a part */
    return found > 0;
}

static struct err fix_open(struct fix *f)
{
    const struct store_options opt = {
        .path = f->path,
        .tables = tables,
        .table_count = 1,
        .readers = 2,
        .clock = &clock_system,
        .ahead_bytes = f->ahead,
        .reserve_bytes = f->reserve,
    };

    return store_open(&opt, &f->store);
}

static void await_space(struct fix *f, enum store_space want)
{
    for (unsigned i = 0; i < 600 && store_space(f->store) != want; i++)
        usleep(10000);
    assert_int_equal(store_space(f->store), want);
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);

    f->path = f->scratch = scratch_make();
    fake_init(&f->loop);
    assert_ok(fix_open(f));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    fault_arm(0, 0, false, 0);
    fault.delay_ms = 0;
    store_close(f->store);
    fake_turn(&f->loop);
    if (f->mounted)
        umount2(f->scratch, MNT_DETACH);
    scratch_remove(f->scratch);
    free(f->scratch);
    free(f);
    return 0;
}

static void test_4_sync_fails_once(void **state)
{
    struct fix *f = *state;
    int syncs;

    assert_ok(add(f, 1));
    fault_arm(ON_SYNC, 0, false, EIO);
    assert_err(add(f, 2), ERR_IO);
    syncs = fault.syncs;
    assert_int_equal(store_space(f->store), STORE_BROKEN);
    assert_err(add(f, 3), ERR_IO); /* at once, though the next sync would work */
    assert_int_equal(fault.syncs, syncs);
    await_space(f, STORE_SPACE_OK);
    assert_true(fault.syncs > syncs);
    assert_ok(add(f, 4));
    assert_true(stored(f, 1, 3));
    assert_false(stored(f, 2, 3));
    assert_false(stored(f, 3, 3));
    store_close(f->store);
    assert_ok(fix_open(f));
    assert_true(stored(f, 1, 3));
    assert_true(stored(f, 4, 3));
}

/* The file's name may be the work of a process that died before its sync:
 * nothing is acknowledged on it until that has been made up for. */
static void test_open_syncs_the_name(void **state)
{
    struct fix *f = *state;
    int syncs;

    assert_ok(add(f, 1));
    store_close(f->store);
    f->store = NULL;
    fault_arm(ON_SYNC, 0, false, EIO);
    assert_err(fix_open(f), ERR_IO);
    syncs = fault.syncs;
    assert_ok(fix_open(f));
    assert_true(fault.syncs > syncs);
    assert_true(stored(f, 1, 3));
}

static void test_4_sync_fails_always(void **state)
{
    struct fix *f = *state;

    assert_ok(add(f, 1));
    fault_arm(ON_SYNC, 0, true, EIO);
    for (unsigned i = 2; i < 100; i++)
        assert_err(add(f, i), ERR_IO);
    while (fault.hits < 2) /* the first trial fails as well */
        usleep(10000);
    usleep(50000);
    assert_int_equal(store_space(f->store), STORE_BROKEN);
    assert_err(add(f, 100), ERR_IO);
    fault_arm(0, 0, false, 0);
    await_space(f, STORE_SPACE_OK);
    assert_ok(add(f, 101));
    for (unsigned i = 2; i <= 100; i++)
        assert_false(stored(f, i, 3));
}

/* LMDB gives the whole environment up then; readers come and go meanwhile. */
static void test_meta_write_fails(void **state)
{
    struct fix *f = *state;
    struct test_job r = {
        .job = { .home = &f->loop.loop, .run = job_run, .done = job_done },
        .fix = f,
    };
    struct store_txn *t;

    assert_ok(add(f, 1));
    assert_ok(store_snapshot(f->store, &t));
    fault_arm(ON_META, 0, false, EIO);
    assert_err(add(f, 2), ERR_IO);
    assert_int_equal(store_space(f->store), STORE_BROKEN);
    usleep(1200000); /* the snapshot keeps the environment from being replaced */
    assert_int_equal(store_space(f->store), STORE_BROKEN);
    store_snapshot_end(t);
    for (unsigned i = 0; i < 100; i++) { /* reads of nothing: only that they come back */
        f->done = 0;
        store_read(f->store, &r.job);
        fake_run_until(&f->loop, &f->done, 1);
    }
    await_space(f, STORE_SPACE_OK);
    assert_ok(add(f, 3));
    assert_true(stored(f, 1, 3));
    assert_false(stored(f, 2, 3));
    assert_true(stored(f, 3, 3));
    f->done = 0;
    store_read(f->store, &r.job);
    fake_run_until(&f->loop, &f->done, 1);
    assert_ok(r.job.result);
    store_close(f->store);
    assert_ok(fix_open(f));
    assert_true(stored(f, 3, 3));
}

static void test_5_no_space_once(void **state)
{
    struct fix *f = *state;

    assert_ok(add(f, 1));
    fault_arm(ON_WRITE, 0, false, ENOSPC);
    assert_err(add(f, 2), ERR_NO_SPACE);
    assert_int_equal(store_space(f->store), STORE_SPACE_LOW); /* the trial commit fitted */
    assert_ok(work(f, 1, 0, true));
    assert_false(stored(f, 1, 3));
    await_space(f, STORE_SPACE_OK);
    fault_arm(ON_WRITE, 0, true, ENOSPC);
    assert_err(add(f, 3), ERR_NO_SPACE);
    assert_int_equal(store_space(f->store), STORE_BROKEN); /* it did not fit */
    fault_arm(0, 0, false, 0);
    await_space(f, STORE_SPACE_OK);
    assert_ok(add(f, 4));
}

/* Some filesystems can't set space aside: then there is none, and that is all. */
static void test_no_space_can_be_set_aside(void **state)
{
    struct fix *f = *state;

    store_close(f->store);
    f->ahead = MIB;
    fault_arm(ON_ALLOC, 0, true, EOPNOTSUPP);
    assert_ok(fix_open(f));
    assert_int_equal(fault.hits, 1);
    assert_int_equal(store_space(f->store), STORE_SPACE_OK);
    for (unsigned i = 0; i < 10; i++)
        assert_ok(add(f, i));
    assert_int_equal(fault.hits, 1); /* not asked for again */
    assert_int_equal(store_space(f->store), STORE_SPACE_OK);
}

/* Pages of a transaction too large for memory are written before its commit. */
static void test_spill_fails(void **state)
{
    struct fix *f = *state;

    fault_arm(ON_WRITE, 0, false, EIO);
    assert_err(work(f, 1, 140000, false), ERR_IO);
    assert_int_equal(store_space(f->store), STORE_BROKEN);
    await_space(f, STORE_SPACE_OK);
    assert_ok(add(f, 2));
    assert_int_equal(stored(f, 1, 10), false);
}

/* The N-th call fails, for every N until all pass: once and from then on. */
static void test_every_call(void **state)
{
    static const int errors[] = { EIO, ENOSPC };
    struct fix *f = *state;
    unsigned visited = 0;

    f->ahead = MIB;
    for (unsigned mode = 0; mode < 4; mode++) {
        for (int n = 0;; n++) {
            struct err opened, added[6];
            bool hit;

            store_close(f->store);
            f->store = NULL;
            scratch_remove(f->path);
            fault_arm(ON_ANY, n, mode & 1, errors[mode / 2]);
            opened = fix_open(f);
            for (unsigned i = 0; i < countof(added) && !err_failed(opened); i++)
                added[i] = i == 4 ? work(f, 0, 0, true) : add(f, i);
            store_close(f->store);
            hit = fault.hits > 0;
            fault_arm(0, 0, false, 0);
            assert_ok(fix_open(f));
            for (unsigned i = 0; i < countof(added) && !err_failed(opened); i++) {
                bool deleted = i == 0 && !err_failed(added[4]);

                if (i != 4 && !err_failed(added[i]) && !(i == 0 && !deleted))
                    assert_int_equal(stored(f, i, 3), !deleted);
            }
            visited++;
            if (!hit)
                break;
        }
    }
    assert_in_range(visited, 100, 10000);
}

static void test_49_slow_sync(void **state)
{
    struct fix *f = *state;
    struct test_job jobs[50];
    int before;

    assert_ok(add(f, 1000));
    fault.delay_ms = 200;
    before = fault.syncs;
    f->done = 0;
    for (unsigned i = 0; i < countof(jobs); i++) {
        jobs[i] = (struct test_job){
            .job = { .home = &f->loop.loop, .run = job_run, .done = job_done },
            .fix = f,
            .number = i,
            .pages = 1,
        };
        store_submit(f->store, &jobs[i].job); /* never waits for the disk */
    }
    assert_int_equal(fault.syncs, before);
    fake_run_until(&f->loop, &f->done, countof(jobs));
    for (unsigned i = 0; i < countof(jobs); i++)
        assert_true(jobs[i].syncs > before);
    assert_in_range(fault.syncs - before, 1, 4); /* and one sync serves many */
}

static bool tmpfs_mount(const char *path)
{
    return mount("tmpfs", path, "tmpfs", 0, "size=16m,mode=700") == 0;
}

/* Fills what is left of the disk, as another program would. */
static void fill(const char *path, bool to_the_last_byte)
{
    static char zeros[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    struct statvfs vfs;

    while (write(fd, zeros, sizeof zeros) > 0) {
        fstatvfs(fd, &vfs);
        if (!to_the_last_byte && vfs.f_bavail * vfs.f_frsize < 3 * MIB)
            break;
    }
    if (to_the_last_byte)
        while (write(fd, zeros, 1) > 0)
            ;
    close(fd);
}

static void test_5_disk_full(void **state)
{
    struct fix *f = *state;
    static char folder[128];
    char filler[128], *scratch = f->scratch;
    unsigned n = 0, full;
    struct err e = ERR_OK;

    store_close(f->store);
    f->store = NULL;
    if (!tmpfs_mount(scratch)) {
        print_message("no tmpfs could be mounted here (needs root): full disk not tested\n");
        skip();
    }
    f->mounted = true;
    snprintf(folder, sizeof folder, "%s/store", scratch);
    snprintf(filler, sizeof filler, "%s/filler", scratch);
    f->path = folder;
    f->ahead = 2 * MIB;
    f->reserve = 4 * MIB;
    assert_ok(fix_open(f));
    assert_int_equal(store_space(f->store), STORE_SPACE_OK);
    while (n < 100) {
        assert_ok(add(f, n));
        n++;
    }
    fill(filler, false);
    await_space(f, STORE_SPACE_LOW);
    assert_ok(add(f, n)); /* jobs go on; refusing is the caller's part */
    n++;
    fill(filler, true);
    for (full = n; !err_failed(e) && full < 4000; full++)
        e = add(f, full);
    assert_err(e, ERR_NO_SPACE);
    assert_true(full - n > 100); /* what was set aside served */
    assert_int_not_equal(store_space(f->store), STORE_SPACE_OK);
    if (store_space(f->store) == STORE_BROKEN) { /* not a page left: by hand */
        unlink(filler);
        await_space(f, STORE_SPACE_OK);
        fill(filler, true);
    }
    for (unsigned i = 0; i + 1 < full; i++)
        assert_true(stored(f, i, 3));
    assert_false(stored(f, full - 1, 3));
    for (unsigned i = 0; i < 100; i++)
        assert_ok(work(f, i, 0, true));
    assert_int_equal(store_space(f->store), STORE_SPACE_LOW);
    unlink(filler);
    await_space(f, STORE_SPACE_OK);
    assert_ok(add(f, 5000));
    store_close(f->store);
    assert_ok(fix_open(f));
    assert_true(stored(f, 5000, 3));
    assert_true(stored(f, 100, 3));
    assert_false(stored(f, 99, 3));
}

struct blob_test {
    struct blob_op op;
    unsigned done;
};

static void blob_done(struct blob_op *op, struct err e)
{
    container_of(op, struct blob_test, op)->done++;
}

static struct err blob_do(struct fix *f, struct blobs *b,
                          void (*call)(struct blobs *, struct blob_op *), const char *bytes)
{
    struct blob_test t = { .op = { .home = &f->loop.loop, .done = blob_done, .id = 5 } };

    buf_add_str(&t.op.bytes, bytes);
    call(b, &t.op);
    fake_run_until(&f->loop, &t.done, 1);
    buf_release(&t.op.bytes);
    return t.op.result;
}

static void test_blob_faults(void **state)
{
    static const struct {
        int on, skip, error;
        enum err_kind append, seal;
    } rows[] = {
        { 0, 0, 0, ERR_NONE, ERR_NONE },
        { ON_WRITE, 0, ENOSPC, ERR_NO_SPACE, ERR_NO_SPACE },
        { ON_WRITE, 0, EIO, ERR_IO, ERR_IO },
        { ON_SYNC, 0, EIO, ERR_NONE, ERR_IO }, /* the file */
        { ON_SYNC, 1, EIO, ERR_NONE, ERR_IO }, /* its folder */
        { ON_SYNC, 0, EINVAL, ERR_NONE, ERR_IO },
        { ON_SYNC, 0, ENOSPC, ERR_NONE, ERR_NO_SPACE },
    };
    struct fix *f = *state;
    struct blobs *b;
    char folder[128];

    snprintf(folder, sizeof folder, "%s/body", f->path);
    assert_ok(blobs_open(&(struct blobs_options){ .path = folder, .threads = 2 }, &b));
    for (unsigned i = 0; i < countof(rows); i++) {
        fault_arm(rows[i].on, rows[i].skip, false, rows[i].error);
        assert_err(blob_do(f, b, blob_append, "x"), rows[i].append);
        assert_err(blob_do(f, b, blob_seal, ""), rows[i].seal);
        if (rows[i].seal != ERR_NONE) /* the next sync would work, and prove nothing */
            assert_err(blob_do(f, b, blob_seal, ""), rows[i].seal);
        assert_ok(blob_do(f, b, blob_unlink, ""));
    }
    blobs_close(b);
    fault_arm(ON_SYNC, 0, false, EIO);
    assert_err(blobs_open(&(struct blobs_options){ .path = folder, .threads = 2 }, &b), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_4_sync_fails_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_syncs_the_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_4_sync_fails_always, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_5_no_space_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_space_can_be_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spill_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_call, setup, teardown),
        cmocka_unit_test_setup_teardown(test_49_slow_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_5_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blob_faults, setup, teardown),
    };

    log_open("test", LOG_LEVEL_FATAL); /* a few hundred complaints are expected */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
