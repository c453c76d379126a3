/* relayd/parent.c - start, signals and end of the whole tree.
 *
 * The parent never sees mail. It keeps the doors open: whatever happens to
 * the engine and those it asks, clients wait at the listening sockets held
 * here.
 */
#include "relayd/parent.h"

#include "base/log.h"
#include "relayd/lock.h"
#include "relayd/notify.h"
#include "relayd/tree.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define START_WAIT_MS (5 * SECOND_MS) /* for lock and ports: a predecessor may be ending */
#define START_STEP_MS 100

void tree_end(struct tree *t, int exit_code)
{
    t->done = true;
    t->exit_code = exit_code;
}

void tree_log_text(bool error, struct slice text)
{
    struct slice line;

    while (slice_split(&text, '\n', &line))
        if (line.len > 0)
            log_write(error ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "parent", "%.*s", (int)line.len,
                      line.ptr);
}

/* ---- start ---- */

static void fail_start(struct tree *t, struct buf *why, int exit_code)
{
    log_write(LOG_LEVEL_FATAL, "parent", "%s", buf_cstr(why));
    tree_end(t, exit_code);
}

static int start_exit_code(struct err e, bool lock)
{
    if (e.kind == ERR_BUSY)
        return lock ? EX_TEMPFAIL : EX_UNAVAILABLE;
    if (e.kind == ERR_DENIED)
        return EX_NOPERM;
    return lock ? process_exit_code(e, EX_CANTCREAT) : EX_UNAVAILABLE;
}

/* Whoever has lock or ports gets its time to end; then the engine starts. */
static void try_start(struct tree *t)
{
    struct buf why = { 0 };
    bool lock = true;
    struct err e = lock_check(t->current.settings->state_dir, &why);

    if (!err_failed(e)) {
        lock = false;
        e = sockets_open(&t->current.sockets, t->current.settings, &(struct sockets){ 0 }, &why);
    }
    if (!err_failed(e)) {
        t->phase = TREE_RUNNING;
        processes_want(t);
        watch_begin(t);
    } else if (e.kind == ERR_BUSY && tree_now(t) < t->start_until_ms) {
        timers_arm(&t->timers, &t->start, tree_now(t) + START_STEP_MS);
    } else {
        fail_start(t, &why, start_exit_code(e, lock));
    }
    buf_release(&why);
}

static void start_fired(struct timer *timer)
{
    try_start(container_of(timer, struct tree, start));
}

/* A configuration that is wrong is told on standard error as `relayd -n` does. */
static bool load_first(struct tree *t)
{
    struct buf text = { 0 };
    struct err e = generation_load(t->config_path, &t->current, &text);

    if (!err_failed(e))
        e = generation_judge(&t->current, NULL, clock_wall_ms(t->clock), &text);

    fputs(buf_cstr(&text), stderr);
    buf_release(&text);
    if (err_failed(e)) {
        tree_end(t, process_exit_code(e, EX_CONFIG));
        return false;
    }
    log_open(t->current.settings->hostname, t->current.settings->log_level);
    return true;
}

/* A key that its disk does not give concerns its domain only, and is told. */
static struct err whole(struct tree *t, struct buf *why)
{
    struct err e = generation_whole(&t->current, why);

    return e.kind == ERR_IO ? ERR_OK : e;
}

static bool prepare_places(struct tree *t)
{
    struct buf why = { 0 };
    int exit_code = EX_OK;
    struct err e = places_prepare(t, t->current.settings, &exit_code, &why);

    if (!err_failed(e)) {
        e = generation_keys(&t->current, t->clock, &why);
        exit_code = EX_OSERR;
        if (!err_failed(e))
            e = whole(t, &why);
        if (!err_failed(e))
            tree_log_text(true, buf_bytes(&why));
    }
    if (err_failed(e))
        fail_start(t, &why, exit_code);
    buf_release(&why);
    return !err_failed(e);
}

static void raise_descriptor_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        log_warning("parent", "the limit of descriptors stays as it is: %s", strerror(errno));
}

