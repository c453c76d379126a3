/* conf/include.c - the files of a configuration become one tree. The same
 * walk serves the parent, which fetches files from disk as it meets them, and
 * the children, which have them in the bundle. */
#include "conf/conf.h"

#include "base/mem.h"

#include <stdlib.h>

#define PATH_KEPT_MAX 4095u /* longer names no kernel opens */

char *conf_path(struct conf *c, const struct conf_file *file, struct slice name)
{
    struct buf out = { 0 };
    struct slice rest = name;
    struct slice part;
    char *path;

    if (name.len == 0 || name.ptr[0] != '/') {
        struct slice base = slice_str(file->path);

        while (base.len > 1 && base.ptr[base.len - 1] != '/')
            base.len--;
        buf_add(&out, slice_head(base, base.len - (base.len > 0)));
    }
    /* "a//b" and "a/./b" are "a/b"; ".." stays, it may follow a symbolic link. */
    while (slice_split(&rest, '/', &part)) {
        if (part.len == 0 || slice_eq(part, SLICE(".")))
            continue;
        buf_add_byte(&out, '/');
        buf_add(&out, part);
    }
    if (buf_len(&out) == 0)
        buf_add_byte(&out, '/');
    path = pool_dup(c->pool, buf_bytes(&out));
    buf_release(&out);
    return path;
}

const struct bundle_entry *conf_want(struct conf *c, enum bundle_kind kind, const char *path)
{
    const struct bundle_entry *e = bundle_find(c->bundle, kind, slice_str(path));

    if (e == NULL && c->fetch != NULL) {
        c->fetch(c->fetching, kind, path);
        e = bundle_find(c->bundle, kind, slice_str(path));
    }
    return e;
}

static void load_file(struct conf *c, struct conf_file *file, struct conf_stmt *root);

static void include_file(struct conf *c, const struct conf_word *at, const struct conf_file *from,
                         const char *shown, const char *path, struct conf_stmt *root)
{
    const struct bundle_entry *e = conf_want(c, BUNDLE_FILE, path);
    struct conf_file *file;
    unsigned depth = 1;

    for (const struct conf_file *f = from; f != NULL; f = f->parent, depth++) {
        if (strcmp(f->path, path) == 0) {
            conf_error(c, at, "\"%s\" includes itself", shown);
            return;
        }
    }
    if (depth > CONF_DEPTH_MAX) {
        conf_error(c, at, "files are included more than %u deep", CONF_DEPTH_MAX);
        return;
    }
    if (e == NULL || e->problem != NULL) {
        conf_error(c, at, "can't read \"%s\": %s", shown,
                   e != NULL ? e->problem : "it is not part of this configuration");
        return;
    }
    if (c->includes > BUNDLE_FILES_MAX)
        return; /* said already */
    if (c->includes++ == BUNDLE_FILES_MAX) {
        conf_error(c, at, "more than %u files are included", BUNDLE_FILES_MAX);
        return;
    }
    file = pool_new_of(c->pool, struct conf_file);
    *file = (struct conf_file){
        .shown = shown,
        .path = path,
        .text = buf_bytes(&e->bytes),
        .parent = from,
    };
    load_file(c, file, root);
}

/* A folder or a pattern with wildcards: none at all is fine. */
static void include_list(struct conf *c, const struct conf_word *at, const struct conf_file *from,
                         const struct bundle_entry *list, struct conf_stmt *root)
{
    struct slice rest = buf_bytes(&list->bytes);
    struct slice path;

    if (list->problem != NULL) {
        conf_error(c, at, "can't read \"%s\": %s", list->path, list->problem);
        return;
    }
    while (slice_split(&rest, '\0', &path)) {
        const char *name = pool_dup(c->pool, path);

        include_file(c, at, from, name, name, root);
    }
}

/* Beside the file that names it. */
const char *conf_shown(struct conf *c, const struct conf_file *from, struct slice name)
{
    struct slice base = slice_str(from->shown);

    if (name.len > 0 && name.ptr[0] == '/')
        return pool_dup(c->pool, name);
    while (base.len > 0 && base.ptr[base.len - 1] != '/')
        base.len--;
    return pool_printf(c->pool, "%.*s%.*s", (int)base.len, base.ptr, (int)name.len, name.ptr);
}

static void include(struct conf *c, const struct conf_stmt *s, struct conf_stmt *root)
{
    const struct conf_word *at;
    const struct bundle_entry *list;
    const char *path;

    if (s->arg_count != 1 || s->args[0].comma || s->args[0].text.len == 0 || s->has_block) {
        conf_error(c, &s->name,
                   "\"include\" needs one path, of a file, a folder or with wildcards");
        return;
    }
    at = &s->args[0];
    path = conf_path(c, at->file, at->text);
    if (strpbrk(path, "*?[") != NULL) {
        list = conf_want(c, BUNDLE_LIST, path);
    } else {
        conf_want(c, BUNDLE_FILE, path); /* a folder becomes a list */
        list = bundle_find(c->bundle, BUNDLE_LIST, slice_str(path));
    }
    if (list != NULL)
        include_list(c, at, at->file, list, root);
    else
        include_file(c, at, at->file, conf_shown(c, at->file, at->text), path, root);
}

/* A file's statements join root where its include stood. */
static void load_file(struct conf *c, struct conf_file *file, struct conf_stmt *root)
{
    struct conf_stmt top = { 0 };
    struct conf_stmt *next;

    conf_block_init(&top);
    conf_parse(file, c->pool, c->diags, &top);
    for (struct conf_stmt *s = top.first; s != NULL; s = next) {
        next = s->next;
        if (!slice_eq(s->name.text, SLICE("include")))
            conf_block_append(root, s);
        else if (!s->bad)
            include(c, s, root);
    }
}

void conf_include(struct conf *c, struct conf_stmt *root)
{
    const struct bundle_entry *e = c->bundle->count != 0 ? &c->bundle->entries[0] : NULL;
    struct conf_file *file;

    if (e == NULL || e->kind != BUNDLE_FILE || e->problem != NULL) {
        diagnostics_add(c->diags, true, c->bundle->name, 0, 0, SLICE_EMPTY, "can't read it: %s",
                        e != NULL && e->problem != NULL ? e->problem : "there is nothing to read");
        return;
    }
    file = pool_new_of(c->pool, struct conf_file);
    *file = (struct conf_file){
        .shown = pool_dup(c->pool, slice_str(c->bundle->name)),
        .path = pool_dup(c->pool, slice_str(e->path)),
        .text = buf_bytes(&e->bytes),
    };
    load_file(c, file, root);
}
