/* tests/faults/fail.c - a library to preload that fails one call of a tree of
 * processes, so that loop.py can fail each of them in turn.
 *
 *   FAULTS_FILE  what loop.py and all processes share: struct control below
 *
 * A call is one through the program's or a library's table of links: what the
 * C library does inside itself is not seen, but for its memory. It belongs to
 * a kind (KINDS below), which says how it fails. Which is to fail is told by
 * its number, counted from when loop.py last set the counts to zero, or by the
 * stack that leads to it: threads shuffle the numbers, never the stacks.
 */
#undef _FILE_OFFSET_BITS /* both names of a call have their own wrapper here */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

/* loop.py reads these names and their order from here. */
#define KINDS(X)                                                                                   \
    X(memory, ENOMEM)                                                                              \
    X(library_memory, ENOMEM)                                                                      \
    X(crypto_memory, ENOMEM)                                                                       \
    X(map, ENOMEM)                                                                                 \
    X(thread, EAGAIN)                                                                              \
    X(random, ENOSYS)                                                                              \
    X(accept, EMFILE)                                                                              \
    X(socket, EMFILE)                                                                              \
    X(socketpair, EMFILE)                                                                          \
    X(connect, EADDRNOTAVAIL)                                                                      \
    X(socket_option, ENOBUFS)                                                                      \
    X(epoll, ENOMEM)                                                                               \
    X(event, EMFILE)                                                                               \
    X(poll, ENOMEM)                                                                                \
    X(receive, ENOMEM)                                                                             \
    X(send, ENOBUFS)                                                                               \
    X(read, EIO)                                                                                   \
    X(write, ENOSPC)                                                                               \
    X(sync, EIO)                                                                                   \
    X(size, ENOSPC)                                                                                \
    X(open, EMFILE)                                                                                \
    X(folder, ENOSPC)                                                                              \
    X(rename, ENOSPC)                                                                              \
    X(unlink, EIO)                                                                                 \
    X(status, EIO)                                                                                 \
    X(lock, ENOLCK)                                                                                \
    X(dup, EMFILE)                                                                                 \
    X(memfd, EMFILE)                                                                               \
    X(fork, EAGAIN)                                                                                \
    X(identity, EAGAIN)                                                                            \
    X(limits, EPERM)

#define NAME(kind, error) KIND_##kind,
enum kind { KINDS(NAME) KIND_COUNT };
#define ERROR(kind, error) error,
static const int errors[] = { KINDS(ERROR) };

/* Told apart by argv[0]; whatever else is started is nobody's concern. */
enum { PARENT, ENGINE, ACCOUNTS, SIGN, PROCESS_COUNT };
static const char *const titles[] = { "relayd", "relayd: engine", "relayd: accounts", "relayd: sign" };

#define FRAMES       14
#define STACKS       65536u /* a power of two */
#define KINDS_MAX    64
#define PROCESSES_MAX 8

struct stack {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic uint32_t count;
    uint16_t process, kind;
    uint64_t frames[FRAMES]; /* module << 48 | offset; 0 ends */
};

/* loop.py knows this layout. */
struct control {
    _Atomic uint32_t armed;
    uint32_t process, kind;
    uint32_t sticky;
    uint32_t census;      /* collect the stacks of all calls */
    _Atomic uint32_t failed; /* so many calls failed */
    uint64_t number;      /* the call to fail, from 1; 0: by its stack */
    uint64_t hash;
    uint64_t frames[FRAMES]; /* of the first that failed */
    _Atomic uint64_t counts[PROCESSES_MAX][KINDS_MAX];
    struct stack stacks[STACKS];
};

static struct control *control; /* NULL: not begun, or not our process */
static unsigned process;

/* Modules in the order of their loading: addresses are told without chance. */
static struct module {
    uintptr_t from, to;
    bool crypto;
} modules[64];
static unsigned module_count;

