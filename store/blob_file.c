/* store/blob_file.c - the files of one thread: a body is written while DATA
 * arrives, synced before its record is committed, read in pieces, removed.
 *
 * A file being written stays open from its first byte to its seal, because the
 * kernel reports a lost write only to descriptors that were open when it
 * happened; when too many are open the longest unused is synced and closed.
 */
#include "store/blob_inside.h"

#include "base/fd.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A blob between its first byte and its seal. */
struct blob_file {
    UT_hash_handle hh;
    struct list link; /* in the thread's open files, longest unused first */
    uint64_t id;
    int fd; /* -1: closed to make room */
    struct err spoiled;
};

static void blob_name(char name[BLOB_NAME_SIZE], uint64_t id)
{
    snprintf(name, BLOB_NAME_SIZE, "%02x/%016llx", blob_spread(id, BLOB_FOLDERS), (unsigned long long)id);
}

static void file_close(struct blob_thread *t, struct blob_file *f)
{
    if (f->fd < 0)
        return;
    close(f->fd);
    f->fd = -1;
    list_remove(&f->link);
    t->open_count--;
}

static void file_forget(struct blob_thread *t, struct blob_file *f)
{
    file_close(t, f);
    HASH_DEL(t->files, f);
    free(f);
}

static struct err file_spoil(struct blob_file *f, struct err e)
{
    f->spoiled = e;
    return e;
}

static void close_longest_unused(struct blob_thread *t)
{
    struct blob_file *f = list_first(&t->open, struct blob_file, link);

    if (t->blobs->synced && fdatasync(f->fd) < 0)
        file_spoil(f, err_sys(errno, "sync body file"));
    file_close(t, f);
}

static struct err file_open(struct blob_thread *t, struct blob_file *f, int flags)
{
    char name[BLOB_NAME_SIZE];

    if (f->fd >= 0) {
        list_remove(&f->link);
        list_append(&t->open, &f->link);
        return ERR_OK;
    }
    if (t->open_count >= t->open_max)
        close_longest_unused(t);
    blob_name(name, f->id);
    for (;;) {
        f->fd = openat(t->blobs->root, name, O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0600);
        if (f->fd >= 0 || (errno != EMFILE && errno != ENFILE) || t->open_count == 0)
            break;
        close_longest_unused(t);
    }
    if (f->fd < 0)
        return err_sys(errno, "open body file");
    list_append(&t->open, &f->link);
    t->open_count++;
    return ERR_OK;
}

static struct blob_file *file_find(struct blob_thread *t, uint64_t id)
{
    struct blob_file *f;

    HASH_FIND(hh, t->files, &id, sizeof id, f);
    return f;
}

static struct blob_file *file_begin(struct blob_thread *t, uint64_t id)
{
    struct blob_file *f = mem_new(struct blob_file);

    f->id = id;
    f->fd = -1;
    list_init(&f->link);
    HASH_ADD(hh, t->files, id, sizeof f->id, f);
    return f;
}

struct err blob_do_append(struct blob_thread *t, struct blob_op *op)
{
    struct blob_file *f = file_find(t, op->id);
    int flags = 0;
    struct err e;

    if (f == NULL) {
        f = file_begin(t, op->id);
        flags = O_CREAT;
    }
    if (err_failed(f->spoiled))
        return f->spoiled;
    e = file_open(t, f, flags);
    if (!err_failed(e))
        e = write_all(f->fd, buf_bytes(&op->bytes), "write body file");
    return err_failed(e) ? file_spoil(f, e) : ERR_OK;
}

static struct err folder_sync(struct blobs *b, const char *name)
{
    char folder[3] = { name[0], name[1], '\0' };
    int fd = openat(b->root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_OK;

    if (fd < 0)
        return err_sys(errno, "open body folder");
    if (fsync(fd) < 0)
        e = err_sys(errno, "sync body folder");
    close(fd);
    return e;
}

/* Contents first, then the name. */
static struct err file_sync(struct blob_thread *t, struct blob_file *f)
{
    char name[BLOB_NAME_SIZE];

    if (!t->blobs->synced)
        return ERR_OK;
    if (fdatasync(f->fd) < 0)
        return err_sys(errno, "sync body file");
    blob_name(name, f->id);
    return folder_sync(t->blobs, name);
}

struct err blob_do_seal(struct blob_thread *t, struct blob_op *op)
{
    struct blob_file *f = file_find(t, op->id);
    struct err e;

    if (f == NULL) /* sealed before, or written by an earlier process */
        f = file_begin(t, op->id);
    if (err_failed(f->spoiled))
        return f->spoiled;
    e = file_open(t, f, 0);
    if (!err_failed(e))
        e = file_sync(t, f);
    if (e.kind == ERR_SYSTEM)
        e.kind = ERR_IO;
    if (err_failed(e) && e.kind != ERR_NOT_FOUND)
        return file_spoil(f, e); /* a second sync would succeed and prove nothing */
    file_forget(t, f);
    return e;
}

static struct err open_to_read(int root, uint64_t id, int *fd)
{
    char name[BLOB_NAME_SIZE];

    blob_name(name, id);
    *fd = openat(root, name, O_RDONLY | O_CLOEXEC);
    return *fd < 0 ? err_sys(errno, "open body file") : ERR_OK;
}

struct err blob_do_read(struct blob_thread *t, struct blob_op *op)
{
    size_t got = 0;
    char *room;
    int fd;
    struct err e;

    buf_clear(&op->bytes);
    e = open_to_read(t->blobs->root, op->id, &fd);
    if (err_failed(e))
        return e;
    room = buf_reserve(&op->bytes, op->want);
    while (got < op->want) {
        ssize_t n = pread(fd, room + got, op->want - got, (off_t)(op->offset + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            e = err_sys(errno, "read body file");
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    buf_extend(&op->bytes, got);
    close(fd);
    return e;
}

struct err blob_do_open(struct blob_thread *t, struct blob_op *op)
{
    return open_to_read(t->blobs->root, op->id, &op->fd);
}

struct err blob_do_unlink(struct blob_thread *t, struct blob_op *op)
{
    struct blob_file *f = file_find(t, op->id);
    char name[BLOB_NAME_SIZE];

    if (f != NULL)
        file_forget(t, f);
    blob_name(name, op->id);
    if (unlinkat(t->blobs->root, name, 0) < 0 && errno != ENOENT)
        return err_sys(errno, "remove body file");
    return ERR_OK;
}

struct err blob_open_file(const char *path, uint64_t id, int *fd)
{
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e;

    if (root < 0)
        return err_sys(errno, "open folder of bodies");
    e = open_to_read(root, id, fd);
    close(root);
    return e;
}

void blob_forget_all(struct blob_thread *t)
{
    while (t->files != NULL)
        file_forget(t, t->files);
}
