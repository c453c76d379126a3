/* What a process can still do once it is confined, tried in children. */
#include "tests/unit/check.h"

#include "net/ipc.h"
#include "net/sandbox.h"
#include "net/uvloop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char folder[] = "/tmp/relayd-sandbox.XXXXXX";
static char mine[64], others[64];

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

/* The child's part, by name so that a failure tells which. */
struct attempt {
    const char *name;
    bool (*done)(void); /* true: it worked */
    bool files, no_files; /* should work in a sandbox with, or without files */
};

static bool opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool read_mine(void)
{
    return opens(mine, O_RDONLY);
}

static bool write_mine(void)
{
    char path[80];

    snprintf(path, sizeof path, "%s.new", mine);
    return opens(path, O_WRONLY | O_CREAT) && rename(path, mine) == 0;
}

static bool read_others(void)
{
    return opens(others, O_RDONLY);
}

static bool write_others(void)
{
    char path[80];

    snprintf(path, sizeof path, "%s.new", others);
    return opens(path, O_WRONLY | O_CREAT);
}

static bool read_passwd(void)
{
    return opens("/etc/passwd", O_RDONLY);
}

static bool is_made(int fd)
{
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool tcp_socket(void)
{
    return is_made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static bool udp_socket(void)
{
    return is_made(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

static bool unix_socket(void)
{
    return is_made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static bool run_program(void)
{
    static char name[] = "/bin/true";
    char *const argv[] = { name, NULL };

    execve(name, argv, argv + 1);
    return errno != EPERM && errno != EACCES;
}

static bool make_process(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return pid > 0;
}

static bool executable_memory(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p != MAP_FAILED;
}

static bool memory_made_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

static bool trace_the_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0;
}

static bool kill_the_parent(void)
{
    return kill(getppid(), 0) == 0;
}

static void *nothing(void *arg)
{
    return arg;
}

static bool thread(void)
{
    pthread_t t;

    return pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0;
}

static unsigned heard;

static void on_message(void *ctx, struct slice payload, int fd)
{
    heard++;
    if (fd >= 0)
        close(fd);
    uvloop_stop(ctx);
}

static void on_closed(void *ctx, struct err why)
{
    uvloop_stop(ctx);
}

/* A loop, and a link with a descriptor: what the work is made of. */
static bool loop_and_link(void)
{
    static const struct ipc_events events = { on_message, on_closed };
    extern int link_ends[2];
    struct loop *loop;
    struct ipc *a, *b;

    if (err_failed(uvloop_new(0, &clock_system, &loop)) ||
        err_failed(ipc_new(loop, link_ends[0], &events, loop, &a)) ||
        err_failed(ipc_new(loop, link_ends[1], &events, loop, &b)))
        return false;
    ipc_send(a, SLICE("question"), STDERR_FILENO);
    uvloop_run(loop);
    ipc_free(a);
    ipc_free(b);
    uvloop_free(loop);
    return heard == 1;
}

int link_ends[2]; /* made before, as the parent makes them */

static bool memory_and_dice(void)
{
    char *p = malloc(10 * MIB);
    unsigned char dice[16];

    if (p == NULL)
        return false;
    memset(p, 1, 10 * MIB);
    p = realloc(p, 20 * MIB);
    random_secret(dice, sizeof dice);
    free(p);
    return p != NULL && clock_wall_ms(&clock_system) > 0;
}

static const struct attempt attempts[] = {
    { "read its own file", read_mine, true, false },
    { "write its own file", write_mine, true, false },
    { "read another's file", read_others, false, false },
    { "write another's file", write_others, false, false },
    { "read /etc/passwd", read_passwd, false, false },
    { "tcp socket", tcp_socket, false, false },
    { "udp socket", udp_socket, false, false },
    { "unix socket", unix_socket, false, false },
    { "run a program", run_program, false, false },
    { "make a process", make_process, false, false },
    { "executable memory", executable_memory, false, false },
    { "memory made executable", memory_made_executable, false, false },
    { "trace the parent", trace_the_parent, false, false },
    { "kill the parent", kill_the_parent, false, false },
    { "thread", thread, true, true },
    { "loop and link", loop_and_link, true, true },
    { "memory and dice", memory_and_dice, true, true },
};

enum { WORKED = 10, REFUSED = 11, NOT_ENTERED = 12 };

static int try_it(const struct attempt *a, bool files)
{
    const struct sandbox_path paths[] = { { folder, true } };
    const struct sandbox_rules rules = { .paths = paths, .path_count = files ? 1 : 0 };
    struct buf said = { 0 };
    int status;
    pid_t pid;

    assert_ok(ipc_pair(link_ends));
    pid = fork();
    if (pid == 0) {
        if (err_failed(sandbox_enter(&rules, &said)))
            _exit(NOT_ENTERED);
        _exit(a->done() ? WORKED : REFUSED);
    }
    assert_true(pid > 0);
    close(link_ends[0]);
    close(link_ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("%s: ended by signal %d", a->name, WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void try_all(bool files)
{
    for (size_t i = 0; i < countof(attempts); i++) {
        const struct attempt *a = &attempts[i];
        bool may = files ? a->files : a->no_files;
        int result = try_it(a, files);

        if (result != (may ? WORKED : REFUSED))
            fail_msg("%s, with%s files: %s", a->name, files ? "" : "out",
                     result == WORKED ? "worked" : result == REFUSED ? "was refused" : "no sandbox");
    }
}

static void test_with_files(void **state)
{
    try_all(true);
}

static void test_without_files(void **state)
{
    try_all(false);
}

/* The same things work outside, or the tests above show nothing. */
static void test_outside(void **state)
{
    for (size_t i = 0; i < countof(attempts); i++) {
        pid_t pid;
        int status;

        if (attempts[i].done == run_program || attempts[i].done == trace_the_parent)
            continue;
        assert_ok(ipc_pair(link_ends));
        pid = fork();
        if (pid == 0)
            _exit(attempts[i].done() ? WORKED : REFUSED);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != WORKED << 8)
            fail_msg("%s: does not work at all", attempts[i].name);
    }
}

static void test_what_it_says(void **state)
{
    const struct sandbox_rules programs = { .programs = true };
    struct buf said = { 0 };

    assert_ok(sandbox_enter(&programs, &said));
    assert_non_null(strstr(buf_cstr(&said), SANITIZED ? "sanitizers" : "other programs"));
    buf_release(&said);
}

/* A folder that is not there is a mistake, not an open door. */
static void test_missing_folder(void **state)
{
    const struct sandbox_path paths[] = { { "/nowhere/at/all", true } };
    const struct sandbox_rules rules = { .paths = paths, .path_count = 1 };
    struct buf said = { 0 };

    assert_err(sandbox_enter(&rules, &said), ERR_NOT_FOUND);
    buf_release(&said);
}

static int setup(void **state)
{
    assert_non_null(mkdtemp(folder));
    snprintf(mine, sizeof mine, "%s/mine", folder);
    snprintf(others, sizeof others, "%s.others", folder);
    return opens(mine, O_WRONLY | O_CREAT) && opens(others, O_WRONLY | O_CREAT) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[80];

    unlink(mine);
    unlink(others);
    snprintf(path, sizeof path, "%s.new", others);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    /* A sanitizer's runtime does what the sandbox forbids. */
    const struct CMUnitTest everywhere[] = {
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_what_it_says),
    };
    const struct CMUnitTest without_landlock[] = {
        cmocka_unit_test(test_without_files),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_what_it_says),
    };
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_with_files),   cmocka_unit_test(test_without_files),
        cmocka_unit_test(test_outside),      cmocka_unit_test(test_what_it_says),
        cmocka_unit_test(test_missing_folder),
    };

    if (SANITIZED)
        return cmocka_run_group_tests(everywhere, setup, teardown);
    if (!has_landlock())
        return cmocka_run_group_tests(without_landlock, setup, teardown);
    return cmocka_run_group_tests(all, setup, teardown);
}
