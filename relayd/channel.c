/* relayd/channel.c - packets between parent and children; what they say stands
 * in channel_message.c.
 *
 * No mail passes here: it is how the engine that carries the mail learns its
 * configuration, gets its listening sockets and is told to stop.
 */
#include "relayd/channel_inside.h"

#include "base/list.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_PAYLOAD_MAX (16 * KIB)
#define PACKET_FDS_MAX     64  /* sent at a time */
#define KERNEL_FDS_MAX     253 /* SCM_MAX_FD: what could arrive at a time */
#define PAYLOAD_MAX        (CHANNEL_TEXT_MAX + 64)
#define FDS_MAX            (CHANNEL_LISTENERS_MAX + 1)
#define OUTPUT_MAX         (1 * MIB) /* waiting for a reader who does not read */

/* The same program on the same machine: native byte order. No padding. */
struct packet_header {
    uint32_t length; /* of this packet's payload */
    uint16_t version;
    uint16_t type;
    uint32_t serial;
    uint16_t fd_count; /* with this packet */
    uint16_t more;     /* 1: the message goes on in the next packet */
};

#define PACKET_MAX (sizeof(struct packet_header) + PACKET_PAYLOAD_MAX)

struct packet {
    struct list link;
    size_t len;
    size_t fd_count;
    int fds[PACKET_FDS_MAX]; /* duplicates; closed once sent */
    char bytes[];
};

struct channel {
    int fd;
    enum channel_side side;
    bool broken; /* nothing more is read */

    struct list output; /* struct packet */
    size_t output_bytes;

    /* The message whose packets are arriving; type is CHANNEL_NOTHING between two. */
    enum channel_type type;
    uint32_t serial;
    struct buf payload;
    int *fds;
    size_t fd_count;
    size_t fd_cap;
};

struct channel *channel_new(int fd, enum channel_side side)
{
    struct channel *c = mem_new(struct channel);
    int flags = fcntl(fd, F_GETFL);

    c->fd = fd;
    c->side = side;
    list_init(&c->output);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        c->broken = true;
    return c;
}

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void packet_free(struct channel *c, struct packet *p)
{
    list_remove(&p->link);
    c->output_bytes -= p->len;
    close_all(p->fds, p->fd_count);
    free(p);
}

void channel_free(struct channel *c)
{
    if (c == NULL)
        return;
    while (!list_empty(&c->output))
        packet_free(c, list_first(&c->output, struct packet, link));
    close_all(c->fds, c->fd_count);
    free(c->fds);
    buf_release(&c->payload);
    close(c->fd);
    free(c);
}

int channel_fd(const struct channel *c)
{
    return c->fd;
}

/* ---- sending ---- */

bool channel_has_output(const struct channel *c)
{
    return !list_empty(&c->output);
}

static ssize_t packet_write(int fd, const struct packet *p)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
    } control = { 0 };
    struct iovec iov = { (void *)p->bytes, p->len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (p->fd_count > 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * p->fd_count);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * p->fd_count);
        memcpy(CMSG_DATA(cmsg), p->fds, sizeof(int) * p->fd_count);
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

struct err channel_flush(struct channel *c)
{
    while (!list_empty(&c->output)) {
        struct packet *p = list_first(&c->output, struct packet, link);
        ssize_t n = packet_write(c->fd, p);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return ERR_OK;
        if (n < 0)
            return err_sys(errno, "send to the other process");
        packet_free(c, p);
    }
    return ERR_OK;
}

struct err channel_flush_wait(struct channel *c, const struct clock *clock, uint64_t wait_ms)
{
    uint64_t until = clock_mono_ms(clock) + wait_ms;

    for (;;) {
        struct pollfd pfd = { .fd = c->fd, .events = POLLOUT };
        struct err e = channel_flush(c);
        uint64_t now = clock_mono_ms(clock);

        if (err_failed(e) || list_empty(&c->output))
            return e;
        if (now >= until)
            return err_make(ERR_TIMEOUT, "send to the other process");
        if (poll(&pfd, 1, (int)(until - now)) < 0 && errno != EINTR)
            return err_sys(errno, "wait for the other process");
    }
}

/* The share of a message that goes into its next packet. */
static struct err packet_add(struct channel *c, struct packet_header h, struct slice payload,
                             const int *fds)
{
    struct packet *p = mem_zero(1, sizeof *p + sizeof h + payload.len);

    h.length = (uint32_t)payload.len;
    memcpy(p->bytes, &h, sizeof h);
    if (payload.len > 0)
        memcpy(p->bytes + sizeof h, payload.ptr, payload.len);
    p->len = sizeof h + payload.len;
    c->output_bytes += p->len;
    list_append(&c->output, &p->link);
    for (size_t i = 0; i < h.fd_count; i++) {
        p->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (p->fds[i] < 0)
            return err_sys(errno, "duplicate a descriptor");
        p->fd_count++;
    }
    return ERR_OK;
}

