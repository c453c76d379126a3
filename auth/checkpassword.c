/* auth/checkpassword.c - asks a program, and kills it when it does not answer. */
#include "auth/checkpassword.h"

#include "base/log.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_RIGHT 0
#define EXIT_WRONG 1
#define EXIT_LATER 111

static int start(const struct checkpassword *c, int password_fd, const char *service, const char *client, pid_t *pid)
{
    char proto[32], remote[96];
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *const envp[] = { path, proto, remote, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, usual;
    int rc;

    snprintf(proto, sizeof proto, "PROTO=%s", service);
    for (char *p = proto + 6; *p != '\0'; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    snprintf(remote, sizeof remote, "TCPREMOTEIP=%s", client);
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE); /* we ignore it, and it would inherit that */
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &usual);
    posix_spawnattr_setpgroup(&attr, 0); /* what it starts is killed with it */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&actions, password_fd, 3); /* first: 0 to 2 are never it */
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    rc = posix_spawn(pid, c->argv[0], &actions, &attr, (char *const *)c->argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return rc;
}

/* True when it ended within the time. */
static bool wait_for(const struct checkpassword *c, pid_t pid, int *status)
{
    uint64_t until = clock_mono_ms(c->clock) + c->timeout_ms;
    struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
    bool ended = false;

    while (p.fd >= 0 && !ended) {
        uint64_t now = clock_mono_ms(c->clock);
        int rc;

        if (now >= until)
            break;
        rc = poll(&p, 1, (int)(until - now));
        ended = rc == 1;
        if (rc < 0 && errno != EINTR)
            break;
    }
    if (p.fd >= 0)
        close(p.fd);
    if (!ended)
        kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    return ended;
}

static enum checkpassword_verdict verdict_of(const struct checkpassword *c, bool ended, int status)
{
    if (!ended)
        log_error("accounts", "%s: no answer within %llu ms, killed", c->argv[0], (unsigned long long)c->timeout_ms);
    else if (WIFSIGNALED(status))
        log_error("accounts", "%s: ended by signal %d", c->argv[0], WTERMSIG(status));
    else if (WEXITSTATUS(status) == EXIT_RIGHT)
        return CHECKPASSWORD_RIGHT;
    else if (WEXITSTATUS(status) == EXIT_WRONG)
        return CHECKPASSWORD_WRONG;
    else if (WEXITSTATUS(status) != EXIT_LATER)
        log_error("accounts", "%s: exit code %d, which is none of 0, 1 and 111", c->argv[0], WEXITSTATUS(status));
    return CHECKPASSWORD_UNKNOWN;
}

static size_t question(char out[CHECKPASSWORD_MAX + 64], const char *user, struct slice password,
                       const struct clock *clock)
{
    size_t len = strlen(user) + 1;

    memcpy(out, user, len);
    memcpy(out + len, password.ptr, password.len);
    len += password.len;
    out[len++] = '\0';
    len += (size_t)snprintf(out + len, 32, "Y%llu", (unsigned long long)(clock_wall_ms(clock) / 1000)) + 1;
    return len;
}

enum checkpassword_verdict checkpassword_run(const struct checkpassword *c, const char *user, struct slice password,
                                             const char *service, const char *client)
{
    char bytes[CHECKPASSWORD_MAX + 64];
    int ends[2], status = 0, rc;
    bool written, ended;
    size_t len;
    pid_t pid;

    if (strlen(user) + password.len + 2 > CHECKPASSWORD_MAX ||
        (password.len != 0 && memchr(password.ptr, '\0', password.len) != NULL))
        return CHECKPASSWORD_WRONG;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        log_error("accounts", "%s: can't make a pipe: %s", c->argv[0], strerror(errno));
        return CHECKPASSWORD_UNKNOWN;
    }
    len = question(bytes, user, password, c->clock);
    written = write(ends[1], bytes, len) == (ssize_t)len; /* fits into the pipe */
    secret_wipe(bytes, sizeof bytes);
    rc = written ? start(c, ends[0], service, client, &pid) : EIO;
    close(ends[0]);
    close(ends[1]);
    if (rc != 0) {
        log_error("accounts", "%s: can't start it: %s", c->argv[0], strerror(rc));
        return CHECKPASSWORD_UNKNOWN;
    }
    ended = wait_for(c, pid, &status);
    return verdict_of(c, ended, status);
}
