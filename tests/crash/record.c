/* tests/crash/record.c - a library to preload that writes down what a program
 * does to the files under a folder, so that powercut.py can build what a
 * power cut might have left of them.
 *
 *   POWERCUT_DIR   the folder, an absolute path without symbolic links
 *   POWERCUT_LOG   the log; several processes may share it
 *   POWERCUT_MARKS whatever is written to this path is a mark: "the program
 *                  has promised this by now"
 *   POWERCUT_FAIL  optional number N: the N-th write that is a sync as well
 *                  (O_DSYNC) reaches the page cache only and fails with EIO
 *
 * A change is logged after the call has returned, a sync both before and
 * after, so what is said to be durable was really handed over before the
 * sync began. Shared mappings and stdio's own writes are not seen; LMDB's
 * lock file, the only such thing in relayd, is rebuilt at start.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* powercut.py knows these numbers. */
enum {
    R_OPEN = 1, /* path, ino, a: flags */
    R_WRITE,    /* ino, a: offset, data */
    R_SIZE,     /* ino, a: new size */
    R_SYNC,     /* ino, a: token; it begins */
    R_SYNCED,   /* ino, a: token; it returned */
    R_DSYNCED,  /* ino, a: offset, b: length; a write that was a sync as well */
    R_RENAME,   /* path, data: new path */
    R_UNLINK,   /* path */
    R_MKDIR,    /* path, ino */
    R_MARK,     /* data */
    R_ZERO,     /* ino, a: offset, b: length */
    R_LINK,     /* path, data: new path */
    R_FAILED,   /* ino: a write failed by POWERCUT_FAIL */
    R_UNKNOWN,  /* path: of a call that the replay can't follow */
};

struct record {
    uint32_t magic, type;
    uint64_t ino, a, b;
    uint32_t path_len, data_len;
};

#define MAGIC 0x74756370u

static void emit(uint32_t type, uint64_t ino, uint64_t a, uint64_t b, const char *path,
                 const void *data, size_t len)
{
    static _Atomic int log_fd = -1;
    struct record r = { MAGIC,        type, ino, a, b, path != NULL ? (uint32_t)strlen(path) : 0,
                        (uint32_t)len };
    struct iovec iov[3] = {
        { &r, sizeof r },
        { (void *)path, r.path_len },
        { (void *)data, len },
    };
    int saved = errno;
    int fd = atomic_load(&log_fd);

    if (fd < 0) {
        int low = (int)syscall(SYS_openat, AT_FDCWD, getenv("POWERCUT_LOG"),
                               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        fd = (int)syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, 500); /* out of the way */
        syscall(SYS_close, low);
        atomic_store(&log_fd, fd);
    }
    if (syscall(SYS_writev, fd, iov, 3) != (long)(sizeof r + r.path_len + len)) {
        static const char sorry[] = "powercut: the log can't be written\n";

        syscall(SYS_write, 2, sorry, sizeof sorry - 1);
        abort();
    }
    errno = saved;
}

