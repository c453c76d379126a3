/* conf/bundle.h - a configuration as bytes in memory: every file of it.
 *
 * The parent reads the files, as root, once; the children get the same bytes
 * through a memfd and parse them again, so that all act on one text whatever
 * happens to the files meanwhile. What could not be read is part of it, too:
 * the same diagnostics come out everywhere.
 */
#ifndef CONF_BUNDLE_H
#define CONF_BUNDLE_H

#include "base/buf.h"
#include "base/err.h"

enum bundle_kind {
    BUNDLE_FILE,   /* configuration text; the first entry is the main file */
    BUNDLE_LIST,   /* what an include with a wildcard or folder stands for: absolute paths, each ended by NUL */
    BUNDLE_SECRET, /* contents of a file that a _file directive names */
    BUNDLE_KEY,    /* contents of a key file: like a secret, but it may be missing or unreadable */
    BUNDLE_PUBLIC, /* what of the key at that path everybody may know */
    BUNDLE_ENV,    /* path is the variable's name, contents its value */
    BUNDLE_TABLE,  /* contents of a file that a directive names for its entries, of which there may be many */
    BUNDLE_CERTIFICATE, /* contents of a file that a directive names and that is no secret */
};

/* By what a file is known to be another, or changed, without reading it. */
struct bundle_stamp {
    bool known; /* it was looked at; else all is 0 */
    bool there;
    uint64_t device, inode, size;
    int64_t changed_ns, modified_ns;
};

struct bundle_entry {
    enum bundle_kind kind;
    char *path;       /* absolute, but for BUNDLE_ENV */
    struct buf bytes;
    char *problem;    /* why there are no bytes ("Permission denied"), or NULL */
    bool withheld;    /* BUNDLE_SECRET, BUNDLE_KEY: it has bytes, but not for this process */
    struct bundle_stamp stamp; /* when it was read from disk; not written */
    unsigned readers; /* BUNDLE_SECRET, BUNDLE_KEY that no directive names: CONF_FOR(n) of those it is for; not written */
};

struct bundle {
    char *name; /* the main file as the person named it */
    struct bundle_entry *entries;
    size_t count;
    size_t cap;
    int trouble; /* errno of a call that failed though nothing may be wrong with the file: see bundle_trouble(); not written */
};

#define BUNDLE_FILE_MAX  (4u * MIB)   /* of one file */
#define BUNDLE_TABLE_MAX (64u * MIB)  /* of one table: about a million aliases */
#define BUNDLE_BYTES_MAX (128u * MIB) /* of all together */
#define BUNDLE_FILES_MAX 1024u

struct bundle *bundle_new(const char *name);
size_t bundle_kind_max(enum bundle_kind kind); /* bytes of one entry */
void bundle_free(struct bundle *b); /* wipes the bytes; NULL is fine */

/* The bytes are copied. Not more than the limits above: ERR_LIMIT. */
MUST_CHECK struct err bundle_add(struct bundle *b, enum bundle_kind kind, const char *path,
                                 struct slice bytes, const char *problem);
/* Notes the first error of reading that lies not in the files but in want of
 * descriptors or memory, or in the disk (EIO); others are left alone. What such
 * a bundle lacks may well be there. */
void bundle_trouble(struct bundle *b, int sys);
bool bundle_stamp_equal(const struct bundle_stamp *a, const struct bundle_stamp *b);
const struct bundle_entry *bundle_find(const struct bundle *b, enum bundle_kind kind, struct slice path);

/* To bytes and back; parsing trusts nothing. */
void bundle_write(const struct bundle *b, struct buf *out);
MUST_CHECK struct err bundle_parse(struct slice bytes, struct bundle **out);

#endif
