/* store/blob.c - where the bodies of large messages wait: a folder of files and
 * the threads that write and read them, so that no loop waits for the disk. An
 * id belongs to one thread, so its operations keep their order.
 */
#include "store/blob_inside.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Open files of a thread: an 8th of the descriptors for all threads, within these. */
#define OPEN_FILES_LEAST 64
#define OPEN_FILES_MOST  1024

enum { BLOB_APPEND, BLOB_SEAL, BLOB_READ, BLOB_OPEN, BLOB_UNLINK };

static void op_done(struct post *p)
{
    struct blob_op *op = container_of(p, struct blob_op, post);

    op->done(op, op->result);
}

static void op_run(struct blob_thread *t, struct blob_op *op)
{
    switch (op->kind) {
    case BLOB_APPEND:
        op->result = blob_do_append(t, op);
        buf_clear(&op->bytes);
        break;
    case BLOB_SEAL:
        op->result = blob_do_seal(t, op);
        break;
    case BLOB_READ:
        op->result = blob_do_read(t, op);
        break;
    case BLOB_OPEN:
        op->result = blob_do_open(t, op);
        break;
    case BLOB_UNLINK:
        op->result = blob_do_unlink(t, op);
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
    struct blob_thread *t = &b->threads[b->thread_count > 0 ? blob_spread(op->id, b->thread_count) : 0];

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

/* The names of the subfolders must be as durable as what goes into them. */
static struct err folders_make(struct blobs *b)
{
    int up, rc;

    for (unsigned i = 0; i < BLOB_FOLDERS; i++) {
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
        blob_forget_all(&b->threads[i]);
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
    for (unsigned i = 0; i < BLOB_FOLDERS && !err_failed(e); i++)
        e = sweep_folder(b, i, live, ctx, removed);
    return e;
}