static bool under(const char *path)
{
    const char *dir = getenv("POWERCUT_DIR");
    size_t len = dir != NULL ? strlen(dir) : 0;

    return len > 0 && strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool is_marks(const char *path)
{
    const char *marks = getenv("POWERCUT_MARKS");

    return marks != NULL && strcmp(path, marks) == 0;
}

static bool fd_path(int fd, char path[PATH_MAX])
{
    char proc[64];
    ssize_t n;

    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    n = syscall(SYS_readlink, proc, path, PATH_MAX - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return true;
}

enum { F_FOREIGN, F_OURS, F_MARKS };

static int fd_kind(int fd, struct stat *st)
{
    char path[PATH_MAX];
    int saved = errno, kind = F_FOREIGN;

    if (fstat(fd, st) == 0 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) && fd_path(fd, path))
        kind = is_marks(path) ? F_MARKS : under(path) ? F_OURS : F_FOREIGN;
    errno = saved;
    return kind;
}

/* Absolute, with the folder part free of links and dots. */
static bool absolute(int dirfd, const char *name, char out[PATH_MAX])
{
    char joined[PATH_MAX], folder[PATH_MAX];
    char *base;
    int n;

    if (name[0] == '/') {
        n = snprintf(joined, sizeof joined, "%s", name);
    } else {
        if (dirfd == AT_FDCWD ? getcwd(folder, sizeof folder) == NULL : !fd_path(dirfd, folder))
            return false;
        n = snprintf(joined, sizeof joined, "%s/%s", folder, name);
    }
    if (n < 0 || n >= PATH_MAX)
        return false;
    while (n > 1 && joined[n - 1] == '/')
        joined[--n] = '\0';
    base = strrchr(joined, '/');
    *base++ = '\0';
    if (realpath(joined[0] != '\0' ? joined : "/", folder) == NULL)
        return false;
    n = snprintf(out, PATH_MAX, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, base);
    return n > 0 && n < PATH_MAX;
}

static void log_path(uint32_t type, int dirfd, const char *name, uint64_t ino)
{
    char path[PATH_MAX];
    int saved = errno;

    if (absolute(dirfd, name, path) && under(path))
        emit(type, ino, 0, 0, path, NULL, 0);
    errno = saved;
}

static void log_two(uint32_t type, int olddir, const char *from, int newdir, const char *to)
{
    char a[PATH_MAX], b[PATH_MAX];
    int saved = errno;

    if (absolute(olddir, from, a) && absolute(newdir, to, b)) {
        if (under(a) && under(b))
            emit(type, 0, 0, 0, a, b, strlen(b));
        else if (under(a) || under(b))
            emit(R_UNKNOWN, 0, 0, 0, a, NULL, 0); /* across the border */
    }
    errno = saved;
}

static int log_open(int fd, int dirfd, const char *name, int flags)
{
    char path[PATH_MAX];
    struct stat st;
    int saved = errno;

    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC)) != 0 && absolute(dirfd, name, path) &&
        under(path) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        emit(R_OPEN, st.st_ino, (uint64_t)(flags & O_TRUNC), 0, path, NULL, 0);
    errno = saved;
    return fd;
}

static int open_at(int dirfd, const char *name, int flags, mode_t mode)
{
    return log_open((int)syscall(SYS_openat, dirfd, name, flags, mode), dirfd, name, flags);
}

static mode_t mode_arg(int flags, va_list ap)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define DEFINE_OPEN(symbol)                                                                        \
    int record_##symbol(const char *name, int flags, ...) __asm__(#symbol);                        \
    int record_##symbol(const char *name, int flags, ...)                                          \
    {                                                                                              \
        va_list ap;                                                                                \
        mode_t mode;                                                                               \
        va_start(ap, flags);                                                                       \
        mode = mode_arg(flags, ap);                                                                \
        va_end(ap);                                                                                \
        return open_at(AT_FDCWD, name, flags, mode);                                               \
    }

#define DEFINE_OPENAT(symbol)                                                                      \
    int record_##symbol(int dirfd, const char *name, int flags, ...) __asm__(#symbol);             \
    int record_##symbol(int dirfd, const char *name, int flags, ...)                               \
    {                                                                                              \
        va_list ap;                                                                                \
        mode_t mode;                                                                               \
        va_start(ap, flags);                                                                       \
        mode = mode_arg(flags, ap);                                                                \
        va_end(ap);                                                                                \
        return open_at(dirfd, name, flags, mode);                                                  \
    }

#define DEFINE_CREAT(symbol)                                                                       \
    int record_##symbol(const char *name, mode_t mode) __asm__(#symbol);                           \
    int record_##symbol(const char *name, mode_t mode)                                             \
    {                                                                                              \
        return open_at(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode);                        \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPEN(__open_2)
DEFINE_OPEN(__open64_2)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)
DEFINE_OPENAT(__openat_2)
DEFINE_OPENAT(__openat64_2)
DEFINE_CREAT(creat)
DEFINE_CREAT(creat64)

