/* conf/diagnostics.c - telling a person where the configuration is wrong,
 * before any mail is touched. */
#include "conf/diagnostics.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SOURCE_MAX 160 /* bytes of a source line shown; a line may be megabytes long */

void diagnostics_vadd(struct diagnostics *d, bool error, const char *file, unsigned line,
                      unsigned column, struct slice line_text, const char *fmt, va_list ap)
{
    struct buf message = { 0 };
    struct diagnostic *item;

    if (error)
        d->errors++;
    if (d->count == DIAGNOSTICS_MAX)
        return;
    if (d->count == d->cap) {
        d->cap = d->cap != 0 ? d->cap * 2 : 8;
        d->items = mem_grow(d->items, d->cap, sizeof *d->items);
    }
    buf_vprintf(&message, fmt, ap);
    item = &d->items[d->count++];
    *item = (struct diagnostic){
        .error = error,
        .file = mem_str(file),
        .line = line,
        .column = column,
        .message = buf_detach(&message),
    };
    if (line == 0 || line_text.len == 0 || column > SOURCE_MAX)
        return; /* nothing to show, or too far to the right */
    line_text = slice_head(line_text, SOURCE_MAX);
    item->source = mem_dup(line_text.ptr, line_text.len);
    item->source_len = line_text.len;
}

void diagnostics_add(struct diagnostics *d, bool error, const char *file, unsigned line,
                     unsigned column, struct slice line_text, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    diagnostics_vadd(d, error, file, line, column, line_text, fmt, ap);
    va_end(ap);
}

static size_t file_order(const struct diagnostics *d, const char *file)
{
    size_t i = 0;

    while (strcmp(d->items[i].file, file) != 0)
        i++;
    return i;
}

void diagnostics_sort(struct diagnostics *d)
{
    size_t order[DIAGNOSTICS_MAX];

    for (size_t i = 0; i < d->count; i++)
        order[i] = file_order(d, d->items[i].file);
    for (size_t i = 1; i < d->count; i++) {
        struct diagnostic item = d->items[i];
        size_t rank = order[i];
        size_t j = i;

        for (; j > 0; j--) {
            const struct diagnostic *before = &d->items[j - 1];

            if (order[j - 1] != rank        ? order[j - 1] < rank
                : before->line != item.line ? before->line < item.line
                                            : before->column <= item.column)
                break;
            d->items[j] = d->items[j - 1];
            order[j] = order[j - 1];
        }
        d->items[j] = item;
        order[j] = rank;
    }
}

/* Bytes that could play with a terminal are shown, not sent. */
static void add_visible(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_add_byte(out, (char)c);
    }
}

/* Tabs stay tabs and a character of several bytes is one column, so that the
 * caret stands under its place. */
static void add_caret(struct buf *out, struct slice source, unsigned column)
{
    for (size_t i = 0; i < source.len && i + 1 < column; i++) {
        unsigned char c = (unsigned char)source.ptr[i];

        if (c == '\t')
            buf_add_byte(out, '\t');
        else if (c < 0x20 || c == 0x7f)
            buf_add_str(out, "    ");
        else if ((c & 0xc0) != 0x80)
            buf_add_byte(out, ' ');
    }
    buf_add_str(out, "^\n");
}

void diagnostics_format(const struct diagnostics *d, struct buf *out)
{
    size_t shown_errors = 0;

    for (size_t i = 0; i < d->count; i++) {
        const struct diagnostic *item = &d->items[i];

        shown_errors += item->error;
        add_visible(out, slice_str(item->file));
        if (item->line != 0)
            buf_printf(out, ":%u:%u", item->line, item->column);
        buf_add_str(out, item->error ? ": error: " : ": warning: ");
        add_visible(out, slice_str(item->message));
        buf_add_byte(out, '\n');
        if (item->source != NULL) {
            buf_add_str(out, "    ");
            add_visible(out, slice_make(item->source, item->source_len));
            buf_add_str(out, "\n    ");
            add_caret(out, slice_make(item->source, item->source_len), item->column);
        }
    }
    if (d->errors > shown_errors)
        buf_printf(out, "%zu more errors are not shown\n", d->errors - shown_errors);
}

void diagnostics_print(const struct diagnostics *d)
{
    struct buf out = { 0 };

    diagnostics_format(d, &out);
    while (buf_len(&out) != 0) {
        ssize_t n = write(STDERR_FILENO, buf_bytes(&out).ptr, buf_len(&out));

        if (n <= 0)
            break; /* nobody listens */
        buf_take(&out, (size_t)n);
    }
    buf_release(&out);
}

void diagnostics_release(struct diagnostics *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->items[i].file);
        free(d->items[i].message);
        free(d->items[i].source);
    }
    free(d->items);
    *d = (struct diagnostics){ 0 };
}
