/* store/env.c - the LMDB environment under the queue: made, opened, and
 * opened anew after an error that LMDB itself declares fatal.
 *
 * A new environment is built under another name and renamed when it is whole
 * and synced, so a power cut leaves either none or a good one. LMDB itself
 * never syncs the folder.
 */
#include "store/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define MAP_BYTES_MIN ((uint64_t)1 << 30)
#define MAP_BYTES_MAX ((uint64_t)1 << 44)
#define GATE_TRIES    2000 /* of a millisecond */
#define PROBE_TABLE   ".probe"
#define NEW_SUFFIX    ".new"

struct err env_err(int rc, const char *what)
{
    switch (rc) {
    case 0:
        return ERR_OK;
    case MDB_NOTFOUND:
        return err_make(ERR_NOT_FOUND, what);
    case MDB_KEYEXIST:
        return err_make(ERR_EXISTS, what);
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return err_make(ERR_NO_SPACE, what);
    case MDB_BAD_VALSIZE:
    case MDB_READERS_FULL:
        return err_make(ERR_LIMIT, what);
    case MDB_VERSION_MISMATCH:
        return err_make(ERR_VERSION, what);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
        return err_make(ERR_CORRUPT, what);
    case MDB_PANIC:
    case MDB_BAD_TXN:
        return err_make(ERR_IO, what);
    default:
        return rc > 0 ? err_sys(rc, what) : err_make(ERR_SYSTEM, what);
    }
}

static struct err folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return err_sys(errno, "open store folder");
    rc = fsync(fd) < 0 ? errno : 0;
    close(fd);
    return rc == 0 ? ERR_OK : err_sys(rc, "sync store folder");
}

static struct err parent_sync(const char *path)
{
    char *copy = mem_str(path);
    size_t len = strlen(copy);
    char *slash;
    struct err e;

    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    slash = strrchr(copy, '/');
    if (slash == NULL)
        e = folder_sync(".");
    else {
        slash[slash == copy ? 1 : 0] = '\0';
        e = folder_sync(copy);
    }
    free(copy);
    return e;
}

static struct err folder_make(struct store *s)
{
    if (mkdir(s->opt.path, 0700) < 0)
        return errno == EEXIST ? ERR_OK : err_sys(errno, "make store folder");
    return s->opt.stepped ? ERR_OK : parent_sync(s->opt.path);
}

/* By the size of the disk, so that the disk is full before the map is: LMDB
 * can't grow the map while anybody reads. It costs address space only. */
static uint64_t map_bytes_default(struct store *s)
{
    struct statvfs vfs;
    uint64_t bytes = 0;

    if (statvfs(s->opt.path, &vfs) == 0)
        bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
    if (bytes < MAP_BYTES_MIN)
        bytes = MAP_BYTES_MIN;
    if (bytes > MAP_BYTES_MAX)
        bytes = MAP_BYTES_MAX;
    return bytes & ~(uint64_t)(MIB - 1);
}

static int tables_open(struct store *s)
{
    bool ro = s->opt.read_only;
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, ro ? MDB_RDONLY : 0, &txn);

    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < s->opt.table_count && rc == 0; i++) {
        rc = mdb_dbi_open(txn, s->opt.tables[i], ro ? 0 : MDB_CREATE, &s->dbi[i]);
        s->has[i] = rc == 0;
        if (ro && rc == MDB_NOTFOUND)
            rc = 0;
    }
    if (rc == 0 && !ro)
        rc = mdb_dbi_open(txn, PROBE_TABLE, MDB_CREATE, &s->probe_dbi);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn); /* a read transaction too: keeps the handles */
}

static int attach_once(struct store *s, const char *path, unsigned flags, uint64_t map_bytes)
{
    MDB_envinfo info;
    MDB_stat st;
    int rc = mdb_env_create(&s->env);

    if (rc != 0)
        return rc;
    mdb_env_set_maxdbs(s->env, STORE_TABLES_MAX + 1);
    if (s->opt.readers > 64)
        mdb_env_set_maxreaders(s->env, s->opt.readers + 64);
    if (map_bytes != 0)
        mdb_env_set_mapsize(s->env, map_bytes);
    rc = mdb_env_open(s->env, path, flags, 0600);
    if (rc == 0)
        rc = tables_open(s);
    if (rc == 0 && (flags & MDB_NOLOCK) == 0)
        rc = mdb_reader_check(s->env, NULL); /* slots of processes that died */
    if (rc != 0) {
        mdb_env_close(s->env);
        s->env = NULL;
        return rc;
    }
    mdb_env_get_fd(s->env, &s->file_fd);
    fcntl(s->file_fd, F_SETFD, FD_CLOEXEC); /* LMDB forgets this one */
    mdb_env_info(s->env, &info);
    mdb_env_stat(s->env, &st);
    s->map_bytes = info.me_mapsize;
    s->page_bytes = st.ms_psize;
    return 0;
}

static struct err attach(struct store *s, const char *path, unsigned flags)
{
    uint64_t map_bytes = s->opt.map_bytes;
    int rc;

    flags |= MDB_NOTLS;
    if (s->opt.stepped)
        flags |= MDB_NOSYNC | MDB_NOMETASYNC;
    if (s->opt.read_only)
        flags |= MDB_RDONLY | MDB_NOLOCK;
    else if (map_bytes == 0)
        map_bytes = map_bytes_default(s);
    while ((rc = attach_once(s, path, flags, map_bytes)) == ENOMEM && map_bytes > MAP_BYTES_MIN)
        map_bytes /= 2; /* a limit on address space */
    return env_err(rc, "open store environment");
}

