/* relayd/channel.c - packets between parent and children.
 *
 * No mail passes here: it is how the engine that carries the mail learns its
 * configuration, gets its listening sockets and is told to stop.
 */
#include "relayd/channel.h"

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

enum payload_shape { SHAPE_EMPTY, SHAPE_TEXT, SHAPE_OUTCOME, SHAPE_STOP, SHAPE_CONFIG, SHAPE_LINK };

/* The language: who may say what. */
static const struct message_rule {
    const char *name;
    enum channel_side from;
    enum payload_shape shape;
} rules[] = {
    [CHANNEL_START] = { "START", CHANNEL_PARENT, SHAPE_CONFIG },
    [CHANNEL_RELOAD] = { "RELOAD", CHANNEL_PARENT, SHAPE_CONFIG },
    [CHANNEL_RELOAD_OUTCOME] = { "RELOAD_OUTCOME", CHANNEL_PARENT, SHAPE_OUTCOME },
    [CHANNEL_STOP] = { "STOP", CHANNEL_PARENT, SHAPE_STOP },
    [CHANNEL_LINK] = { "LINK", CHANNEL_PARENT, SHAPE_LINK },
    [CHANNEL_READY] = { "READY", CHANNEL_CHILD, SHAPE_EMPTY },
    [CHANNEL_RELOAD_OK] = { "RELOAD_OK", CHANNEL_CHILD, SHAPE_EMPTY },
    [CHANNEL_RELOAD_FAILED] = { "RELOAD_FAILED", CHANNEL_CHILD, SHAPE_TEXT },
    [CHANNEL_RELOAD_REQUEST] = { "RELOAD_REQUEST", CHANNEL_CHILD, SHAPE_EMPTY },
    [CHANNEL_STOP_REQUEST] = { "STOP_REQUEST", CHANNEL_CHILD, SHAPE_EMPTY },
    [CHANNEL_STATUS] = { "STATUS", CHANNEL_CHILD, SHAPE_TEXT },
    [CHANNEL_LINK_REQUEST] = { "LINK_REQUEST", CHANNEL_CHILD, SHAPE_EMPTY },
    [CHANNEL_STOPPED] = { "STOPPED", CHANNEL_CHILD, SHAPE_EMPTY },
};

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

const char *channel_type_name(enum channel_type type)
{
    if ((size_t)type >= countof(rules) || rules[type].name == NULL)
        return "unknown";
    return rules[type].name;
}

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

static struct err send_message(struct channel *c, enum channel_type type, uint32_t serial,
                               struct slice payload, const int *fds, size_t fd_count)
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

struct err channel_send(struct channel *c, enum channel_type type, uint32_t serial)
{
    return send_message(c, type, serial, SLICE_EMPTY, NULL, 0);
}

struct err channel_send_text(struct channel *c, enum channel_type type, uint32_t serial,
                             struct slice text)
{
    return send_message(c, type, serial, slice_head(text, CHANNEL_TEXT_MAX), NULL, 0);
}

struct err channel_send_outcome(struct channel *c, uint32_t serial, bool ok, struct slice text)
{
    struct buf payload = { 0 };
    struct err e;

    buf_add_byte(&payload, ok ? 1 : 0);
    buf_add(&payload, slice_head(text, CHANNEL_TEXT_MAX));
    e = send_message(c, CHANNEL_RELOAD_OUTCOME, serial, buf_bytes(&payload), NULL, 0);
    buf_release(&payload);
    return e;
}

struct err channel_send_stop(struct channel *c, uint32_t drain_ms)
{
    return send_message(c, CHANNEL_STOP, 0, slice_make(&drain_ms, sizeof drain_ms), NULL, 0);
}

/* Payload: the directive of each listener. Descriptors: the bundle, then the listeners. */
struct err channel_send_config(struct channel *c, enum channel_type type, uint32_t serial,
                               int bundle_fd, const struct channel_listener *listeners,
                               size_t count)
{
    struct buf payload = { 0 };
    int *fds;
    struct err e;

    if (count > CHANNEL_LISTENERS_MAX)
        return err_make(ERR_LIMIT, "hand over listening sockets");
    fds = mem_zero(count + 1, sizeof *fds);
    fds[0] = bundle_fd;
    for (size_t i = 0; i < count; i++) {
        fds[i + 1] = listeners[i].fd;
        buf_add(&payload, slice_make(&listeners[i].directive, sizeof listeners[i].directive));
    }
    e = send_message(c, type, serial, buf_bytes(&payload), fds, count + 1);
    free(fds);
    buf_release(&payload);
    return e;
}

