/* The store over LMDB and system calls that fail: tables and body files are
 * used the same way again and again, and each time the N-th call of those
 * below fails, once or from then on, with one error after the other, for
 * N = 1… until none is left to fail.
 *
 * Every job completes, once. Afterwards the store opens, and holds exactly
 * what was acknowledged; a body file that was sealed is whole.
 *
 * The linker puts our functions in front of the libraries' (--wrap).
 * test_store_faults.c is about what happens below LMDB, to its writes.
 */
#include "tests/unit/failing_calls.h"
#include "tests/unit/store_fake.h"

#include "base/log.h"
#include "store/blob.h"
#include "store/internal.h"
#include "store/wreck.h"

#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define KEYS 6

/* LMDB has declared the environment dead: nothing can be begun in it any more. */
static bool given_up;

WRAP(int, mdb_env_create, (MDB_env **env), (env), fault.error)
WRAP(int, mdb_env_open, (MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode), (env, path, flags, mode),
     fault.error)
WRAP(int, mdb_env_info, (MDB_env *env, MDB_envinfo *info), (env, info), fault.error)
WRAP_AS(int, mdb_txn_begin, (MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn), fault.error,
        given_up ? MDB_PANIC : __real_mdb_txn_begin(env, parent, flags, txn))
WRAP(int, mdb_txn_renew, (MDB_txn *txn), (txn), fault.error)
WRAP(int, mdb_dbi_open, (MDB_txn *txn, const char *name, unsigned flags, MDB_dbi *dbi), (txn, name, flags, dbi),
     fault.error)
WRAP(int, mdb_stat, (MDB_txn *txn, MDB_dbi dbi, MDB_stat *stat), (txn, dbi, stat), fault.error)
WRAP(int, mdb_get, (MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data), fault.error)
WRAP(int, mdb_put, (MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
     (txn, dbi, key, data, flags), fault.error)
WRAP(int, mdb_del, (MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data), fault.error)
WRAP(int, mdb_cursor_open, (MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor), (txn, dbi, cursor), fault.error)
WRAP(int, mdb_cursor_get, (MDB_cursor *c, MDB_val *key, MDB_val *data, MDB_cursor_op op), (c, key, data, op),
     fault.error)
WRAP(int, mdb_env_copyfd2, (MDB_env *env, mdb_filehandle_t fd, unsigned flags), (env, fd, flags), fault.error)
WRAP(int, mdb_cursor_del, (MDB_cursor *c, unsigned flags), (c, flags), fault.error)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
WRAP(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), -1)
WRAP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1)
WRAP(int, statvfs64, (const char *path, struct statvfs *out), (path, out), -1)
WRAP(DIR *, fdopendir, (int fd), (fd), NULL)
WRAP(ssize_t, write, (int fd, const void *bytes, size_t len), (fd, bytes, len), -1)
WRAP(ssize_t, pread64, (int fd, void *bytes, size_t len, off_t at), (fd, bytes, len, at), -1)
WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t len, off_t at), (fd, bytes, len, at), -1)
WRAP(int, stat64, (const char *path, struct stat *st), (path, st), -1)
WRAP(int, fstat64, (int fd, struct stat *st), (fd, st), -1)
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size), -1)
WRAP(struct dirent *, readdir64, (DIR *dir), (dir), NULL)
WRAP(int, pthread_create, (pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg), (t, a, run, arg),
     EAGAIN)
/* That they are made, and believed, is the test's concern; what a disk does is not. */
WRAP_AS(int, fsync, (int fd), -1, 0)
WRAP_AS(int, fdatasync, (int fd), -1, 0)

WRAP(void *, mmap64, (void *at, size_t len, int rights, int flags, int fd, off_t offset),
     (at, len, rights, flags, fd, offset), MAP_FAILED)

void __real_mdb_env_close(MDB_env *env);
void __wrap_mdb_env_close(MDB_env *env);
void __wrap_mdb_env_close(MDB_env *env)
{
    given_up = false;
    __real_mdb_env_close(env);
}

/* What is waited for does not come by itself: there is no other thread. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    return 0;
}

/* As LMDB does: the transaction is over all the same. */
int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (!fault_hits("mdb_txn_commit"))
        return __real_mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return fault.error;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(ap, mode_t);
    va_end(ap);
    return fault_hits("open64") ? -1 : __real_open64(path, flags, mode);
}

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(ap, mode_t);
    va_end(ap);
    return fault_hits("openat64") ? -1 : __real_openat64(dir, path, flags, mode);
}

