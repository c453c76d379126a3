/* base/err.h - how a fallible call says what went wrong.
 *
 * Returned by value; `what` is a static string in lower case that names the
 * step ("open queue environment"), so it is never freed and may be kept.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/base.h"

enum err_kind {
    ERR_NONE,
    ERR_SYSTEM,    /* a system call failed; see sys */
    ERR_NO_SPACE,  /* disk, map or a budget is full: try later */
    ERR_IO,        /* the storage is not to be trusted any more */
    ERR_CORRUPT,   /* stored bytes are not what was written */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_LIMIT,     /* larger than a limit allows */
    ERR_SYNTAX,    /* bytes from outside break their grammar */
    ERR_PROTOCOL,  /* the peer broke the dialogue */
    ERR_CLOSED,    /* the peer went away */
    ERR_TIMEOUT,
    ERR_CANCELLED, /* we went away */
    ERR_DENIED,
    ERR_BUSY,      /* somebody else holds it */
    ERR_VERSION,   /* written by a release we don't understand */
    ERR_TLS,       /* no encrypted connection, or no longer */
};

struct err {
    enum err_kind kind;
    int sys; /* errno, or 0 */
    const char *what;
};

#define ERR_OK ((struct err){ ERR_NONE, 0, NULL })

static inline bool err_failed(struct err e)
{
    return e.kind != ERR_NONE;
}

struct err err_make(enum err_kind kind, const char *what);

/* From errno value `sys`; ENOSPC, EDQUOT, EIO and the like choose the kind. */
struct err err_sys(int sys, const char *what);

/* Another try may do better: memory, descriptors, processes or disk space ran
 * out, or the disk failed. Nothing is wrong with what was asked for. */
bool err_may_pass(struct err e);
bool err_sys_may_pass(int sys);

/* "open queue environment: No space left on device". Returns buf. */
const char *err_text(struct err e, char *buf, size_t size);

#endif
