/* relayd/settings_alias_file.c - files of aliases and of recipients: read, and
 * fetched with all that they include. */
#include "relayd/settings_alias_inside.h"

#include "base/mem.h"

#include <stdarg.h>
#include <string.h>

/* ---- reading ---------------------------------------------------------------------- */

struct file_reader {
    struct conf *c;
    const struct conf_file *file;
    struct alias_map *map;
    const char *domain; /* whose recipients these are */
    bool open;          /* there is an entry that targets belong to */
};

static void PRINTF_LIKE(3, 4) file_error(const struct file_reader *r, unsigned line, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    diagnostics_vadd(r->c->diags, true, r->file->shown, line, 1, SLICE_EMPTY, fmt, ap);
    va_end(ap);
}

static struct conf_file *open_file(struct conf *c, const struct conf_file *from, struct slice name)
{
    struct conf_file *f = pool_new_of(c->pool, struct conf_file);

    f->path = conf_path(c, from, name);
    f->shown = conf_shown(c, from, name);
    f->parent = from;
    return f;
}

static void take_file_item(void *ctx, const struct alias_item *i);

static void take_include(const struct file_reader *r, const struct alias_item *i)
{
    struct file_reader inner = *r;
    const struct conf_file *file;
    const struct bundle_entry *e;
    unsigned depth = 0;

    if (i->text.len == 0) {
        file_error(r, i->line, ":include: names no file");
        return;
    }
    inner.file = file = open_file(r->c, r->file, i->text);
    e = bundle_find(r->c->bundle, BUNDLE_TABLE, slice_str(file->path));
    for (const struct conf_file *f = r->file; f != NULL; f = f->parent, depth++) {
        if (strcmp(f->path, file->path) == 0) {
            file_error(r, i->line, "\"%s\" includes itself", file->shown);
            return;
        }
    }
    if (depth > CONF_DEPTH_MAX)
        file_error(r, i->line, "files are included more than %u deep", CONF_DEPTH_MAX);
    else if (e == NULL || e->problem != NULL)
        file_error(r, i->line, "can't read \"%s\": %s", file->shown,
                   e != NULL ? e->problem : "it is not part of this configuration");
    else
        alias_file_parse(buf_bytes(&e->bytes), ALIAS_FORMAT_TARGETS, take_file_item, &inner);
}

static void take_file_item(void *ctx, const struct alias_item *i)
{
    struct file_reader *r = ctx;
    struct alias_entry_place place = { r->file->shown, i->line }, first;

    if (i->kind == ALIAS_PROBLEM) {
        file_error(r, i->line, "%.*s", (int)i->text.len, i->text.ptr);
    } else if (i->kind == ALIAS_NAME) {
        r->open = alias_map_begin(r->map, i->text, place, &first);
        if (!r->open)
            file_error(r, i->line, "a second alias for \"%.*s\"; the first is at %s:%u", (int)i->text.len,
                       i->text.ptr, first.file, first.line);
    } else if (r->open && i->kind == ALIAS_INCLUDE) {
        take_include(r, i);
    } else if (r->open) {
        settings_alias_add_target(r->map, i);
    }
}

/* Addresses of other domains are no mistake: one file may serve them all. */
static void take_recipient_item(void *ctx, const struct alias_item *i)
{
    struct file_reader *r = ctx;
    struct alias_entry_place place = { r->file->shown, i->line }, first;
    char name[ALIAS_NAME_MAX + 1];
    const char *why;

    if (i->kind == ALIAS_PROBLEM)
        file_error(r, i->line, "%.*s", (int)i->text.len, i->text.ptr);
    else if (i->kind == ALIAS_NAME && settings_alias_address_in(i->text, r->domain, name, &why))
        alias_map_begin(r->map, slice_str(name), place, &first);
}

/* Reads the file of the statement's argument; that it is there was checked. */
static void read_table(struct conf *c, const struct conf_word *word, enum alias_format format, alias_item_fn *item,
                       struct alias_map *map, const char *domain)
{
    struct file_reader r = { .c = c, .map = map, .domain = domain };
    const struct bundle_entry *e;

    r.file = open_file(c, word->file, word->text);
    e = bundle_find(c->bundle, BUNDLE_TABLE, slice_str(r.file->path));
    if (e != NULL)
        alias_file_parse(buf_bytes(&e->bytes), format, item, &r);
}

void settings_take_aliases_file(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_aliases *a = settings_aliases_of(c);
    const char *path = conf_path(c, s->args[0].file, s->args[0].text);
    struct settings_domain *d = into;

    for (size_t i = 0; i < a->file_count; i++) {
        if (strcmp(a->files[i].path, path) == 0) {
            d->names = a->files[i].map;
            return;
        }
    }
    a->files = mem_grow(a->files, a->file_count + 1, sizeof *a->files);
    a->files[a->file_count] = (struct names_file){ .path = path, .map = alias_map_new() };
    d->names = a->files[a->file_count++].map;
    read_table(c, &s->args[0], ALIAS_FORMAT_ALIASES, take_file_item, a->files[a->file_count - 1].map, NULL);
}

void settings_take_virtual_aliases(struct conf *c, const struct conf_stmt *s, void *into)
{
    read_table(c, &s->args[0], ALIAS_FORMAT_VIRTUAL, take_file_item, settings_aliases_of(c)->addresses, NULL);
}

void settings_take_recipients_file(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_domain *d = into;

    d->listed = true;
    read_table(c, &s->args[0], ALIAS_FORMAT_RECIPIENTS, take_recipient_item, settings_aliases_of(c)->recipients,
               d->name);
}

/* ---- while fetching ---------------------------------------------------------------- */

struct fetcher {
    struct conf *c;
    const struct conf_file *file;
};

static void fetch_item(void *ctx, const struct alias_item *i)
{
    struct fetcher *f = ctx;
    struct fetcher inner = { .c = f->c };
    const struct bundle_entry *e;

    if (i->kind != ALIAS_INCLUDE || i->text.len == 0)
        return;
    inner.file = open_file(f->c, f->file, i->text);
    if (bundle_find(f->c->bundle, BUNDLE_TABLE, slice_str(inner.file->path)) != NULL)
        return;
    e = conf_want(f->c, BUNDLE_TABLE, inner.file->path);
    if (e != NULL && e->problem == NULL)
        alias_file_parse(buf_bytes(&e->bytes), ALIAS_FORMAT_TARGETS, fetch_item, &inner);
}

static bool mentions_include(struct slice s)
{
    static const struct slice word = { ":include:", 9 };

    while (s.len >= word.len) {
        s = slice_from(s, slice_find(s, ':'));
        if (slice_starts_nocase(s, word))
            return true;
        s = slice_from(s, 1);
    }
    return false;
}

void settings_fetched_table(struct conf *c, const struct conf_type *type, const char *path, struct slice bytes)
{
    bool aliases = strcmp(type->name, "ALIASES_FILE") == 0;
    struct conf_file file = { .path = path, .shown = path };
    struct fetcher f = { c, &file };

    if ((aliases || strcmp(type->name, "VIRTUAL_FILE") == 0) && mentions_include(bytes))
        alias_file_parse(bytes, aliases ? ALIAS_FORMAT_ALIASES : ALIAS_FORMAT_VIRTUAL, fetch_item, &f);
}
