/* relayd/child.c - a process that holds no more than its part of a message's
 * journey needs. */
#include "relayd/child.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

/* What a child may see of the environment. Settings and secrets given by
 * RELAYD_… travel in the configuration's bundle. */
static const char *const kept_variables[] = {
    "LANG",         "LC_ALL",        "PATH",         "TZ",
    "SSL_CERT_DIR", "SSL_CERT_FILE", "ASAN_OPTIONS", "LSAN_OPTIONS",
    "TSAN_OPTIONS", "UBSAN_OPTIONS", "GCOV_PREFIX",  "LLVM_PROFILE_FILE",
};

static bool is_variable(const char *entry, const char *name)
{
    size_t len = strlen(name);

    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* A preloaded library (tests that delay or fail system calls) finds its own
 * variables too; even then not ours nor the service manager's. */
static bool variable_is_kept(const char *entry, bool preloaded)
{
    if (strncmp(entry, "RELAYD_", 7) == 0 || is_variable(entry, "NOTIFY_SOCKET"))
        return false;
    for (size_t i = 0; i < countof(kept_variables); i++)
        if (is_variable(entry, kept_variables[i]))
            return true;
    return preloaded;
}

/* Made before the fork: after it nothing is allocated. */
static char **clean_environment(void)
{
    bool preloaded = getenv("LD_PRELOAD") != NULL;
    char **kept;
    size_t count = 0, n = 0;

    while (environ[count] != NULL)
        count++;
    kept = mem_zero(count + 1, sizeof *kept);
    for (size_t i = 0; i < count; i++)
        if (variable_is_kept(environ[i], preloaded))
            kept[n++] = environ[i];
    return kept;
}

/* The parent's signals are for the parent: it tells us to stop when it is
 * time, also when somebody presses Ctrl-C or stops a whole control group. */
static void ignore_signals(void)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
    sigset_t none;

    for (size_t i = 0; i < countof(ignored); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Only in the forked child: says why on standard error, and ends. */
static _Noreturn void give_up(const char *what)
{
    dprintf(STDERR_FILENO, "relayd: start of a child: %s: %s\n", what, strerror(errno));
    _exit(EX_OSERR);
}

static void arrange_descriptors(int channel)
{
    int null = open("/dev/null", O_RDWR);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        give_up("/dev/null");
    if (channel != CHANNEL_CHILD_FD ? dup2(channel, CHANNEL_CHILD_FD) < 0
                                    : fcntl(channel, F_SETFD, 0) != 0)
        give_up("channel");
    if (close_range(CHANNEL_CHILD_FD + 1, ~0u, 0) != 0)
        give_up("close descriptors");
}

static _Noreturn void become_child(const char *title, const struct identity *id, int channel,
                                   pid_t parent, char **env)
{
    char *argv[] = { (char *)title, NULL };
    struct err e;

    ignore_signals();
    arrange_descriptors(channel);
    e = identity_assume(id);
    if (err_failed(e)) {
        errno = e.sys;
        give_up(e.what);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        give_up("no_new_privs");
    /* After the change of user, which clears it; kept over exec, which gains nothing here. A
     * parent that died before this line is seen by the second one. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        give_up("parent death signal");
    if (getppid() != parent)
        _exit(EX_UNAVAILABLE);
    execve("/proc/self/exe", argv, env);
    give_up("exec /proc/self/exe");
}

struct err child_start(const char *title, const struct identity *id, pid_t *pid,
                       struct channel **channel)
{
    int ends[2];
    pid_t parent = getpid();
    char **env;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return err_sys(errno, "open channel");
    env = clean_environment();
    *pid = fork();
    if (*pid == 0)
        become_child(title, id, ends[1], parent, env);
    free(env);
    close(ends[1]);
    if (*pid < 0) {
        int sys = errno;

        close(ends[0]);
        return err_sys(sys, "start process");
    }
    *channel = channel_new(ends[0], CHANNEL_PARENT);
    return ERR_OK;
}

void child_begin(const char *title)
{
    prctl(PR_SET_NAME, title);
    ignore_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}
