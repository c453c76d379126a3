/* conf/withhold.c - a configuration without the secrets that are not for its
 * reader. The parent makes such a copy for each process: it says the same in
 * all else, at the same lines and columns, but a secret of others is there
 * only in name. */
#include "conf/conf.h"

#include "base/mem.h"

#include <stdlib.h>

#define BLANK 'x'

struct withholding {
    struct conf c;
    struct bundle *copy; /* entries as in c.bundle, in the same order */
    unsigned reader;
    unsigned *readers;   /* of each entry that is a secret file */
    const struct conf_row *row; /* of the statement that is looked at */
};

static size_t entry_of_text(const struct bundle *b, const char *text)
{
    size_t i = 0;

    while (i < b->count && b->entries[i].bytes.ptr != text)
        i++;
    return i;
}

/* A word as it is written: in quotes, which stay, or bare up to where no word
 * goes on. */
static void blank_word(char *text, size_t len, size_t at)
{
    bool quoted = at < len && text[at] == '"';

    for (size_t i = at + quoted; i < len; i++) {
        bool escaped = quoted && text[i] == '\\' && i + 1 < len;

        if (quoted ? text[i] == '"' : strchr(" \t\r\n;{},\"", text[i]) != NULL)
            return;
        text[i] = BLANK;
        if (escaped)
            text[++i] = BLANK;
    }
}

static void blank(struct withholding *w, const struct conf_word *word)
{
    struct slice text = word->file->text;
    size_t place = entry_of_text(w->c.bundle, text.ptr);
    char *copy;

    if (place == w->c.bundle->count)
        return; /* a text of no bytes */
    copy = w->copy->entries[place].bytes.ptr;
    if (w->c.bundle->entries[place].kind == BUNDLE_ENV && word->text.len == text.len)
        memset(copy, BLANK, text.len); /* all of a variable's value, without quotes */
    else
        blank_word(copy, text.len, word->at);
}

static bool is_secret(const struct bundle_entry *e)
{
    return e->kind == BUNDLE_SECRET || e->kind == BUNDLE_KEY;
}

static bool seen_value(void *ctx, const struct conf_type *type, const struct conf_word *word)
{
    struct withholding *w = ctx;

    if (strcmp(type->name, "SECRET") == 0 && (w->row->flags & w->reader) == 0) {
        blank(w, word);
    } else if (strcmp(type->name, "SECRET_FILE") == 0 || strcmp(type->name, "KEYFILE") == 0) {
        const char *path = conf_path(&w->c, word->file, word->text);

        for (size_t i = 0; i < w->c.bundle->count; i++)
            if (is_secret(&w->c.bundle->entries[i]) &&
                strcmp(w->c.bundle->entries[i].path, path) == 0)
                w->readers[i] |= w->row->flags;
    }
    return true;
}

static void look_at(struct withholding *w, const struct conf_stmt *block, const char *parent)
{
    for (const struct conf_stmt *s = block->first; s != NULL; s = s->next) {
        const struct conf_row *row = conf_row_find(w->c.schema, parent, s->name.text);

        if (row == NULL)
            continue;
        w->row = row;
        (void)conf_pattern_match(w->c.patterns[row - w->c.schema->rows], s, w->c.diags, seen_value, w);
        if (s->has_block)
            look_at(w, s, row->name);
    }
}

static struct bundle *copy_of(const struct bundle *b)
{
    struct bundle *copy = bundle_new(b->name);

    for (size_t i = 0; i < b->count; i++) {
        const struct bundle_entry *e = &b->entries[i];
        /* within the limits, as the original is */
        struct err added = bundle_add(copy, e->kind, e->path, buf_bytes(&e->bytes), e->problem);

        if (err_failed(added))
            break;
        copy->entries[i].readers = e->readers;
        copy->entries[i].withheld = e->withheld;
    }
    return copy;
}

struct bundle *conf_withhold(const struct conf_schema *schema, const struct bundle *b,
                             unsigned reader)
{
    struct diagnostics ignored = { 0 };
    struct withholding w = {
        .c = { .schema = schema, .bundle = b, .pool = pool_new(), .diags = &ignored },
        .copy = copy_of(b),
        .reader = reader,
        .readers = mem_zero(b->count + 1, sizeof *w.readers),
    };
    struct conf_stmt root = { 0 };

    conf_block_init(&root);
    conf_compile(&w.c);
    conf_include(&w.c, &root);
    look_at(&w, &root, ""); /* also what a variable overrides */
    if (b->count != 0)
        conf_override(&w.c, &root);
    look_at(&w, &root, "");
    for (size_t i = 0; i < w.copy->count; i++) {
        struct bundle_entry *e = &w.copy->entries[i];

        if (!is_secret(e) || ((w.readers[i] | e->readers) & reader) != 0)
            continue;
        e->withheld = e->problem == NULL;
        buf_wipe(&e->bytes);
    }
    free(w.readers);
    diagnostics_release(&ignored);
    pool_free(w.c.pool);
    return w.copy;
}

const struct bundle_entry *conf_secret(struct conf *c, const struct conf_word *word)
{
    return conf_want(c, BUNDLE_SECRET, conf_path(c, word->file, word->text));
}
