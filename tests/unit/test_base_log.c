/* The log: its shape, no forged lines, and a reader that stopped reading. */
#include "tests/unit/check.h"

#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int saved;
static int ends[2];

static void redirect(void)
{
    assert_int_equal(pipe(ends), 0);
    saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
}

static void restore(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
}

static void test_shape_and_cleaning(void **state)
{
    char line[8192];
    char want[256];
    ssize_t n;

    log_open("mx.example.com", LOG_LEVEL_INFO);
    redirect();
    log_info("smtpd", "%s: client=%s", "0194", "evil\r\nNov 23 00:00:00 mx relayd/smtpd[1]: fake\x1b[2J");
    log_debug("smtpd", "not shown");
    log_warning("smtp", "odd");
    restore();
    n = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    assert_true(n > 0);
    line[n] = '\0';
    snprintf(want, sizeof want,
             " mx relayd/smtpd[%d]: 0194: client=evil\\x0d\\x0aNov 23 00:00:00 mx relayd/smtpd[1]: fake\\x1b[2J\n",
             (int)getpid());
    assert_non_null(strstr(line, want));
    assert_null(strstr(line, "not shown"));
    assert_non_null(strstr(line, "relayd/smtp["));
    assert_non_null(strstr(line, "]: warning: odd\n"));
}

/* Nobody reads the pipe: callers must not wait, and what is lost is counted. */
static void test_46_stuck_reader(void **state)
{
    char text[1024];
    char sink[65536];
    uint64_t dropped;

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    redirect();
    log_start_thread();
    for (int i = 0; i < 20000; i++)
        log_info("test", "%s", text);
    dropped = log_dropped();
    assert_true(dropped > 0);
    /* the reader wakes up again and takes all that was kept */
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    for (struct pollfd p = { ends[0], POLLIN, 0 }; poll(&p, 1, 300) == 1;)
        if (read(ends[0], sink, sizeof sink) <= 0)
            break;
    log_stop_thread();
    restore();
    close(ends[0]);
}

/* Nobody will ever read: each line is counted once, however many are written at a time, and telling of it
 * does not become a loop of its own. */
static void test_46_closed_reader(void **state)
{
    uint64_t before, after;

    signal(SIGPIPE, SIG_IGN);
    redirect();
    close(ends[0]);
    log_start_thread();
    before = log_dropped();
    for (int i = 0; i < 500; i++)
        log_info("test", "into the void, line %d", i);
    log_flush();
    after = log_dropped();
    poll(NULL, 0, 100);
    assert_int_equal(after, before + 500);
    assert_int_equal(log_dropped(), after);
    log_stop_thread();
    restore();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_and_cleaning),
        cmocka_unit_test(test_46_stuck_reader),
        cmocka_unit_test(test_46_closed_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