static struct err file_sync(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return err_sys(errno, "open new environment");
    rc = fsync(fd) < 0 ? errno : 0;
    close(fd);
    return rc == 0 ? ERR_OK : err_sys(rc, "sync new environment");
}

static struct err create_as(struct store *s, const char *fresh)
{
    struct err e;

    unlink(fresh); /* of an attempt that was cut off */
    e = attach(s, fresh, MDB_NOSUBDIR | MDB_NOLOCK);
    if (err_failed(e))
        return e;
    env_close(s);
    if (!s->opt.stepped) {
        e = file_sync(fresh);
        if (err_failed(e))
            return e;
    }
    if (rename(fresh, s->file) < 0)
        return err_sys(errno, "name new environment");
    return s->opt.stepped ? ERR_OK : folder_sync(s->opt.path);
}

static struct err create_if_missing(struct store *s)
{
    size_t size = strlen(s->file) + sizeof NEW_SUFFIX;
    struct stat st;
    char *fresh;
    struct err e;

    if (stat(s->file, &st) == 0) /* whoever gave it its name may have died before this sync */
        return s->opt.stepped ? ERR_OK : folder_sync(s->opt.path);
    if (errno != ENOENT)
        return err_sys(errno, "look for store environment");
    fresh = mem_alloc(size);
    snprintf(fresh, size, "%s%s", s->file, NEW_SUFFIX);
    e = create_as(s, fresh);
    free(fresh);
    return e;
}

struct err env_open(struct store *s)
{
    struct err e;

    if (!s->opt.read_only) {
        e = folder_make(s);
        if (err_failed(e))
            return e;
        e = create_if_missing(s);
        if (err_failed(e))
            return e;
    }
    return attach(s, s->opt.path, 0);
}

void env_close(struct store *s)
{
    if (s->env != NULL)
        mdb_env_close(s->env);
    s->env = NULL;
    s->file_fd = -1;
}

/* When the write of a meta page failed LMDB put the previous one back, but
 * into the page cache only; the disk may hold either. Going on from the old
 * one would overwrite pages that the new one names, and a power cut in that
 * moment would leave a broken tree. So what the cache holds is written again
 * and synced, and only then is it true. */
static struct err meta_settle(struct store *s)
{
    size_t len = 2 * (size_t)s->page_bytes;
    char *pages = mem_alloc(len);
    struct err e = ERR_OK;
    int fd = open(s->file, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        e = err_sys(errno, "open environment to settle it");
    else if (pread(fd, pages, len, 0) != (ssize_t)len || pwrite(fd, pages, len, 0) != (ssize_t)len)
        e = err_sys(errno, "rewrite meta pages");
    else if (fdatasync(fd) < 0)
        e = err_sys(errno, "sync meta pages");
    if (fd >= 0)
        close(fd);
    free(pages);
    return e;
}

static void pause_ms(long ms)
{
    struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

/* True once nobody reads; new readers wait until gate_open. */
static bool gate_shut(struct store *s)
{
    unsigned users = 1;

    for (unsigned i = 0; i < GATE_TRIES && users > 0; i++) {
        pthread_mutex_lock(&s->gate_lock);
        s->gate_shut = true;
        users = s->gate_users;
        pthread_mutex_unlock(&s->gate_lock);
        if (users > 0)
            pause_ms(1);
    }
    return users == 0;
}

static void gate_open(struct store *s)
{
    pthread_mutex_lock(&s->gate_lock);
    s->gate_shut = false;
    pthread_cond_broadcast(&s->gate_free);
    pthread_mutex_unlock(&s->gate_lock);
}

struct err env_reopen(struct store *s)
{
    struct err e = err_make(ERR_BUSY, "reopen environment: a snapshot is open");

    if (gate_shut(s)) {
        readers_forget_txns(s);
        env_close(s);
        e = meta_settle(s);
        if (!err_failed(e))
            e = attach(s, s->opt.path, 0);
    }
    gate_open(s);
    return e;
}

void env_enter(struct store *s)
{
    pthread_mutex_lock(&s->gate_lock);
    while (s->gate_shut)
        pthread_cond_wait(&s->gate_free, &s->gate_lock);
    s->gate_users++;
    pthread_mutex_unlock(&s->gate_lock);
}

void env_leave(struct store *s)
{
    pthread_mutex_lock(&s->gate_lock);
    s->gate_users--;
    pthread_mutex_unlock(&s->gate_lock);
}

struct err env_begin(struct store *s, unsigned flags, MDB_txn **out)
{
    *out = NULL;
    if (s->env == NULL)
        return err_make(ERR_IO, "the environment could not be reopened");
    return env_err(mdb_txn_begin(s->env, NULL, flags, out), "begin transaction");
}

static uint64_t table_pages(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_stat st;

    if (mdb_stat(txn, dbi, &st) != 0)
        return 0;
    return st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
}

uint64_t env_used_bytes(struct store *s, MDB_txn *txn)
{
    /* The two meta pages; LMDB's list of free pages and of tables, 0 and 1. */
    uint64_t pages = 2 + table_pages(txn, 0) + table_pages(txn, 1);

    for (unsigned i = 0; i < s->opt.table_count; i++)
        pages += table_pages(txn, s->dbi[i]);
    return pages * s->page_bytes;
}
