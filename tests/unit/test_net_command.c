/* Helper programs: what they print, how they end, and that none outlives its
 * time. */
#include "tests/unit/check.h"

#include "net/command.h"
#include "net/uvloop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct seen {
    struct loop *loop;
    unsigned calls;
    struct err failed;
    int status, signal;
    char output[200], errors[200];
    size_t output_len;
};

static void done(void *ctx, const struct command_result *r)
{
    struct seen *s = ctx;

    s->calls++;
    s->failed = r->failed;
    s->status = r->exit_status;
    s->signal = r->signal;
    s->output_len = r->output.len;
    snprintf(s->output, sizeof s->output, "%.*s", (int)r->output.len, r->output.ptr);
    snprintf(s->errors, sizeof s->errors, "%.*s", (int)r->errors.len, r->errors.ptr);
    uvloop_stop(s->loop);
}

static struct seen run(const char *const *argv, uint64_t timeout_ms)
{
    struct seen s = { 0 };

    assert_ok(uvloop_new(0, &clock_system, &s.loop));
    command_run(s.loop, argv, timeout_ms, done, &s);
    assert_int_equal(s.calls, 0);
    uvloop_run(s.loop);
    assert_int_equal(s.calls, 1);
    uvloop_free(s.loop);
    return s;
}

static struct seen sh(const char *script, uint64_t timeout_ms)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };

    return run(argv, timeout_ms);
}

static void test_output_and_end(void **state)
{
    struct seen s = sh("echo token; echo oops >&2; exit 3", 10000);

    assert_ok(s.failed);
    assert_string_equal(s.output, "token\n");
    assert_string_equal(s.errors, "oops\n");
    assert_int_equal(s.status, 3);
    assert_int_equal(s.signal, 0);
    s = sh("kill -TERM $$", 10000);
    assert_ok(s.failed);
    assert_int_equal(s.signal, SIGTERM);
}

static void test_surroundings(void **state)
{
    struct seen s;

    setenv("RELAYD_SECRET", "hunter2", 1);
    s = sh("env | grep -v ^PWD= | grep -v ^_= | grep -v ^SHLVL=; pwd; read x && echo input", 10000);
    assert_string_equal(s.output, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/\n");
}

static void test_not_there(void **state)
{
    const char *const argv[] = { "/nowhere/at/all", NULL };
    struct seen s = run(argv, 10000);

    assert_true(err_failed(s.failed));
    assert_int_equal(s.failed.sys, ENOENT);
}

static void test_too_slow(void **state)
{
    /* The grandchild holds the pipe open and dies with the group. */
    struct seen s = sh("sleep 1000 & sleep 1000", 50);

    assert_int_equal(s.failed.kind, ERR_TIMEOUT);
}

static void test_too_much(void **state)
{
    struct seen s = sh("exec cat /dev/zero", 10000);

    assert_int_equal(s.failed.kind, ERR_LIMIT);
    assert_true(s.output_len <= COMMAND_OUTPUT_MAX + 4096);
}

static void test_much_complaint(void **state)
{
    struct seen s = sh("head -c 100000 /dev/zero | tr '\\0' x >&2; echo fine", 10000);

    assert_ok(s.failed);
    assert_string_equal(s.output, "fine\n");
}

struct later {
    struct timer timer;
    struct loop *loop;
};

static void stop_now(struct timer *t)
{
    uvloop_stop(container_of(t, struct later, timer)->loop);
}

static void test_cancel(void **state)
{
    const char *const argv[] = { "/bin/sh", "-c", "sleep 1000", NULL };
    struct seen s = { 0 };
    struct later later = { .timer.fire = stop_now };

    assert_ok(uvloop_new(0, &clock_system, &s.loop));
    later.loop = s.loop;
    command_cancel(NULL);
    command_cancel(command_run(s.loop, argv, 10000, done, &s));
    loop_arm(s.loop, &later.timer, 50);
    uvloop_run(s.loop);
    assert_int_equal(s.calls, 0);
    uvloop_free(s.loop);
    /* No child is left behind. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_end), cmocka_unit_test(test_surroundings),
        cmocka_unit_test(test_not_there),      cmocka_unit_test(test_too_slow),
        cmocka_unit_test(test_too_much),       cmocka_unit_test(test_much_complaint),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
