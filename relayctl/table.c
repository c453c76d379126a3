/* relayctl/table.c - aligned columns. */
#include "relayctl/table.h"

#include "base/mem.h"

#include <stdlib.h>

#define GAP 2

void table_init(struct table *t, const struct table_column *columns, size_t count, bool color, size_t line_max)
{
    *t = (struct table){ .columns = columns, .column_count = count, .color = color, .line_max = line_max };
    for (size_t i = 0; i < count; i++) {
        size_t title = text_width(slice_str(columns[i].title));

        t->widths[i] = columns[i].least > title ? columns[i].least : title;
    }
}

void table_cell(struct table *t, enum text_style style, const char *text)
{
    if (t->cell_count == t->cell_cap) {
        t->cell_cap = t->cell_cap != 0 ? t->cell_cap * 2 : 64;
        t->cells = mem_grow(t->cells, t->cell_cap, sizeof *t->cells);
    }
    t->cells[t->cell_count++] = (struct table_cell){ mem_str(text), style };
}

/* The first `width` characters, the last of them a … when there were more. */
static void add_cut(struct buf *out, const char *text, size_t width)
{
    struct slice s = slice_str(text);
    size_t end = 0, n = 0;

    if (text_width(s) <= width) {
        buf_add(out, s);
        return;
    }
    while (end < s.len && n + 1 < width) {
        end++;
        while (end < s.len && ((unsigned char)s.ptr[end] & 0xc0) == 0x80)
            end++;
        n++;
    }
    buf_add(out, slice_head(s, end));
    if (width > 0)
        buf_add_str(out, "\xe2\x80\xa6");
}

static void pad(struct buf *out, size_t n)
{
    while (n-- > 0)
        buf_add_byte(out, ' ');
}

static size_t cell_most(const struct table *t, size_t column, size_t used)
{
    size_t most = t->columns[column].most != 0 ? t->columns[column].most : SIZE_MAX;

    if (column + 1 == t->column_count && t->line_max != 0 && t->line_max > used && t->line_max - used < most)
        most = t->line_max - used;
    return most;
}

static void add_row(const struct table *t, struct buf *out, const struct table_cell *row)
{
    size_t used = 0;

    for (size_t i = 0; i < t->column_count; i++) {
        struct buf cell = { 0 };
        size_t width, space;

        add_cut(&cell, row[i].text, cell_most(t, i, used));
        width = text_width(buf_bytes(&cell));
        space = t->widths[i] > width ? t->widths[i] - width : 0;
        if (t->columns[i].right)
            pad(out, space);
        buf_printf(out, "%s%s%s", style_begin(t->color, row[i].style), buf_cstr(&cell),
                   style_end(t->color, row[i].style));
        buf_release(&cell);
        if (i + 1 == t->column_count)
            break;
        if (!t->columns[i].right)
            pad(out, space);
        pad(out, GAP);
        used += (width > t->widths[i] ? width : t->widths[i]) + GAP;
    }
    while (buf_len(out) > 0 && out->ptr[out->end - 1] == ' ')
        out->end--;
    buf_add_byte(out, '\n');
}

static void measure(struct table *t)
{
    for (size_t i = 0; i < t->cell_count; i++) {
        size_t column = i % t->column_count;
        size_t width = text_width(slice_str(t->cells[i].text));

        if (t->columns[column].most != 0 && width > t->columns[column].most)
            width = t->columns[column].most;
        if (width > t->widths[column])
            t->widths[column] = width;
    }
}

void table_flush(struct table *t, struct buf *out)
{
    measure(t);
    if (!t->titled) {
        struct table_cell titles[TABLE_COLUMNS_MAX];

        for (size_t i = 0; i < t->column_count; i++)
            titles[i] = (struct table_cell){ (char *)t->columns[i].title, STYLE_BOLD };
        add_row(t, out, titles);
        t->titled = true;
    }
    for (size_t i = 0; i + t->column_count <= t->cell_count; i += t->column_count)
        add_row(t, out, &t->cells[i]);
    for (size_t i = 0; i < t->cell_count; i++)
        free(t->cells[i].text);
    t->cell_count = 0;
}

void table_release(struct table *t)
{
    for (size_t i = 0; i < t->cell_count; i++)
        free(t->cells[i].text);
    free(t->cells);
}
