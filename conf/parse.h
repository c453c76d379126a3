/* conf/parse.h - the grammar of the configuration, and nothing of its meaning.
 *
 *   file  = { stmt } ;
 *   stmt  = sep | word { arg } ( sep | block ) ;
 *   block = "{" { stmt } "}" ;                    "{" stands on the directive's line
 *   arg   = word | "," { newline } ;
 *   sep   = newline | ";" ;                       implied before "}" and at end of file
 *   word  = bare | '"' { char | '\"' | '\\' | '\n' | '\t' } '"' ;
 *   bare  = bytes but space, control, ; { } , " ; its first byte not "#" ;
 *
 * A line may end in CR LF. "#" opens a comment where a word could begin.
 */
#ifndef CONF_PARSE_H
#define CONF_PARSE_H

#include "conf/diagnostics.h"
#include "conf/pool.h"

struct conf_file {
    const char *shown;              /* its name in messages */
    const char *path;               /* absolute; of a variable: the main file's */
    struct slice text;              /* outlives the tree */
    const struct conf_file *parent; /* the file that includes it, or NULL */
    bool hidden;                    /* a secret: never shown */
};

struct conf_word {
    struct slice text; /* quotes and escapes resolved */
    const struct conf_file *file;
    size_t at; /* where it begins in the file's text */
    unsigned line, column;
    bool comma; /* the argument "," */
};

struct conf_row;

struct conf_stmt {
    struct conf_stmt *next;
    struct conf_word name;
    struct conf_word *args;
    size_t arg_count;
    struct conf_word end; /* the place behind the last word */
    bool has_block;
    bool bad; /* a message about it was given: its arguments are not to be used */
    struct conf_stmt *first, **last; /* the block */
    const struct conf_row *row;      /* what it is, once checked; NULL if unknown */
};

#define CONF_DEPTH_MAX 16u /* of blocks in blocks, and of files in files */

/* Appends the file's statements to root's block. Reports every error; a
 * statement with one is left out or marked bad, and parsing goes on behind it. */
void conf_parse(const struct conf_file *file, struct pool *pool, struct diagnostics *d,
                struct conf_stmt *root);

/* Parses text as the arguments of the statement `name`, which has no block. */
void conf_parse_args(const struct conf_file *file, struct pool *pool, struct diagnostics *d,
                     struct conf_stmt *s);

/* Begins an empty block. */
void conf_block_init(struct conf_stmt *s);
void conf_block_append(struct conf_stmt *block, struct conf_stmt *s);

void conf_error_at(struct diagnostics *d, const struct conf_word *at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void conf_warning_at(struct diagnostics *d, const struct conf_word *at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
