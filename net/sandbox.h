/* net/sandbox.h - a process gives up for good what its work does not need, so
 * that bytes of strangers that get the better of a library gain little.
 *
 * Two locks, each kept by the kernel. seccomp: no new socket of any kind, no
 * other program, no memory made executable, no look into other processes; what
 * remains are the calls of a process that talks over descriptors it has or is
 * sent, and, with folders, those on files. Landlock: of all files only those
 * below the folders named. Descriptors that are open stay as they are.
 *
 * To be entered before the process has threads (they inherit it) and after a
 * warm-up: what a library loads or looks up when it is first used must be
 * there by then.
 */
#ifndef NET_SANDBOX_H
#define NET_SANDBOX_H

#include "base/buf.h"
#include "base/err.h"

struct sandbox_path {
    const char *path; /* a folder and all below it, or a file */
    bool write;       /* else it is only read */
};

struct sandbox_rules {
    const struct sandbox_path *paths; /* none: no file at all, and no call that opens one */
    size_t path_count;
    bool programs; /* runs other programs, which need all that we would deny: neither lock is set */
};

/* `said` is a line for the log: which locks there are, and why one is missing
 * (a kernel without it, a build with sanitizers). An error means that a lock
 * the kernel has could not be set; go no further then. */
MUST_CHECK struct err sandbox_enter(const struct sandbox_rules *rules, struct buf *said);

#endif
