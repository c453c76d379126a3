/* One engine per queue: who gets the lock, who does not, and what it leaves. */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "relayd/lock.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64];
    char file[96];
};

static struct folder folder_new(void)
{
    struct folder f;

    snprintf(f.path, sizeof f.path, "/tmp/relayd-lock.XXXXXX");
    assert_non_null(mkdtemp(f.path));
    snprintf(f.file, sizeof f.file, "%s/queue.lock", f.path);
    return f;
}

static void folder_free(struct folder *f)
{
    unlink(f->file);
    rmdir(f->path);
}

static void assert_names_us(struct buf *why)
{
    char us[64];

    snprintf(us, sizeof us, "in use by pid %d (", (int)getpid());
    assert_non_null(strstr(buf_cstr(why), us));
    buf_clear(why);
}

static void test_one_engine(void **state)
{
    struct folder f = folder_new();
    struct buf why = { 0 };
    int first, second;

    assert_ok(lock_take(f.path, &clock_system, 0, &first, &why));
    assert_err(lock_take(f.path, &clock_system, 0, &second, &why), ERR_BUSY);
    assert_names_us(&why);
    assert_err(lock_share(f.path, &second, &why), ERR_BUSY);
    assert_names_us(&why);
    assert_err(lock_check(f.path, &why), ERR_BUSY);
    assert_names_us(&why);
    close(first);
    assert_ok(lock_check(f.path, &why));
    assert_ok(lock_take(f.path, &clock_system, 0, &second, &why));
    close(second);
    buf_release(&why);
    folder_free(&f);
}

static void test_readers(void **state)
{
    struct folder f = folder_new();
    struct buf why = { 0 };
    int engine, reader, other;

    assert_err(lock_share(f.path, &reader, &why), ERR_NOT_FOUND);
    assert_int_equal(access(f.file, F_OK), -1); /* looking makes nothing */
    buf_clear(&why);
    assert_ok(lock_check(f.path, &why));
    assert_int_equal(access(f.file, F_OK), -1);
    assert_ok(lock_take(f.path, &clock_system, 0, &engine, &why));
    close(engine);
    assert_ok(lock_share(f.path, &reader, &why));
    assert_ok(lock_share(f.path, &other, &why));
    assert_err(lock_take(f.path, &clock_system, 0, &engine, &why), ERR_BUSY);
    assert_names_us(&why);
    close(reader);
    close(other);
    assert_ok(lock_take(f.path, &clock_system, 0, &engine, &why));
    close(engine);
    buf_release(&why);
    folder_free(&f);
}

/* A clock that jumps a second at each look, so the wait takes no time of ours. */
static uint64_t hurried(void *ctx)
{
    return *(uint64_t *)ctx += 1000;
}

static void test_wait_ends(void **state)
{
    struct folder f = folder_new();
    struct buf why = { 0 };
    uint64_t now = 0;
    struct clock clock = { hurried, hurried, &now };
    int first, second;

    assert_ok(lock_take(f.path, &clock_system, 0, &first, &why));
    assert_err(lock_take(f.path, &clock, LOCK_WAIT_MS, &second, &why), ERR_BUSY);
    assert_true(now >= LOCK_WAIT_MS && now < 3 * LOCK_WAIT_MS);
    assert_names_us(&why);
    close(first);
    buf_release(&why);
    folder_free(&f);
}

/* What an engine that fell to a stranger could put in the place of its lock. */
static void test_no_regular_file(void **state)
{
    struct folder f = folder_new();
    struct buf why = { 0 };
    int fd;

    assert_int_equal(symlink("/dev/null", f.file), 0);
    assert_true(err_failed(lock_check(f.path, &why)));
    assert_true(err_failed(lock_take(f.path, &clock_system, 0, &fd, &why)));
    unlink(f.file);
    assert_int_equal(mkfifo(f.file, 0600), 0);
    assert_err(lock_check(f.path, &why), ERR_CORRUPT); /* and does not hang */
    unlink(f.file);
    buf_clear(&why);
    assert_true(err_failed(lock_take("/nonexistent/state", &clock_system, 0, &fd, &why)));
    assert_non_null(strstr(buf_cstr(&why), "/nonexistent/state/queue.lock"));
    buf_release(&why);
    folder_free(&f);
}

/* The pid in the file is of the holder, also after a longer one. */
static void test_pid_in_the_file(void **state)
{
    struct folder f = folder_new();
    struct buf why = { 0 };
    char want[32], got[64] = "";
    FILE *file = fopen(f.file, "we");
    int fd;

    fputs("99999999999999999999 and more\n", file);
    fclose(file);
    assert_ok(lock_take(f.path, &clock_system, 0, &fd, &why));
    assert_true(pread(fd, got, sizeof got - 1, 0) > 0);
    snprintf(want, sizeof want, "%d\n", (int)getpid());
    assert_string_equal(got, want);
    close(fd);
    buf_release(&why);
    folder_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_engine),      cmocka_unit_test(test_readers),
        cmocka_unit_test(test_wait_ends),       cmocka_unit_test(test_no_regular_file),
        cmocka_unit_test(test_pid_in_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