static __thread bool inside __attribute__((tls_model("initial-exec")));

static int add_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct module *m = &modules[module_count];

    (void)size;
    (void)ctx;
    if (module_count == sizeof modules / sizeof *modules)
        return 1;
    m->from = info->dlpi_addr;
    for (unsigned i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;

            m->to = end > m->to ? end : m->to;
        }
    m->crypto = strstr(info->dlpi_name, "libcrypto") != NULL || strstr(info->dlpi_name, "libssl") != NULL;
    module_count++;
    return 0;
}

static uint64_t locate(void *address)
{
    uintptr_t a = (uintptr_t)address;

    for (unsigned i = 0; i < module_count; i++)
        if (a >= modules[i].from && a < modules[i].to)
            return (uint64_t)(i + 1) << 48 | (a - modules[i].from);
    return (uint64_t)0xffff << 48; /* loaded later: the whole is enough to tell */
}

static unsigned module_of(uint64_t place)
{
    return (unsigned)(place >> 48) - 1;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
    const char *file = getenv("FAULTS_FILE");
    const char *name = argc > 0 && strchr(argv[0], ':') == NULL && strrchr(argv[0], '/') != NULL
                           ? strrchr(argv[0], '/') + 1
                           : argv[0];
    void *frames[FRAMES];
    void *mapped;
    int fd;

    for (process = 0; process < PROCESS_COUNT && strcmp(titles[process], name) != 0; process++)
        ;
    if (file == NULL || process == PROCESS_COUNT)
        return;
    backtrace(frames, FRAMES); /* loads what it needs */
    dl_iterate_phdr(add_module, NULL);
    fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
    mapped = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED) {
        static const char sorry[] = "fail: FAULTS_FILE can't be mapped\n";

        syscall(SYS_write, 2, sorry, sizeof sorry - 1);
        _exit(99);
    }
    control = mapped;
}

/* ---- the decision ---- */

/* Frames of this file are left out. */
static void take_stack(uint64_t frames[FRAMES])
{
    void *raw[FRAMES + 6];
    int count = backtrace(raw, FRAMES + 6);
    uint64_t here = locate((void *)(uintptr_t)take_stack);
    unsigned n = 0;

    for (int i = 0; i < count && n < FRAMES; i++) {
        uint64_t place = locate(raw[i]);

        if (n > 0 || module_of(place) != module_of(here))
            frames[n++] = place;
    }
    while (n < FRAMES)
        frames[n++] = 0;
}

static uint64_t hash_of(const uint64_t frames[FRAMES], unsigned kind)
{
    uint64_t h = 0xcbf29ce484222325u ^ (process << 8 | kind);

    for (unsigned i = 0; i < FRAMES; i++)
        h = (h ^ frames[i]) * 0x100000001b3u ^ h >> 29;
    return h != 0 ? h : 1;
}

static void remember(uint64_t hash, const uint64_t frames[FRAMES], unsigned kind)
{
    for (uint32_t at = (uint32_t)hash, tries = 0; tries < STACKS; at++, tries++) {
        struct stack *s = &control->stacks[at % STACKS];
        uint64_t found = 0;

        if (atomic_compare_exchange_strong(&s->hash, &found, hash)) {
            s->process = (uint16_t)process;
            s->kind = (uint16_t)kind;
            memcpy(s->frames, frames, sizeof s->frames);
        } else if (found != hash) {
            continue;
        }
        atomic_fetch_add(&s->count, 1);
        return;
    }
}

