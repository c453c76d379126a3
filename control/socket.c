/* control/socket.c - makes and finds the control socket. */
#include "control/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

struct err control_socket_path(const char *runtime_dir, struct buf *path, int *dir_fd)
{
    *dir_fd = open(runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*dir_fd < 0)
        return err_sys(errno, "open runtime folder");
    buf_clear(path);
    buf_printf(path, "/proc/self/fd/%d/" CONTROL_SOCKET_NAME, *dir_fd);
    return ERR_OK;
}

static struct sockaddr_un address_of(struct buf *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    memcpy(addr.sun_path, buf_cstr(path), buf_len(path) + 1); /* short by construction */
    return addr;
}

/* A socket nobody listens at refuses the connection. */
static bool somebody_answers(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answers;

    if (fd < 0)
        return false;
    answers = connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno == EAGAIN;
    close(fd);
    return answers;
}

static struct err bind_and_listen(int fd, struct buf *path)
{
    struct sockaddr_un addr = address_of(path);

    if (somebody_answers(&addr))
        return err_make(ERR_BUSY, "another engine answers at the control socket");
    if (unlink(addr.sun_path) != 0 && errno != ENOENT)
        return err_sys(errno, "remove old control socket");
    if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0)
        return err_sys(errno, "bind control socket");
    if (chmod(addr.sun_path, 0660) != 0)
        return err_sys(errno, "set mode of control socket");
    if (listen(fd, BACKLOG) != 0)
        return err_sys(errno, "listen at control socket");
    return ERR_OK;
}

struct err control_socket_listen(const char *runtime_dir, int *fd)
{
    struct buf path = { 0 };
    int dir_fd = -1;
    struct err e = control_socket_path(runtime_dir, &path, &dir_fd);

    *fd = -1;
    if (!err_failed(e)) {
        *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        e = *fd >= 0 ? bind_and_listen(*fd, &path) : err_sys(errno, "make control socket");
    }
    if (err_failed(e) && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    if (dir_fd >= 0)
        close(dir_fd);
    buf_release(&path);
    return e;
}

void control_socket_remove(const char *runtime_dir)
{
    struct buf path = { 0 };
    int dir_fd = -1;

    if (!err_failed(control_socket_path(runtime_dir, &path, &dir_fd))) {
        unlink(buf_cstr(&path)); /* what is left behind is replaced at the next start */
        close(dir_fd);
    }
    buf_release(&path);
}
