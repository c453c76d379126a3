/* base/fd.c - whole writes. */
#include "base/fd.h"

#include <errno.h>
#include <unistd.h>

struct err write_all(int fd, struct slice bytes, const char *what)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        /* Nothing written of something, and no errno: asking again could go on
         * for ever. A file system that does that has no room. */
        if (n <= 0)
            return err_sys(n < 0 ? errno : ENOSPC, what);
        bytes = slice_from(bytes, (size_t)n);
    }
    return ERR_OK;
}
