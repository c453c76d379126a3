/* The channel between parent and children: what goes in comes out, whole and
 * in order, and nothing that breaks its rules gets through. */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "relayd/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct pair {
    struct channel *parent, *child;
    int raw_parent; /* a duplicate, to write what channel.c would not */
    int raw_child;
};

static struct pair pair_open(void)
{
    struct pair p;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    p.raw_parent = dup(ends[0]);
    p.raw_child = dup(ends[1]);
    p.parent = channel_new(ends[0], CHANNEL_PARENT);
    p.child = channel_new(ends[1], CHANNEL_CHILD);
    return p;
}

static void pair_close(struct pair *p)
{
    channel_free(p->parent);
    channel_free(p->child);
    close(p->raw_parent);
    close(p->raw_child);
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

static void receive(struct channel *c, struct channel_message *m, enum channel_type want)
{
    assert_ok(channel_receive(c, m));
    assert_string_equal(channel_type_name(m->type), channel_type_name(want));
}

static void test_small_messages(void **state)
{
    struct pair p = pair_open();
    struct channel_message m;

    receive(p.parent, &m, CHANNEL_NOTHING);
    assert_ok(channel_send(p.child, CHANNEL_READY, 0));
    assert_ok(channel_send(p.child, CHANNEL_RELOAD_REQUEST, 7));
    assert_ok(channel_send_text(p.child, CHANNEL_STATUS, 0, SLICE("3 queued\0x")));
    assert_ok(channel_send_text(p.child, CHANNEL_RELOAD_FAILED, 9, SLICE("")));
    receive(p.parent, &m, CHANNEL_READY);
    channel_message_release(&m);
    receive(p.parent, &m, CHANNEL_RELOAD_REQUEST);
    assert_int_equal(m.serial, 7);
    channel_message_release(&m);
    receive(p.parent, &m, CHANNEL_STATUS);
    assert_int_equal(m.text.len, 10);
    assert_memory_equal(m.text.ptr, "3 queued\0x", 10);
    channel_message_release(&m);
    receive(p.parent, &m, CHANNEL_RELOAD_FAILED);
    assert_int_equal(m.serial, 9);
    assert_int_equal(m.text.len, 0);
    channel_message_release(&m);
    receive(p.parent, &m, CHANNEL_NOTHING);

    assert_ok(channel_send_stop(p.parent, 25000));
    assert_ok(channel_send_outcome(p.parent, 8, true, SLICE_EMPTY));
    assert_ok(channel_send_outcome(p.parent, 9, false, SLICE("relayd.conf:1:1: error")));
    receive(p.child, &m, CHANNEL_STOP);
    assert_int_equal(m.drain_ms, 25000);
    channel_message_release(&m);
    receive(p.child, &m, CHANNEL_RELOAD_OUTCOME);
    assert_true(m.ok);
    channel_message_release(&m);
    receive(p.child, &m, CHANNEL_RELOAD_OUTCOME);
    assert_false(m.ok);
    assert_int_equal(m.serial, 9);
    assert_slice_str(m.text, "relayd.conf:1:1: error");
    channel_message_release(&m);
    pair_close(&p);
}

static void test_links(void **state)
{
    static const enum process_kind peers[] = { PROCESS_ENGINE, PROCESS_ACCOUNTS, PROCESS_SIGN };
    size_t before = open_descriptors();
    struct pair p = pair_open();
    struct channel_message m;
    char got[8] = { 0 };

    for (size_t i = 0; i < countof(peers); i++) {
        struct channel_link link = { memfd_create("link", MFD_CLOEXEC), peers[i], (uint32_t)i };

        assert_int_equal(pwrite(link.fd, "end", 3, 0), 3);
        assert_ok(channel_send_link(p.parent, &link));
        close(link.fd); /* the sender's again at once */
    }
    for (size_t i = 0; i < countof(peers); i++) {
        int fd;

        receive(p.child, &m, CHANNEL_LINK);
        assert_int_equal(m.link.peer, peers[i]);
        assert_int_equal(m.link.index, i);
        assert_int_equal(m.bundle_fd, -1);
        fd = i == 0 ? channel_take_fd(&m.link.fd) : -1; /* the others go with the message */
        channel_message_release(&m);
        if (fd >= 0) {
            assert_int_equal(pread(fd, got, sizeof got, 0), 3);
            assert_string_equal(got, "end");
            close(fd);
        }
    }
    pair_close(&p);
    assert_int_equal(open_descriptors(), before);
}

/* Listeners arrive as the files they were, in order, however many packets it takes. */
static void check_config(size_t count)
{
    struct pair p = pair_open();
    struct channel_listener *listeners = mem_zero(count, sizeof *listeners);
    int bundle = memfd_create("bundle", MFD_CLOEXEC);
    struct channel_message m;
    struct stat sent, got;

    assert_int_equal(write(bundle, "hello", 5), 5);
    for (size_t i = 0; i < count; i++) {
        listeners[i].fd = memfd_create("listener", MFD_CLOEXEC);
        assert_true(listeners[i].fd >= 0);
        listeners[i].directive = (uint32_t)(i * 3 + 1);
    }
    assert_ok(channel_send_config(p.parent, CHANNEL_RELOAD, 42, bundle, listeners, count));
    receive(p.child, &m, CHANNEL_RELOAD);
    assert_int_equal(m.serial, 42);
    assert_int_equal(m.listener_count, count);
    assert_int_equal(fstat(bundle, &sent), 0);
    assert_int_equal(fstat(m.bundle_fd, &got), 0);
    assert_int_equal(sent.st_ino, got.st_ino);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(m.listeners[i].directive, i * 3 + 1);
        assert_int_equal(fstat(listeners[i].fd, &sent), 0);
        assert_int_equal(fstat(m.listeners[i].fd, &got), 0);
        assert_int_equal(sent.st_ino, got.st_ino);
        assert_true(fcntl(m.listeners[i].fd, F_GETFD) & FD_CLOEXEC);
        close(listeners[i].fd);
    }
    channel_message_release(&m);
    close(bundle);
    free(listeners);
    pair_close(&p);
}