/* ---- jobs ------------------------------------------------------------------------------ */

struct fix {
    struct fake_loop loop;
    struct clock clock;
    uint64_t now_ms;
    char *path, *store_path, *blob_path;
    struct store *store;
    struct blobs *blobs;
    bool there[KEYS];
    uint64_t body; /* the id of a play's body that is to stay; ids are never used again */
    bool sealed;
    uint64_t many; /* the id of what is to be whole when there were many; 0: body */
};

enum work_kind { PUT, PUT_ROOM, APPEND, DELETE, DELETE_PREFIX, WALK, WALK_AND_DELETE, CARELESS };

struct work {
    struct store_job job;
    enum work_kind kind;
    char key[8];
    bool failed_inside; /* and nothing was said of it */
    unsigned done;
};

static struct slice key_of(unsigned n, char out[8])
{
    snprintf(out, 8, "key%u", n);
    return slice_str(out);
}

static struct err walk(struct store_txn *t, bool deleting)
{
    struct store_cursor *c;
    struct slice k, v;
    struct err e = store_cursor_open(t, 0, &c);

    if (err_failed(e))
        return e;
    e = store_cursor_last(c, &k, &v);
    if (!err_failed(e))
        e = store_cursor_prev(c, &k, &v);
    if (!err_failed(e) || e.kind == ERR_NOT_FOUND)
        e = store_cursor_seek(c, SLICE_EMPTY, &k, &v);
    if (!err_failed(e) && deleting)
        e = store_cursor_delete(c);
    while (!err_failed(e) && !deleting)
        e = store_cursor_next(c, &k, &v);
    store_cursor_close(c);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static struct err work_run(struct store_job *j, struct store_txn *t)
{
    struct work *w = container_of(j, struct work, job);
    struct slice key = slice_str(w->key), got;
    char *room;
    struct err e = ERR_OK;

    switch (w->kind) {
    case PUT:
        e = store_put(t, 0, key, SLICE("a value of the tests"));
        return err_failed(e) ? e : store_get(t, 0, key, &got);
    case PUT_ROOM:
    case APPEND:
        e = w->kind == APPEND ? store_append_room(t, 0, key, 100, &room) : store_put_room(t, 0, key, 100, &room);
        if (!err_failed(e))
            memset(room, 'x', 100);
        return e;
    case DELETE:
        return store_delete(t, 0, key);
    case DELETE_PREFIX:
        return store_delete_prefix(t, 0, key, NULL);
    case WALK:
    case WALK_AND_DELETE:
        return walk(t, w->kind == WALK_AND_DELETE);
    case CARELESS:
        if (err_failed(store_put(t, 0, key, SLICE("a value"))))
            w->failed_inside = true;
        return ERR_OK;
    }
    return e;
}

static void work_done(struct store_job *j, struct err e)
{
    container_of(j, struct work, job)->done++;
}

static struct work work_new(struct fix *f, enum work_kind kind, unsigned n)
{
    struct work w = { .job = { .home = &f->loop.loop, .run = work_run, .done = work_done, .cost_bytes = 100 },
                      .kind = kind };

    key_of(n, w.key);
    return w;
}

static bool work(struct fix *f, enum work_kind kind, unsigned n)
{
    struct work w = work_new(f, kind, n);

    f->now_ms += 11 * SECOND_MS; /* a broken store is tried again by then */
    if (kind == WALK)
        store_read(f->store, &w.job);
    else
        store_submit(f->store, &w.job);
    for (unsigned i = 0; i < 4 && w.done == 0; i++) {
        store_step(f->store, SIZE_MAX);
        fake_turn(&f->loop);
    }
    assert_int_equal(w.done, 1);
    assert_true(!w.failed_inside || err_failed(w.job.result));
    return !err_failed(w.job.result);
}

struct blob_work {
    struct blob_op op;
    unsigned done;
};

static void blob_done(struct blob_op *op, struct err e)
{
    container_of(op, struct blob_work, op)->done++;
}

static bool blob(struct fix *f, void (*call)(struct blobs *b, struct blob_op *op), uint64_t id)
{
    struct blob_work w = { .op = { .home = &f->loop.loop, .done = blob_done, .id = id, .want = 100, .fd = -1 } };

    buf_add_str(&w.op.bytes, call == blob_append ? "bytes of a body" : "");
    call(f->blobs, &w.op);
    fake_run_until(&f->loop, &w.done, 1);
    assert_int_equal(w.done, 1);
    buf_release(&w.op.bytes);
    if (w.op.fd >= 0)
        close(w.op.fd);
    return !err_failed(w.op.result);
}

static bool stays(void *ctx, uint64_t id)
{
    return id == ((struct fix *)ctx)->body;
}

enum how { STEPPED = 0, READ_ONLY = 1, COMPACT = 2, THREADS = 4 };

static struct err open_store(struct fix *f, unsigned how)
{
    static const char *const tables[] = { "a", "b" };
    struct store_options opt = { .path = f->store_path, .tables = tables, .table_count = 2, .clock = &f->clock,
                                 .read_only = (how & READ_ONLY) != 0, .compact = (how & COMPACT) != 0,
                                 .stepped = (how & THREADS) == 0, .readers = 2 };

