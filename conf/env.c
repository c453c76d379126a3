/* conf/env.c - variables of the environment that stand for directives, as
 * containers like to be configured: RELAYD_HOSTNAME, RELAYD_LIMITS_ERRORS,
 * RELAYD_SMARTHOST_SES_USER. */
#include "conf/conf.h"

static void add_upper(struct buf *out, struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char ch = ascii_lower(name.ptr[i]);

        if (ch >= 'a' && ch <= 'z')
            ch = (char)(ch - ('a' - 'A'));
        buf_add_byte(out, ascii_is_alnum(ch) ? ch : '_');
    }
}

/* Takes "NAME" or, in a block, "NAME_" off the front of *rest. */
static bool take_name(struct slice *rest, struct slice name, bool last)
{
    struct buf upper = { 0 };
    bool fits;

    add_upper(&upper, name);
    if (!last)
        buf_add_byte(&upper, '_');
    fits = slice_eq(slice_head(*rest, buf_len(&upper)), buf_bytes(&upper)) &&
           (!last || rest->len == buf_len(&upper));
    if (fits)
        *rest = slice_from(*rest, buf_len(&upper));
    buf_release(&upper);
    return fits;
}

/* The block of the one `row` that has no title; made if there is none. */
static struct conf_stmt *plain_block(struct conf *c, struct conf_stmt *root,
                                     const struct conf_row *row, const struct conf_file *file)
{
    struct conf_stmt *s;

    for (s = root->first; s != NULL; s = s->next) {
        if (slice_eq(s->name.text, slice_str(row->name)) && s->has_block && s->arg_count == 0)
            return s;
    }
    s = pool_new_of(c->pool, struct conf_stmt);
    s->name =
        (struct conf_word){ .text = slice_str(row->name), .file = file, .line = 1, .column = 1 };
    s->end = s->name;
    s->has_block = true;
    conf_block_init(s);
    conf_block_append(root, s);
    return s;
}

/* In which block the directive of `row` belongs, when the variable's name
 * (without prefix) means it; or NULL. */
static struct conf_stmt *find_block(struct conf *c, struct conf_stmt *root,
                                    const struct conf_row *row, struct slice variable,
                                    const struct conf_file *file)
{
    const struct conf_row *parent;

    if ((row->flags & (CONF_MANY | CONF_BLOCK | CONF_BLOCK_MUST)) != 0)
        return NULL;
    if (row->parent[0] == '\0')
        return take_name(&variable, slice_str(row->name), true) ? root : NULL;
    parent = conf_row_find(c->schema, "", slice_str(row->parent));
    if (parent == NULL || !take_name(&variable, slice_str(parent->name), false))
        return NULL;
    if ((parent->flags & CONF_MANY) == 0 || (parent->flags & CONF_ENV_PLAIN) != 0)
        return take_name(&variable, slice_str(row->name), true) ? plain_block(c, root, parent, file)
                                                                : NULL;
    if ((parent->flags & CONF_ENV_TITLE) == 0)
        return NULL;
    for (struct conf_stmt *s = root->first; s != NULL; s = s->next) {
        struct slice rest = variable;

        if (slice_eq(s->name.text, slice_str(parent->name)) && s->has_block && s->arg_count != 0 &&
            take_name(&rest, s->args[0].text, false) &&
            take_name(&rest, slice_str(row->name), true))
            return s;
    }
    return NULL;
}

static void remove_named(struct conf_stmt *block, struct slice name)
{
    struct conf_stmt *s = block->first;
    struct conf_stmt *next;

    conf_block_init(block);
    for (; s != NULL; s = next) {
        next = s->next;
        if (!slice_eq(s->name.text, name))
            conf_block_append(block, s);
    }
}

/* The value as the statement's arguments. Where the directive takes a single
 * value all of the text is that value, so that a password needs no quoting. */
static void set_args(struct conf *c, const struct conf_row *row, const struct conf_file *file,
                     struct conf_stmt *s)
{
    if (!conf_pattern_is_single(c->patterns[row - c->schema->rows])) {
        conf_parse_args(file, c->pool, c->diags, s);
        return;
    }
    s->args = pool_new_of(c->pool, struct conf_word);
    s->args[0] = s->name;
    s->args[0].text = file->text;
    s->arg_count = 1;
    s->end = s->name;
    for (size_t i = 0; i < file->text.len; i++) {
        unsigned char ch = (unsigned char)file->text.ptr[i];

        if (ch >= 0x20 && ch != 0x7f)
            continue;
        conf_error(c, &s->name, "control character \\x%02x in the value", ch);
        s->bad = true;
        return;
    }
}

/* What an orchestrator sets for a service called relayd. */
static bool is_foreign(struct slice variable)
{
    return slice_eq(variable, SLICE("PORT")) || slice_starts_nocase(variable, SLICE("PORT_")) ||
           slice_starts_nocase(variable, SLICE("SERVICE_"));
}

static void override(struct conf *c, struct conf_stmt *root, const struct bundle_entry *e)
{
    struct slice variable = slice_from(slice_str(e->path), strlen(c->schema->env_prefix));
    struct conf_file *file = pool_new_of(c->pool, struct conf_file);

    *file = (struct conf_file){
        .shown = pool_dup(c->pool, slice_str(e->path)),
        .path = c->bundle->entries[0].path,
        .text = buf_bytes(&e->bytes),
        .hidden = slice_ends_nocase(variable, SLICE("PASSWORD")),
    };
    for (const struct conf_row *row = c->schema->rows; row->name != NULL; row++) {
        struct conf_stmt *block = find_block(c, root, row, variable, file);
        struct conf_stmt *s;

        if (block == NULL)
            continue;
        s = pool_new_of(c->pool, struct conf_stmt);
        s->name = (struct conf_word){
            .text = slice_str(row->name), .file = file, .line = 1, .column = 1
        };
        set_args(c, row, file, s);
        remove_named(block, slice_str(row->name));
        conf_block_append(block, s);
        return;
    }
    if (!is_foreign(variable))
        diagnostics_add(c->diags, false, e->path, 0, 0, SLICE_EMPTY,
                        "this variable stands for no directive; it is ignored");
}

/* An empty variable counts as not set. */
void conf_override(struct conf *c, struct conf_stmt *root)
{
    for (size_t i = 0; i < c->bundle->count; i++) {
        const struct bundle_entry *e = &c->bundle->entries[i];

        if (e->kind == BUNDLE_ENV && buf_len(&e->bytes) != 0 &&
            slice_starts_nocase(slice_str(e->path), slice_str(c->schema->env_prefix)))
            override(c, root, e);
    }
}
