/* net/listener.c - where clients come in.
 *
 * Every loop listens on a duplicate of each listening descriptor. A wake-up
 * takes one connection, more only while they come faster, so that a few
 * connections spread over the loops and many cost no needless accept4().
 */
#include "net/uvinside.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define BURST_MAX     32u
#define RETRY_MS      100u
#define WARN_EVERY_MS MINUTE_MS

/* Accepting stops this share of the descriptors before the end (and at most
 * RESERVE_MAX), so that deliveries and the store still get theirs. */
#define RESERVE_SHARE 8
#define RESERVE_MAX   128

/* Half-open connections go after 5 + 4 x 1 minutes without a sign of life. */
#define KEEPALIVE_IDLE_S     300
#define KEEPALIVE_INTERVAL_S 60
#define KEEPALIVE_PROBES     4

struct listener {
    struct loop *loop;
    uv_poll_t poll;
    int fd;
    int fd_high; /* a descriptor of this number or more: nearly out of them */
    listener_accepted *accepted;
    void *ctx;
    struct net_addr local;
    unsigned burst;       /* connections taken at one wake-up */
    uint64_t last_turn;   /* in which there was one */
    struct list starving; /* in the loop's list while waiting for descriptors */
    struct timer retry;
    uint64_t warned_ms; /* 0 = never */
    bool tight;         /* the last one accepted came near the end of the descriptors */
    bool polled; /* the handle is made */
    bool freed;
};

static void on_ready(uv_poll_t *p, int status, int events);

static int watch(struct listener *ln);

static void starve(struct listener *ln, int sys)
{
    uint64_t now = ln->loop->now_ms;
    char text[128];

    if (ln->polled)
        uv_poll_stop(&ln->poll);
    list_remove(&ln->starving);
    list_append(&uvloop_of(ln->loop)->starved, &ln->starving);
    loop_arm(ln->loop, &ln->retry, RETRY_MS);
    if (ln->warned_ms != 0 && now - ln->warned_ms < WARN_EVERY_MS)
        return;
    ln->warned_ms = now;
    log_warning("net", "accepting pauses: %s",
                sys != 0 ? strerror_r(sys, text, sizeof text) : "nearly out of descriptors");
}

static void resume(struct listener *ln)
{
    int rc;

    list_remove(&ln->starving);
    loop_disarm(ln->loop, &ln->retry);
    rc = watch(ln);
    if (rc != 0)
        starve(ln, -rc);
}

static void on_retry(struct timer *t)
{
    resume(container_of(t, struct listener, retry));
}

void listener_feed_starved(struct uvloop *u)
{
    struct list batch;

    if (list_empty(&u->starved))
        return;
    /* Those that starve again wait for the next one. */
    list_init(&batch);
    list_append(&u->starved, &batch);
    list_remove(&u->starved);
    while (!list_empty(&batch))
        resume(list_first(&batch, struct listener, starving));
}

enum step { STEP_TAKEN, STEP_SKIP, STEP_EMPTY, STEP_STARVED };

static enum step failed_step(struct listener *ln, int sys)
{
    switch (sys) {
    case EAGAIN:
        return STEP_EMPTY;
    case EINTR:
    case ECONNABORTED: /* the client left the queue; accept(2) passes on others' errors too */
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
    case ETIMEDOUT:
        return STEP_SKIP;
    default: /* EMFILE, ENFILE, ENOBUFS, ENOMEM: trying at once again would spin */
        starve(ln, sys);
        return STEP_STARVED;
    }
}

/* Whether the next descriptor would still be one of the reserve: else each try
 * would take one more, until there is none. */
static bool still_tight(struct listener *ln)
{
    int next;

    if (!ln->tight)
        return false;
    next = fcntl(ln->fd, F_DUPFD_CLOEXEC, 0);
    if (next >= 0)
        close(next);
    ln->tight = next < 0 || next >= ln->fd_high;
    return ln->tight;
}

static enum step accept_one(struct listener *ln)
{
    struct sockaddr_storage peer = { 0 };
    socklen_t peer_len = sizeof peer;
    struct net_addr remote;
    struct stream *s;
    int fd;

