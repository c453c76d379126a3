/* conf/pattern.c - holding the arguments of a directive against what it takes,
 * and saying what was expected instead. */
#include "conf/pattern.h"

#include "conf/suggest.h"
#include "conf/value.h"

#include <assert.h>

enum kind { KEYWORD, COMMA, TYPE, SEQUENCE, CHOICE, OPTIONAL, REPEATED };

struct conf_pattern {
    enum kind kind;
    struct conf_pattern *next; /* beside it */
    struct conf_pattern *child;
    struct slice text; /* keyword */
    const struct conf_type *type;
    bool ranged;
    uint64_t min, max;
    struct slice min_text, max_text;
};

struct compiler {
    struct slice rest;
    const struct conf_type *types;
    struct pool *pool;
};

static bool type_char(char c)
{
    return (c >= 'A' && c <= 'Z') || c == '_';
}

static bool keyword_char(char c)
{
    return ascii_is_alnum(c) || c == '_' || c == '-' || c == '*';
}

static char next_char(struct compiler *c)
{
    while (c->rest.len != 0 && c->rest.ptr[0] == ' ')
        c->rest = slice_from(c->rest, 1);
    return c->rest.len != 0 ? c->rest.ptr[0] : '\0';
}

static struct slice take_while(struct compiler *c, bool (*fits)(char))
{
    struct slice out = c->rest;
    size_t n = 0;

    while (n < out.len && fits(out.ptr[n]))
        n++;
    c->rest = slice_from(out, n);
    return slice_head(out, n);
}

static struct conf_pattern *node(struct compiler *c, enum kind kind)
{
    struct conf_pattern *p = pool_new_of(c->pool, struct conf_pattern);

    p->kind = kind;
    return p;
}

static const struct conf_type *find_type(const struct conf_type *types, struct slice name)
{
    for (; types->name != NULL; types++) {
        if (slice_eq(slice_str(types->name), name))
            return types;
    }
    return NULL;
}

static void compile_range(struct compiler *c, struct conf_pattern *p)
{
    size_t close = slice_find(c->rest, ')');
    struct slice range = slice_head(c->rest, close);
    const char *why;

    range = slice_from(range, 1);
    p->min_text = slice_head(range, slice_find(range, '.'));
    p->max_text = slice_from(range, p->min_text.len + 2);
    p->ranged = p->type->measure != NULL && p->type->measure(p->min_text, &p->min, &why) &&
                p->type->measure(p->max_text, &p->max, &why) && p->min < p->max;
    assert(p->ranged);
    c->rest = slice_from(c->rest, close + 1);
}

static struct conf_pattern *compile_choice(struct compiler *c);

static struct conf_pattern *compile_group(struct compiler *c, enum kind kind, char close)
{
    struct conf_pattern *p = node(c, kind);

    c->rest = slice_from(c->rest, 1);
    p->child = compile_choice(c);
    assert(next_char(c) == close);
    c->rest = slice_from(c->rest, 1);
    return p;
}

static struct conf_pattern *compile_one(struct compiler *c)
{
    struct conf_pattern *p;
    struct slice name;

    switch (c->rest.ptr[0]) {
    case '(':
        return compile_group(c, SEQUENCE, ')');
    case '[':
        return compile_group(c, OPTIONAL, ']');
    case '{':
        return compile_group(c, REPEATED, '}');
    case ',':
        c->rest = slice_from(c->rest, 1);
        return node(c, COMMA);
    }
    if (type_char(c->rest.ptr[0])) {
        p = node(c, TYPE);
        name = take_while(c, type_char);
        p->type = find_type(c->types, name);
        if (p->type == NULL)
            p->type = find_type(conf_types, name);
        assert(p->type != NULL);
        if (c->rest.len != 0 && c->rest.ptr[0] == '(')
            compile_range(c, p);
        return p;
    }
    p = node(c, KEYWORD);
    p->text = take_while(c, keyword_char);
    assert(p->text.len != 0);
    return p;
}

