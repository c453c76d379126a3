/* Streams keep their word: output, pauses, deadlines, endings of every kind. */
#include "tests/unit/net_fixture.h"

#include <sys/syscall.h>

/* Counts the writes libuv makes: many small ones are to become one. */
static unsigned write_calls;
static int write_fails; /* errno, once */

ssize_t write(int fd, const void *buf, size_t len)
{
    write_calls++;
    if (write_fails != 0) {
        errno = write_fails;
        write_fails = 0;
        return -1;
    }
    return syscall(SYS_write, fd, buf, len);
}

static void test_many_small_writes_become_one(void **state)
{
    struct fixture *f = *state;
    char got[8192];
    unsigned before;

    meet(f);
    before = write_calls;
    for (unsigned i = 0; i < 500; i++) {
        buf_add_str(stream_out(f->side.stream), "250 ok\r\n");
        stream_flush(f->side.stream);
    }
    assert_int_equal(write_calls, before); /* nothing runs inside stream_flush */
    turn_until(f, f->side.drained > 0);
    assert_int_equal(write_calls, before + 1);
    assert_int_equal(f->side.drained, 1);
    assert_int_equal(recv(f->peer, got, sizeof got, 0), 4000);
    stream_flush(f->side.stream); /* nothing to write: no event */
    turn_nowait(f);
    assert_int_equal(f->side.drained, 1);
}

/* Fills the stream until the peer's window is full; returns what was given. */
static size_t fill(struct fixture *f, size_t len)
{
    struct buf *out = stream_out(f->side.stream);

    for (size_t i = 0; i < len; i++)
        buf_add_byte(out, (char)('a' + i % 23));
    stream_flush(f->side.stream);
    turn_nowait(f);
    return len;
}

static size_t check_fill(struct fixture *f, size_t want)
{
    static char chunk[32768];
    size_t got = 0;

    while (got < want) {
        ssize_t n = recv(f->peer, chunk, sizeof chunk, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            turn(f);
            continue;
        }
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (chunk[i] != (char)('a' + (got + (size_t)i) % 23))
                fail_msg("byte %zu is wrong", got + (size_t)i);
        got += (size_t)n;
    }
    return got;
}

#define MUCH (8u * MIB / 23 * 23)

static void test_slow_reader(void **state)
{
    struct fixture *f = *state;
    size_t sent = 0;

    f->peer = peer_connect(&f->addr, 4096);
    turn_until(f, f->accepted > 0);
    sent += fill(f, MUCH);
    assert_true(stream_backlog(f->side.stream) > 0);
    assert_int_equal(f->side.drained, 0);
    sent += fill(f, 23 * 1000); /* appended while a write is under way */
    sent += fill(f, 23 * 1000);
    assert_true(stream_backlog(f->side.stream) >= 46000);
    assert_int_equal(check_fill(f, sent), sent);
    turn_until(f, f->side.drained > 0);
    assert_int_equal(f->side.drained, 1);
}

static void test_never_reading_peer_meets_the_deadline(void **state)
{
    struct fixture *f = *state;

    f->side.on_closed = ACT_CLOSE;
    f->peer = peer_connect(&f->addr, 4096);
    turn_until(f, f->accepted > 0);
    fill(f, MUCH);
    stream_deadline(f->side.stream, 50);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_TIMEOUT);
    assert_int_equal(f->side.drained, 0);
}

static void test_finish_sends_what_waits(void **state)
{
    struct fixture *f = *state;
    struct stream *s;

    f->peer = peer_connect(&f->addr, 4096);
    turn_until(f, f->accepted > 0);
    fill(f, MUCH);
    s = f->side.stream;
    f->side.stream = NULL; /* no event may come */
    stream_finish(s);
    assert_int_equal(check_fill(f, MUCH + 1), MUCH);
    assert_int_equal(f->side.drained + f->side.closed, 0);
}

static void test_finish_without_flush(void **state)
{
    struct fixture *f = *state;
    char got[64];

    meet(f);
    buf_add_str(stream_out(f->side.stream), "421 busy\r\n");
    act(&f->side, ACT_FINISH);
    assert_int_equal(peer_read_all(f, got, sizeof got), 10);
}

static void test_finish_over_unread_input(void **state)
{
    struct fixture *f = *state;
    char *flood = mem_zero(1, 200000), got[64];

    meet(f);
    stream_pause(f->side.stream, true);
    assert_int_equal(send(f->peer, flood, 200000, 0), 200000);
    buf_add_str(stream_out(f->side.stream), "552 too much\r\n");
    act(&f->side, ACT_FINISH);
    /* A plain close() would reset the connection here. */
    assert_int_equal(peer_read_all(f, got, sizeof got), 14);
    assert_int_equal(send(f->peer, flood, 200000, 0), 200000);
    close(f->peer);
    f->peer = -1;
    for (unsigned i = 0; i < 10; i++)
        turn_nowait(f);
    free(flood);
}