    return store_open(&opt, &f->store);
}

static void use_store(struct fix *f)
{
    struct store_txn *t;
    struct slice v;
    char key[8];

    if (err_failed(open_store(f, STEPPED)))
        return;
    f->there[0] = work(f, PUT, 0);
    f->there[1] = work(f, PUT, 1);
    f->there[2] = work(f, PUT_ROOM, 2);
    f->there[3] = work(f, APPEND, 3);
    f->there[4] = work(f, PUT, 4);
    work(f, WALK, 0);
    if (work(f, DELETE, 1))
        f->there[1] = false;
    if (work(f, DELETE_PREFIX, 2))
        f->there[2] = false;
    if (f->there[0] && work(f, WALK_AND_DELETE, 0))
        f->there[0] = false;
    f->there[5] = work(f, CARELESS, 5);
    store_close(f->store);
    f->store = NULL;
    if (err_failed(open_store(f, READ_ONLY)))
        return;
    if (!err_failed(store_snapshot(f->store, &t))) {
        struct err e = store_get(t, 0, key_of(5, key), &v);

        assert_true(err_failed(e) || f->there[5]);
        store_snapshot_end(t);
    }
}

/* A file that is mostly empty, which the next start writes anew. */
static void make_hollow(struct fix *f)
{
    struct buf file = { 0 };

    fault.armed = false;
    assert_ok(open_store(f, STEPPED));
    for (unsigned n = 0; n < KEYS; n++)
        f->there[n] = work(f, PUT, n);
    store_close(f->store);
    f->store = NULL;
    buf_printf(&file, "%s/data.mdb", f->store_path);
    assert_int_equal(truncate(buf_cstr(&file), 300 * (off_t)MIB), 0);
    buf_release(&file);
    fault.armed = true;
}

static void use_compaction(struct fix *f)
{
    make_hollow(f);
    if (!err_failed(open_store(f, COMPACT)))
        f->there[0] = !work(f, DELETE, 0);
}

/* A start as it is for real, with threads and syncs: of a new store, and of one to compact. */
static void use_start(struct fix *f)
{
    bool good = !err_failed(open_store(f, THREADS));

    fault.armed = false; /* the threads have no part in it */
    store_close(f->store);
    f->store = NULL;
    if (!good)
        return;
    scratch_remove(f->store_path);
    make_hollow(f);
    if (err_failed(open_store(f, THREADS | COMPACT)))
        return;
    fault.armed = false;
}

/* A commit failed and the store is broken; what it then does to be whole again fails, too. */
static void use_broken(struct fix *f)
{
    struct failing_calls later = fault;

    fault.armed = false;
    assert_ok(open_store(f, STEPPED));
    f->there[0] = work(f, PUT, 0);
    fault_arm(0, false, EIO);
    fault.only = "mdb_txn_commit";
    assert_false(work(f, PUT, 1));
    fault = later;
    f->there[2] = work(f, PUT, 2);
    f->there[3] = work(f, PUT, 3);
}

/* LMDB gives the environment up, and it is opened anew. */
static void use_given_up(struct fix *f)
{
    struct failing_calls later = fault;

    fault.armed = false;
    assert_ok(open_store(f, STEPPED));
    f->there[0] = work(f, PUT, 0);
    fault_arm(0, false, EIO);
    fault.only = "mdb_txn_commit";
    assert_false(work(f, PUT, 1));
    given_up = true;
    fault = later;
    assert_false(work(f, PUT, 1)); /* and is tried again: a trial is made */
    f->there[2] = work(f, PUT, 2);
    fault.armed = false;
    f->there[3] = work(f, PUT, 3); /* a trial at the latest with this one, */
    f->there[4] = work(f, PUT, 4);
    assert_true(f->there[4]); /* and all is well again */
}

/* Reads in threads, each in a snapshot that is kept for the next. */
static void use_readers(struct fix *f)
{
    struct failing_calls later = fault;
    unsigned failed = 0;

    fault.armed = false;
    assert_ok(open_store(f, STEPPED));
    f->there[0] = work(f, PUT, 0);
    store_close(f->store);
    assert_ok(open_store(f, THREADS));
    fault = later;
    for (unsigned i = 0; i < 8; i++) {
        struct work w = work_new(f, WALK, 0);

        store_read(f->store, &w.job);
        fake_run_until(&f->loop, &w.done, 1);
        failed += err_failed(w.job.result);
    }
    assert_in_range(failed, fault.hits > 0, fault.sticky ? 8 : 1);
}

static void use_wreck(struct fix *f)
{
    struct slice file;
    struct err e;

    fault.armed = false;
    assert_ok(open_store(f, STEPPED));
    f->there[0] = work(f, PUT, 0);
    store_close(f->store);
    f->store = NULL;
    fault.armed = true;
    e = wreck_open(f->store_path, &file);
    assert_int_equal(err_failed(e), fault.hits > 0);
    assert_int_equal(file.len == 0, fault.hits > 0);
    wreck_close(file);
}

static void use_bodies(struct fix *f, unsigned threads)
{
    size_t removed;

    if (err_failed(blobs_open(&(struct blobs_options){ .path = f->blob_path, .threads = threads }, &f->blobs)))
        return;
    f->sealed = blob(f, blob_append, f->body) && blob(f, blob_append, f->body);
    f->sealed = blob(f, blob_seal, f->body) && f->sealed;
    blob(f, blob_append, f->body + 1);
    blob(f, blob_unlink, f->body + 1);
    blob(f, blob_read, f->body);
    blob(f, blob_open, f->body);
    blob(f, blob_append, f->body + 2);
    blob(f, blob_seal, f->body + 2);
    if (err_failed(blobs_sweep(f->blobs, stays, f, &removed)))
        return;
}

static void use_blobs(struct fix *f)
{
    use_bodies(f, 0);
}

static void use_blobs_of_threads(struct fix *f)
{
    use_bodies(f, 1);
}

/* More than are kept open: the oldest is synced and closed, and opened again for its next bytes.
 * What can fail with the first of them is use_bodies()'s business. */
static void use_many_blobs(struct fix *f)
{
    struct failing_calls later = fault;
    uint64_t first = f->body;
    bool whole = true;

    fault.armed = false;
    assert_ok(blobs_open(&(struct blobs_options){ .path = f->blob_path, .threads = 1 }, &f->blobs));
    for (uint64_t id = first; id < first + 62; id++)
        assert_true(blob(f, blob_append, id));
    fault = later;
    for (uint64_t id = first + 62; id < first + 66; id++)
        whole = blob(f, blob_append, id) && whole;
    f->sealed = blob(f, blob_append, first) && blob(f, blob_seal, first);
    if (fault.hits == 0)
        assert_true(whole && f->sealed);
    for (uint64_t id = first + 62; id < first + 66; id++)
        blob(f, blob_unlink, id);
    later = fault;
    fault.armed = false;
    for (uint64_t id = first + 1; id < first + 62; id++)
        blob(f, blob_unlink, id);
    fault = later;
    f->body += 66;
    f->many = first;
}

static void close_all(struct fix *f)
{
    store_close(f->store);
    f->store = NULL;
    blobs_close(f->blobs);
    f->blobs = NULL;
}

static void check_store(struct fix *f)
{
    struct store_txn *t;
    struct slice v;
    char key[8];

    assert_ok(open_store(f, STEPPED));
    assert_ok(store_snapshot(f->store, &t));
    for (unsigned n = 0; n < KEYS; n++) {
        bool there = !err_failed(store_get(t, 0, key_of(n, key), &v));

        if (there != f->there[n])
            fail_msg("call %u, error %d: %s is %s", fault.skip, fault.error, key, there ? "there" : "not there");
    }
    store_snapshot_end(t);
}

static void check_blobs(struct fix *f)
{
    char bytes[64];
    int fd;

    if (!f->sealed)
        return;
    assert_ok(blob_open_file(f->blob_path, f->many != 0 ? f->many : f->body, &fd));
    assert_int_equal(read(fd, bytes, sizeof bytes), 30);
    close(fd);
}

/* ---- all of it -------------------------------------------------------------------------- */

static uint64_t now(void *ctx)
{
    return ((struct fix *)ctx)->now_ms;
}

static char *below(const char *path, const char *name)
{
    struct buf full = { 0 };
    char *copy;

    buf_printf(&full, "%s/%s", path, name);
    copy = strdup(buf_cstr(&full));
    buf_release(&full);
    return copy;
}

static void fix_init(struct fix *f)
{
    *f = (struct fix){ .now_ms = 1000, .path = scratch_make() };
    fake_init(&f->loop);
    f->clock = (struct clock){ now, now, f };
    f->loop.loop.clock = &f->clock;
    f->store_path = below(f->path, "store");
    f->blob_path = below(f->path, "body");
}

static void fix_release(struct fix *f)
{
    close_all(f);
    scratch_remove(f->path);
    free(f->path);
    free(f->store_path);
    free(f->blob_path);
}

static unsigned play_each(struct fix *f, void (*use)(struct fix *f), void (*check)(struct fix *f), int error,
                          bool sticky)
{
    unsigned n = 0;

    for (bool hit = true; hit; n++) {
        memset(f->there, 0, sizeof f->there);
        f->sealed = false;
        f->many = 0;
        f->body += 3;
        scratch_remove(f->store_path);
        fault_arm(n, sticky, error);
        use(f);
        fault.armed = false;
        close_all(f);
        hit = fault.hits > 0;
        check(f);
        close_all(f);
    }
    return n - 1;
}

/* With the first `kinds` of the errors; 0: with the first alone, and once only. */
static void play(void (*use)(struct fix *f), void (*check)(struct fix *f), size_t kinds, unsigned at_least)
{
    static const int errors[] = { EIO, ENOSPC, ENOMEM, MDB_MAP_FULL, MDB_CORRUPTED, MDB_PANIC, MDB_TXN_FULL };
    struct fix f;
    unsigned visited = 0;

    fix_init(&f);
    if (kinds == 0)
        visited += play_each(&f, use, check, EIO, false);
    for (size_t i = 0; i < kinds; i++) {
        visited += play_each(&f, use, check, errors[i], false);
        visited += play_each(&f, use, check, errors[i], true);
    }
    if (kinds > 0)
        visited += play_each(&f, use, check, EINTR, false); /* for ever it would be waited for */
    print_message("# %u calls failed\n", visited);
    assert_in_range(visited, at_least, 1000000);
    fix_release(&f);
}

static void tables(void **state)
{
    play(use_store, check_store, 7, 500);
}

static void compaction(void **state)
{
    play(use_compaction, check_store, 6, 200);
}

static void starts(void **state)
{
    play(use_start, check_store, 1, 50);
}

static void mending(void **state)
{
    play(use_broken, check_store, 6, 100);
}

static void given_up_by_lmdb(void **state)
{
    play(use_given_up, check_store, 6, 100);
}

static void readers(void **state)
{
    play(use_readers, check_store, 6, 50);
}

static void wrecks(void **state)
{
    play(use_wreck, check_store, 1, 5);
}

static void body_files(void **state)
{
    play(use_blobs, check_blobs, 1, 500); /* 256 folders are opened each time */
}

static void body_files_of_threads(void **state)
{
    play(use_blobs_of_threads, check_blobs, 0, 500);
}

static void many_body_files(void **state)
{
    play(use_many_blobs, check_blobs, 1, 40);
}

/* They were given before anybody could know. */
static void behind_a_failed_commit(void **state)
{
    struct work jobs[3];
    struct fix f;

    fix_init(&f);
    assert_ok(open_store(&f, STEPPED));
    fault_arm(0, false, EIO);
    fault.only = "mdb_txn_commit";
    for (unsigned i = 0; i < countof(jobs); i++) {
        jobs[i] = work_new(&f, PUT, i);
        store_submit(f.store, &jobs[i].job);
    }
    assert_int_equal(store_step(f.store, 1), 1);
    assert_int_equal(store_space(f.store), STORE_BROKEN);
    assert_int_equal(store_step(f.store, 1), 2);
    fake_turn(&f.loop);
    for (unsigned i = 0; i < countof(jobs); i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_err(jobs[i].job.result, ERR_IO);
    }
    assert_false(work(&f, PUT, 4)); /* makes the trial */
    assert_true(f.there[5] = work(&f, PUT, 5));
    store_close(f.store);
    check_store(&f);
    fix_release(&f);
}

/* A new environment under a reader's feet would be the end of the process. */
static void not_under_a_snapshot(void **state)
{
    struct store_txn *t;
    struct slice v;
    char key[8];
    struct fix f;

    fix_init(&f);
    assert_ok(open_store(&f, STEPPED));
    assert_true(f.there[0] = work(&f, PUT, 0));
    assert_ok(store_snapshot(f.store, &t));
    fault_arm(0, false, EIO);
    fault.only = "mdb_txn_commit";
    assert_false(work(&f, PUT, 1));
    given_up = true;
    for (unsigned i = 0; i < 3; i++)
        assert_false(work(&f, PUT, 1));
    assert_true(given_up);
    assert_ok(store_get(t, 0, key_of(0, key), &v));
    assert_slice_str(v, "a value of the tests");
    store_snapshot_end(t);
    assert_false(work(&f, PUT, 1));
    assert_true(f.there[2] = work(&f, PUT, 2));
    store_close(f.store);
    check_store(&f);
    fix_release(&f);
}

static void codes_of_lmdb(void **state)
{
    static const struct {
        int code;
        enum err_kind kind;
    } rows[] = {
        { 0, ERR_NONE },
        { MDB_NOTFOUND, ERR_NOT_FOUND },
        { MDB_KEYEXIST, ERR_EXISTS },
        { MDB_MAP_FULL, ERR_NO_SPACE },
        { MDB_TXN_FULL, ERR_NO_SPACE },
        { ENOSPC, ERR_NO_SPACE },
        { MDB_BAD_VALSIZE, ERR_LIMIT },
        { MDB_READERS_FULL, ERR_LIMIT },
        { MDB_VERSION_MISMATCH, ERR_VERSION },
        { MDB_CORRUPTED, ERR_CORRUPT },
        { MDB_PAGE_NOTFOUND, ERR_CORRUPT },
        { MDB_INVALID, ERR_CORRUPT },
        { MDB_INCOMPATIBLE, ERR_CORRUPT },
        { MDB_PANIC, ERR_IO },
        { MDB_BAD_TXN, ERR_IO },
        { EIO, ERR_IO },
        { MDB_CURSOR_FULL, ERR_SYSTEM },
    };

    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(env_err(rows[i].code, "do it").kind, rows[i].kind);
}

/* What others put there is left alone. */
static void foreign_names(void **state)
{
    static const char *const names[] = { "note", "0123456789abcdeX", "0123456789abcdef" };
    char *path = scratch_make();
    struct fix f = { .body = 7 };
    struct buf gone = { 0 };
    size_t removed;
    int fd;

    buf_printf(&gone, "%s/ef/fedcba9876543210", path);
    assert_ok(blobs_open(&(struct blobs_options){ .path = path }, &f.blobs));
    for (size_t i = 0; i < countof(names); i++) {
        struct buf file = { 0 };

        buf_printf(&file, "%s/ef/%s", path, names[i]);
        fd = open(buf_cstr(&file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        buf_release(&file);
    }
    assert_ok(blobs_sweep(f.blobs, stays, &f, &removed));
    assert_int_equal(removed, 1);
    fd = open(buf_cstr(&gone), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    fault_arm(0, true, ENOENT); /* it goes by another hand meanwhile */
    fault.only = "unlinkat";
    assert_ok(blobs_sweep(f.blobs, stays, &f, &removed));
    assert_int_equal(fault.hits, 1);
    fault.armed = false;
    blobs_close(f.blobs);
    buf_release(&gone);
    assert_err(blob_open_file("/nonexistent", 7, &fd), ERR_NOT_FOUND);
    scratch_remove(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(compaction),
        cmocka_unit_test(starts),
        cmocka_unit_test(mending),
        cmocka_unit_test(given_up_by_lmdb),
        cmocka_unit_test(readers),
        cmocka_unit_test(wrecks),
        cmocka_unit_test(behind_a_failed_commit),
        cmocka_unit_test(not_under_a_snapshot),
        cmocka_unit_test(codes_of_lmdb),
        cmocka_unit_test(body_files),
        cmocka_unit_test(body_files_of_threads),
        cmocka_unit_test(many_body_files),
        cmocka_unit_test(foreign_names),
    };

    log_open("test", LOG_LEVEL_FATAL); /* thousands of complaints are expected */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
