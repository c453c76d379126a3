/* store/blob.c - where the body of a large message waits: a file of its own,
 * written while DATA arrives, read in pieces while it is delivered.
 *
 * An id belongs to one thread, so its operations keep their order. A file
 * being written stays open from its first byte to its seal, because the
 * kernel reports a lost write only to descriptors that were open when it
 * happened; when too many are open the longest unused is synced and closed.
 */
#include "store/blob.h"

#include "base/fd.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/wake.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS        256
/* Open files of a thread: an 8th of the descriptors for all threads, within these. */
#define OPEN_FILES_LEAST 64
#define OPEN_FILES_MOST  1024
#define NAME_SIZE      sizeof "ff/0123456789abcdef"

enum { BLOB_APPEND, BLOB_SEAL, BLOB_READ, BLOB_OPEN, BLOB_UNLINK };

/* A blob between its first byte and its seal. */
struct blob_file {
    UT_hash_handle hh;
    struct list link; /* in the thread's open files, longest unused first */
    uint64_t id;
    int fd; /* -1: closed to make room */
    struct err spoiled;
};

struct blob_thread {
    struct blobs *blobs;
    pthread_t thread;
    struct inbox inbox;
    struct wake wake;
    _Atomic bool closing;
    struct blob_file *files; /* by id */
    struct list open;
    unsigned open_count, open_max;
};

struct blobs {
    char *path;
    int root;    /* descriptor of the folder */
    bool synced;
    bool finished;
    unsigned thread_count;
    struct blob_thread *threads; /* at least one; without threads only its files are used */
};

/* Ids of one moment differ in few bits; spread them. */
static unsigned spread(uint64_t id, unsigned count)
{
    return (unsigned)((id * 0x9e3779b97f4a7c15u) >> 32) % count;
}

static void blob_name(char name[NAME_SIZE], uint64_t id)
{
    snprintf(name, NAME_SIZE, "%02x/%016llx", spread(id, FOLDERS), (unsigned long long)id);
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
    char name[NAME_SIZE];

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

static struct err do_append(struct blob_thread *t, struct blob_op *op)
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
    char name[NAME_SIZE];

    if (!t->blobs->synced)
        return ERR_OK;
    if (fdatasync(f->fd) < 0)
        return err_sys(errno, "sync body file");
    blob_name(name, f->id);
    return folder_sync(t->blobs, name);
}

static struct err do_seal(struct blob_thread *t, struct blob_op *op)
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
    char name[NAME_SIZE];

    blob_name(name, id);
    *fd = openat(root, name, O_RDONLY | O_CLOEXEC);
    return *fd < 0 ? err_sys(errno, "open body file") : ERR_OK;
}

static struct err do_read(struct blob_thread *t, struct blob_op *op)
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

static struct err do_open(struct blob_thread *t, struct blob_op *op)
{
    return open_to_read(t->blobs->root, op->id, &op->fd);
}

static struct err do_unlink(struct blob_thread *t, struct blob_op *op)
{
    struct blob_file *f = file_find(t, op->id);
    char name[NAME_SIZE];

    if (f != NULL)
        file_forget(t, f);
    blob_name(name, op->id);
    if (unlinkat(t->blobs->root, name, 0) < 0 && errno != ENOENT)
        return err_sys(errno, "remove body file");
    return ERR_OK;
}

static void op_done(struct post *p)
{
    struct blob_op *op = container_of(p, struct blob_op, post);

    op->done(op, op->result);
}

static void op_run(struct blob_thread *t, struct blob_op *op)
{
    switch (op->kind) {
    case BLOB_APPEND:
        op->result = do_append(t, op);
        buf_clear(&op->bytes);
        break;
    case BLOB_SEAL:
        op->result = do_seal(t, op);
        break;
    case BLOB_READ:
        op->result = do_read(t, op);
        break;
    case BLOB_OPEN:
        op->result = do_open(t, op);
        break;
    case BLOB_UNLINK:
        op->result = do_unlink(t, op);
        break;
    }
    op->post.run = op_done;
    loop_post(op->home, &op->post); /* op may be gone from here on */
}

static void *thread_main(void *arg)
{
    struct blob_thread *t = arg;

    for (;;) {
        bool closing = atomic_load(&t->closing);
        struct post *p = inbox_take(&t->inbox);

        if (p == NULL && closing)
            return NULL;
        if (p == NULL)
            wake_wait(&t->wake, &t->inbox, WAKE_NEVER);
        while (p != NULL) {
            struct post *next = p->next;

            op_run(t, container_of(p, struct blob_op, post));
            p = next;
        }
    }
}

static void submit(struct blobs *b, struct blob_op *op, int kind)
{
    struct blob_thread *t = &b->threads[b->thread_count > 0 ? spread(op->id, b->thread_count) : 0];

    op->kind = kind;
    op->blobs = b;
    if (b->finished) {
        op->result = err_make(ERR_CANCELLED, "the folder of bodies is closed");
        op->post.run = op_done;
        loop_post(op->home, &op->post);
        return;
    }
    if (b->thread_count == 0)
        op_run(t, op);
    else if (inbox_push(&t->inbox, &op->post))
        wake_up(&t->wake);
}

void blob_append(struct blobs *b, struct blob_op *op)
{
    submit(b, op, BLOB_APPEND);
}

void blob_seal(struct blobs *b, struct blob_op *op)
{
    submit(b, op, BLOB_SEAL);
}

void blob_read(struct blobs *b, struct blob_op *op)
{
    submit(b, op, BLOB_READ);
}