    if (still_tight(ln)) {
        starve(ln, 0);
        return STEP_STARVED;
    }
    fd = accept4(ln->fd, (struct sockaddr *)&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return failed_step(ln, errno);
    net_addr_from_sockaddr((struct sockaddr *)&peer, &remote);
    if (err_failed(uvstream_accepted(uvloop_of(ln->loop), fd, &ln->local, &remote, &s)))
        return STEP_SKIP;
    ln->accepted(ln->ctx, s);
    if (fd < ln->fd_high || ln->freed)
        return STEP_TAKEN;
    ln->tight = true;
    starve(ln, 0);
    return STEP_STARVED;
}

static void on_closed(uv_handle_t *h)
{
    free(container_of((uv_poll_t *)h, struct listener, poll));
}

static void on_ready(uv_poll_t *p, int status, int events)
{
    struct listener *ln = container_of(p, struct listener, poll);
    struct uvloop *u = uvloop_of(ln->loop);
    enum step st = STEP_SKIP;

    (void)status; /* accept4 tells */
    (void)events;
    uvloop_enter(ln->loop);
    for (unsigned n = 0; n < ln->burst; n++) {
        st = accept_one(ln);
        if (ln->freed) /* by accepted(); the memory lives until on_closed */
            return;
        if (st == STEP_EMPTY || st == STEP_STARVED)
            break;
    }
    /* Clients that come one by one never cost an accept4() in vain. */
    if (st == STEP_EMPTY)
        ln->burst = 1;
    else if (u->turn == ln->last_turn + 1 && ln->burst < BURST_MAX)
        ln->burst *= 2;
    ln->last_turn = u->turn;
}

/* Options that Linux hands down to accepted sockets: set once here instead of
 * by three calls a connection. Failure costs delay, not mail. */
static void set_options(int fd, const struct net_addr *local)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES },
    };

    if (local->family == AF_UNIX)
        return;
    for (size_t i = 0; i < countof(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof options[i].value);
}

static int find_fd_high(void)
{
    struct rlimit lim;
    rlim_t reserve;

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur > INT32_MAX)
        return INT32_MAX;
    reserve = lim.rlim_cur / RESERVE_SHARE;
    return (int)(lim.rlim_cur - (reserve < RESERVE_MAX ? reserve : RESERVE_MAX));
}

static int look_up_local(struct listener *ln)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t sa_len = sizeof sa;

    if (getsockname(ln->fd, (struct sockaddr *)&sa, &sa_len) != 0)
        return -errno;
    net_addr_from_sockaddr((struct sockaddr *)&sa, &ln->local);
    set_options(ln->fd, &ln->local);
    return 0;
}

/* 0, or an error of libuv. Also makes the socket non-blocking. */
static int watch(struct listener *ln)
{
    int rc = 0;

    if (!ln->polled) {
        rc = look_up_local(ln);
        if (rc == 0)
            rc = uv_poll_init(uvloop_uv(ln->loop), &ln->poll, ln->fd);
        ln->polled = rc == 0;
    }
    return rc == 0 ? uv_poll_start(&ln->poll, UV_READABLE, on_ready) : rc;
}

struct err listener_new(struct loop *l, int fd, listener_accepted *accepted, void *ctx,
                        struct listener **out)
{
    struct listener *ln = mem_new(struct listener);
    int rc;

    ln->loop = l;
    ln->fd = fd;
    ln->fd_high = find_fd_high();
    ln->accepted = accepted;
    ln->ctx = ctx;
    ln->burst = 1;
    ln->retry.fire = on_retry;
    list_init(&ln->starving);
    rc = watch(ln);
    if (rc != 0 && !err_sys_may_pass(-rc)) {
        listener_free(ln);
        return err_sys(-rc, "listen");
    }
    if (rc != 0)
        starve(ln, -rc); /* the clients wait in the kernel meanwhile */
    *out = ln;
    return ERR_OK;
}

void listener_free(struct listener *ln)
{
    if (ln == NULL)
        return;
    ln->freed = true;
    list_remove(&ln->starving);
    loop_disarm(ln->loop, &ln->retry);
    if (ln->polled)
        uv_close((uv_handle_t *)&ln->poll, on_closed);
    close(ln->fd);
    if (!ln->polled)
        free(ln);
}
