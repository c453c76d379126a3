/* What a process that has fallen to a stranger may send the one that asked
 * it. Input: pieces, each behind its length (two bytes) and a count of
 * descriptors (one byte), written one after the other. */
#include "net/ipc.h"
#include "net/uvloop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
    bool closed;
};

static void on_message(void *ctx, struct slice payload, int fd)
{
    const struct heard *h = ctx;

    if (h->closed || payload.len > IPC_PAYLOAD_MAX)
        abort();
    if (fd >= 0 && close(fd) != 0)
        abort();
}

static void on_closed(void *ctx, struct err why)
{
    struct heard *h = ctx;

    if (h->closed || !err_failed(why))
        abort();
    h->closed = true;
}

static const struct ipc_events events = { on_message, on_closed };

static bool send_piece(int fd, const uint8_t *bytes, size_t len, size_t fd_count)
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    struct heard heard = { 0 };
    struct ipc *ipc;
    int ends[2];

    if (loop == NULL && err_failed(uvloop_new(0, &clock_system, &loop)))
        abort();
    if (err_failed(ipc_pair(ends)))
        return 0;
    if (err_failed(ipc_new(loop, ends[0], &events, &heard, &ipc)))
        abort();
    while (size >= 3 && !heard.closed) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8;
        size_t fd_count = data[2];

        data += 3;
        size -= 3;
        if (len > size)
            len = size;
        if (len == 0 || fd_count > 253 || !send_piece(ends[1], data, len, fd_count))
            break;
        data += len;
        size -= len;
        uv_run(uvloop_uv(loop), UV_RUN_NOWAIT);
    }
    ipc_free(ipc);
    close(ends[1]);
    uv_run(uvloop_uv(loop), UV_RUN_NOWAIT);
    return 0;
}