void blob_open(struct blobs *b, struct blob_op *op)
{
    submit(b, op, BLOB_OPEN);
}

void blob_unlink(struct blobs *b, struct blob_op *op)
{
    submit(b, op, BLOB_UNLINK);
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

/* The names of the subfolders must be as durable as what goes into them. */
static struct err folders_make(struct blobs *b)
{
    int up, rc;

    for (unsigned i = 0; i < FOLDERS; i++) {
        char name[3];

        snprintf(name, sizeof name, "%02x", i);
        if (mkdirat(b->root, name, 0700) < 0 && errno != EEXIST)
            return err_sys(errno, "make body folders");
    }
    if (!b->synced)
        return ERR_OK;
    if (fsync(b->root) < 0)
        return err_sys(errno, "sync body folders");
    up = openat(b->root, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up < 0) /* it may be for root alone, whose parent process synced it */
        return err_sys_may_pass(errno) ? err_sys(errno, "open the folder above the body folders") : ERR_OK;
    rc = fsync(up) < 0 ? errno : 0;
    close(up);
    return rc == 0 ? ERR_OK : err_sys(rc, "sync body folders");
}

/* Each file closed before its seal is synced for it, and many bodies that come
 * at once would be synced piece by piece. */
static unsigned open_files_max(unsigned threads)
{
    struct rlimit lim;
    rlim_t share;

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return OPEN_FILES_LEAST;
    share = lim.rlim_cur / 8 / (threads > 0 ? threads : 1);
    if (share < OPEN_FILES_LEAST)
        return OPEN_FILES_LEAST;
    return share < OPEN_FILES_MOST ? (unsigned)share : OPEN_FILES_MOST;
}

static struct err threads_start(struct blobs *b)
{
    unsigned want = b->thread_count, open_max = open_files_max(want);

    b->threads = mem_zero(want > 0 ? want : 1, sizeof *b->threads);
    b->threads[0].blobs = b;
    b->threads[0].open_max = open_max;
    list_init(&b->threads[0].open);
    for (b->thread_count = 0; b->thread_count < want; b->thread_count++) {
        struct blob_thread *t = &b->threads[b->thread_count];

        t->blobs = b;
        t->open_max = open_max;
        list_init(&t->open);
        if (pthread_create(&t->thread, NULL, thread_main, t) != 0)
            return err_make(ERR_SYSTEM, "start file threads");
    }
    return ERR_OK;
}

struct err blobs_open(const struct blobs_options *opt, struct blobs **out)
{
    struct blobs *b = mem_new(struct blobs);
    struct err e = ERR_OK;

    *out = NULL;
    b->path = mem_str(opt->path);
    b->synced = !opt->unsynced;
    b->root = -1;
    if (mkdir(opt->path, 0700) < 0 && errno != EEXIST)
        e = err_sys(errno, "make folder of bodies");
    if (!err_failed(e)) {
        b->root = open(opt->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (b->root < 0)
            e = err_sys(errno, "open folder of bodies");
    }
    if (!err_failed(e))
        e = folders_make(b);
    if (!err_failed(e)) {
        b->thread_count = opt->threads;
        e = threads_start(b);
    }
    if (err_failed(e))
        blobs_close(b);
    else
        *out = b;
    return e;
}

void blobs_finish(struct blobs *b)
{
    if (b == NULL || b->finished)
        return;
    for (unsigned i = 0; i < b->thread_count; i++) {
        atomic_store(&b->threads[i].closing, true);
        wake_up(&b->threads[i].wake);
    }
    for (unsigned i = 0; i < b->thread_count; i++)
        pthread_join(b->threads[i].thread, NULL);
    for (unsigned i = 0; b->threads != NULL && i < (b->thread_count > 0 ? b->thread_count : 1); i++)
        while (b->threads[i].files != NULL)
            file_forget(&b->threads[i], b->threads[i].files);
    b->finished = true;
}

void blobs_close(struct blobs *b)
{
    if (b == NULL)
        return;
    blobs_finish(b);
    if (b->root >= 0)
        close(b->root);
    free(b->threads);
    free(b->path);
    free(b);
}

static bool name_id(const char *name, uint64_t *id)
{
    char *end;

    if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
        return false;
    *id = strtoull(name, &end, 16);
    return true;
}

static struct err sweep_folder(struct blobs *b, unsigned number,
                               bool (*live)(void *ctx, uint64_t id), void *ctx, size_t *removed)
{
    char name[3];
    struct dirent *entry;
    struct err e = ERR_OK;
    DIR *dir;
    int fd;

    snprintf(name, sizeof name, "%02x", number);
    fd = openat(b->root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        e = err_sys(errno, "open body folder");
        if (fd >= 0)
            close(fd);
        return e;
    }
    while (!err_failed(e) && (errno = 0, entry = readdir(dir)) != NULL) {
        uint64_t id;

        if (!name_id(entry->d_name, &id) || live(ctx, id))
            continue;
        if (unlinkat(fd, entry->d_name, 0) < 0 && errno != ENOENT)
            e = err_sys(errno, "remove body file");
        else
            ++*removed;
    }
    if (!err_failed(e) && errno != 0)
        e = err_sys(errno, "read body folder");
    closedir(dir);
    return e;
}

struct err blobs_sweep(struct blobs *b, bool (*live)(void *ctx, uint64_t id), void *ctx,
                       size_t *removed)
{
    struct err e = ERR_OK;

    *removed = 0;
    for (unsigned i = 0; i < FOLDERS && !err_failed(e); i++)
        e = sweep_folder(b, i, live, ctx, removed);
    return e;
}
