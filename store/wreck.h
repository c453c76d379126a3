/* store/wreck.h - what can be read of an environment whose file is damaged.
 *
 * LMDB follows page numbers and offsets as it finds them, and dies of bad ones.
 * Here the file is bytes: every number in it is checked before it is used, each
 * page is looked at at most once a table, and what makes no sense is counted and
 * passed over. Whether a record is whole its reader must see by its checksum.
 */
#ifndef STORE_WRECK_H
#define STORE_WRECK_H

#include "base/err.h"
#include "base/slice.h"

#define WRECK_TABLE_UNKNOWN ~0u

struct wreck_record {
    unsigned table; /* or WRECK_TABLE_UNKNOWN: trees are damaged, and its page was found without */
    bool certain;   /* false: perhaps of a page long given up, and old */
    struct slice key, value; /* into the file's bytes */
};

typedef void wreck_visitor(void *ctx, const struct wreck_record *r);

struct wreck_counts {
    uint64_t pages;
    uint64_t damaged; /* pages and parts of pages that made no sense where they stood */
    uint64_t stray;   /* leaves that no tree led to, read all the same */
    bool tree_lost;   /* the newest state of the trees is not known */
};

/* Every record that the bytes of a data file have for these tables. One key may
 * come more than once. */
void wreck_read(struct slice file, const char *const *tables, unsigned table_count, wreck_visitor *visit, void *ctx,
                struct wreck_counts *counts);

/* A data file in memory, for as long as records of it are used. Nobody may write
 * to it meanwhile. ERR_NOT_FOUND */
MUST_CHECK struct err wreck_open(const char *folder, struct slice *file);
void wreck_close(struct slice file); /* an empty one is fine */

#endif