/* Payload: whose other end it is. Descriptor: this end. */
struct err channel_send_link(struct channel *c, const struct channel_link *link)
{
    const uint32_t peer[2] = { (uint32_t)link->peer, link->index };

    return send_message(c, CHANNEL_LINK, 0, slice_make(peer, sizeof peer), &link->fd, 1);
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
    const struct message_rule *rule;

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
    if (h.type >= countof(rules) || rules[h.type].name == NULL)
        return broken(c, "message of unknown type");
    rule = &rules[h.type];
    if (rule->from == c->side)
        return broken(c, "message from the wrong side");
    if (fd_count > 0 && rule->shape != SHAPE_CONFIG && rule->shape != SHAPE_LINK)
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

static bool decode_config(struct channel_message *m, int *fds, size_t fd_count)
{
    struct slice directives = buf_bytes(&m->payload);

    if (fd_count == 0 || directives.len != (fd_count - 1) * sizeof(uint32_t))
        return false;
    m->bundle_fd = channel_take_fd(&fds[0]);
    m->listener_count = fd_count - 1;
    m->listeners = mem_zero(m->listener_count, sizeof *m->listeners);
    for (size_t i = 0; i < m->listener_count; i++) {
        m->listeners[i].fd = channel_take_fd(&fds[i + 1]);
        memcpy(&m->listeners[i].directive, directives.ptr + i * sizeof(uint32_t), sizeof(uint32_t));
    }
    return true;
}

static bool decode_link(struct channel_message *m, int *fds, size_t fd_count)
{
    struct slice bytes = buf_bytes(&m->payload);
    uint32_t peer[2];

    if (fd_count != 1 || bytes.len != sizeof peer)
        return false;
    memcpy(peer, bytes.ptr, sizeof peer);
    if (peer[0] >= PROCESS_KINDS || peer[1] >= SIGN_WORKERS_MAX)
        return false;
    m->link = (struct channel_link){ channel_take_fd(&fds[0]), (enum process_kind)peer[0], peer[1] };
    return true;
}

/* The payload of a whole message by its shape; false when it does not fit. */
static bool decode(struct channel_message *m, int *fds, size_t fd_count)
{
    struct slice bytes = buf_bytes(&m->payload);

    switch (rules[m->type].shape) {
    case SHAPE_EMPTY:
        return bytes.len == 0;
    case SHAPE_TEXT:
        m->text = bytes;
        return bytes.len <= CHANNEL_TEXT_MAX;
    case SHAPE_OUTCOME:
        if (bytes.len == 0 || bytes.len > CHANNEL_TEXT_MAX + 1 || (unsigned char)*bytes.ptr > 1)
            return false;
        m->ok = *bytes.ptr == 1;
        m->text = slice_from(bytes, 1);
        return true;
    case SHAPE_STOP:
        if (bytes.len != sizeof m->drain_ms)
            return false;
        memcpy(&m->drain_ms, bytes.ptr, sizeof m->drain_ms);
        return true;
    case SHAPE_CONFIG:
        return decode_config(m, fds, fd_count);
    case SHAPE_LINK:
        return decode_link(m, fds, fd_count);
    }
    return false;
}

static struct err finish_message(struct channel *c, struct channel_message *out)
{
    out->type = c->type;
    out->serial = c->serial;
    out->payload = c->payload;
    c->type = CHANNEL_NOTHING;
    c->payload = (struct buf){ 0 };
    if (!decode(out, c->fds, c->fd_count)) {
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

int channel_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

void channel_message_release(struct channel_message *m)
{
    if (m->bundle_fd >= 0)
        close(m->bundle_fd);
    if (m->link.fd >= 0)
        close(m->link.fd);
    for (size_t i = 0; i < m->listener_count; i++)
        if (m->listeners[i].fd >= 0)
            close(m->listeners[i].fd);
    free(m->listeners);
    buf_release(&m->payload);
    *m = (struct channel_message){ .bundle_fd = -1, .link.fd = -1 };
}
