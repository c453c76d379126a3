/* net/ipc.c - how the processes of the tree ask each other: is this password
 * right, sign this message.
 *
 * A frame is a header and its payload. A descriptor goes with the first byte
 * of its frame; the kernel never returns bytes of two such frames in one
 * read, so at most two descriptors wait for their frames to be complete.
 */
#include "net/ipc.h"

#include "base/mem.h"
#include "net/uvinside.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IPC_VERSION   1
#define HAS_FD        1u
#define READ_BYTES    (64 * KIB)
#define READS_A_TURN  16 /* then the loop's others have their turn */
#define PENDING_FDS   2
#define KERNEL_FDS    253 /* SCM_MAX_FD: what could arrive at a time */
#define KEPT_CAP      (256 * KIB) /* an empty buffer that grew beyond is given back */

/* The same program on the same machine: native byte order. No padding. */
struct header {
    uint32_t length; /* of the payload */
    uint8_t version;
    uint8_t flags;
    uint16_t zero;
};

struct out_fd { /* goes with the byte at that place of `out`, counted from its first ever */
    struct list link;
    uint64_t at;
    int fd;
};

struct ipc {
    uv_poll_t poll;
    struct loop *loop;
    const struct ipc_events *events;
    void *ctx;
    int fd;
    bool told;    /* `closed` has been called */
    bool freed;   /* the owner is done with it; memory goes with the handle */
    bool blocked; /* the socket is full: waits for room */
    bool no_writer; /* writing failed; what the other said is still read */
    struct err failed; /* of ipc_send(): told at the end of the turn */
    struct timer flush;

    struct buf in;
    int in_fds[PENDING_FDS];
    size_t in_fd_count;

    struct buf out;
    uint64_t out_done; /* bytes sent ever */
    struct list out_fds;
};

/* ---- buffers that leave no copy behind ---- */

static void take_wiped(struct buf *b, size_t len)
{
    if (len == 0)
        return;
    explicit_bzero(b->ptr + b->start, len);
    buf_take(b, len);
    if (buf_len(b) == 0 && b->cap > KEPT_CAP)
        buf_release(b); /* all of it was wiped on the way */
}

/* As buf_reserve(), which would let realloc() free what it moved. */
static char *reserve_wiped(struct buf *b, size_t len)
{
    if (b->cap - b->end < len) {
        struct buf larger = { 0 };
        size_t want = buf_len(b) + len;

        buf_reserve(&larger, want > 2 * buf_len(b) ? want : 2 * buf_len(b));
        buf_add(&larger, buf_bytes(b));
        buf_wipe(b);
        *b = larger;
    }
    return buf_reserve(b, len);
}

static void add_wiped(struct buf *b, struct slice bytes)
{
    reserve_wiped(b, bytes.len);
    buf_add(b, bytes);
}

/* ---- life ---- */

static struct ipc *of_poll(uv_poll_t *p)
{
    return container_of(p, struct ipc, poll);
}

static void drop_output(struct ipc *i)
{
    while (!list_empty(&i->out_fds)) {
        struct out_fd *o = list_first(&i->out_fds, struct out_fd, link);

        list_remove(&o->link);
        close(o->fd);
        free(o);
    }
    buf_wipe(&i->out);
    loop_disarm(i->loop, &i->flush);
}

static void on_closed(uv_handle_t *h)
{
    struct ipc *i = of_poll((uv_poll_t *)h);

    for (size_t n = 0; n < i->in_fd_count; n++)
        close(i->in_fds[n]);
    buf_wipe(&i->in);
    free(i);
}

static bool is_over(const struct ipc *i)
{
    return i->told || i->freed;
}

static void tell_closed(struct ipc *i, struct err why)
{
    if (is_over(i))
        return;
    i->told = true;
    uv_poll_stop(&i->poll);
    drop_output(i);
    i->events->closed(i->ctx, why);
}

void ipc_free(struct ipc *i)
{
    if (i == NULL)
        return;
    i->freed = true;
    drop_output(i);
    uv_close((uv_handle_t *)&i->poll, on_closed);
    close(i->fd);
}

