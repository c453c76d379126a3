/* Messages between processes: whole, in order, with their descriptors; and
 * whatever breaks the frame ends the connection. */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "net/ipc.h"
#include "net/uvloop.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

struct side {
    struct ipc *ipc;
    struct buf heard; /* payloads, each in brackets */
    unsigned messages, closed;
    size_t bytes;
    struct err why;
    int fd; /* the last that came */
    bool free_on_message, free_on_closed, echo;
};

struct fixture {
    struct loop *loop;
    struct timer guard;
    struct side side;
    int peer; /* a plain socket, to write what ipc.c would not */
};

struct frame {
    uint32_t length;
    uint8_t version;
    uint8_t flags;
    uint16_t zero;
};

static void on_message(void *ctx, struct slice payload, int fd)
{
    struct side *s = ctx;

    assert_non_null(s->ipc);
    assert_int_equal(s->closed, 0);
    s->messages++;
    s->bytes += payload.len;
    if (payload.len < 100) {
        buf_add_byte(&s->heard, '[');
        buf_add(&s->heard, payload);
        buf_add_byte(&s->heard, ']');
    }
    if (fd >= 0) {
        if (s->fd >= 0)
            close(s->fd);
        s->fd = fd;
    }
    if (s->echo)
        ipc_send(s->ipc, payload, fd);
    if (s->free_on_message) {
        ipc_free(s->ipc);
        s->ipc = NULL;
    }
}

static void on_closed(void *ctx, struct err why)
{
    struct side *s = ctx;

    assert_non_null(s->ipc);
    assert_true(err_failed(why));
    s->closed++;
    s->why = why;
    if (s->free_on_closed) {
        ipc_free(s->ipc);
        s->ipc = NULL;
    }
}

/* Stand before the C library's. */
static int send_fails, receive_fails; /* errno, once */

static bool once(int *sys)
{
    if (*sys == 0)
        return false;
    errno = *sys;
    *sys = 0;
    return true;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    ssize_t (*real)(int, const struct msghdr *, int) =
        (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");

    return once(&send_fails) ? -1 : real(fd, m, flags);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    ssize_t (*real)(int, struct msghdr *, int) =
        (ssize_t(*)(int, struct msghdr *, int))dlsym(RTLD_NEXT, "recvmsg");

    return once(&receive_fails) ? -1 : real(fd, m, flags);
}

static const struct ipc_events events = { on_message, on_closed };

static void guard_fire(struct timer *t)
{
    fail_msg("nothing came within 20 s");
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    int ends[2];

    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    f->guard.fire = guard_fire;
    loop_arm(f->loop, &f->guard, 20 * SECOND_MS);
    assert_ok(ipc_pair(ends));
    f->peer = ends[1];
    f->side.fd = -1;
    assert_ok(ipc_new(f->loop, ends[0], &events, &f->side, &f->side.ipc));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->peer >= 0)
        close(f->peer);
    if (f->side.fd >= 0)
        close(f->side.fd);
    ipc_free(f->side.ipc);
    uvloop_free(f->loop);
    buf_release(&f->side.heard);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    struct pollfd p = { .fd = uv_backend_fd(uvloop_uv(f->loop)), .events = POLLIN };

    poll(&p, 1, 2);
    uv_run(uvloop_uv(f->loop), UV_RUN_NOWAIT);
}

#define turn_until(f, condition)                                                                   \
    do {                                                                                           \
        while (!(condition))                                                                       \
            turn(f);                                                                               \
    } while (0)

static void put(struct buf *b, struct frame h, const char *payload)
{
    h.length = h.length != 0 ? h.length : (uint32_t)strlen(payload);
    buf_add(b, slice_make(&h, sizeof h));
    buf_add_str(b, payload);
}

static const struct frame good = { .version = 1 };
static const struct frame with_fd = { .version = 1, .flags = 1 };

static void peer_send(struct fixture *f, struct slice bytes, const int *fds, size_t count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 4)];
    } control = { 0 };
    struct iovec iov = { (void *)bytes.ptr, bytes.len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (count > 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * count);
    }
    assert_int_equal(sendmsg(f->peer, &msg, MSG_NOSIGNAL), bytes.len);
}

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
    return fd;
}