/* Whether this write's sync is the one that is to fail. */
static bool dsync_fails(void)
{
    static _Atomic int count;
    const char *fail = getenv("POWERCUT_FAIL");

    return fail != NULL && atomic_fetch_add(&count, 1) + 1 == atoi(fail);
}

/* What a call has written: n bytes, gathered from iov, at `at`, or where the
 * file position has got to when at is negative. */
static ssize_t log_write(int fd, const struct iovec *iov, int count, off_t at, ssize_t n)
{
    struct stat st;
    int kind = n > 0 ? fd_kind(fd, &st) : F_FOREIGN;
    int saved = errno;
    size_t left = n > 0 ? (size_t)n : 0, len = 0;
    char *data;

    if (kind == F_FOREIGN)
        return n;
    data = malloc(left);
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

        memcpy(data + len, iov[i].iov_base, part);
        len += part;
        left -= part;
    }
    if (kind == F_MARKS) {
        emit(R_MARK, 0, 0, 0, NULL, data, len);
    } else {
        if (at < 0)
            at = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) - (off_t)n;
        emit(R_WRITE, st.st_ino, (uint64_t)at, 0, NULL, data, len);
        if ((syscall(SYS_fcntl, fd, F_GETFL) & O_DSYNC) == 0) { /* O_SYNC holds that bit */
            /* in the page cache */
        } else if (dsync_fails()) {
            emit(R_FAILED, st.st_ino, 0, 0, NULL, NULL, 0);
            n = -1;
            saved = EIO;
        } else {
            emit(R_DSYNCED, st.st_ino, (uint64_t)at, len, NULL, NULL, 0);
        }
    }
    free(data);
    errno = saved;
    return n;
}

ssize_t write(int fd, const void *buf, size_t len)
{
    struct iovec iov = { (void *)buf, len };

    return log_write(fd, &iov, 1, -1, syscall(SYS_write, fd, buf, len));
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    return log_write(fd, iov, count, -1, syscall(SYS_writev, fd, iov, count));
}

#define DEFINE_PWRITE(symbol)                                                                      \
    ssize_t record_##symbol(int fd, const void *buf, size_t len, off64_t at) __asm__(#symbol);     \
    ssize_t record_##symbol(int fd, const void *buf, size_t len, off64_t at)                       \
    {                                                                                              \
        struct iovec iov = { (void *)buf, len };                                                   \
        return log_write(fd, &iov, 1, at, syscall(SYS_pwrite64, fd, buf, len, at));                \
    }

#define DEFINE_PWRITEV(symbol)                                                                     \
    ssize_t record_##symbol(int fd, const struct iovec *iov, int n, off64_t at) __asm__(#symbol);  \
    ssize_t record_##symbol(int fd, const struct iovec *iov, int n, off64_t at)                    \
    {                                                                                              \
        return log_write(fd, iov, n, at, syscall(SYS_pwritev, fd, iov, n, at, 0));                 \
    }

DEFINE_PWRITE(pwrite)
DEFINE_PWRITE(pwrite64)
DEFINE_PWRITEV(pwritev)
DEFINE_PWRITEV(pwritev64)

static int log_size(int fd, off64_t size, int rc)
{
    struct stat st;

    if (rc == 0 && fd_kind(fd, &st) == F_OURS)
        emit(R_SIZE, st.st_ino, (uint64_t)size, 0, NULL, NULL, 0);
    return rc;
}

static int log_fallocate(int fd, int mode, off64_t at, off64_t len)
{
    int rc = (int)syscall(SYS_fallocate, fd, mode, at, len);
    struct stat st;

    if (rc != 0 || mode == FALLOC_FL_KEEP_SIZE || fd_kind(fd, &st) != F_OURS)
        return rc;
    if (mode == 0)
        emit(R_SIZE, st.st_ino, (uint64_t)st.st_size, 0, NULL, NULL, 0);
    else if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        emit(R_ZERO, st.st_ino, (uint64_t)at, (uint64_t)len, NULL, NULL, 0);
    else
        emit(R_UNKNOWN, st.st_ino, 0, 0, "fallocate", NULL, 0);
    return rc;
}