static void test_finish_gives_up_on_endless_input(void **state)
{
    struct fixture *f = *state;
    static char flood[65536];
    size_t sent = 0;

    meet(f);
    stream_pause(f->side.stream, true);
    peer_send(f, "x");
    act(&f->side, ACT_FINISH);
    for (;;) {
        ssize_t n = send(f->peer, flood, sizeof flood, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            break; /* reset */
        sent += n > 0 ? (size_t)n : 0;
        if (sent > 64 * MIB)
            fail_msg("it goes on reading");
        turn_nowait(f);
    }
}

static void test_deadline(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = clock_mono_ms(&clock_system);
    char got[64];

    meet(f);
    stream_deadline(f->side.stream, 10);
    stream_deadline(f->side.stream, 5000);
    stream_deadline(f->side.stream, 60);
    stream_deadline(f->side.stream, 80); /* the timer stands at 10 and finds out */
    turn_until(f, f->side.closed > 0);
    assert_true(clock_mono_ms(&clock_system) - begun >= 79);
    assert_err(f->side.why, ERR_TIMEOUT);
    assert_int_equal(f->side.why.sys, 0);
    buf_add_str(stream_out(f->side.stream), "421 idle\r\n"); /* a last word */
    act(&f->side, ACT_FINISH);
    assert_int_equal(peer_read_all(f, got, sizeof got), 10);
    assert_int_equal(f->side.closed, 1);
}

static void test_deadline_removed(void **state)
{
    struct fixture *f = *state;

    meet(f);
    stream_deadline(f->side.stream, 5);
    stream_deadline(f->side.stream, 0);
    peer_send(f, "x");
    usleep(20000); /* past the moment the timer stands at */
    turn_until(f, f->side.data_calls > 0);
    turn_nowait(f);
    assert_int_equal(f->side.closed, 0);
}

static void test_pause(void **state)
{
    struct fixture *f = *state;

    meet(f);
    stream_pause(f->side.stream, true);
    peer_send(f, "one");
    for (unsigned i = 0; i < 5; i++)
        turn_nowait(f);
    assert_int_equal(f->side.data_calls, 0);
    stream_pause(f->side.stream, false);
    turn_until(f, f->side.data_calls == 1);
    stream_pause(f->side.stream, true); /* and back with nothing in between */
    stream_pause(f->side.stream, false);
    peer_send(f, "two");
    turn_until(f, f->side.data_calls == 2);
    assert_slice_str(buf_bytes(&f->side.in), "onetwo");
}

static void test_end_of_file_then_answer(void **state)
{
    struct fixture *f = *state;
    char got[64];

    meet(f);
    peer_send(f, "QUIT\r\n");
    shutdown(f->peer, SHUT_WR);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_CLOSED);
    assert_int_equal(f->side.why.sys, 0);
    assert_slice_str(buf_bytes(&f->side.in), "QUIT\r\n");
    buf_add_str(stream_out(f->side.stream), "221 bye\r\n");
    stream_flush(f->side.stream);
    turn_nowait(f);
    act(&f->side, ACT_FINISH);
    assert_int_equal(peer_read_all(f, got, sizeof got), 9);
    assert_int_equal(f->side.closed, 1);
    assert_int_equal(f->side.drained, 0);
}

static void reset_peer(struct fixture *f)
{
    struct linger l = { 1, 0 };

    setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(f->peer);
    f->peer = -1;
}

static void test_peer_reset(void **state)
{
    struct fixture *f = *state;

    meet(f);
    reset_peer(f);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_CLOSED);
    assert_int_equal(f->side.why.sys, ECONNRESET);
    buf_add_str(stream_out(f->side.stream), "nobody reads this");
    act(&f->side, ACT_FINISH);
    turn_nowait(f);
    assert_int_equal(f->side.closed, 1);
}

static void test_write_to_a_dead_peer_keeps_its_last_words(void **state)
{
    struct fixture *f = *state;

    meet(f);
    peer_send(f, "421 going down\r\n");
    reset_peer(f);
    buf_add_str(stream_out(f->side.stream), "MAIL FROM:<>\r\n");
    stream_flush(f->side.stream);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_CLOSED);
    assert_int_equal(f->side.drained, 0);
    assert_int_equal(f->side.closed, 1);
}

/* What it waits for will never come, so it must see the end. */
static void test_36_failed_write_to_a_living_peer(void **state)
{
    struct fixture *f = *state;
    char got[8];

    f->side.on_closed = ACT_CLOSE;
    meet(f);
    write_fails = ENOMEM;
    buf_add_str(stream_out(f->side.stream), "250 ok\r\n");
    stream_flush(f->side.stream);
    turn_until(f, f->side.closed > 0);
    assert_int_equal(f->side.why.sys, ENOMEM);
    assert_int_equal(recv(f->peer, got, sizeof got, 0), 0);
}

