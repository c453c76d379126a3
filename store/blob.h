/* store/blob.h - large bodies, a file each, written and read by threads of
 * their own so that no loop waits for the disk.
 *
 * A blob is made durable before the record that names it: seal, then commit.
 * Files that no record names are swept at start.
 */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"

struct blobs; /* a folder of blobs and its threads */

struct blobs_options {
    const char *path; /* folder, made if missing (0700); subfolders spread the files */
    unsigned threads; /* 0: calls run at once in the caller; completions still by post (simulator) */
    bool unsynced;    /* for tests: no power is ever cut */
};

MUST_CHECK struct err blobs_open(const struct blobs_options *opt, struct blobs **out);
/* Finishes what was asked and posts its completions; what is asked later
 * completes with ERR_CANCELLED. The loops do not run meanwhile. NULL is fine. */
void blobs_finish(struct blobs *b);
void blobs_close(struct blobs *b); /* the same, and frees it. NULL is fine */

/* One request. Embedded by the caller, who fills the first part. */
struct blob_op {
    struct post post; /* ours */
    struct loop *home;
    void (*done)(struct blob_op *op, struct err e); /* home's thread; may free op */
    uint64_t id;       /* names the file */
    struct buf bytes;  /* write: taken from here, empty afterwards; read: arrives here */
    uint64_t offset;   /* read: from where */
    size_t want;       /* read: at most this many bytes; fewer only at the end */
    int fd;            /* open: arrives here, the caller's to close; else not touched */
    struct err result;
    int kind;          /* ours */
    struct blobs *blobs; /* ours */
};

/* Any thread. Operations on one id run in the order given. After a failed
 * append or seal the blob is spoiled: every further one fails, and only
 * unlink is left. Every blob begun is sealed or unlinked in the end. */
void blob_append(struct blobs *b, struct blob_op *op); /* creates at the first call */
void blob_seal(struct blobs *b, struct blob_op *op);   /* syncs the file, then its folder */
void blob_read(struct blobs *b, struct blob_op *op);
void blob_open(struct blobs *b, struct blob_op *op);   /* read only, for another process */
void blob_unlink(struct blobs *b, struct blob_op *op); /* a missing file is fine */

/* A sealed blob's descriptor to read from, for threads that may wait for the
 * disk; path is the folder of the blobs, which need not be open. */
MUST_CHECK struct err blob_open_file(const char *path, uint64_t id, int *fd);

/* Start-up: removes every file for which live() says no. Calling thread. */
MUST_CHECK struct err blobs_sweep(struct blobs *b, bool (*live)(void *ctx, uint64_t id), void *ctx,
                                  size_t *removed);

#endif
