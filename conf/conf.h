/* conf/conf.h - from a bundle of files to values in the caller's structs.
 *
 * One table of rows describes every directive; conf/ finds, checks and orders
 * the statements by it and hands each to its row's `take`, without knowing
 * what any of them means. All errors are reported, not only the first.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "conf/bundle.h"
#include "conf/parse.h"
#include "conf/pattern.h"

struct conf;

/* Stores a statement that passed its checks: `into` is the parent's struct at
 * the row's offset. A problem it finds it tells by conf_error(). */
typedef void conf_take(struct conf *c, const struct conf_stmt *s, void *into);

enum { /* of rows */
    CONF_MANY = 1,       /* may be repeated; else a second one is an error */
    CONF_TITLED = 2,     /* the first argument is its title; two alike are an error */
    CONF_BLOCK = 4,      /* may have a block */
    CONF_BLOCK_MUST = 8, /* must have one */
    CONF_LATER = 16,     /* checked, then refused: "not in this release" */
    CONF_ENV_TITLE = 32, /* repeated; variables RELAYD_NAME_TITLE_… reach into each block */
    CONF_ENV_PLAIN = 64, /* repeated; variables RELAYD_NAME_… reach into the one without a title */
};

/* Reader n, as the caller counts them, is told the SECRETs and the contents of
 * the SECRET_FILEs of the row; the others are not: see conf_withhold(). */
#define CONF_FOR(n) (1u << (16 + (n)))

struct conf_row {
    const char *parent; /* "" or the name of the directive it stands in */
    const char *name;
    const char *args;   /* see conf/pattern.h */
    unsigned flags;
    conf_take *take;
    size_t offset;
};

struct conf_schema {
    const struct conf_row *rows; /* the last has no name */
    const struct conf_type *types;
    const char *env_prefix;      /* "RELAYD_" */
    /* While fetching: a table was read, the file of a value whose type's name
     * ends in _FILE (other than SECRET_FILE); conf_want() what it names. May be NULL. */
    void (*fetched_table)(struct conf *c, const struct conf_type *type, const char *path, struct slice bytes);
};

/* Brings what `path` (absolute) names into the bundle, as an entry of that
 * kind; for BUNDLE_FILE it may become a BUNDLE_LIST. */
typedef void conf_fetch(struct bundle *b, enum bundle_kind kind, const char *path);

struct conf {
    const struct conf_schema *schema;
    const struct bundle *bundle;
    conf_fetch *fetch;        /* NULL: what is not in the bundle is not there */
    struct bundle *fetching;  /* with fetch: the bundle, open for more */
    struct pool *pool;  /* the tree and what takers make of it */
    struct diagnostics *diags;
    struct conf_pattern **patterns; /* of each row */
    const struct conf_stmt *root;   /* while taking: all of it */
    unsigned includes;              /* so far */
    bool later;                     /* checking inside a CONF_LATER row */
    void *user; /* for takers */
};

/* Parses, includes, overrides from the environment, checks, and unless
 * fetching calls the takers with `into` for top-level rows. Words are lent
 * from the bundle; takers copy what they keep. */
void conf_load(struct conf *c, void *into);

/* Reads everything from disk into a new bundle, with the variables of envp
 * that begin with the prefix. */
struct bundle *conf_read(const struct conf_schema *schema, const char *path, char *const *envp);

/* The same texts and variables, and the files that SECRET_FILE words name as
 * they are now. */
struct bundle *conf_read_again(const struct bundle *b);
struct bundle_stamp conf_stamp(const char *path); /* of the file it leads to, now */

/* A copy of a good bundle for one reader, CONF_FOR(n): secrets of rows without
 * that flag are blanked in texts and variables (xxx, lines and columns kept),
 * and files of theirs withheld: there, with no contents. It loads without
 * error all the same. */
struct bundle *conf_withhold(const struct conf_schema *schema, const struct bundle *b,
                             unsigned reader);

/* For takers. */
/* The file a SECRET_FILE word names. When it is withheld this process has no
 * business with what is in it, and to look for mistakes there is another's. */
const struct bundle_entry *conf_secret(struct conf *c, const struct conf_word *word);
void conf_take_block(struct conf *c, const struct conf_stmt *s, void *into); /* its block, into the same struct */
size_t conf_count(const struct conf_stmt *block, const char *name);          /* how many it has of a row */
const struct conf_stmt *conf_find(const struct conf_stmt *block, const char *name); /* the first, or NULL */

void conf_take_unsigned(struct conf *c, const struct conf_stmt *s, void *into);  /* NUMBER, or unlimited: 0 */
void conf_take_u16(struct conf *c, const struct conf_stmt *s, void *into);       /* NUMBER */
void conf_take_size(struct conf *c, const struct conf_stmt *s, void *into);      /* uint64_t; a keyword is 0 */
void conf_take_duration(struct conf *c, const struct conf_stmt *s, void *into);  /* uint64_t ms; a keyword is 0 */
void conf_take_switch(struct conf *c, const struct conf_stmt *s, void *into);    /* bool */
void conf_take_flag(struct conf *c, const struct conf_stmt *s, void *into);      /* bool: it is there */
void conf_take_string(struct conf *c, const struct conf_stmt *s, void *into);    /* const char * */
void conf_take_path(struct conf *c, const struct conf_stmt *s, void *into);      /* const char *, absolute */
void conf_take_nothing(struct conf *c, const struct conf_stmt *s, void *into);

void conf_error(struct conf *c, const struct conf_word *at, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* For conf/ itself, and for tables that name further files. */
const struct conf_row *conf_row_find(const struct conf_schema *schema, const char *parent, struct slice name);
void conf_compile(struct conf *c);                           /* the patterns of all rows */
void conf_include(struct conf *c, struct conf_stmt *root);   /* parses the main file and what it includes */
void conf_override(struct conf *c, struct conf_stmt *root);  /* by variables of the environment */
void conf_check(struct conf *c, struct conf_stmt *root);     /* names, arguments, blocks, repetitions */
char *conf_path(struct conf *c, const struct conf_file *file, struct slice name); /* absolute, in the pool */
const char *conf_shown(struct conf *c, const struct conf_file *from, struct slice name); /* as a person would find it */
const struct bundle_entry *conf_want(struct conf *c, enum bundle_kind kind, const char *path);

#endif
