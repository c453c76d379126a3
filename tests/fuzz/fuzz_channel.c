/* What a child that has fallen to a stranger may send its parent, and the
 * other way round. Input: one byte for the side, then packets, each behind
 * its length (two bytes) and a count of descriptors (one byte). */
#include "relayd/channel.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool send_packet(int fd, const uint8_t *bytes, size_t len, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 253)];
    } control;
    struct iovec iov = { (void *)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    memset(&control, 0, sizeof control);
    if (fd_count > 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        for (size_t i = 0; i < fd_count; i++)
            memcpy(CMSG_DATA(cmsg) + i * sizeof fd, &fd, sizeof fd);
    }
    return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

/* What a whole message promises its reader. */
static void check_message(const struct channel_message *m)
{
    if (m->text.len > CHANNEL_TEXT_MAX || m->listener_count > CHANNEL_LISTENERS_MAX)
        abort();
    for (size_t i = 0; i < m->listener_count; i++)
        if (m->listeners[i].fd < 0)
            abort();
    if ((m->type == CHANNEL_LINK) != (m->link.fd >= 0) || m->link.peer >= PROCESS_KINDS ||
        m->link.index >= SIGN_WORKERS_MAX)
        abort();
    if ((m->type == CHANNEL_START || m->type == CHANNEL_RELOAD) != (m->bundle_fd >= 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct channel *c;
    int ends[2];

    if (size < 1 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return 0;
    c = channel_new(ends[0], data[0] & 1 ? CHANNEL_CHILD : CHANNEL_PARENT);
    data++;
    size--;
    while (size >= 3) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8;
        size_t fd_count = data[2];
        struct channel_message m;
        struct err e;

        data += 3;
        size -= 3;
        if (len > size)
            len = size;
        if (fd_count > 253 || !send_packet(ends[1], data, len, fd_count))
            break;
        data += len;
        size -= len;
        e = channel_receive(c, &m);
        if (!err_failed(e))
            check_message(&m);
        channel_message_release(&m);
        if (err_failed(e))
            break;
    }
    channel_free(c);
    close(ends[1]);
    return 0;
}
