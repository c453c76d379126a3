/* conf/check.c - holding the statements of a configuration against the table
 * of directives. */
#include "conf/conf.h"

#include "base/mem.h"
#include "conf/suggest.h"

#include <stdlib.h>

const struct conf_row *conf_row_find(const struct conf_schema *schema, const char *parent,
                                     struct slice name)
{
    for (const struct conf_row *r = schema->rows; r->name != NULL; r++) {
        if (strcmp(r->parent, parent) == 0 && slice_eq(slice_str(r->name), name))
            return r;
    }
    return NULL;
}

static void add_place(struct buf *text, const char *parent)
{
    if (parent[0] != '\0')
        buf_printf(text, "in \"%s { … }\"", parent);
    else
        buf_add_str(text, "outside of blocks");
}

/* Where else such a name is known, for a line in the wrong block. */
static void add_other_places(struct conf *c, struct buf *text, struct slice name)
{
    unsigned n = 0;

    for (const struct conf_row *r = c->schema->rows; r->name != NULL; r++) {
        if (!slice_eq(slice_str(r->name), name))
            continue;
        buf_add_str(text, n++ == 0 ? "; it stands " : " or ");
        add_place(text, r->parent);
    }
}

static void unknown(struct conf *c, const struct conf_stmt *s, const char *parent)
{
    struct suggest suggest = { .word = s->name.text };
    struct buf text = { 0 };

    if (slice_eq(s->name.text, SLICE("include"))) {
        conf_error(c, &s->name, "\"include\" stands outside of blocks");
        return;
    }
    buf_printf(&text, "unknown directive \"%.*s\"", (int)slice_head(s->name.text, 60).len,
               s->name.text.ptr);
    if (parent[0] != '\0')
        buf_printf(&text, " in \"%s\"", parent);
    add_other_places(c, &text, s->name.text);
    for (const struct conf_row *r = c->schema->rows; r->name != NULL; r++) {
        if (strcmp(r->parent, parent) == 0)
            suggest_offer(&suggest, slice_str(r->name));
    }
    if (parent[0] == '\0')
        suggest_offer(&suggest, SLICE("include"));
    if (suggest.best.len != 0)
        buf_printf(&text, "; did you mean \"%.*s\"?", (int)suggest.best.len, suggest.best.ptr);
    conf_error(c, &s->name, "%s", buf_cstr(&text));
    buf_release(&text);
}

/* Files that values name are read while fetching; here their absence shows.
 * What a table names in turn its owner knows. */
static bool seen_value(void *ctx, const struct conf_type *type, const struct conf_word *word)
{
    struct conf *c = ctx;
    bool secret = strcmp(type->name, "SECRET_FILE") == 0;
    bool public = strcmp(type->name, "PUBLIC_FILE") == 0;
    bool table = !secret && !public && slice_ends_nocase(slice_str(type->name), SLICE("_FILE"));
    const struct bundle_entry *e;
    char *path;

    if ((!secret && !public && !table) || c->later)
        return true;
    path = conf_path(c, word->file, word->text);
    e = conf_want(c, table ? BUNDLE_TABLE : public ? BUNDLE_CERTIFICATE : BUNDLE_SECRET, path);
    if (e != NULL && e->problem == NULL) {
        if (table && c->fetch != NULL && c->schema->fetched_table != NULL)
            c->schema->fetched_table(c, type, path, buf_bytes(&e->bytes));
        return true;
    }
    conf_error(c, word, "can't use \"%.*s\": %s", (int)word->text.len, word->text.ptr,
               e != NULL ? e->problem : "it is not part of this configuration");
    return false;
}

/* Repetitions: equal row and title, in the order they were written. */
struct entry {
    struct conf_stmt *s;
    struct slice title;
    size_t order;
};

static int compare_nocase(struct slice a, struct slice b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        int d = ascii_lower(a.ptr[i]) - ascii_lower(b.ptr[i]);

        if (d != 0)
            return d;
    }
    return (a.len > b.len) - (a.len < b.len);
}

static int compare_twins(const struct entry *a, const struct entry *b)
{
    if (a->s->row != b->s->row)
        return a->s->row < b->s->row ? -1 : 1;
    return compare_nocase(a->title, b->title);
}

