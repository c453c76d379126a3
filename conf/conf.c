/* conf/conf.c - the course of loading a configuration, and the takers that
 * store plain values. */
#include "conf/conf.h"

#include "conf/value.h"

void conf_error(struct conf *c, const struct conf_word *at, const char *fmt, ...)
{
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    conf_error_at(c->diags, at, "%s", buf_cstr(&text));
    buf_release(&text);
}

void conf_compile(struct conf *c)
{
    size_t count = 0;

    while (c->schema->rows[count].name != NULL)
        count++;
    c->patterns = pool_zero(c->pool, count, sizeof(struct conf_pattern *));
    for (size_t i = 0; i < count; i++)
        c->patterns[i] = conf_pattern_compile(c->schema->rows[i].args, c->schema->types, c->pool);
}

void conf_take_block(struct conf *c, const struct conf_stmt *s, void *into)
{
    for (const struct conf_stmt *child = s->first; child != NULL; child = child->next) {
        if (!child->bad)
            child->row->take(c, child, (char *)into + child->row->offset);
    }
}

void conf_load(struct conf *c, void *into)
{
    struct conf_stmt root = { 0 };

    conf_block_init(&root);
    conf_compile(c);
    conf_include(c, &root);
    if (c->bundle->count != 0)
        conf_override(c, &root);
    conf_check(c, &root);
    c->root = &root;
    if (c->fetch == NULL)
        conf_take_block(c, &root, into);
    c->root = NULL;
    diagnostics_sort(c->diags);
}

size_t conf_count(const struct conf_stmt *block, const char *name)
{
    size_t n = 0;

    for (const struct conf_stmt *s = block->first; s != NULL; s = s->next)
        n += slice_eq(s->name.text, slice_str(name));
    return n;
}

const struct conf_stmt *conf_find(const struct conf_stmt *block, const char *name)
{
    for (const struct conf_stmt *s = block->first; s != NULL; s = s->next) {
        if (slice_eq(s->name.text, slice_str(name)))
            return s;
    }
    return NULL;
}

/* The statement fits its pattern, so what does not parse is its keyword. */

void conf_take_unsigned(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *why;
    uint64_t n;

    *(unsigned *)into = conf_value_number(s->args[0].text, &n, &why) ? (unsigned)n : 0;
}

void conf_take_u16(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *why;
    uint64_t n;

    *(uint16_t *)into = conf_value_number(s->args[0].text, &n, &why) ? (uint16_t)n : 0;
}

void conf_take_size(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *why;
    uint64_t n;

    *(uint64_t *)into = conf_value_size(s->args[0].text, &n, &why) ? n : 0;
}

void conf_take_duration(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *why;
    uint64_t n;

    *(uint64_t *)into = conf_value_duration(s->args[0].text, &n, &why) ? n : 0;
}

void conf_take_switch(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *why;

    *(bool *)into = conf_value_switch(s->args[0].text, into, &why) && *(bool *)into;
}

void conf_take_flag(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(bool *)into = true;
}

void conf_take_string(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(const char **)into = pool_dup(c->pool, s->args[0].text);
}

void conf_take_path(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(const char **)into = conf_path(c, s->args[0].file, s->args[0].text);
}

void conf_take_nothing(struct conf *c, const struct conf_stmt *s, void *into)
{
}
