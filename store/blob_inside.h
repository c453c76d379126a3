/* store/blob_inside.h - what the files of blob.h share: blob.c has the folder,
 * its threads and who asks them, blob_file.c one thread's files.
 */
#ifndef STORE_BLOB_INSIDE_H
#define STORE_BLOB_INSIDE_H

#include "base/hash.h"
#include "base/list.h"
#include "store/blob.h"
#include "store/wake.h"

#include <pthread.h>

#define BLOB_FOLDERS   256
#define BLOB_NAME_SIZE sizeof "ff/0123456789abcdef"

struct blob_file;

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
static inline unsigned blob_spread(uint64_t id, unsigned count)
{
    return (unsigned)((id * 0x9e3779b97f4a7c15u) >> 32) % count;
}

/* blob_file.c */
MUST_CHECK struct err blob_do_append(struct blob_thread *t, struct blob_op *op);
MUST_CHECK struct err blob_do_seal(struct blob_thread *t, struct blob_op *op);
MUST_CHECK struct err blob_do_read(struct blob_thread *t, struct blob_op *op);
MUST_CHECK struct err blob_do_open(struct blob_thread *t, struct blob_op *op);
MUST_CHECK struct err blob_do_unlink(struct blob_thread *t, struct blob_op *op);
void blob_forget_all(struct blob_thread *t); /* what was begun and not sealed is closed, and stays as it is */

#endif
