/* conf/diagnostics.h - what is wrong with a configuration, and where.
 *
 * All errors of a file are collected, then printed in the shape compilers use:
 *
 *   relayd.conf:3:8: error: unknown directive "mesage_size"; did you mean "message_size"?
 *       limits { mesage_size 20M }
 *                ^
 */
#ifndef CONF_DIAGNOSTICS_H
#define CONF_DIAGNOSTICS_H

#include "base/buf.h"

struct diagnostic {
    bool error;       /* else a warning */
    char *file;       /* as the person named it; or the variable of the environment */
    unsigned line;    /* from 1; 0 = the file as a whole */
    unsigned column;  /* in bytes, from 1 */
    char *message;
    char *source;     /* the line it stands in, as far as it is shown, or NULL; may hold NULs */
    size_t source_len;
};

struct diagnostics { /* zero-initialised is empty */
    struct diagnostic *items;
    size_t count;
    size_t cap;
    size_t errors;
};

#define DIAGNOSTICS_MAX 100 /* further ones are counted only; one mistake can echo */

/* line_text is the source line without its end; of an empty one, or when it is
 * not at hand, nothing is shown. All is copied. */
void diagnostics_add(struct diagnostics *d, bool error, const char *file, unsigned line, unsigned column,
                     struct slice line_text, const char *fmt, ...) PRINTF_LIKE(7, 8);
void diagnostics_vadd(struct diagnostics *d, bool error, const char *file, unsigned line, unsigned column,
                      struct slice line_text, const char *fmt, va_list ap) PRINTF_LIKE(7, 0);

/* By file, in the order the files were first named, then line and column. */
void diagnostics_sort(struct diagnostics *d);

/* Appends all as text for people; control characters are shown as \xNN. */
void diagnostics_format(const struct diagnostics *d, struct buf *out);
void diagnostics_print(const struct diagnostics *d); /* to standard error */
void diagnostics_release(struct diagnostics *d);

#endif