static int compare_entries(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int d = compare_twins(a, b);

    return d != 0 ? d : (a->order > b->order) - (a->order < b->order);
}

static void report_twin(struct conf *c, const struct entry *first, const struct entry *second)
{
    const struct conf_word *at = &second->s->name;

    second->s->bad = true;
    if (second->title.len != 0)
        conf_error(c, &second->s->args[0], "a second %s \"%.*s\"; the first is at %s:%u",
                   second->s->row->name, (int)second->title.len, second->title.ptr,
                   first->s->name.file->shown, first->s->name.line);
    else
        conf_error(c, at, "a second \"%s\"; the first is at %s:%u", second->s->row->name,
                   first->s->name.file->shown, first->s->name.line);
}

static void check_twins(struct conf *c, struct conf_stmt *block)
{
    struct entry *entries;
    size_t count = 0;
    size_t first = 0;

    for (const struct conf_stmt *s = block->first; s != NULL; s = s->next)
        count++;
    if (count < 2)
        return;
    entries = mem_zero(count, sizeof *entries);
    count = 0;
    for (struct conf_stmt *s = block->first; s != NULL; s = s->next) {
        struct slice title = SLICE_EMPTY;

        if (s->row == NULL || (s->row->flags & (CONF_MANY | CONF_TITLED)) == CONF_MANY)
            continue;
        if ((s->row->flags & CONF_TITLED) != 0 && s->arg_count != 0)
            title = s->args[0].text;
        entries[count] = (struct entry){ .s = s, .title = title, .order = count };
        count++;
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 1; i < count; i++) {
        if (compare_twins(&entries[first], &entries[i]) == 0)
            report_twin(c, &entries[first], &entries[i]);
        else
            first = i;
    }
    free(entries);
}

/* A private key may be missing or unreadable, and most processes never see it. */
static bool seen_value_or_key(void *ctx, const struct conf_type *type, const struct conf_word *word)
{
    struct conf *c = ctx;

    if (strcmp(type->name, "KEYFILE") == 0 && !c->later)
        conf_want(c, BUNDLE_KEY, conf_path(c, word->file, word->text));
    return seen_value(ctx, type, word);
}

static void check_block(struct conf *c, struct conf_stmt *block, const char *parent);

/* What a later release will understand is checked like the rest, but nothing
 * it names need exist yet; one message for a block is enough. */
static void check_known(struct conf *c, struct conf_stmt *s, const struct conf_row *row)
{
    bool was_bad = s->bad;

    if (!s->bad &&
        !conf_pattern_match(c->patterns[row - c->schema->rows], s, c->diags, seen_value_or_key, c))
        s->bad = true;
    if (s->has_block && (row->flags & (CONF_BLOCK | CONF_BLOCK_MUST)) == 0) {
        conf_error(c, &s->name, "\"%s\" takes no block", row->name);
        s->bad = true;
        return;
    }
    if (!s->has_block && (row->flags & CONF_BLOCK_MUST) != 0 && !was_bad) {
        conf_error(c, &s->end, "\"%s\" needs a block: { … }", row->name);
        s->bad = true;
    }
    if (s->has_block)
        check_block(c, s, row->name);
}

static void check_stmt(struct conf *c, struct conf_stmt *s, const char *parent)
{
    const struct conf_row *row = conf_row_find(c->schema, parent, s->name.text);
    bool outer_later = c->later;

    s->row = row;
    if (row == NULL) {
        unknown(c, s, parent);
        s->bad = true;
        return;
    }
    c->later = outer_later || (row->flags & CONF_LATER) != 0;
    check_known(c, s, row);
    if (c->later && !outer_later && !s->bad) {
        conf_error(c, &s->name, "\"%s\" is not in this release", row->name);
        s->bad = true;
    }
    c->later = outer_later;
}

static void check_block(struct conf *c, struct conf_stmt *block, const char *parent)
{
    for (struct conf_stmt *s = block->first; s != NULL; s = s->next)
        check_stmt(c, s, parent);
    check_twins(c, block);
}

void conf_check(struct conf *c, struct conf_stmt *root)
{
    check_block(c, root, "");
}