static struct conf_pattern *compile_sequence(struct compiler *c)
{
    struct conf_pattern *p = node(c, SEQUENCE);
    struct conf_pattern **last = &p->child;
    char ch;

    while ((ch = next_char(c)) != '\0' && strchr("|)]}", ch) == NULL) {
        *last = compile_one(c);
        last = &(*last)->next;
    }
    return p;
}

static struct conf_pattern *compile_choice(struct compiler *c)
{
    struct conf_pattern *p = node(c, CHOICE);
    struct conf_pattern **last = &p->child;

    for (;;) {
        *last = compile_sequence(c);
        last = &(*last)->next;
        if (next_char(c) != '|')
            return p;
        c->rest = slice_from(c->rest, 1);
    }
}

struct conf_pattern *conf_pattern_compile(const char *text, const struct conf_type *types,
                                          struct pool *pool)
{
    struct compiler c = { .rest = slice_str(text), .types = types, .pool = pool };
    struct conf_pattern *p = compile_choice(&c);

    assert(c.rest.len == 0);
    return p;
}

static const struct conf_type *single_type(const struct conf_pattern *p)
{
    while (p->child != NULL && p->next == NULL && (p->kind == CHOICE || p->kind == SEQUENCE))
        p = p->child;
    return p->kind == TYPE && p->next == NULL ? p->type : NULL;
}

bool conf_pattern_is_single(const struct conf_pattern *p)
{
    return single_type(p) != NULL;
}

/* Matching. */

#define SKIPPED_MAX 8u

struct match {
    const struct conf_stmt *s;
    struct diagnostics *diags;
    conf_pattern_seen *seen;
    void *ctx;
    bool secret; /* values are not to be shown */
    size_t at;   /* the argument looked at */
    /* Optional parts passed over at this argument: they were possible, too. */
    const struct conf_pattern *skipped[SKIPPED_MAX];
    size_t skipped_count;
};

static bool nullable(const struct conf_pattern *p)
{
    switch (p->kind) {
    case OPTIONAL:
    case REPEATED:
        return true;
    case SEQUENCE:
        for (p = p->child; p != NULL; p = p->next) {
            if (!nullable(p))
                return false;
        }
        return true;
    case CHOICE:
        for (p = p->child; p != NULL; p = p->next) {
            if (nullable(p))
                return true;
        }
        return false;
    case KEYWORD:
    case COMMA:
    case TYPE:
        break;
    }
    return false;
}

static bool starts(const struct conf_pattern *p, const struct conf_word *w)
{
    switch (p->kind) {
    case KEYWORD:
        return !w->comma && slice_eq(p->text, w->text);
    case COMMA:
        return w->comma;
    case TYPE:
        return !w->comma;
    case OPTIONAL:
    case REPEATED:
        return starts(p->child, w);
    case SEQUENCE:
        for (p = p->child; p != NULL; p = p->next) {
            if (starts(p, w))
                return true;
            if (!nullable(p))
                return false;
        }
        return false;
    case CHOICE:
        for (p = p->child; p != NULL; p = p->next) {
            if (starts(p, w))
                return true;
        }
        return false;
    }
    return false;
}

/* Which words could stand first, for the message. */
struct first_set {
    struct buf text;
    unsigned count;
    struct suggest suggest;
};

static void first_add(struct first_set *f, const struct conf_pattern *p)
{
    if (f->count++ > 0)
        buf_add_byte(&f->text, '\n'); /* made "," or "or" when all are known */
    if (p->kind == TYPE) {
        buf_add_str(&f->text, p->type->noun);
    } else {
        buf_printf(&f->text, "\"%.*s\"", (int)p->text.len, p->text.ptr);
        suggest_offer(&f->suggest, p->text);
    }
}

