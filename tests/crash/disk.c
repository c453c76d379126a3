/* tests/crash/disk.c - a library to preload that makes a disk slow or bad.
 *
 *   DISK_DIR      the folder whose files it is about, absolute, without links
 *   DISK_CONTROL  a file, read at each sync: "DELAY_MS FAILURES KIND SERIAL";
 *                 so many syncs of that kind fail with EIO (-1: all of them),
 *                 counted anew when the text changes
 *   DISK_LOG      a line for each sync: "KIND BEGAN_NS ENDED_NS ok|failed PATH",
 *                 in the time of CLOCK_MONOTONIC
 *
 * Kinds are "sync" (fsync and fdatasync of the databases), "meta" (a write
 * that is a sync as well; LMDB writes its meta pages so), "body" (any sync of
 * or in the folder of body files), and for DISK_CONTROL "any".
 * What failed was not synced, but the page cache holds it, as in a kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct fault {
    int delay_ms;
    bool fails;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool fd_path(int fd, char path[PATH_MAX])
{
    const char *dir = getenv("DISK_DIR");
    char proc[64];
    ssize_t n;

    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    n = readlink(proc, path, PATH_MAX - 1);
    if (dir == NULL || n < 0)
        return false;
    path[n] = '\0';
    return strncmp(path, dir, strlen(dir)) == 0;
}

static struct fault fault_of(const char *kind)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char last[128];
    static int left;
    char text[128] = "", wanted[16] = "";
    struct fault f = { 0 };
    int failures = 0;
    int fd = open(getenv("DISK_CONTROL"), O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    if (fd >= 0)
        close(fd);
    if (sscanf(text, "%d %d %15s", &f.delay_ms, &failures, wanted) != 3)
        return (struct fault){ 0 };
    pthread_mutex_lock(&lock);
    if (strcmp(text, last) != 0) {
        strcpy(last, text);
        left = failures;
    }
    if (left != 0 && (strcmp(wanted, kind) == 0 || strcmp(wanted, "any") == 0)) {
        f.fails = true;
        left -= left > 0;
    }
    pthread_mutex_unlock(&lock);
    return f;
}

static struct fault begin(const char *kind)
{
    struct fault f = fault_of(kind);
    struct timespec t = { f.delay_ms / 1000, f.delay_ms % 1000 * 1000000L };

    nanosleep(&t, NULL);
    return f;
}

static void told(const char *kind, uint64_t began_ns, bool good, const char *path)
{
    int saved = errno;
    int fd = open(getenv("DISK_LOG"), O_WRONLY | O_APPEND | O_CLOEXEC);

    if (fd >= 0) {
        dprintf(fd, "%s %llu %llu %s %s\n", kind, (unsigned long long)began_ns,
                (unsigned long long)now_ns(), good ? "ok" : "failed", path);
        close(fd);
    }
    errno = saved;
}

static int sync_fd(int fd, long call)
{
    uint64_t began_ns = now_ns();
    char path[PATH_MAX];
    const char *kind;
    int rc;

    if (!fd_path(fd, path))
        return (int)syscall(call, fd);
    kind = strstr(path, "/body") != NULL ? "body" : "sync";
    if (begin(kind).fails) {
        errno = EIO;
        rc = -1;
    } else {
        rc = (int)syscall(call, fd);
    }
    told(kind, began_ns, rc == 0, path);
    return rc;
}

int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}

static ssize_t write_at(int fd, const void *buf, size_t len, off64_t at)
{
    uint64_t began_ns = now_ns();
    char path[PATH_MAX];
    ssize_t n;

    if ((fcntl(fd, F_GETFL) & O_DSYNC) == 0 || !fd_path(fd, path))
        return syscall(SYS_pwrite64, fd, buf, len, at);
    if (begin("meta").fails) {
        /* LMDB then writes the old page through the other descriptor. */
        errno = EIO;
        n = -1;
    } else {
        n = syscall(SYS_pwrite64, fd, buf, len, at);
    }
    told("meta", began_ns, n >= 0, path);
    return n;
}

/* Both names, which the large-file headers make one. */
ssize_t disk_pwrite(int fd, const void *buf, size_t len, off64_t at) __asm__("pwrite");
ssize_t disk_pwrite(int fd, const void *buf, size_t len, off64_t at)
{
    return write_at(fd, buf, len, at);
}

ssize_t disk_pwrite64(int fd, const void *buf, size_t len, off64_t at) __asm__("pwrite64");
ssize_t disk_pwrite64(int fd, const void *buf, size_t len, off64_t at)
{
    return write_at(fd, buf, len, at);
}