/* ---- sending ---- */

static ssize_t send_some(struct ipc *i, struct slice bytes, const int *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec iov = { (void *)bytes.ptr, bytes.len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd != NULL) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), fd, sizeof *fd);
    }
    return sendmsg(i->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What can leave in one call: up to the next frame with a descriptor. */
static ssize_t send_next(struct ipc *i)
{
    struct slice bytes = buf_bytes(&i->out);
    struct out_fd *first = NULL;
    ssize_t n;

    list_foreach(it, &i->out_fds) {
        struct out_fd *o = container_of(it, struct out_fd, link);

        if (o->at != i->out_done) {
            bytes = slice_head(bytes, (size_t)(o->at - i->out_done));
            break;
        }
        first = o;
    }
    n = send_some(i, bytes, first != NULL ? &first->fd : NULL);
    if (n > 0 && first != NULL) {
        list_remove(&first->link);
        close(first->fd);
        free(first);
    }
    return n;
}

static void on_poll(uv_poll_t *p, int status, int events);

static void want(struct ipc *i, bool room)
{
    i->blocked = room;
    /* fails only for a descriptor that is no socket, which ipc_new() has seen */
    (void)uv_poll_start(&i->poll, room ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_poll);
}

static void write_out(struct ipc *i)
{
    while (buf_len(&i->out) > 0) {
        ssize_t n = send_next(i);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!i->blocked)
                want(i, true);
            return;
        }
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            i->no_writer = true; /* reading tells why, after what was said before */
            drop_output(i);
            break;
        }
        if (n < 0) { /* the other lives, and would wait for what is lost */
            i->failed = err_sys(errno, "send to the other process");
            return;
        }
        i->out_done += (uint64_t)n;
        take_wiped(&i->out, (size_t)n);
    }
    if (i->blocked)
        want(i, false);
}

static void flush_fired(struct timer *t)
{
    struct ipc *i = container_of(t, struct ipc, flush);

    if (!err_failed(i->failed) && !i->blocked)
        write_out(i);
    if (err_failed(i->failed))
        tell_closed(i, i->failed);
}

static struct err keep_fd(struct ipc *i, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct out_fd *o;

    if (copy < 0)
        return err_sys(errno, "duplicate a descriptor");
    o = mem_new(struct out_fd);
    o->at = i->out_done + buf_len(&i->out);
    o->fd = copy;
    list_append(&i->out_fds, &o->link);
    return ERR_OK;
}

void ipc_send(struct ipc *i, struct slice payload, int fd)
{
    struct header h = { .length = (uint32_t)payload.len, .version = IPC_VERSION };

    assert(payload.len <= IPC_PAYLOAD_MAX);
    if (is_over(i) || i->no_writer || err_failed(i->failed))
        return;
    loop_arm(i->loop, &i->flush, 0);
    if (buf_len(&i->out) + sizeof h + payload.len > IPC_BACKLOG_MAX) {
        i->failed = err_make(ERR_BUSY, "send to a process that does not read");
        return;
    }
    if (fd >= 0) {
        h.flags = HAS_FD;
        i->failed = keep_fd(i, fd);
        if (err_failed(i->failed))
            return;
    }
    add_wiped(&i->out, slice_make(&h, sizeof h));
    add_wiped(&i->out, payload);
}

size_t ipc_backlog(const struct ipc *i)
{
    return buf_len(&i->out);
}

/* ---- receiving ---- */