static void test_config(void **state)
{
    static const size_t counts[] = { 0, 1, 62, 63, 64, 65, 127, 128, 300 };
    size_t before = open_descriptors();

    for (size_t i = 0; i < countof(counts); i++)
        check_config(counts[i]);
    assert_int_equal(open_descriptors(), before);
}

static void test_descriptor_taken(void **state)
{
    struct pair p = pair_open();
    struct channel_message m;
    int bundle = memfd_create("bundle", MFD_CLOEXEC);
    int kept;

    assert_ok(channel_send_config(p.parent, CHANNEL_START, 0, bundle, NULL, 0));
    receive(p.child, &m, CHANNEL_START);
    kept = channel_take_fd(&m.bundle_fd);
    assert_int_equal(m.bundle_fd, -1);
    channel_message_release(&m);
    assert_true(fcntl(kept, F_GETFD) >= 0);
    close(kept);
    close(bundle);
    pair_close(&p);
}

/* Longer than the socket takes at once: the rest waits until there is room. */
static void test_slow_reader(void **state)
{
    struct pair p = pair_open();
    char *text = mem_alloc(CHANNEL_TEXT_MAX + 100);
    struct channel_message m;
    size_t sent = 0, got = 0;

    for (size_t i = 0; i < CHANNEL_TEXT_MAX + 100; i++)
        text[i] = (char)('a' + i % 23);
    while (!channel_has_output(p.child)) {
        assert_ok(channel_send_text(p.child, CHANNEL_RELOAD_FAILED, (uint32_t)sent++,
                                    slice_make(text, CHANNEL_TEXT_MAX + 100)));
        assert_true(sent < 1000);
    }
    assert_err(channel_flush_wait(p.child, &clock_system, 20), ERR_TIMEOUT);
    while (got < sent) {
        assert_ok(channel_receive(p.parent, &m));
        if (m.type == CHANNEL_NOTHING) {
            assert_ok(channel_flush(p.child));
            continue;
        }
        assert_int_equal(m.serial, got++);
        assert_int_equal(m.text.len, CHANNEL_TEXT_MAX); /* cut */
        assert_memory_equal(m.text.ptr, text, CHANNEL_TEXT_MAX);
        channel_message_release(&m);
    }
    assert_false(channel_has_output(p.child));
    free(text);
    pair_close(&p);
}

