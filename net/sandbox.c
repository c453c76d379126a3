/* net/sandbox.c - the walls around the processes that hold keys and passwords. */
#include "net/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- Landlock ---- */

/* Of kernels newer than the headers we are built with. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define ABI_REFER    2
#define ABI_TRUNCATE 3

#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_FILE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
                     LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_EXECUTE)
#define ACCESS_WRITE                                                                               \
    (ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |                \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |   \
     LANDLOCK_ACCESS_FS_TRUNCATE)
#define ACCESS_FIRST_ABI (LANDLOCK_ACCESS_FS_REFER - 1) /* all bits before it */

static int landlock_abi(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* All accesses that this kernel knows of. */
static uint64_t handled_accesses(int abi)
{
    uint64_t all = ACCESS_FIRST_ABI;

    if (abi >= ABI_REFER)
        all |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= ABI_TRUNCATE)
        all |= LANDLOCK_ACCESS_FS_TRUNCATE;
    return all;
}

static struct err allow_path(int ruleset, uint64_t handled, const struct sandbox_path *p)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = (p->write ? ACCESS_WRITE : ACCESS_READ) & handled,
        .parent_fd = open(p->path, O_PATH | O_CLOEXEC),
    };
    struct err e = ERR_OK;
    struct stat st;

    if (rule.parent_fd < 0 || fstat(rule.parent_fd, &st) != 0)
        e = err_sys(errno, "open what is allowed");
    else if (!S_ISDIR(st.st_mode))
        rule.allowed_access &= ACCESS_FILE;
    if (!err_failed(e) &&
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        e = err_sys(errno, "allow a folder");
    if (rule.parent_fd >= 0)
        close(rule.parent_fd);
    return e;
}

static struct err enter_landlock(const struct sandbox_rules *r, int abi)
{
    struct landlock_ruleset_attr attr = { .handled_access_fs = handled_accesses(abi) };
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    struct err e = ERR_OK;

    if (ruleset < 0)
        return err_sys(errno, "make Landlock rules");
    for (size_t i = 0; i < r->path_count && !err_failed(e); i++)
        e = allow_path(ruleset, attr.handled_access_fs, &r->paths[i]);
    if (!err_failed(e) && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        e = err_sys(errno, "enter Landlock");
    close(ruleset);
    return e;
}

/* ---- seccomp ---- */

/* What a process does that computes and talks over open descriptors: libc,
 * libuv, threads, locks, clocks, memory. (newfstatat is libc's fstat.) */
static const int always[] = {
    SCMP_SYS(brk), SCMP_SYS(clock_getres), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3),
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait),
    SCMP_SYS(eventfd2), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(fcntl),
    SCMP_SYS(fstat), SCMP_SYS(futex), SCMP_SYS(get_robust_list), SCMP_SYS(getegid),
    SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getpid), SCMP_SYS(getppid),
    SCMP_SYS(getrandom), SCMP_SYS(getrusage), SCMP_SYS(gettid), SCMP_SYS(gettimeofday),
    SCMP_SYS(getuid), SCMP_SYS(lseek), SCMP_SYS(madvise), SCMP_SYS(membarrier),
    SCMP_SYS(memfd_create), SCMP_SYS(mlock), SCMP_SYS(mremap), SCMP_SYS(munlock),
    SCMP_SYS(munmap), SCMP_SYS(nanosleep), SCMP_SYS(newfstatat), SCMP_SYS(pipe2), SCMP_SYS(poll),
    SCMP_SYS(ppoll), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg), SCMP_SYS(restart_syscall), SCMP_SYS(rseq), SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield), SCMP_SYS(sendmsg), SCMP_SYS(sendto), SCMP_SYS(set_robust_list),
    SCMP_SYS(shutdown), SCMP_SYS(sigaltstack), SCMP_SYS(sysinfo), SCMP_SYS(tgkill),
    SCMP_SYS(uname), SCMP_SYS(write), SCMP_SYS(writev),
};

/* And one with files of its own. */
static const int with_files[] = {
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(fallocate),
    SCMP_SYS(fchmod), SCMP_SYS(fdatasync), SCMP_SYS(flock), SCMP_SYS(fstatfs),
    SCMP_SYS(fsync), SCMP_SYS(ftruncate), SCMP_SYS(getdents64), SCMP_SYS(lstat),
    SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(msync),
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
    SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(rmdir),
    SCMP_SYS(stat), SCMP_SYS(statfs), SCMP_SYS(statx), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
};

static int allow_all(scmp_filter_ctx f, const int *calls, size_t count)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    return rc;
}

/* Calls that are harmless with some arguments only. */
static int allow_some(scmp_filter_ctx f)
{
    const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
    const struct scmp_arg_cmp not_blocking = SCMP_A1(SCMP_CMP_EQ, FIONBIO, 0);
    const struct scmp_arg_cmp name = SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0);
    int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_executable);

    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_executable);
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, thread);
    /* its arguments are out of our sight; libc makes threads by clone() then */
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, not_blocking);
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, name);
    return rc;
}

static struct err enter_seccomp(const struct sandbox_rules *r)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc;

    if (f == NULL)
        return err_sys(ENOMEM, "make seccomp rules");
    rc = allow_all(f, always, countof(always));
    if (rc == 0 && r->path_count > 0)
        rc = allow_all(f, with_files, countof(with_files));
    if (rc == 0)
        rc = allow_some(f);
    if (rc == 0)
        rc = seccomp_load(f);
    seccomp_release(f);
    return rc == 0 ? ERR_OK : err_sys(-rc, "enter seccomp");
}

struct err sandbox_enter(const struct sandbox_rules *rules, struct buf *said)
{
    int abi, missing;
    struct err e = ERR_OK;

    if (SANITIZED) {
        buf_add_str(said, "no sandbox: this build has sanitizers");
        return ERR_OK;
    }
    if (rules->programs) {
        buf_add_str(said, "no sandbox: other programs are run");
        return ERR_OK;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_sys(errno, "set no_new_privs");
    abi = landlock_abi();
    missing = errno;
    if (abi > 0)
        e = enter_landlock(rules, abi);
    if (!err_failed(e))
        e = enter_seccomp(rules);
    if (abi > 0)
        buf_add_str(said, "sandboxed by seccomp and Landlock");
    else
        buf_printf(said, "sandboxed by seccomp alone: this kernel has no Landlock (%s)",
                   missing == EOPNOTSUPP ? "it is switched off; lsm=landlock at boot turns it on"
                                       : "Linux 5.13 or later has");
    return e;
}