static struct err take_rights(struct ipc *i, struct msghdr *msg)
{
    bool too_many = false;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        int fds[KERNEL_FDS];
        size_t count;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
        for (size_t n = 0; n < count; n++) {
            if (i->in_fd_count < PENDING_FDS && count == 1) {
                i->in_fds[i->in_fd_count++] = fds[n];
                continue;
            }
            close(fds[n]);
            too_many = true;
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        return err_make(ERR_NO_SPACE, "receive a descriptor");
    return too_many ? err_make(ERR_PROTOCOL, "more descriptors than messages") : ERR_OK;
}

static int next_fd(struct ipc *i)
{
    int fd = i->in_fds[0];

    i->in_fds[0] = i->in_fds[1];
    i->in_fd_count--;
    return fd;
}

static struct err check_header(const struct header *h)
{
    if (h->version != IPC_VERSION)
        return err_make(ERR_VERSION, "message of the other process");
    if (h->length > IPC_PAYLOAD_MAX)
        return err_make(ERR_LIMIT, "message of the other process");
    if ((h->flags & ~HAS_FD) != 0 || h->zero != 0)
        return err_make(ERR_PROTOCOL, "message with an unknown flag");
    return ERR_OK;
}

/* All whole frames that are there. */
static struct err deliver(struct ipc *i)
{
    struct header h;

    while (!is_over(i) && buf_len(&i->in) >= sizeof h) {
        struct slice bytes = buf_bytes(&i->in);
        int fd = -1;
        struct err e;

        memcpy(&h, bytes.ptr, sizeof h);
        e = check_header(&h);
        if (err_failed(e))
            return e;
        if (bytes.len < sizeof h + h.length)
            return ERR_OK;
        if (h.flags & HAS_FD) {
            if (i->in_fd_count == 0)
                return err_make(ERR_PROTOCOL, "message without its descriptor");
            fd = next_fd(i);
        }
        i->events->message(i->ctx, slice_head(slice_from(bytes, sizeof h), h.length), fd);
        take_wiped(&i->in, sizeof h + h.length);
    }
    /* One that belongs to no frame came with bytes of none. */
    if (!is_over(i) && i->in_fd_count > (buf_len(&i->in) > 0))
        return err_make(ERR_PROTOCOL, "descriptor without its message");
    return ERR_OK;
}

/* *more: there may be more to read at once. */
static struct err read_some(struct ipc *i, bool *more)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * KERNEL_FDS)];
    } control;
    struct iovec iov = { reserve_wiped(&i->in, READ_BYTES), READ_BYTES };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes };
    ssize_t n = recvmsg(i->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct err e;

    *more = false;
    if (n < 0 && errno == EINTR) {
        *more = true;
        return ERR_OK;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return ERR_OK;
    if (n < 0)
        return errno == ECONNRESET ? err_make(ERR_CLOSED, "the other process")
                                   : err_sys(errno, "receive from the other process");
    e = take_rights(i, &msg);
    if (err_failed(e))
        return e;
    if (n == 0)
        return err_make(ERR_CLOSED, "the other process");
    buf_extend(&i->in, (size_t)n);
    *more = true;
    return deliver(i);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct ipc *i = of_poll(p);
    struct err e = ERR_OK;
    bool more = true;

    uvloop_enter(i->loop);
    if (status == 0 && (events & UV_WRITABLE))
        write_out(i);
    e = i->failed;
    /* An error of the socket is found by reading. */
    for (int n = 0; n < READS_A_TURN && more && !err_failed(e) && !is_over(i); n++)
        e = read_some(i, &more);
    if (err_failed(e))
        tell_closed(i, e);
}

struct err ipc_new(struct loop *l, int fd, const struct ipc_events *events, void *ctx,
                   struct ipc **out)
{
    struct ipc *i = mem_new(struct ipc);
    int rc = uv_poll_init_socket(uvloop_uv(l), &i->poll, fd); /* makes it non-blocking */

    if (rc != 0) {
        free(i);
        close(fd);
        return err_sys(-rc, "watch another process");
    }
    i->loop = l;
    i->fd = fd;
    i->events = events;
    i->ctx = ctx;
    i->flush.fire = flush_fired;
    list_init(&i->out_fds);
    rc = uv_poll_start(&i->poll, UV_READABLE, on_poll);
    if (rc != 0) {
        ipc_free(i);
        return err_sys(-rc, "watch another process");
    }
    *out = i;
    return ERR_OK;
}

struct err ipc_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return err_sys(errno, "connect two processes");
    return ERR_OK;
}