static void test_reader_that_never_reads(void **state)
{
    struct pair p = pair_open();
    char text[4096];
    struct err e = ERR_OK;
    size_t sent = 0;

    memset(text, 'x', sizeof text);
    while (!err_failed(e) && sent++ < 10000)
        e = channel_send_text(p.child, CHANNEL_STATUS, 0, slice_make(text, sizeof text));
    assert_int_equal(e.kind, ERR_LIMIT);
    pair_close(&p);
}

/* A bad descriptor: nothing of the message goes out, the next one is whole. */
static void test_half_a_message(void **state)
{
    struct pair p = pair_open();
    struct channel_listener listeners[100];
    struct channel_message m;
    int fd = memfd_create("x", MFD_CLOEXEC);

    for (size_t i = 0; i < countof(listeners); i++)
        listeners[i] = (struct channel_listener){ i == 99 ? -1 : fd, 0 };
    assert_err(channel_send_config(p.parent, CHANNEL_RELOAD, 1, fd, listeners, 100), ERR_SYSTEM);
    assert_false(channel_has_output(p.parent));
    assert_ok(channel_send_stop(p.parent, 1));
    receive(p.child, &m, CHANNEL_STOP);
    channel_message_release(&m);
    close(fd);
    pair_close(&p);
}

static void test_other_end_gone(void **state)
{
    struct pair p = pair_open();
    struct channel_message m;

    assert_ok(channel_send(p.child, CHANNEL_STOPPED, 0));
    channel_free(p.child);
    p.child = NULL;
    close(p.raw_child);
    p.raw_child = -1;
    receive(p.parent, &m, CHANNEL_STOPPED); /* last words are heard */
    channel_message_release(&m);
    assert_err(channel_receive(p.parent, &m), ERR_CLOSED);
    assert_err(channel_send_stop(p.parent, 1), ERR_CLOSED);
    pair_close(&p);
}

/* ---- packets nobody of ours would send ---- */

struct raw {
    uint32_t length;
    uint16_t version, type;
    uint32_t serial;
    uint16_t fd_count, more;
    char payload[64];
};

#define RAW_HEADER offsetof(struct raw, payload)

static void send_raw(int fd, const void *bytes, size_t len, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 253)];
    } control = { 0 };
    struct iovec iov = { (void *)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd_count > 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        for (size_t i = 0; i < fd_count; i++)
            ((int *)CMSG_DATA(cmsg))[i] = STDERR_FILENO;
    }
    assert_int_equal(sendmsg(fd, &msg, 0), len);
}

static void test_hostile_child(void **state)
{
    static const struct {
        const char *name;
        struct raw packet;
        size_t len; /* behind the header */
        size_t fds;
        enum err_kind want;
    } rows[] = {
        { "version", { 0, 2, CHANNEL_READY, 0, 0, 0, "" }, 0, 0, ERR_VERSION },
        { "version 0", { 0, 0, CHANNEL_READY, 0, 0, 0, "" }, 0, 0, ERR_VERSION },
        { "type 0", { 0, 1, 0, 0, 0, 0, "" }, 0, 0, ERR_PROTOCOL },
        { "unknown type", { 0, 1, CHANNEL_STOPPED + 1, 0, 0, 0, "" }, 0, 0, ERR_PROTOCOL },
        { "huge type", { 0, 1, 65535, 0, 0, 0, "" }, 0, 0, ERR_PROTOCOL },
        { "the parent's START", { 0, 1, CHANNEL_START, 0, 1, 0, "" }, 0, 1, ERR_PROTOCOL },
        { "the parent's LINK", { 8, 1, CHANNEL_LINK, 0, 1, 0, "" }, 8, 1, ERR_PROTOCOL },
        { "the parent's STOP", { 4, 1, CHANNEL_STOP, 0, 0, 0, "abcd" }, 4, 0, ERR_PROTOCOL },
        { "length too small", { 1, 1, CHANNEL_STATUS, 0, 0, 0, "ab" }, 2, 0, ERR_PROTOCOL },
        { "length too large", { 9, 1, CHANNEL_STATUS, 0, 0, 0, "ab" }, 2, 0, ERR_PROTOCOL },
        { "length of -1", { UINT32_MAX, 1, CHANNEL_STATUS, 0, 0, 0, "" }, 0, 0, ERR_PROTOCOL },
        { "payload where none is", { 2, 1, CHANNEL_READY, 0, 0, 0, "ab" }, 2, 0, ERR_PROTOCOL },
        { "descriptor", { 0, 1, CHANNEL_READY, 0, 1, 0, "" }, 0, 1, ERR_PROTOCOL },
        { "descriptor not told of", { 0, 1, CHANNEL_READY, 0, 0, 0, "" }, 0, 1, ERR_PROTOCOL },
        { "descriptor told of", { 0, 1, CHANNEL_READY, 0, 1, 0, "" }, 0, 0, ERR_PROTOCOL },
        { "all descriptors", { 0, 1, CHANNEL_STATUS, 0, 253, 0, "" }, 0, 253, ERR_PROTOCOL },
        { "more of 2", { 2, 1, CHANNEL_STATUS, 0, 0, 2, "ab" }, 2, 0, ERR_PROTOCOL },
        { "no share", { 0, 1, CHANNEL_STATUS, 0, 0, 1, "" }, 0, 0, ERR_PROTOCOL },
    };
    size_t before = open_descriptors();

    for (size_t i = 0; i < countof(rows); i++) {
        struct pair p = pair_open();
        struct channel_message m;
        struct err e;

        send_raw(p.raw_child, &rows[i].packet, RAW_HEADER + rows[i].len, rows[i].fds);
        assert_ok(channel_send(p.child, CHANNEL_READY, 0));
        e = channel_receive(p.parent, &m);
        if (e.kind != rows[i].want)
            fail_msg("%s: %d", rows[i].name, (int)e.kind);
        channel_message_release(&m);
        /* nothing after it is believed */
        assert_err(channel_receive(p.parent, &m), ERR_PROTOCOL);
        pair_close(&p);
    }
    assert_int_equal(open_descriptors(), before);
}