static void first_collect(struct first_set *f, const struct conf_pattern *p)
{
    switch (p->kind) {
    case KEYWORD:
    case TYPE:
        first_add(f, p);
        break;
    case COMMA:
        if (f->count++ > 0)
            buf_add_byte(&f->text, '\n');
        buf_add_str(&f->text, "\",\"");
        break;
    case OPTIONAL:
    case REPEATED:
        first_collect(f, p->child);
        break;
    case SEQUENCE:
        for (p = p->child; p != NULL; p = p->next) {
            first_collect(f, p);
            if (!nullable(p))
                break;
        }
        break;
    case CHOICE:
        for (p = p->child; p != NULL; p = p->next)
            first_collect(f, p);
        break;
    }
}

static void first_write(const struct first_set *f, struct buf *out)
{
    struct slice rest = buf_bytes(&f->text);
    struct slice part;
    unsigned left = f->count;

    while (slice_split(&rest, '\n', &part)) {
        buf_add(out, part);
        left--;
        if (left > 0)
            buf_add_str(out, left == 1 ? " or " : ", ");
    }
}

static void add_shown(struct buf *out, const struct match *m, struct slice word)
{
    if (m->secret)
        buf_add_str(out, "what is given");
    else if (word.len > 60)
        buf_printf(out, "\"%.*s…\"", 60, word.ptr);
    else
        buf_printf(out, "\"%.*s\"", (int)word.len, word.ptr != NULL ? word.ptr : "");
}

/* Says what could stand here instead; p may be NULL: the end. */
static void fail_expected(struct match *m, const struct conf_pattern *p)
{
    bool at_end = m->at == m->s->arg_count;
    const struct conf_word *word = at_end ? &m->s->end : &m->s->args[m->at];
    struct first_set first = { .suggest.word = at_end || word->comma ? SLICE_EMPTY : word->text };
    struct buf text = { 0 };

    for (size_t i = 0; i < m->skipped_count; i++)
        first_collect(&first, m->skipped[i]);
    if (p != NULL)
        first_collect(&first, p);
    if (first.count != 0 && (p != NULL || first.suggest.best.len != 0)) {
        buf_printf(&text, "\"%.*s\" needs ", (int)m->s->name.text.len, m->s->name.text.ptr);
        first_write(&first, &text);
        buf_add_str(&text, " here");
        if (!at_end) {
            buf_add_str(&text, ", not ");
            add_shown(&text, m, word->text);
        }
    } else {
        buf_printf(&text, "\"%.*s\" takes no ", (int)m->s->name.text.len, m->s->name.text.ptr);
        buf_add_str(&text, m->at > 0 ? "further argument " : "argument ");
        add_shown(&text, m, word->text);
    }
    if (first.suggest.best.len != 0)
        buf_printf(&text, "; did you mean \"%.*s\"?", (int)first.suggest.best.len,
                   first.suggest.best.ptr);
    conf_error_at(m->diags, word, "%s", buf_cstr(&text));
    buf_release(&text);
    buf_release(&first.text);
}

static void step(struct match *m)
{
    m->at++;
    m->skipped_count = 0;
}

static bool match_type(struct match *m, const struct conf_pattern *p)
{
    const struct conf_word *w = &m->s->args[m->at];
    const char *why = NULL;
    uint64_t n = 0;
    struct buf shown = { 0 };
    bool ok = p->type->measure != NULL ? p->type->measure(w->text, &n, &why)
                                       : p->type->valid(w->text, &why);

    add_shown(&shown, m, w->text);
    if (!ok)
        conf_error_at(m->diags, w, "%s is not %s: %s", buf_cstr(&shown), p->type->noun, why);
    else if (p->ranged && (n < p->min || n > p->max))
        conf_error_at(m->diags, w, "%s is out of range: %.*s to %.*s", buf_cstr(&shown),
                      (int)p->min_text.len, p->min_text.ptr, (int)p->max_text.len, p->max_text.ptr);
    buf_release(&shown);
    if (!ok || (p->ranged && (n < p->min || n > p->max)))
        return false;
    step(m);
    return m->seen == NULL || m->seen(m->ctx, p->type, w);
}

static bool match(struct match *m, const struct conf_pattern *p);