static void assert_holds(int fd, const char *text)
{
    char got[64] = { 0 };

    assert_int_equal(pread(fd, got, sizeof got - 1, 0), strlen(text));
    assert_string_equal(got, text);
}

/* ---- frames ---- */

static void test_many_in_one_read(void **state)
{
    struct fixture *f = *state;
    struct buf b = { 0 };

    put(&b, good, "one");
    put(&b, good, "");
    put(&b, good, "three");
    peer_send(f, buf_bytes(&b), NULL, 0);
    turn_until(f, f->side.messages == 3);
    assert_string_equal(buf_cstr(&f->side.heard), "[one][][three]");
    buf_release(&b);
}

static void test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct buf b = { 0 };

    put(&b, good, "slowly");
    put(&b, good, "twice");
    for (struct slice rest = buf_bytes(&b); rest.len > 0; rest = slice_from(rest, 1)) {
        unsigned whole = rest.len > 13 ? 0 : 1; /* the second frame has 13 bytes */

        turn(f);
        assert_int_equal(f->side.messages, whole);
        peer_send(f, slice_head(rest, 1), NULL, 0);
        if (rest.len == 14)
            turn_until(f, f->side.messages == 1);
    }
    turn_until(f, f->side.messages == 2);
    assert_string_equal(buf_cstr(&f->side.heard), "[slowly][twice]");
    buf_release(&b);
}

static void test_largest_and_larger(void **state)
{
    struct fixture *f = *state;
    char *big = mem_zero(1, IPC_PAYLOAD_MAX);
    struct frame h = { .version = 1, .length = IPC_PAYLOAD_MAX };
    struct slice rest = slice_make(big, IPC_PAYLOAD_MAX);

    peer_send(f, slice_make(&h, sizeof h), NULL, 0);
    while (rest.len > 0) {
        peer_send(f, slice_head(rest, 10000), NULL, 0);
        rest = slice_from(rest, slice_head(rest, 10000).len);
        turn(f);
    }
    turn_until(f, f->side.messages == 1);
    assert_int_equal(f->side.bytes, IPC_PAYLOAD_MAX);
    h.length++;
    peer_send(f, slice_make(&h, sizeof h), NULL, 0);
    turn_until(f, f->side.closed == 1);
    assert_int_equal(f->side.why.kind, ERR_LIMIT);
    free(big);
}

static void test_broken_frames(void **state)
{
    static const struct {
        struct frame h;
        enum err_kind kind;
    } rows[] = {
        { { .version = 0, .length = 1 }, ERR_VERSION },
        { { .version = 2, .length = 1 }, ERR_VERSION },
        { { .version = 1, .length = 1, .flags = 2 }, ERR_PROTOCOL },
        { { .version = 1, .length = 1, .flags = 0x80 }, ERR_PROTOCOL },
        { { .version = 1, .length = 1, .zero = 1 }, ERR_PROTOCOL },
        { { .version = 1, .length = 1, .flags = 1 }, ERR_PROTOCOL }, /* no descriptor */
        { { .version = 1, .length = UINT32_MAX }, ERR_LIMIT },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct fixture *f;
        struct buf b = { 0 };

        if (i > 0) {
            teardown(state);
            setup(state);
        }
        f = *state;
        put(&b, good, "before");
        put(&b, rows[i].h, "x");
        put(&b, good, "after");
        peer_send(f, buf_bytes(&b), NULL, 0);
        turn_until(f, f->side.closed == 1);
        assert_int_equal(f->side.why.kind, rows[i].kind);
        assert_string_equal(buf_cstr(&f->side.heard), "[before]");
        turn(f);
        assert_int_equal(f->side.closed, 1);
        buf_release(&b);
    }
}