/* Configurations of the wrong shape, as a child would see them. */
static void test_hostile_shapes(void **state)
{
    static const struct {
        const char *name;
        struct raw packet;
        size_t len;
        size_t fds;
    } rows[] = {
        { "no bundle", { 0, 1, CHANNEL_START, 0, 0, 0, "" }, 0, 0 },
        { "listener without directive", { 0, 1, CHANNEL_START, 0, 2, 0, "" }, 0, 2 },
        { "directive without listener", { 4, 1, CHANNEL_RELOAD, 0, 1, 0, "abcd" }, 4, 1 },
        { "half a directive", { 3, 1, CHANNEL_RELOAD, 0, 2, 0, "abc" }, 3, 2 },
        { "short STOP", { 3, 1, CHANNEL_STOP, 0, 0, 0, "abc" }, 3, 0 },
        { "empty STOP", { 0, 1, CHANNEL_STOP, 0, 0, 0, "" }, 0, 0 },
        { "long STOP", { 5, 1, CHANNEL_STOP, 0, 0, 0, "abcde" }, 5, 0 },
        { "empty outcome", { 0, 1, CHANNEL_RELOAD_OUTCOME, 0, 0, 0, "" }, 0, 0 },
        { "link without an end", { 8, 1, CHANNEL_LINK, 0, 0, 0, "\1" }, 8, 0 },
        { "link with two", { 8, 1, CHANNEL_LINK, 0, 2, 0, "\1" }, 8, 2 },
        { "short link", { 4, 1, CHANNEL_LINK, 0, 1, 0, "\1" }, 4, 1 },
        { "long link", { 12, 1, CHANNEL_LINK, 0, 1, 0, "\1" }, 12, 1 },
        { "link to nobody we know", { 8, 1, CHANNEL_LINK, 0, 1, 0, "\3" }, 8, 1 },
        { "link to one too many", { 8, 1, CHANNEL_LINK, 0, 1, 0, "\2\0\0\0\40" }, 8, 1 },
        { "outcome of 2", { 1, 1, CHANNEL_RELOAD_OUTCOME, 0, 0, 0, "\2" }, 1, 0 },
    };
    size_t before = open_descriptors();

    for (size_t i = 0; i < countof(rows); i++) {
        struct pair p = pair_open();
        struct channel_message m;
        struct err e;

        send_raw(p.raw_parent, &rows[i].packet, RAW_HEADER + rows[i].len, rows[i].fds);
        e = channel_receive(p.child, &m);
        if (e.kind != ERR_PROTOCOL)
            fail_msg("%s: %d", rows[i].name, (int)e.kind);
        pair_close(&p);
    }
    assert_int_equal(open_descriptors(), before);
}

