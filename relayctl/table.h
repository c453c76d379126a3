/* relayctl/table.h - rows in aligned columns.
 *
 * Rows gather and are written by table_flush(); widths never shrink from one
 * flush to the next, so that a long list stays straight page by page.
 */
#ifndef RELAYCTL_TABLE_H
#define RELAYCTL_TABLE_H

#include "relayctl/text.h"

#define TABLE_COLUMNS_MAX 8

struct table_column {
    const char *title;
    bool right;   /* numbers */
    size_t least; /* width */
    size_t most;  /* longer cells are cut, with a …; 0 = never */
};

struct table_cell {
    char *text;
    enum text_style style;
};

struct table {
    const struct table_column *columns;
    size_t column_count;
    bool color;
    size_t line_max; /* a terminal's width: the last column is cut there; 0 = never */
    size_t widths[TABLE_COLUMNS_MAX];
    struct table_cell *cells; /* row by row */
    size_t cell_count, cell_cap;
    bool titled;
};

void table_init(struct table *t, const struct table_column *columns, size_t count, bool color, size_t line_max);
void table_cell(struct table *t, enum text_style style, const char *text); /* the next one; copied */
void table_flush(struct table *t, struct buf *out);
void table_release(struct table *t);

#endif