static bool open_signals(struct tree *t)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (t->signal_fd < 0)
        log_error("parent", "signals: %s", strerror(errno));
    return t->signal_fd >= 0;
}

/* ---- end ---- */

void tree_stop(struct tree *t)
{
    if (t->phase == TREE_STOPPING) {
        log_info("parent", "told to stop again: stops at once");
        processes_kill(t);
        return;
    }
    t->phase = TREE_STOPPING;
    log_info("parent", "stops");
    notify_stopping();
    timers_disarm(&t->timers, &t->start);
    reload_abandon(t);
    watch_end(t);
    sockets_release(&t->current.sockets);
    processes_stop(t);
}

/* ---- signals ---- */

/* Children, and what they left us if we are process 1 of a container. */
static void reap(struct tree *t)
{
    int status;
    pid_t pid;

    while (!t->done && (pid = waitpid(-1, &status, WNOHANG)) > 0)
        tree_foreach(p, t)
            if (pid == p->pid) {
                process_ended(p, status);
                break; /* its number is free for the next one started */
            }
}

static void handle_signal(struct tree *t, int signo)
{
    switch (signo) {
    case SIGTERM:
    case SIGINT:
        tree_stop(t);
        break;
    case SIGHUP:
        reload_begin(t);
        break;
    case SIGCHLD:
        reap(t);
        break;
    }
}

static void read_signals(struct tree *t)
{
    struct signalfd_siginfo info;

    while (!t->done && read(t->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        handle_signal(t, (int)info.ssi_signo);
}

/* ---- the loop ---- */

static int poll_timeout(struct tree *t)
{
    uint64_t next = timers_next(&t->timers);
    uint64_t now = tree_now(t);

    if (next == TIMERS_NEVER)
        return -1;
    if (next <= now)
        return 0;
    return next - now < INT32_MAX ? (int)(next - now) : INT32_MAX;
}

static void turn(struct tree *t)
{
    struct pollfd fds[1 + PROCESSES] = { { .fd = t->signal_fd, .events = POLLIN } };

    for (size_t i = 0; i < PROCESSES; i++) {
        struct channel *c = t->processes[i].channel;

        fds[1 + i].fd = c != NULL ? channel_fd(c) : -1;
        fds[1 + i].events = (short)(POLLIN | (c != NULL && channel_has_output(c) ? POLLOUT : 0));
    }
    if (poll(fds, countof(fds), poll_timeout(t)) < 0 && errno != EINTR) {
        log_error("parent", "poll: %s", strerror(errno));
        tree_end(t, EX_OSERR);
        return;
    }
    /* The channels first: what a process said before it died counts. */
    for (size_t i = 0; i < PROCESSES && !t->done; i++)
        if (fds[1 + i].revents != 0)
            process_read(&t->processes[i]);
    if (!t->done && fds[0].revents != 0)
        read_signals(t);
    if (!t->done)
        timers_run(&t->timers, tree_now(t));
}

int parent_main(const char *config_path)
{
    struct tree t = { .config_path = config_path,
                      .clock = &clock_system,
                      .signal_fd = -1,
                      .current = GENERATION_EMPTY };

    log_open("localhost", LOG_LEVEL_INFO);
    t.start.fire = start_fired;
    processes_init(&t);
    reload_init(&t);
    watch_init(&t);
    raise_descriptor_limit();
    if (!load_first(&t))
        goto out;
    if (!open_signals(&t)) {
        tree_end(&t, EX_OSERR);
        goto out;
    }
    if (!prepare_places(&t))
        goto out;
    log_info("parent", "relayd %s starts", RELAYD_VERSION);
    t.start_until_ms = tree_now(&t) + START_WAIT_MS;
    try_start(&t);
    while (!t.done)
        turn(&t);
    if (t.phase == TREE_STOPPING)
        log_info("parent", "stopped");
out:
    reload_abandon(&t);
    watch_end(&t);
    generation_release(&t.current);
    tree_foreach(p, &t)
        channel_free(p->channel);
    timers_release(&t.timers);
    if (t.signal_fd >= 0)
        close(t.signal_fd);
    return t.exit_code;
}