static bool match_choice(struct match *m, const struct conf_pattern *p)
{
    const struct conf_pattern *empty = NULL;

    for (const struct conf_pattern *c = p->child; c != NULL; c = c->next) {
        if (m->at < m->s->arg_count && starts(c, &m->s->args[m->at]))
            return match(m, c);
        if (nullable(c))
            empty = c;
    }
    if (empty != NULL)
        return match(m, empty);
    fail_expected(m, p);
    return false;
}

static void skip(struct match *m, const struct conf_pattern *p)
{
    if (m->skipped_count < SKIPPED_MAX)
        m->skipped[m->skipped_count++] = p;
}

static bool match(struct match *m, const struct conf_pattern *p)
{
    const struct conf_word *w = m->at < m->s->arg_count ? &m->s->args[m->at] : NULL;

    switch (p->kind) {
    case KEYWORD:
    case COMMA:
    case TYPE:
        if (w == NULL || !starts(p, w)) {
            fail_expected(m, p);
            return false;
        }
        if (p->kind == TYPE)
            return match_type(m, p);
        step(m);
        return true;
    case SEQUENCE:
        for (p = p->child; p != NULL; p = p->next) {
            if (!match(m, p))
                return false;
        }
        return true;
    case CHOICE:
        return match_choice(m, p);
    case OPTIONAL:
    case REPEATED:
        while (m->at < m->s->arg_count && starts(p->child, &m->s->args[m->at])) {
            if (!match(m, p->child))
                return false;
            if (p->kind == OPTIONAL)
                return true;
        }
        skip(m, p);
        return true;
    }
    return false;
}

bool conf_pattern_match(const struct conf_pattern *pattern, const struct conf_stmt *s,
                        struct diagnostics *d, conf_pattern_seen *seen, void *ctx)
{
    struct match m = {
        .s = s,
        .diags = d,
        .seen = seen,
        .ctx = ctx,
        .secret = single_type(pattern) != NULL && strcmp(single_type(pattern)->name, "SECRET") == 0,
    };

    if (!match(&m, pattern))
        return false;
    if (m.at == s->arg_count)
        return true;
    fail_expected(&m, NULL);
    return false;
}

/* The types that every configuration knows. */

static bool valid_rate(struct slice text, const char **why)
{
    struct conf_rate rate;

    return conf_value_rate(text, &rate, why);
}

static bool valid_switch(struct slice text, const char **why)
{
    bool on;

    return conf_value_switch(text, &on, why);
}

static bool valid_filled(struct slice text, const char **why)
{
    *why = "it is empty";
    return text.len != 0;
}

static bool valid_any(struct slice text, const char **why)
{
    return true;
}

static bool valid_name(struct slice text, const char **why)
{
    *why = "it is made of letters, digits, \"_\", \"-\" and \".\"";
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_alnum(text.ptr[i]) && strchr("_-.", text.ptr[i]) == NULL)
            return false;
    }
    return text.len != 0;
}

static bool valid_path(struct slice text, const char **why)
{
    *why = text.len == 0 ? "it is empty" : "it is longer than 4095 bytes";
    return text.len != 0 && text.len <= 4095;
}

const struct conf_type conf_types[] = {
    { "NUMBER", "a number", NULL, conf_value_number },
    { "DURATION", "a duration such as 30s or 5m", NULL, conf_value_duration },
    { "SIZE", "a size such as 512K or 20M", NULL, conf_value_size },
    { "RATE", "a rate such as 30/min", valid_rate, NULL },
    { "SWITCH", "\"yes\" or \"no\"", valid_switch, NULL },
    { "PATH", "a path", valid_path, NULL },
    { "PUBLIC_FILE", "the path of a file", valid_path, NULL },
    { "SECRET_FILE", "the path of a file", valid_path, NULL },
    { "KEYFILE", "the path of a key file", valid_path, NULL },
    { "SECRET", "a secret", valid_filled, NULL },
    { "WORD", "a word", valid_filled, NULL },
    { "TEXT", "a text", valid_any, NULL },
    { "NAME", "a name", valid_name, NULL },
    { NULL, NULL, NULL, NULL },
};
