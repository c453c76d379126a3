/* Clients come in, with the right options, and not at the cost of all else. */
#include "tests/unit/net_fixture.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

/* Stands before the C library's. */
static unsigned epoll_failures;
static int epoll_fails_for; /* not for others: libuv would abort */

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    int (*real)(int, int, int, struct epoll_event *) =
        (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");

    if (epoll_failures == 0 || fd != epoll_fails_for)
        return real(epoll, op, fd, event);
    epoll_failures--;
    errno = ENOMEM;
    return -1;
}

static void test_accept(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct net_addr mine;

    meet(f);
    assert_int_equal(getsockname(f->peer, (struct sockaddr *)&sa, &len), 0);
    net_addr_from_sockaddr((struct sockaddr *)&sa, &mine);
    assert_true(net_addr_equal_host(&mine, &f->side.stream->remote));
    assert_int_equal(mine.port, f->side.stream->remote.port);
    assert_true(net_addr_equal_host(&f->addr, &f->side.stream->local));
    assert_int_equal(f->addr.port, f->side.stream->local.port);
    peer_send(f, "hello");
    turn_until(f, f->side.data_calls > 0);
    assert_slice_str(buf_bytes(&f->side.in), "hello");
    assert_int_equal(f->side.opened, 0);
}

/* The descriptor our side of the newest connection has. */
static int our_fd(struct fixture *f)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_storage sa;
        struct net_addr a;
        socklen_t len = sizeof sa;

        if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0 &&
            net_addr_from_sockaddr((struct sockaddr *)&sa, &a) &&
            a.port == f->side.stream->remote.port)
            return fd;
    }
    fail_msg("no such descriptor");
    return -1;
}

static void test_options_are_inherited(void **state)
{
    struct fixture *f = *state;
    int on = 0;
    socklen_t len = sizeof on;

    meet(f);
    assert_int_equal(getsockopt(our_fd(f), IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on);
    on = 0;
    assert_int_equal(getsockopt(our_fd(f), SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_true(on);
}

static void test_35_out_of_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, tight;
    int peers[12];
    uint64_t cpu;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (size_t i = 0; i < countof(peers); i++)
        peers[i] = peer_connect(&f->addr, 0);
    tight = old;
    /* Room for four; libuv keeps a descriptor of its own for the first stream. */
    for (int fd = 0, room = 5; room > 0; tight.rlim_cur = (rlim_t)++fd)
        room -= fcntl(fd, F_GETFD) < 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    turn_until(f, f->accepted == 4);
    cpu = (uint64_t)clock();
    for (uint64_t begun = clock_mono_ms(&clock_system);
         clock_mono_ms(&clock_system) - begun < 250;)
        turn(f);
    cpu = ((uint64_t)clock() - cpu) * 1000 / CLOCKS_PER_SEC;
    assert_int_equal(f->accepted, 4);
    if (cpu > 100)
        fail_msg("%u ms of CPU while waiting: a busy loop", (unsigned)cpu);
    /* A stream that closes makes room at once. */
    act(&f->side, ACT_CLOSE);
    turn_until(f, f->accepted == 5);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    turn_until(f, f->accepted == countof(peers));
    for (size_t i = 0; i < countof(peers); i++)
        close(peers[i]);
}

/* It is not given up: the clients wait in the kernel until there is memory. */
static void test_36_no_memory_to_listen(void **state)
{
    struct fixture *f = *state;
    int fd;

    listener_free(f->listener);
    epoll_fails_for = fd = listen_on("127.0.0.1:0", &f->addr);
    epoll_failures = 2;
    assert_ok(listener_new(f->loop, fd, on_accepted, f, &f->listener));
    meet(f);
    assert_int_equal(epoll_failures, 0);

    listener_free(f->listener); /* also one that waits */
    epoll_fails_for = fd = listen_on("127.0.0.1:0", &f->addr);
    epoll_failures = 1;
    assert_ok(listener_new(f->loop, fd, on_accepted, f, &f->listener));
    listener_free(f->listener);
    f->listener = NULL;
    turn_nowait(f);
}

static void test_35_reserve_of_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, tight;
    struct listener *second;
    int peers[40];
    struct net_addr addr;
    int fd = listen_on("127.0.0.1:0", &addr), spare;
    unsigned accepted;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (size_t i = 0; i < countof(peers); i++)
        peers[i] = peer_connect(&addr, 0);
    tight = old;
    tight.rlim_cur = 80; /* an eighth is 10 */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_ok(listener_new(f->loop, fd, on_accepted, f, &second));
    for (unsigned i = 0; i < 50; i++)
        turn_nowait(f);
    assert_in_range(f->accepted, 5, countof(peers) - 1);
    accepted = f->accepted;
    /* Nor is the reserve eaten up little by little, at each new try. */
    for (uint64_t begun = clock_mono_ms(&clock_system);
         clock_mono_ms(&clock_system) - begun < 450;)
        turn(f);
    assert_int_equal(f->accepted, accepted);
    spare = dup(f->peer >= 0 ? f->peer : fd);
    assert_in_range(spare, 0, 79); /* deliveries still get one */
    close(spare);
    listener_free(second);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    for (size_t i = 0; i < countof(peers); i++)
        close(peers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_accept),
        EACH(test_options_are_inherited),
        EACH(test_35_out_of_descriptors),
        EACH(test_35_reserve_of_descriptors),
        EACH(test_36_no_memory_to_listen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
