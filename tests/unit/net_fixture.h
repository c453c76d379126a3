/* tests/unit/net_fixture.h - streams over real loopback sockets: our side on a
 * loop, the peer a plain blocking socket in the same thread. */
#ifndef TESTS_UNIT_NET_FIXTURE_H
#define TESTS_UNIT_NET_FIXTURE_H

#include "tests/unit/check.h"

#include "base/mem.h"
#include "net/uvloop.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <uv.h>

enum act { ACT_NONE, ACT_CLOSE, ACT_FINISH, ACT_ECHO, ACT_PAUSE };

struct side { /* what our end of a connection went through */
    struct stream *stream;
    struct buf in;
    unsigned opened, drained, closed, data_calls;
    struct err why;
    enum act on_opened, on_data, on_drained, on_closed;
};

struct fixture {
    struct loop *loop;
    struct listener *listener;
    struct net_addr addr;
    struct timer guard;
    struct side side; /* of the newest accepted or connected stream */
    unsigned accepted;
    enum act on_accepted;
    int peer;
};

static inline void act(struct side *sd, enum act a)
{
    struct stream *s = sd->stream;

    if (a == ACT_CLOSE || a == ACT_FINISH)
        sd->stream = NULL;
    if (a == ACT_CLOSE)
        stream_close(s);
    if (a == ACT_FINISH)
        stream_finish(s);
    if (a == ACT_PAUSE)
        stream_pause(s, true);
}

static inline void on_opened(void *ctx)
{
    struct side *sd = ctx;

    assert_int_equal(sd->closed, 0);
    sd->opened++;
    act(sd, sd->on_opened);
}

static inline void on_data(void *ctx, struct slice bytes)
{
    struct side *sd = ctx;

    assert_non_null(sd->stream); /* nothing comes after stream_close */
    assert_int_equal(sd->closed, 0);
    assert_true(bytes.len > 0);
    sd->data_calls++;
    buf_add(&sd->in, bytes);
    if (sd->on_data == ACT_ECHO) {
        buf_add(stream_out(sd->stream), bytes);
        stream_flush(sd->stream);
    }
    act(sd, sd->on_data);
}

static inline void on_drained(void *ctx)
{
    struct side *sd = ctx;

    assert_non_null(sd->stream);
    assert_int_equal(stream_backlog(sd->stream), 0);
    sd->drained++;
    act(sd, sd->on_drained);
}

static inline void on_closed(void *ctx, struct err why)
{
    struct side *sd = ctx;

    assert_non_null(sd->stream);
    assert_true(err_failed(why));
    sd->closed++;
    sd->why = why;
    act(sd, sd->on_closed);
}

static const struct stream_events events = { on_opened, on_data, on_drained, on_closed };

static inline void on_accepted(void *ctx, struct stream *s)
{
    struct fixture *f = ctx;

    f->accepted++;
    f->side.stream = s;
    stream_set_events(s, &events, &f->side);
    act(&f->side, f->on_accepted);
}

static inline void guard_fire(struct timer *t)
{
    fail_msg("nothing came within 20 s");
}

static inline void turn_nowait(struct fixture *f)
{
    uv_run(uvloop_uv(f->loop), UV_RUN_NOWAIT);
}

/* Waits a moment for the kernel; not for good, as the condition may be met by
 * the end of the turn. */
static inline void turn(struct fixture *f)
{
    struct pollfd p = { .fd = uv_backend_fd(uvloop_uv(f->loop)), .events = POLLIN };

    poll(&p, 1, 2);
    turn_nowait(f);
}

/* Turns the loop until the condition holds; the guard ends a wait in vain. */
#define turn_until(f, condition)                                                                   \
    do {                                                                                           \
        while (!(condition))                                                                       \
            turn(f);                                                                               \
    } while (0)

static inline int listen_on(const char *text, struct net_addr *addr)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int fd;

    assert_true(net_addr_parse_port(slice_str(text), addr));
    len = net_addr_to_sockaddr(addr, &sa);
    fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) != 0 || listen(fd, 128) != 0) {
        close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_true(net_addr_from_sockaddr((struct sockaddr *)&sa, addr));
    return fd;
}

static inline int peer_connect(const struct net_addr *to, int rcvbuf)
{
    struct timeval patience = { .tv_sec = 10 };
    struct sockaddr_storage sa;
    socklen_t len = net_addr_to_sockaddr(to, &sa);
    int fd = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (rcvbuf != 0)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static inline int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    int fd = listen_on("127.0.0.1:0", &f->addr);

    assert_true(fd >= 0);
    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    assert_ok(listener_new(f->loop, fd, on_accepted, f, &f->listener));
    f->guard.fire = guard_fire;
    loop_arm(f->loop, &f->guard, 20 * SECOND_MS);
    f->peer = -1;
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->peer >= 0)
        close(f->peer);
    listener_free(f->listener);
    stream_close(f->side.stream);
    uvloop_free(f->loop);
    buf_release(&f->side.in);
    free(f);
    return 0;
}

static inline void meet(struct fixture *f)
{
    unsigned before = f->accepted;

    f->peer = peer_connect(&f->addr, 0);
    turn_until(f, f->accepted > before);
}

static inline void peer_send(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that comes until end of file; -1 at a reset. */
static inline ssize_t peer_read_all(struct fixture *f, char *out, size_t room)
{
    size_t got = 0;

    for (;;) {
        ssize_t n = recv(f->peer, out + got, room - got, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            turn(f);
            continue;
        }
        if (n < 0)
            return -1;
        if (n == 0)
            return (ssize_t)got;
        got += (size_t)n;
        assert_true(got < room);
    }
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