static void test_short_packets(void **state)
{
    static const char zeros[RAW_HEADER];

    for (size_t len = 1; len < RAW_HEADER; len++) {
        struct pair p = pair_open();
        struct channel_message m;

        send_raw(p.raw_child, zeros, len, 0);
        assert_err(channel_receive(p.parent, &m), ERR_PROTOCOL);
        pair_close(&p);
    }
}

static void test_packet_too_large(void **state)
{
    struct pair p = pair_open();
    struct channel_message m;
    char *big = mem_zero(1, 100 * KIB);

    send_raw(p.raw_child, big, 100 * KIB, 0);
    assert_err(channel_receive(p.parent, &m), ERR_PROTOCOL);
    free(big);
    pair_close(&p);
}

static void test_interleaved(void **state)
{
    static const struct raw first = { 2, 1, CHANNEL_STATUS, 5, 0, 1, "ab" };
    static const struct raw second[] = {
        { 2, 1, CHANNEL_STATUS, 6, 0, 0, "cd" },        /* another serial */
        { 2, 1, CHANNEL_RELOAD_FAILED, 5, 0, 0, "cd" }, /* another type */
        { 2, 1, CHANNEL_STATUS, 5, 0, 0, "cd" },        /* as it should be */
    };

    for (size_t i = 0; i < countof(second); i++) {
        struct pair p = pair_open();
        struct channel_message m;
        struct err e;

        send_raw(p.raw_child, &first, RAW_HEADER + 2, 0);
        receive(p.parent, &m, CHANNEL_NOTHING);
        send_raw(p.raw_child, &second[i], RAW_HEADER + 2, 0);
        e = channel_receive(p.parent, &m);
        assert_int_equal(e.kind, i == 2 ? ERR_NONE : ERR_PROTOCOL);
        if (i == 2)
            assert_slice_str(m.text, "abcd");
        channel_message_release(&m);
        pair_close(&p);
    }
}

/* A message that never ends is cut off at the limit, not at the end of memory. */
static void test_endless(void **state)
{
    struct pair p = pair_open();
    static const struct raw piece = { 64, 1, CHANNEL_STATUS, 5, 0, 1, "" };
    struct channel_message m;
    struct err e = ERR_OK;
    size_t bytes = 0;

    while (!err_failed(e) && bytes < 10 * MIB) {
        send_raw(p.raw_child, &piece, RAW_HEADER + 64, 0);
        bytes += 64;
        e = channel_receive(p.parent, &m);
    }
    assert_int_equal(e.kind, ERR_PROTOCOL);
    assert_true(bytes <= CHANNEL_TEXT_MAX + 256);
    pair_close(&p);
}

/* Too few free descriptors at the receiver: an error, not a half message. */
static void test_out_of_descriptors(void **state)
{
    struct pair p = pair_open();
    struct channel_listener listeners[60];
    struct rlimit old, low;
    struct channel_message m;
    int fd = memfd_create("x", MFD_CLOEXEC);
    size_t before;

    for (size_t i = 0; i < countof(listeners); i++)
        listeners[i] = (struct channel_listener){ fd, 0 };
    assert_ok(channel_send_config(p.parent, CHANNEL_RELOAD, 1, fd, listeners, 60));
    before = open_descriptors();
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)fcntl(fd, F_DUPFD, 0) + 20;
    setrlimit(RLIMIT_NOFILE, &low);
    assert_err(channel_receive(p.child, &m), ERR_NO_SPACE);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_true(open_descriptors() > before); /* kept … */
    pair_close(&p);
    assert_true(open_descriptors() < before); /* … until the channel goes */
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_messages),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_descriptor_taken),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_reader_that_never_reads),
        cmocka_unit_test(test_half_a_message),
        cmocka_unit_test(test_other_end_gone),
        cmocka_unit_test(test_hostile_child),
        cmocka_unit_test(test_hostile_shapes),
        cmocka_unit_test(test_short_packets),
        cmocka_unit_test(test_packet_too_large),
        cmocka_unit_test(test_interleaved),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_out_of_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