static bool chosen(enum kind kind)
{
    struct control *c = control;
    uint64_t number = atomic_fetch_add(&c->counts[process][kind], 1) + 1;
    bool aimed = atomic_load(&c->armed) && c->process == process && c->kind == (uint32_t)kind;
    bool by_stack = aimed && c->number == 0;
    uint64_t frames[FRAMES];
    uint64_t hash = 0;

    if (aimed && (c->sticky ? atomic_load(&c->failed) > 0 : false)) {
        atomic_fetch_add(&c->failed, 1);
        return true;
    }
    if (c->census || by_stack) {
        take_stack(frames);
        hash = hash_of(frames, kind);
    }
    if (c->census)
        remember(hash, frames, kind);
    if (!aimed || (by_stack ? hash != c->hash : number < c->number))
        return false;
    if (atomic_fetch_add(&c->failed, 1) > 0)
        return c->sticky != 0;
    if (!by_stack)
        take_stack(frames);
    memcpy(c->frames, frames, sizeof frames);
    return true;
}

/* Whether this call is to fail; errno is set then, and kept otherwise. */
static bool fails_with(enum kind kind, int error)
{
    int saved = errno;
    bool yes;

    if (control == NULL || inside)
        return false;
    inside = true;
    yes = chosen(kind);
    inside = false;
    errno = yes ? error : saved;
    return yes;
}

static bool fails(enum kind kind)
{
    return fails_with(kind, errors[kind]);
}