static void test_peer_gone(void **state)
{
    struct fixture *f = *state;
    struct buf b = { 0 };

    put(&b, good, "last words");
    peer_send(f, buf_bytes(&b), NULL, 0);
    peer_send(f, SLICE("\1\0"), NULL, 0); /* and the beginning of more */
    close(f->peer);
    f->peer = -1;
    ipc_send(f->side.ipc, SLICE("too late"), -1); /* fails; what was said still counts */
    turn_until(f, f->side.closed == 1);
    assert_int_equal(f->side.why.kind, ERR_CLOSED);
    assert_string_equal(buf_cstr(&f->side.heard), "[last words]");
    ipc_send(f->side.ipc, SLICE("dropped"), -1);
    assert_int_equal(ipc_backlog(f->side.ipc), 0);
    buf_release(&b);
}

static void test_free_inside_events(void **state)
{
    struct fixture *f = *state;
    struct buf b = { 0 };

    f->side.free_on_message = true;
    put(&b, good, "first");
    put(&b, good, "second");
    peer_send(f, buf_bytes(&b), NULL, 0);
    turn_until(f, f->side.messages == 1);
    turn(f);
    assert_string_equal(buf_cstr(&f->side.heard), "[first]");
    assert_int_equal(f->side.closed, 0);

    teardown(state);
    setup(state);
    f = *state;
    f->side.free_on_closed = true;
    close(f->peer);
    f->peer = -1;
    turn_until(f, f->side.closed == 1);
    assert_null(f->side.ipc);
    buf_release(&b);
}

/* ---- descriptors ---- */

static void test_descriptor_arrives(void **state)
{
    struct fixture *f = *state;
    struct buf b = { 0 };
    int fd = memory_file("the body");

    /* its frame in two halves, others around it */
    put(&b, good, "plain");
    peer_send(f, buf_bytes(&b), NULL, 0);
    buf_clear(&b);
    put(&b, with_fd, "has one");
    peer_send(f, slice_head(buf_bytes(&b), 10), &fd, 1);
    turn_until(f, f->side.messages == 1);
    assert_int_equal(f->side.fd, -1);
    peer_send(f, slice_from(buf_bytes(&b), 10), NULL, 0);
    turn_until(f, f->side.messages == 2);
    assert_holds(f->side.fd, "the body");
    close(fd);
    buf_release(&b);
}

static void test_wrong_descriptors(void **state)
{
    struct fixture *f = *state;
    size_t before = open_descriptors();
    int fds[2] = { f->peer, f->peer };
    struct buf b = { 0 };

    put(&b, good, "has none");
    peer_send(f, buf_bytes(&b), fds, 1);
    turn_until(f, f->side.closed == 1);
    assert_int_equal(f->side.why.kind, ERR_PROTOCOL);
    ipc_free(f->side.ipc);
    f->side.ipc = NULL;
    turn(f);
    assert_int_equal(open_descriptors(), before - 1);

    teardown(state);
    setup(state);
    f = *state;
    before = open_descriptors();
    fds[0] = fds[1] = f->peer;
    buf_clear(&b);
    put(&b, with_fd, "has two");
    peer_send(f, buf_bytes(&b), fds, 2);
    turn_until(f, f->side.closed == 1);
    assert_int_equal(f->side.why.kind, ERR_PROTOCOL);
    assert_int_equal(f->side.messages, 0);
    ipc_free(f->side.ipc);
    f->side.ipc = NULL;
    turn(f);
    assert_int_equal(open_descriptors(), before - 1);
    buf_release(&b);
}

/* ---- two of ours ---- */

static struct side *wrap_peer(struct fixture *f)
{
    struct side *s = mem_new(struct side);

    s->fd = -1;
    assert_ok(ipc_new(f->loop, f->peer, &events, s, &s->ipc));
    f->peer = -1;
    return s;
}

static void unwrap(struct side *s)
{
    if (s->fd >= 0)
        close(s->fd);
    ipc_free(s->ipc);
    buf_release(&s->heard);
    free(s);
}