#define DEFINE_SIZE(truncate_symbol, fallocate_symbol)                                             \
    int record_##truncate_symbol(int fd, off64_t size) __asm__(#truncate_symbol);                  \
    int record_##truncate_symbol(int fd, off64_t size)                                             \
    {                                                                                              \
        return log_size(fd, size, (int)syscall(SYS_ftruncate, fd, size));                          \
    }                                                                                              \
    int record_##fallocate_symbol(int fd, int m, off64_t at,                                       \
                                  off64_t len) __asm__(#fallocate_symbol);                         \
    int record_##fallocate_symbol(int fd, int m, off64_t at, off64_t len)                          \
    {                                                                                              \
        return log_fallocate(fd, m, at, len);                                                      \
    }

DEFINE_SIZE(ftruncate, fallocate)
DEFINE_SIZE(ftruncate64, fallocate64)

static int log_sync(int fd, long number)
{
    static _Atomic uint64_t tokens;
    struct stat st;
    uint64_t token;
    int rc;

    if (fd_kind(fd, &st) != F_OURS)
        return (int)syscall(number, fd);
    token = atomic_fetch_add(&tokens, 1) + ((uint64_t)getpid() << 32);
    emit(R_SYNC, st.st_ino, token, 0, NULL, NULL, 0);
    rc = (int)syscall(number, fd);
    if (rc == 0)
        emit(R_SYNCED, st.st_ino, token, 0, NULL, NULL, 0);
    return rc;
}

int fsync(int fd)
{
    return log_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return log_sync(fd, SYS_fdatasync);
}

int renameat2(int olddir, const char *from, int newdir, const char *to, unsigned flags)
{
    int rc = (int)syscall(SYS_renameat2, olddir, from, newdir, to, flags);

    if (rc == 0)
        log_two((flags & RENAME_EXCHANGE) != 0 ? R_UNKNOWN : R_RENAME, olddir, from, newdir, to);
    return rc;
}

int renameat(int olddir, const char *from, int newdir, const char *to)
{
    return renameat2(olddir, from, newdir, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int olddir, const char *from, int newdir, const char *to, int flags)
{
    int rc = (int)syscall(SYS_linkat, olddir, from, newdir, to, flags);

    if (rc == 0)
        log_two(R_LINK, olddir, from, newdir, to);
    return rc;
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dirfd, const char *name, int flags)
{
    int rc = (int)syscall(SYS_unlinkat, dirfd, name, flags);

    if (rc == 0)
        log_path(R_UNLINK, dirfd, name, 0);
    return rc;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int remove(const char *name)
{
    int rc = unlinkat(AT_FDCWD, name, 0);

    return rc < 0 && errno == EISDIR ? unlinkat(AT_FDCWD, name, AT_REMOVEDIR) : rc;
}

int mkdirat(int dirfd, const char *name, mode_t mode)
{
    int rc = (int)syscall(SYS_mkdirat, dirfd, name, mode);
    struct stat st;

    if (rc == 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        log_path(R_MKDIR, dirfd, name, st.st_ino);
    return rc;
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

static ssize_t unknown(int fd, const char *call, ssize_t n)
{
    struct stat st;

    if (n > 0 && fd_kind(fd, &st) == F_OURS)
        emit(R_UNKNOWN, st.st_ino, 0, 0, call, NULL, 0);
    return n;
}

#define DEFINE_SENDFILE(symbol)                                                                    \
    ssize_t record_##symbol(int out, int in, off64_t *at, size_t len) __asm__(#symbol);            \
    ssize_t record_##symbol(int out, int in, off64_t *at, size_t len)                              \
    {                                                                                              \
        return unknown(out, "sendfile", syscall(SYS_sendfile, out, in, at, len));                  \
    }

DEFINE_SENDFILE(sendfile)
DEFINE_SENDFILE(sendfile64)

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len,
                        unsigned flags)
{
    return unknown(out, "copy_file_range",
                   syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags));
}