struct err channel_send_message(struct channel *c, enum channel_type type, uint32_t serial, struct slice payload,
                                const int *fds, size_t fd_count)
{
    struct list *last = c->output.prev;
    struct packet_header h = { .version = CHANNEL_VERSION,
                               .type = (uint16_t)type,
                               .serial = serial };
    struct err e;

    if (c->output_bytes + payload.len > OUTPUT_MAX)
        return err_make(ERR_LIMIT, "send to a process that does not read");
    do {
        struct slice share = slice_head(payload, PACKET_PAYLOAD_MAX);

        h.fd_count = (uint16_t)(fd_count < PACKET_FDS_MAX ? fd_count : PACKET_FDS_MAX);
        h.more = share.len < payload.len || h.fd_count < fd_count;
        e = packet_add(c, h, share, fds);
        if (err_failed(e))
            break;
        payload = slice_from(payload, share.len);
        fds += h.fd_count;
        fd_count -= h.fd_count;
    } while (h.more);
    if (!err_failed(e))
        return channel_flush(c);

    /* Half a message must not go out: take its packets back. */
    while (c->output.prev != last)
        packet_free(c, container_of(c->output.prev, struct packet, link));
    return e;
}

/* ---- receiving ---- */

static struct err broken(struct channel *c, const char *what)
{
    c->broken = true;
    return err_make(ERR_PROTOCOL, what);
}

static void keep_fds(struct channel *c, const int *fds, size_t count)
{
    if (c->fd_count + count > c->fd_cap) {
        c->fd_cap = (c->fd_count + count) * 2;
        c->fds = mem_grow(c->fds, c->fd_cap, sizeof *c->fds);
    }
    memcpy(c->fds + c->fd_count, fds, count * sizeof *fds);
    c->fd_count += count;
}

/* Descriptors of one packet, at once kept in c->fds so that nothing leaks.
 * Returns how many. */
static size_t take_rights(struct channel *c, struct msghdr *msg)
{
    size_t total = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        int fds[KERNEL_FDS_MAX];
        size_t count;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
        keep_fds(c, fds, count);
        total += count;
    }
    return total;
}

/* Adds one packet to the message that is arriving. *whole: it was the last. */
static struct err take_packet(struct channel *c, struct slice packet, size_t fd_count, bool *whole)
{
    struct packet_header h;
    const struct channel_rule *rule;

    if (packet.len < sizeof h)
        return broken(c, "packet without a header");
    memcpy(&h, packet.ptr, sizeof h);
    packet = slice_from(packet, sizeof h);
    if (h.version != CHANNEL_VERSION) {
        c->broken = true;
        return err_make(ERR_VERSION, "packet");
    }
    if (h.length != packet.len || h.fd_count != fd_count || h.more > 1)
        return broken(c, "packet that contradicts its header");
    rule = channel_rule_of(h.type);
    if (rule == NULL)
        return broken(c, "message of unknown type");
    if (rule->from == c->side)
        return broken(c, "message from the wrong side");
    if (fd_count > 0 && !rule->has_fds)
        return broken(c, "descriptors with a message that has none");
    if (c->type != CHANNEL_NOTHING && (c->type != h.type || c->serial != h.serial))
        return broken(c, "message inside another");
    if (buf_len(&c->payload) + packet.len > PAYLOAD_MAX || c->fd_count > FDS_MAX)
        return broken(c, "message too large");
    if (h.more && packet.len == 0 && fd_count == 0)
        return broken(c, "packet without a share"); /* or a message could go on for ever */
    c->type = h.type;
    c->serial = h.serial;
    buf_add(&c->payload, packet);
    *whole = !h.more;
    return ERR_OK;
}

static struct err finish_message(struct channel *c, struct channel_message *out)
{
    out->type = c->type;
    out->serial = c->serial;
    out->payload = c->payload;
    c->type = CHANNEL_NOTHING;
    c->payload = (struct buf){ 0 };
    if (!channel_decode(out, c->fds, c->fd_count)) {
        channel_message_release(out);
        return broken(c, "message of the wrong shape");
    }
    c->fd_count = 0;
    return ERR_OK;
}

struct err channel_receive(struct channel *c, struct channel_message *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * KERNEL_FDS_MAX)];
    } control;
    char packet[PACKET_MAX];
    bool whole = false;

    *out = (struct channel_message){ .bundle_fd = -1, .link.fd = -1 };
    if (c->broken)
        return err_make(ERR_PROTOCOL, "channel given up");
    while (!whole) {
        struct iovec iov = { packet, sizeof packet };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
        ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        size_t fd_count;
        struct err e;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return ERR_OK;
        if (n < 0)
            return err_sys(errno, "receive from the other process");
        fd_count = take_rights(c, &msg);
        if (n == 0)
            return err_make(ERR_CLOSED, "receive from the other process");
        if (msg.msg_flags & MSG_CTRUNC) {
            c->broken = true;
            return err_make(ERR_NO_SPACE, "receive descriptors");
        }
        if (msg.msg_flags & MSG_TRUNC)
            return broken(c, "packet too large");
        e = take_packet(c, slice_make(packet, (size_t)n), fd_count, &whole);
        if (err_failed(e))
            return e;
    }
    return finish_message(c, out);
}