/* Whose table of links the call went through. */
static unsigned caller(void *return_address)
{
    return control != NULL ? module_of(locate(return_address)) : 0;
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define REAL(name)                                                                                 \
    static __typeof__(&name) real;                                                                 \
    if (real == NULL)                                                                              \
        real = (__typeof__(&name))next(#name)

/* A call that fails as most do: -1 and errno. */
#define WRAP(type, name, kind, parameters, arguments)                                              \
    type name parameters                                                                           \
    {                                                                                              \
        REAL(name);                                                                                \
        return fails(KIND_##kind) ? (type)-1 : real arguments;                                     \
    }

/* ---- memory ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);

static bool no_memory(void *return_address)
{
    unsigned who;

    if (control == NULL || inside)
        return false;
    who = caller(return_address);
    if (who == 0)
        return fails(KIND_memory);
    return fails(who < module_count && modules[who].crypto ? KIND_crypto_memory : KIND_library_memory);
}

void *malloc(size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *ptr, size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_realloc(ptr, size);
}

void *reallocarray(void *ptr, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_realloc(ptr, bytes);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (fails(KIND_map))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t len, int prot, int flags, int fd, off64_t offset) __attribute__((alias("mmap")));

/* ---- threads, chance, processes ---- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    REAL(pthread_create);
    return fails(KIND_thread) ? EAGAIN : real(thread, attr, run, arg);
}

WRAP(ssize_t, getrandom, random, (void *buf, size_t len, unsigned flags), (buf, len, flags))
WRAP(int, getentropy, random, (void *buf, size_t len), (buf, len))
WRAP(pid_t, fork, fork, (void), ())

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
    REAL(posix_spawn);
    return fails(KIND_fork) ? EAGAIN : real(pid, path, actions, attr, argv, envp);
}

WRAP(int, setresuid, identity, (uid_t r, uid_t e, uid_t s), (r, e, s))
WRAP(int, setresgid, identity, (gid_t r, gid_t e, gid_t s), (r, e, s))
WRAP(int, setgroups, identity, (size_t n, const gid_t *list), (n, list))
WRAP(int, getrlimit64, limits, (__rlimit_resource_t what, struct rlimit64 *r), (what, r))
WRAP(int, setrlimit64, limits, (__rlimit_resource_t what, const struct rlimit64 *r), (what, r))

int prctl(int option, ...)
{
    unsigned long a[4];
    va_list args;

    va_start(args, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(args, unsigned long);
    va_end(args);
    if (option != PR_SET_NAME && fails_with(KIND_limits, EINVAL))
        return -1;
    return (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

/* ---- sockets ---- */

WRAP(int, accept4, accept, (int fd, __SOCKADDR_ARG a, socklen_t *len, int flags), (fd, a, len, flags))
WRAP(int, socket, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, socketpair, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends))
WRAP(int, connect, connect, (int fd, __CONST_SOCKADDR_ARG a, socklen_t len), (fd, a, len))
WRAP(int, bind, socket_option, (int fd, __CONST_SOCKADDR_ARG a, socklen_t len), (fd, a, len))
WRAP(int, listen, socket_option, (int fd, int backlog), (fd, backlog))
WRAP(int, getsockname, socket_option, (int fd, __SOCKADDR_ARG a, socklen_t *len), (fd, a, len))
WRAP(int, getsockopt, socket_option, (int fd, int level, int name, void *value, socklen_t *len),
     (fd, level, name, value, len))
WRAP(int, setsockopt, socket_option, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
WRAP(int, shutdown, socket_option, (int fd, int how), (fd, how))
WRAP(ssize_t, recvmsg, receive, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, recv, receive, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
WRAP(ssize_t, recvfrom, receive, (int fd, void *buf, size_t len, int flags, __SOCKADDR_ARG a, socklen_t *a_len),
     (fd, buf, len, flags, a, a_len))
WRAP(ssize_t, sendmsg, send, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, send, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags))
WRAP(ssize_t, sendto, send,
     (int fd, const void *buf, size_t len, int flags, __CONST_SOCKADDR_ARG a, socklen_t a_len),
     (fd, buf, len, flags, a, a_len))

/* ---- events ---- */

/* To take one out of the set never fails. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl);
    return op != EPOLL_CTL_DEL && fails(KIND_epoll) ? -1 : real(epoll, op, fd, event);
}

WRAP(int, epoll_create1, event, (int flags), (flags))
WRAP(int, eventfd, event, (unsigned value, int flags), (value, flags))
WRAP(int, timerfd_create, event, (clockid_t clock, int flags), (clock, flags))
WRAP(int, signalfd, event, (int fd, const sigset_t *set, int flags), (fd, set, flags))
WRAP(int, pipe2, event, (int ends[2], int flags), (ends, flags))
WRAP(int, poll, poll, (struct pollfd *fds, nfds_t count, int timeout), (fds, count, timeout))

/* ---- bytes ---- */

/* A pipe, or what the kernel makes for events: never fails. */
static bool fd_fails(int fd, enum kind kind)
{
    int saved = errno;
    struct stat st;
    mode_t type;

    if (control == NULL || inside)
        return false;
    type = syscall(SYS_fstat, fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
    errno = saved;
    if (type == S_IFSOCK)
        return fails_with(kind, kind == KIND_write ? ENOMEM : ECONNRESET);
    return (type == S_IFREG || type == S_IFDIR) && fails(kind);
}

#define WRAP_FD(type, name, kind, parameters, arguments)                                           \
    type name parameters                                                                           \
    {                                                                                              \
        REAL(name);                                                                                \
        return fd_fails(fd, KIND_##kind) ? (type)-1 : real arguments;                              \
    }

WRAP_FD(ssize_t, read, read, (int fd, void *buf, size_t len), (fd, buf, len))
WRAP_FD(ssize_t, readv, read, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP_FD(ssize_t, pread, read, (int fd, void *buf, size_t len, off_t at), (fd, buf, len, at))
WRAP_FD(ssize_t, pread64, read, (int fd, void *buf, size_t len, off64_t at), (fd, buf, len, at))
WRAP_FD(ssize_t, write, write, (int fd, const void *buf, size_t len), (fd, buf, len))
WRAP_FD(ssize_t, writev, write, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP_FD(ssize_t, pwrite, write, (int fd, const void *buf, size_t len, off_t at), (fd, buf, len, at))
WRAP_FD(ssize_t, pwrite64, write, (int fd, const void *buf, size_t len, off64_t at), (fd, buf, len, at))
WRAP_FD(ssize_t, pwritev, write, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
WRAP_FD(int, fsync, sync, (int fd), (fd))
WRAP_FD(int, fdatasync, sync, (int fd), (fd))
WRAP_FD(int, ftruncate, size, (int fd, off_t size), (fd, size))
WRAP_FD(int, ftruncate64, size, (int fd, off64_t size), (fd, size))
WRAP_FD(int, fallocate, size, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))
WRAP_FD(int, fallocate64, size, (int fd, int mode, off64_t at, off64_t len), (fd, mode, at, len))

/* ---- names ---- */

/* The mode counts only when a file is made. */
#define WRAP_OPEN(name, at_parameter, at_argument)                                                 \
    int name(at_parameter const char *path, int flags, ...)                                        \
    {                                                                                              \
        va_list args;                                                                              \
        mode_t mode;                                                                               \
        REAL(name);                                                                                \
        va_start(args, flags);                                                                     \
        mode = va_arg(args, mode_t);                                                               \
        va_end(args);                                                                              \
        return fails(KIND_open) ? -1 : real(at_argument path, flags, mode);                        \
    }
#define NOTHING
#define AT_PARAMETER int at,
#define AT_ARGUMENT at,
WRAP_OPEN(open, NOTHING, NOTHING)
WRAP_OPEN(open64, NOTHING, NOTHING)
WRAP_OPEN(openat, AT_PARAMETER, AT_ARGUMENT)
WRAP_OPEN(openat64, AT_PARAMETER, AT_ARGUMENT)

#define WRAP_POINTER(type, name, kind, parameters, arguments)                                      \
    type name parameters                                                                           \
    {                                                                                              \
        REAL(name);                                                                                \
        return fails(KIND_##kind) ? NULL : real arguments;                                         \
    }

WRAP_POINTER(FILE *, fopen, open, (const char *path, const char *mode), (path, mode))
WRAP_POINTER(FILE *, fopen64, open, (const char *path, const char *mode), (path, mode))
WRAP_POINTER(DIR *, opendir, open, (const char *path), (path))
WRAP_POINTER(DIR *, fdopendir, open, (int fd), (fd))
WRAP(int, mkdir, folder, (const char *path, mode_t mode), (path, mode))
WRAP(int, mkdirat, folder, (int at, const char *path, mode_t mode), (at, path, mode))
WRAP(int, chmod, folder, (const char *path, mode_t mode), (path, mode))
WRAP(int, fchmod, folder, (int fd, mode_t mode), (fd, mode))
WRAP(int, fchown, folder, (int fd, uid_t user, gid_t group), (fd, user, group))
WRAP(int, rename, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat, rename, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, unlink, unlink, (const char *path), (path))
WRAP(int, unlinkat, unlink, (int at, const char *path, int flags), (at, path, flags))
WRAP(int, stat64, status, (const char *path, struct stat64 *st), (path, st))
WRAP(int, fstat64, status, (int fd, struct stat64 *st), (fd, st))
WRAP(int, fstatat64, status, (int at, const char *path, struct stat64 *st, int flags), (at, path, st, flags))
WRAP(int, statvfs64, status, (const char *path, struct statvfs64 *st), (path, st))
WRAP(ssize_t, readlinkat, status, (int at, const char *path, char *buf, size_t len), (at, path, buf, len))
WRAP(int, flock, lock, (int fd, int what), (fd, what))
WRAP(int, memfd_create, memfd, (const char *name, unsigned flags), (name, flags))
WRAP(int, dup, dup, (int fd), (fd))
WRAP(int, dup2, dup, (int fd, int to), (fd, to))

static int control_fd(int fd, int command, void *arg)
{
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails(KIND_dup))
        return -1;
    if ((command == F_SETLK || command == F_SETLKW) && fails(KIND_lock))
        return -1;
    return (int)syscall(SYS_fcntl, fd, command, arg);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    void *arg;

    va_start(args, command);
    arg = va_arg(args, void *);
    va_end(args);
    return control_fd(fd, command, arg);
}

int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));