static void test_write_to_a_dead_peer_while_paused(void **state)
{
    struct fixture *f = *state;

    meet(f);
    stream_pause(f->side.stream, true);
    reset_peer(f);
    for (unsigned i = 0; i < 3; i++)
        turn_nowait(f);
    assert_int_equal(f->side.closed, 0);
    buf_add_str(stream_out(f->side.stream), "x");
    stream_flush(f->side.stream);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_CLOSED);
}

static void test_reset_while_a_write_is_under_way(void **state)
{
    struct fixture *f = *state;

    f->peer = peer_connect(&f->addr, 4096);
    turn_until(f, f->accepted > 0);
    fill(f, MUCH);
    reset_peer(f);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_CLOSED);
    assert_int_equal(f->side.drained, 0);
}

/* Bytes and the end of the connection arrive in one event: libuv tells of the
 * end right behind the bytes, at which the owner has finished or paused. */
static void test_finish_at_the_last_words_of_a_dead_peer(void **state)
{
    struct fixture *f = *state;

    f->peer = peer_connect(&f->addr, 4096);
    turn_until(f, f->accepted > 0);
    fill(f, MUCH);
    turn_nowait(f);
    f->side.on_data = ACT_FINISH;
    peer_send(f, "421 going down\r\n");
    reset_peer(f);
    turn_until(f, f->side.stream == NULL);
    for (unsigned n = 0; n < 3; n++)
        turn_nowait(f);
    assert_int_equal(f->side.closed, 0);
}

static void test_pause_at_the_last_words_of_a_dead_peer(void **state)
{
    struct fixture *f = *state;

    meet(f);
    f->side.on_data = ACT_PAUSE;
    peer_send(f, "421 going down\r\n");
    reset_peer(f);
    turn_until(f, f->side.data_calls > 0);
    for (unsigned n = 0; n < 3; n++)
        turn_nowait(f);
    assert_int_equal(f->side.closed, 0);
    stream_pause(f->side.stream, false);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_CLOSED);
}

static void start_connect(struct fixture *f, const struct net_addr *to, const struct net_addr *from)
{
    assert_ok(stream_connect(f->loop, to, from, &events, &f->side, &f->side.stream));
    assert_int_equal(f->side.opened + f->side.closed, 0);
}

/* The listening socket of a peer, without a loop. */
static void meet_out(struct fixture *f, const char *at, const struct net_addr *from)
{
    struct net_addr addr;
    int fd = listen_on(at, &addr);

    assert_true(fd >= 0);
    start_connect(f, &addr, from);
    turn_until(f, f->side.opened > 0);
    f->peer = accept(fd, NULL, NULL);
    close(fd);
}

static void test_connect(void **state)
{
    struct fixture *f = *state;
    struct net_addr from, seen;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    char got[64];

    assert_true(net_addr_parse(SLICE("127.0.0.7"), &from));
    f->side.on_data = ACT_ECHO;
    meet_out(f, "127.0.0.1:0", &from);
    assert_int_equal(getpeername(f->peer, (struct sockaddr *)&sa, &len), 0);
    net_addr_from_sockaddr((struct sockaddr *)&sa, &seen);
    assert_true(net_addr_equal_host(&seen, &from));
    peer_send(f, "220 hi\r\n");
    turn_until(f, f->side.drained > 0);
    assert_int_equal(recv(f->peer, got, sizeof got, 0), 8);
}

static void test_connect_ipv6(void **state)
{
    struct fixture *f = *state;
    struct net_addr addr;
    int fd = listen_on("[::1]:0", &addr);

    if (fd < 0) /* a machine without IPv6 */
        skip();
    close(fd);
    meet_out(f, "[::1]:0", NULL);
    assert_int_equal(f->side.opened, 1);
}

static void test_output_before_opened(void **state)
{
    struct fixture *f = *state;
    struct net_addr addr;
    char got[64];
    int fd = listen_on("127.0.0.1:0", &addr);

    start_connect(f, &addr, NULL);
    buf_add_str(stream_out(f->side.stream), "early");
    stream_flush(f->side.stream);
    turn_until(f, f->side.drained > 0);
    f->peer = accept(fd, NULL, NULL);
    assert_int_equal(recv(f->peer, got, sizeof got, 0), 5);
    close(fd);
}

static void test_connect_refused(void **state)
{
    struct fixture *f = *state;
    struct net_addr addr;

    close(listen_on("127.0.0.1:0", &addr));
    start_connect(f, &addr, NULL);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_SYSTEM);
    assert_int_equal(f->side.why.sys, ECONNREFUSED);
    assert_int_equal(f->side.opened, 0);
}

