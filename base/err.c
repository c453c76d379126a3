/* base/err.c - error values and their words. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct err err_make(enum err_kind kind, const char *what)
{
    return (struct err){ kind, 0, what };
}

struct err err_sys(int sys, const char *what)
{
    enum err_kind kind = ERR_SYSTEM;

    switch (sys) {
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
        kind = ERR_NO_SPACE;
        break;
    case EIO:
    case EROFS:
        kind = ERR_IO;
        break;
    case ENOENT:
        kind = ERR_NOT_FOUND;
        break;
    case EEXIST:
        kind = ERR_EXISTS;
        break;
    case EACCES:
    case EPERM:
        kind = ERR_DENIED;
        break;
    case ETIMEDOUT:
        kind = ERR_TIMEOUT;
        break;
    case ECONNRESET:
    case EPIPE:
        kind = ERR_CLOSED;
        break;
    case ECANCELED:
        kind = ERR_CANCELLED;
        break;
    default:
        break;
    }
    return (struct err){ kind, sys, what };
}

bool err_sys_may_pass(int sys)
{
    switch (sys) {
    case ENOMEM:
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOLCK:
    case ENOSPC:
    case EDQUOT:
    case EIO:
        return true;
    default:
        return false;
    }
}

bool err_may_pass(struct err e)
{
    return e.kind == ERR_NO_SPACE || err_sys_may_pass(e.sys);
}

static const char *kind_text(enum err_kind kind)
{
    switch (kind) {
    case ERR_NONE:
        return "no error";
    case ERR_SYSTEM:
        return "system error";
    case ERR_NO_SPACE:
        return "no space";
    case ERR_IO:
        return "storage error";
    case ERR_CORRUPT:
        return "damaged data";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_EXISTS:
        return "exists already";
    case ERR_LIMIT:
        return "over a limit";
    case ERR_SYNTAX:
        return "malformed";
    case ERR_PROTOCOL:
        return "protocol error";
    case ERR_CLOSED:
        return "connection closed";
    case ERR_TIMEOUT:
        return "timed out";
    case ERR_CANCELLED:
        return "cancelled";
    case ERR_DENIED:
        return "permission denied";
    case ERR_BUSY:
        return "in use";
    case ERR_VERSION:
        return "unknown format version";
    case ERR_TLS:
        return "TLS failed";
    }
    return "unknown error";
}

const char *err_text(struct err e, char *buf, size_t size)
{
    char sysbuf[128];
    const char *why = e.sys != 0 ? strerror_r(e.sys, sysbuf, sizeof sysbuf) : kind_text(e.kind);

    if (e.what == NULL)
        snprintf(buf, size, "%s", why);
    else
        snprintf(buf, size, "%s: %s", e.what, why);
    return buf;
}
