/* Whole writes: every byte arrives in order, whatever comes between. */
#include "tests/unit/check.h"

#include "base/fd.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES (4u * MIB)

static volatile sig_atomic_t interruptions;

static void interrupted(int sig)
{
    interruptions++;
}

/* Ours instead of libc's, for the one thing that no real file does on demand. */
static int odd_fd = -1;
static size_t taking;

ssize_t write(int fd, const void *bytes, size_t len)
{
    if (fd == odd_fd && len > taking) {
        len = taking;
        taking = 0;
        return (ssize_t)len;
    }
    return syscall(SYS_write, fd, bytes, len);
}

struct reading {
    int fd;
    pthread_t writer;
    char *bytes;
    size_t len;
};

/* The pipe is full now and then, and the writer is interrupted just then:
 * before it wrote anything (EINTR) as well as in the middle (a short write). */
static void *reading_main(void *arg)
{
    struct reading *r = arg;
    ssize_t n;

    do {
        pthread_kill(r->writer, SIGUSR1);
        n = read(r->fd, r->bytes + r->len, r->len + 3001 < BYTES + 1 ? 3001 : BYTES + 1 - r->len);
        if (n > 0)
            r->len += (size_t)n;
    } while (n > 0);
    return NULL;
}

static void test_interrupted_writes(void **state)
{
    struct sigaction act = { .sa_handler = interrupted }, old; /* no SA_RESTART */
    struct reading r = { .writer = pthread_self(), .bytes = mem_zero(BYTES + 1, 1) };
    char *bytes = mem_zero(BYTES, 1);
    pthread_t reader;
    int ends[2];

    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 + i / 977);
    assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
    assert_int_equal(pipe(ends), 0);
    r.fd = ends[0];
    assert_int_equal(pthread_create(&reader, NULL, reading_main, &r), 0);
    assert_ok(write_all(ends[1], slice_make(bytes, BYTES), "write"));
    close(ends[1]);
    pthread_join(reader, NULL);
    close(ends[0]);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
    assert_true(interruptions > 0);
    assert_int_equal(r.len, BYTES);
    assert_memory_equal(r.bytes, bytes, BYTES);
    free(bytes);
    free(r.bytes);
}

static void test_full_disk(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct err e;

    assert_true(fd >= 0);
    e = write_all(fd, SLICE("x"), "write a test");
    assert_err(e, ERR_NO_SPACE);
    assert_int_equal(e.sys, ENOSPC);
    assert_string_equal(e.what, "write a test");
    close(fd);
}

/* A file system that takes some and then nothing, without an error: neither a
 * success nor for ever. */
static void test_nothing_is_no_success(void **state)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    taking = 3;
    odd_fd = fd;
    assert_err(write_all(fd, SLICE("four"), "write"), ERR_NO_SPACE);
    assert_int_equal(taking, 0);
    assert_ok(write_all(fd, SLICE_EMPTY, "write")); /* there is nothing to do */
    odd_fd = -1;
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupted_writes),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_nothing_is_no_success),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