static void test_connect_impossible(void **state)
{
    struct fixture *f = *state;
    struct net_addr foreign;
    struct stream *s;

    assert_true(net_addr_parse(SLICE("192.0.2.1"), &foreign));
    assert_true(err_failed(stream_connect(f->loop, &f->addr, &foreign, &events, f, &s)));
    assert_true(err_failed(stream_connect(f->loop, &(struct net_addr){ .family = AF_UNIX }, NULL,
                                          &events, f, &s)));
}

static void test_connect_deadline(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_storage sa;
    struct net_addr addr;
    socklen_t len;
    int fd = listen_on("127.0.0.1:0", &addr), full[3];

    /* A full backlog does not answer. */
    assert_int_equal(listen(fd, 0), 0);
    len = net_addr_to_sockaddr(&addr, &sa);
    for (size_t i = 0; i < countof(full); i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(full[i], (struct sockaddr *)&sa, len);
    }
    f->side.on_closed = ACT_FINISH;
    start_connect(f, &addr, NULL);
    stream_deadline(f->side.stream, 30);
    turn_until(f, f->side.closed > 0);
    assert_err(f->side.why, ERR_TIMEOUT);
    assert_int_equal(f->side.opened, 0);
    for (size_t i = 0; i < countof(full); i++)
        close(full[i]);
    close(fd);
}

/* Closing inside each event, both ways. */
static void test_close_inside_events(void **state)
{
    static const enum act acts[] = { ACT_CLOSE, ACT_FINISH };
    struct fixture *f = *state;
    struct net_addr addr;
    int fd = listen_on("127.0.0.1:0", &addr);

    for (size_t i = 0; i < countof(acts); i++) {
        f->on_accepted = acts[i];
        meet(f);
        assert_null(f->side.stream);
        close(f->peer);
        f->on_accepted = ACT_NONE;

        f->side = (struct side){ .on_data = acts[i], .in = f->side.in };
        meet(f);
        peer_send(f, "x");
        turn_until(f, f->side.stream == NULL);
        close(f->peer);

        f->side = (struct side){ .on_drained = acts[i], .in = f->side.in };
        meet(f);
        buf_add_str(stream_out(f->side.stream), "x");
        stream_flush(f->side.stream);
        turn_until(f, f->side.stream == NULL);
        close(f->peer);

        f->side = (struct side){ .on_closed = acts[i], .in = f->side.in };
        meet(f);
        close(f->peer);
        turn_until(f, f->side.stream == NULL);

        f->side = (struct side){ .on_opened = acts[i], .in = f->side.in };
        meet_out(f, "127.0.0.1:0", NULL);
        assert_null(f->side.stream);
        close(f->peer);
        f->peer = -1;

        f->side = (struct side){ .in = f->side.in };
        start_connect(f, &addr, NULL); /* and before it is open */
        act(&f->side, acts[i]);
        for (unsigned n = 0; n < 3; n++)
            turn_nowait(f);
        assert_int_equal(f->side.opened + f->side.closed, 0);
    }
    close(fd);
}

static void test_loop_ends_with_streams_left(void **state)
{
    struct fixture *f = *state;
    int peers[3];

    for (size_t i = 0; i < countof(peers); i++) {
        meet(f);
        peers[i] = f->peer;
        stream_deadline(f->side.stream, 1000);
    }
    fill(f, MUCH);
    f->side.stream = NULL; /* uvloop_free closes them, silently */
    for (size_t i = 0; i + 1 < countof(peers); i++)
        close(peers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_many_small_writes_become_one),
        EACH(test_slow_reader),
        EACH(test_never_reading_peer_meets_the_deadline),
        EACH(test_finish_sends_what_waits),
        EACH(test_finish_without_flush),
        EACH(test_finish_over_unread_input),
        EACH(test_finish_gives_up_on_endless_input),
        EACH(test_deadline),
        EACH(test_deadline_removed),
        EACH(test_pause),
        EACH(test_end_of_file_then_answer),
        EACH(test_peer_reset),
        EACH(test_write_to_a_dead_peer_keeps_its_last_words),
        EACH(test_write_to_a_dead_peer_while_paused),
        EACH(test_36_failed_write_to_a_living_peer),
        EACH(test_reset_while_a_write_is_under_way),
        EACH(test_finish_at_the_last_words_of_a_dead_peer),
        EACH(test_pause_at_the_last_words_of_a_dead_peer),
        EACH(test_connect),
        EACH(test_connect_ipv6),
        EACH(test_output_before_opened),
        EACH(test_connect_refused),
        EACH(test_connect_impossible),
        EACH(test_connect_deadline),
        EACH(test_close_inside_events),
        EACH(test_loop_ends_with_streams_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
