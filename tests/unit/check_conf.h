/* tests/unit/check_conf.h - diagnostics as short text, and files to read. */
#ifndef TESTS_UNIT_CHECK_CONF_H
#define TESTS_UNIT_CHECK_CONF_H

#include "tests/unit/check.h"

#include "conf/diagnostics.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* "3:8: message", a line each; a warning's message begins with "warning: ".
 * Where the file is not called "conf" its name stands in front. */
static inline void brief(const struct diagnostics *d, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < d->count; i++) {
        const struct diagnostic *item = &d->items[i];

        if (i > 0)
            buf_add_byte(out, '\n');
        if (strcmp(item->file, "conf") != 0)
            buf_printf(out, "%s:", item->file);
        if (item->line != 0)
            buf_printf(out, "%u:%u: ", item->line, item->column);
        buf_printf(out, "%s%s", item->error ? "" : "warning: ", item->message);
    }
}

/* A folder of its own for a test, removed with all in it. */
struct scratch {
    char path[64];
    char file[256];
};

static inline void scratch_open(struct scratch *s)
{
    snprintf(s->path, sizeof s->path, "/tmp/relayd-test-XXXXXX");
    assert_non_null(mkdtemp(s->path));
}

static inline const char *scratch_path(struct scratch *s, const char *name)
{
    snprintf(s->file, sizeof s->file, "%s/%s", s->path, name);
    return s->file;
}

static inline void scratch_write(struct scratch *s, const char *name, const char *text, mode_t mode)
{
    FILE *f = fopen(scratch_path(s, name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(s->file, mode), 0);
}

static inline int scratch_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void scratch_close(struct scratch *s)
{
    nftw(s->path, scratch_remove, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
