/* relayd/lock.c - keeps a second engine off the queue: two of them would send
 * every message twice. */
#include "relayd/lock.h"

#include "relayd/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_STEP_MS 50

static struct err open_lock(const char *state_dir, int flags, int *out, struct buf *why)
{
    struct buf path = { 0 };
    struct stat st;
    struct err e = ERR_OK;
    int fd;

    buf_printf(&path, "%s/%s", state_dir, LOCK_NAME);
    /* O_NONBLOCK and O_NOFOLLOW: the parent, perhaps root, looks into a folder of a lesser user */
    fd = open(buf_cstr(&path), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        e = err_sys(errno, "open lock file");
    else if (fstat(fd, &st) != 0)
        e = err_sys(errno, "look at lock file");
    else if (!S_ISREG(st.st_mode))
        e = err_make(ERR_CORRUPT, "open lock file");
    if (err_failed(e)) {
        char text[256];

        buf_printf(why, "%s: %s", buf_cstr(&path), err_text(e, text, sizeof text));
        if (fd >= 0)
            close(fd);
    } else {
        *out = fd;
    }
    buf_release(&path);
    return e;
}

static struct err busy(const char *state_dir, int fd, struct buf *why)
{
    size_t before = buf_len(why);

    buf_printf(why, "%s is in use by ", state_dir);
    if (!holder_of_lock(fd, NULL, why)) {
        why->end = why->start + before;
        buf_printf(why, "%s is in use by another process", state_dir);
    }
    return err_make(ERR_BUSY, "lock queue");
}

static struct err try_lock(int fd, int how, const char *state_dir, struct buf *why)
{
    while (flock(fd, how | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno == EWOULDBLOCK)
            return busy(state_dir, fd, why);
        buf_printf(why, "%s/%s: %s", state_dir, LOCK_NAME, strerror(errno));
        return err_sys(errno, "lock queue");
    }
    return ERR_OK;
}

static void write_pid(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%d\n", (int)getpid());

    /* For people; a full disk may well lack it. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return;
}

struct err lock_take(const char *state_dir, const struct clock *clock, uint64_t wait_ms, int *out,
                     struct buf *why)
{
    uint64_t until = clock_mono_ms(clock) + wait_ms;
    int fd;
    struct err e = open_lock(state_dir, O_RDWR | O_CREAT, &fd, why);

    if (err_failed(e))
        return e;
    for (;;) {
        buf_clear(why);
        e = try_lock(fd, LOCK_EX, state_dir, why);
        if (e.kind != ERR_BUSY || clock_mono_ms(clock) >= until)
            break;
        poll(NULL, 0, RETRY_STEP_MS);
    }
    if (err_failed(e)) {
        close(fd);
        return e;
    }
    write_pid(fd);
    *out = fd;
    return ERR_OK;
}

struct err lock_share(const char *state_dir, int *out, struct buf *why)
{
    int fd;
    struct err e = open_lock(state_dir, O_RDONLY, &fd, why);

    if (err_failed(e))
        return e;
    e = try_lock(fd, LOCK_SH, state_dir, why);
    if (err_failed(e))
        close(fd);
    else
        *out = fd;
    return e;
}

struct err lock_check(const char *state_dir, struct buf *why)
{
    int fd;
    struct err e = open_lock(state_dir, O_RDONLY, &fd, why);

    if (e.kind == ERR_NOT_FOUND) {
        buf_clear(why);
        return ERR_OK;
    }
    if (err_failed(e))
        return e;
    e = try_lock(fd, LOCK_EX, state_dir, why);
    close(fd); /* and with it the lock */
    return e;
}