static void test_there_and_back(void **state)
{
    struct fixture *f = *state;
    struct side *other = wrap_peer(f);
    int first = memory_file("first"), second = memory_file("second");

    other->echo = true;
    ipc_send(f->side.ipc, SLICE("a"), -1);
    ipc_send(f->side.ipc, SLICE("b\0c"), first);
    ipc_send(f->side.ipc, SLICE("d"), second);
    ipc_send(f->side.ipc, SLICE_EMPTY, -1);
    close(first); /* the callers' again at once */
    close(second);
    turn_until(f, f->side.messages == 4);
    assert_slice_str(slice_head(buf_bytes(&f->side.heard), 5), "[a][b");
    assert_int_equal(buf_len(&f->side.heard), 13);
    assert_holds(f->side.fd, "second");
    unwrap(other);
}

/* The kernel takes some and no more: the rest waits, grows, and then leaves
 * in order; nobody blocks. */
static void test_backlog_drains(void **state)
{
    struct fixture *f = *state;
    char *big = mem_zero(1, IPC_PAYLOAD_MAX);
    struct side *other;
    int fd = memory_file("late");

    for (int i = 0; i < 8; i++)
        ipc_send(f->side.ipc, slice_make(big, IPC_PAYLOAD_MAX), -1);
    ipc_send(f->side.ipc, SLICE("end"), fd);
    assert_int_equal(ipc_backlog(f->side.ipc), 8 * (IPC_PAYLOAD_MAX + 8) + 11);
    turn(f);
    turn(f);
    assert_true(ipc_backlog(f->side.ipc) > 7 * IPC_PAYLOAD_MAX);
    other = wrap_peer(f);
    turn_until(f, other->messages == 9);
    assert_int_equal(other->bytes, 8 * IPC_PAYLOAD_MAX + 3);
    assert_string_equal(buf_cstr(&other->heard), "[end]");
    assert_holds(other->fd, "late");
    assert_int_equal(ipc_backlog(f->side.ipc), 0);
    unwrap(other);
    close(fd);
    free(big);
}

static void test_backlog_ends_somewhere(void **state)
{
    struct fixture *f = *state;
    char *big = mem_zero(1, IPC_PAYLOAD_MAX);

    for (size_t i = 0; i <= IPC_BACKLOG_MAX / IPC_PAYLOAD_MAX; i++)
        ipc_send(f->side.ipc, slice_make(big, IPC_PAYLOAD_MAX), -1);
    assert_int_equal(f->side.closed, 0); /* never from inside a call */
    turn_until(f, f->side.closed == 1);
    assert_int_equal(f->side.why.kind, ERR_BUSY);
    assert_int_equal(ipc_backlog(f->side.ipc), 0);
    free(big);
}

/* What could not be sent is lost, and the other side lives: both must know. */
static void test_36_failing_calls_end_it(void **state)
{
    struct fixture *f = *state;
    struct side *other = wrap_peer(f);

    send_fails = ENOBUFS;
    ipc_send(f->side.ipc, SLICE("lost"), -1);
    turn_until(f, f->side.closed == 1);
    assert_int_equal(f->side.why.sys, ENOBUFS);
    assert_int_equal(other->messages, 0);

    receive_fails = ENOMEM;
    ipc_free(f->side.ipc);
    f->side.ipc = NULL;
    turn_until(f, other->closed == 1);
    assert_int_equal(other->why.sys, ENOMEM);
    unwrap(other);
}

static void test_no_descriptor_leaks(void **state)
{
    struct fixture *f = *state;
    size_t before = open_descriptors();

    for (int i = 0; i < 5; i++)
        ipc_send(f->side.ipc, SLICE("never sent"), f->peer);
    ipc_free(f->side.ipc);
    f->side.ipc = NULL;
    turn(f);
    assert_int_equal(open_descriptors(), before - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        EACH(test_many_in_one_read),   EACH(test_byte_by_byte),
        EACH(test_largest_and_larger), EACH(test_broken_frames),
        EACH(test_peer_gone),          EACH(test_free_inside_events),
        EACH(test_descriptor_arrives), EACH(test_wrong_descriptors),
        EACH(test_there_and_back),     EACH(test_backlog_drains),
        EACH(test_backlog_ends_somewhere), EACH(test_36_failing_calls_end_it),
        EACH(test_no_descriptor_leaks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
