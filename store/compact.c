/* store/compact.c - gives back the disk space of a backlog long delivered.
 *
 * LMDB's file never shrinks. At start, when it is large and mostly free
 * pages, it is copied without them and the copy takes its name. Failing is
 * no harm: the old file stays.
 */
#include "store/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPACT_FILE_BYTES ((uint64_t)256 * MIB)
#define COMPACT_FREE_PART  4 /* at most a 4th in use */
#define COPY_SUFFIX        ".compact"

static bool mostly_free(struct store *s)
{
    struct stat st;
    uint64_t used;
    MDB_txn *txn;

    if (fstat(s->file_fd, &st) < 0 || (uint64_t)st.st_size <= COMPACT_FILE_BYTES)
        return false;
    if (err_failed(env_begin(s, MDB_RDONLY, &txn)))
        return false;
    used = env_used_bytes(s, txn);
    mdb_txn_abort(txn);
    return used < (uint64_t)st.st_size / COMPACT_FREE_PART;
}

static struct err copy_to(struct store *s, const char *copy)
{
    int fd = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct err e;

    if (fd < 0)
        return err_sys(errno, "create compact copy");
    e = env_err(mdb_env_copyfd2(s->env, fd, MDB_CP_COMPACT), "write compact copy");
    if (!err_failed(e) && !s->opt.stepped && fsync(fd) < 0)
        e = err_sys(errno, "sync compact copy");
    close(fd);
    return e;
}

void env_compact(struct store *s)
{
    size_t size = strlen(s->file) + sizeof COPY_SUFFIX;
    char *copy = mem_alloc(size);
    char text[256];
    struct err e;

    snprintf(copy, size, "%s%s", s->file, COPY_SUFFIX);
    unlink(copy); /* of a start that was cut off */
    if (!mostly_free(s))
        goto out;
    e = copy_to(s, copy);
    if (err_failed(e)) {
        log_warning("store", "%s: not compacted: %s", s->opt.path, err_text(e, text, sizeof text));
        unlink(copy);
        goto out;
    }
    env_close(s);
    if (rename(copy, s->file) < 0) {
        log_warning("store", "%s: not compacted: rename: error %d", s->opt.path, errno);
        unlink(copy);
    }
    e = env_open(s); /* syncs the folder: from now on the two files would differ */
    if (err_failed(e))
        log_error("store", "%s: %s", s->opt.path, err_text(e, text, sizeof text));
    else
        log_info("store", "%s: compacted", s->opt.path);
out:
    free(copy);
}
