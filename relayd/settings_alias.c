/* relayd/settings_alias.c - who the addresses of our domains stand for: the
 * directives of it, and the files they name. */
#include "relayd/settings_alias.h"
#include "relayd/settings_schema.h"

#include "base/mem.h"
#include "mail/alias.h"
#include "mail/alias_file.h"

#include <stdio.h>
#include <stdlib.h>

#define ANYBODY "anybody" /* a name to try what catches all */
#define WARNINGS_MAX 20u /* of one kind; then they are counted */

struct settings_aliases {
    struct alias_map *addresses;  /* of all domains: "user@domain", "@domain" */
    struct alias_map *recipients; /* likewise, of those that list them */
    struct names_file {           /* aliases files; several domains may share one */
        const char *path;
        struct alias_map *map;
    } *files;
    size_t file_count;
    struct alias_rules *rules;
};

void settings_aliases_free(struct settings_aliases *a)
{
    if (a == NULL)
        return;
    alias_rules_free(a->rules);
    alias_map_free(a->addresses);
    alias_map_free(a->recipients);
    for (size_t i = 0; i < a->file_count; i++)
        alias_map_free(a->files[i].map);
    free(a->files);
    free(a);
}

static struct settings_aliases *aliases_of(struct conf *c)
{
    struct settings_build *b = c->user;

    if (b->s->alias_tables == NULL) {
        b->s->alias_tables = mem_new(struct settings_aliases);
        b->s->alias_tables->addresses = alias_map_new();
        b->s->alias_tables->recipients = alias_map_new();
    }
    return b->s->alias_tables;
}

/* ---- targets in directives ------------------------------------------------------ */

struct word_target {
    struct conf *c;
    const struct conf_word *word;
    struct alias_map *map;
};

static bool add_target(struct alias_map *map, const struct alias_item *i)
{
    static const enum alias_target_kind kinds[] = {
        [ALIAS_ADDRESS] = ALIAS_TO_ADDRESS,
        [ALIAS_LOCAL] = ALIAS_TO_LOCAL,
        [ALIAS_DOMAIN] = ALIAS_TO_DOMAIN,
    };

    if (i->kind != ALIAS_ADDRESS && i->kind != ALIAS_LOCAL && i->kind != ALIAS_DOMAIN)
        return false;
    alias_map_target(map, kinds[i->kind], i->text, i->final);
    return true;
}

static void take_word_target(void *ctx, const struct alias_item *i)
{
    struct word_target *t = ctx;

    if (add_target(t->map, i))
        return;
    if (i->kind == ALIAS_INCLUDE)
        conf_error(t->c, t->word, "\":include:\" is for files; name one by \"aliases\" or \"virtual_aliases\"");
    else
        conf_error(t->c, t->word, "%.*s", (int)i->text.len, i->text.ptr);
}

/* The entry `name`, leading to the arguments from `at` on. */
static void take_entry(struct conf *c, const struct conf_stmt *s, struct slice name, size_t at)
{
    struct alias_map *map = aliases_of(c)->addresses;
    struct alias_entry_place place = { s->name.file->shown, s->name.line }, first;

    if (!alias_map_begin(map, name, place, &first)) {
        conf_error(c, &s->name, "a second alias for \"%.*s\"; the first is at %s:%u", (int)name.len, name.ptr,
                   first.file, first.line);
        return;
    }
    for (; at < s->arg_count; at++) {
        struct word_target t = { c, &s->args[at], map };

        if (!s->args[at].comma)
            alias_target_parse(s->args[at].text, s->args[at].line, take_word_target, &t);
    }
}

/* "name" or "name@domain" of that domain, as an address. */
static bool address_in(struct slice name, const char *domain, char out[ALIAS_NAME_MAX + 1], const char **why)
{
    size_t len;

    *why = alias_name_normalise(name, out);
    if (*why != NULL)
        return false;
    len = strlen(out);
    if (mail_address_local(slice_str(out)).len == len && len + 1 + strlen(domain) <= MAIL_ADDRESS_MAX) {
        out[len] = '@';
        memcpy(out + len + 1, domain, strlen(domain) + 1);
    }
    *why = out[0] == '@' ? "all names of a domain have \"catch_all\"" : "it is not in this domain";
    return out[0] != '@' && slice_eq(mail_address_domain(slice_str(out)), slice_str(domain));
}

void settings_take_alias(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_domain *d = into;
    char name[ALIAS_NAME_MAX + 1];
    const char *why;

    if (address_in(s->args[0].text, d->name, name, &why))
        take_entry(c, s, slice_str(name), 1);
    else
        conf_error(c, &s->args[0], "\"%.*s\": %s", (int)s->args[0].text.len, s->args[0].text.ptr, why);
}

void settings_take_catch_all(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_domain *d = into;
    char name[MAIL_DOMAIN_MAX + 2] = "@";

    memcpy(name + 1, d->name, strlen(d->name) + 1);
    take_entry(c, s, slice_str(name), 0);
}

void settings_take_recipients(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_domain *d = into;
    struct alias_entry_place place = { s->name.file->shown, s->name.line }, first;
    char name[ALIAS_NAME_MAX + 1];
    const char *why;

    d->listed = true;
    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].comma)
            continue;
        if (address_in(s->args[i].text, d->name, name, &why))
            alias_map_begin(aliases_of(c)->recipients, slice_str(name), place, &first);
        else
            conf_error(c, &s->args[i], "\"%.*s\": %s", (int)s->args[i].text.len, s->args[i].text.ptr, why);
    }
}

void settings_take_delimiter(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(char *)into = s->args[0].text.len == 1 ? s->args[0].text.ptr[0] : '\0';
}

/* ---- files ----------------------------------------------------------------------- */

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
        add_target(r->map, i);
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
    else if (i->kind == ALIAS_NAME && address_in(i->text, r->domain, name, &why))
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
    struct settings_aliases *a = aliases_of(c);
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
    read_table(c, &s->args[0], ALIAS_FORMAT_VIRTUAL, take_file_item, aliases_of(c)->addresses, NULL);
}

void settings_take_recipients_file(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_domain *d = into;

    d->listed = true;
    read_table(c, &s->args[0], ALIAS_FORMAT_RECIPIENTS, take_recipient_item, aliases_of(c)->recipients, d->name);
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

/* ---- all together -------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct settings_domain *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static struct settings_domain *find_domain(struct settings_domain **sorted, size_t count, struct slice name)
{
    char text[MAIL_DOMAIN_MAX + 1];
    struct settings_domain key = { .name = text }, *p = &key, **found;

    if (count == 0 || name.len > MAIL_DOMAIN_MAX)
        return NULL;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    found = bsearch(&p, sorted, count, sizeof(struct settings_domain *), by_name);
    return found != NULL ? *found : NULL;
}

/* Which domains have aliases at all; and aliases of domains that are not ours. */
static void mark_domains(struct conf *c, struct settings_build *b)
{
    const struct alias_map *m = aliases_of(c)->addresses;
    size_t count = b->s->domain_count, strangers = 0;
    struct settings_domain **sorted = mem_zero(count, sizeof(struct settings_domain *));

    for (size_t i = 0; i < count; i++) {
        sorted[i] = &b->domains[i];
        b->domains[i].aliased = b->domains[i].names != NULL;
    }
    qsort(sorted, count, sizeof(struct settings_domain *), by_name);
    for (size_t i = 0; i < alias_map_count(m); i++) {
        struct slice name = alias_map_name(m, i), domain = mail_address_domain(name);
        struct settings_domain *d = find_domain(sorted, count, domain);
        struct alias_entry_place at = alias_map_place(m, i);

        if (d != NULL)
            d->aliased = true;
        else if (strangers++ < WARNINGS_MAX)
            diagnostics_add(c->diags, false, at.file, at.line, 1, SLICE_EMPTY,
                            "\"%.*s\" is never looked up, for \"%.*s\" is none of our domains; write \"domain %.*s\"",
                            (int)name.len, name.ptr, (int)domain.len, domain.ptr, (int)domain.len, domain.ptr);
    }
    if (strangers > WARNINGS_MAX)
        diagnostics_add(c->diags, false, c->bundle->name, 0, 0, SLICE_EMPTY,
                        "%zu more aliases are in domains that are not ours", strangers - WARNINGS_MAX);
    free(sorted);
}

void settings_finish_aliases(struct conf *c)
{
    struct settings_build *b = c->user;
    struct settings *s = b->s;
    struct settings_aliases *a = aliases_of(c);
    struct alias_domain *domains;
    struct alias_options opt = {
        .addresses = a->addresses,
        .recipients = a->recipients,
        .postmaster = s->postmaster,
        .delimiter = s->plus_delimiter,
        .targets_max = s->limits.alias_recipients,
    };

    mark_domains(c, b);
    opt.domains = domains = mem_zero(s->domain_count, sizeof *domains);
    for (size_t i = 0; i < s->domain_count; i++) {
        const struct settings_domain *d = &s->domains[i];

        if (d->relay || d->aliased)
            domains[opt.domain_count++] = (struct alias_domain){ d->name, d->relay, d->listed, d->names };
    }
    a->rules = alias_rules_new(&opt);
    s->aliases = a->rules;
    free(domains);
}

struct doubt { /* what is wrong with an entry, first of all */
    enum alias_verdict what;
    char address[MAIL_ADDRESS_MAX + 1];
};

static void ignore_target(void *ctx, struct slice address)
{
}

static void note_trouble(void *ctx, enum alias_verdict what, struct slice address)
{
    struct doubt *d = ctx;

    if (d->what != ALIAS_FOUND)
        return;
    d->what = what;
    memcpy(d->address, address.ptr, address.len);
    d->address[address.len] = '\0';
}

static enum alias_verdict try_address(const struct settings *s, const char *address, struct doubt *d)
{
    static const struct alias_events events = { ignore_target, note_trouble };

    *d = (struct doubt){ .what = ALIAS_FOUND };
    return alias_resolve(s->aliases, slice_str(address), &events, d);
}

static const char *doubt_text(const struct doubt *d)
{
    switch (d->what) {
    case ALIAS_LOOP:
        return "leads in a circle, which closes at";
    case ALIAS_DEEP:
        return "leads through too many aliases of aliases; they end at";
    case ALIAS_MANY:
        return "has more targets than limits { alias_recipients } allows; too many is";
    default:
        return "leads to an address of ours that does not exist:";
    }
}

/* Each entry of a map, in a domain that uses it. */
static void check_map(const struct settings *s, struct diagnostics *diags, const struct alias_map *m,
                      const char *domain, size_t *doubts)
{
    char address[MAIL_ADDRESS_MAX + MAIL_DOMAIN_MAX + 16];
    struct doubt d;

    for (size_t i = 0; i < alias_map_count(m); i++) {
        struct slice name = alias_map_name(m, i);
        struct alias_entry_place at = alias_map_place(m, i);

        snprintf(address, sizeof address, "%s%.*s%s%s", name.ptr[0] == '@' ? ANYBODY : "", (int)name.len,
                 name.ptr, domain != NULL ? "@" : "", domain != NULL ? domain : "");
        try_address(s, address, &d);
        /* "@old @new": whom the other domain knows is seen when somebody writes */
        if (d.what == ALIAS_DEAD && slice_starts_nocase(slice_str(d.address), SLICE(ANYBODY "@")))
            continue;
        if (d.what == ALIAS_FOUND || (*doubts)++ >= WARNINGS_MAX)
            continue;
        diagnostics_add(diags, false, at.file, at.line, 1, SLICE_EMPTY, "\"%.*s\" %s %s", (int)name.len, name.ptr,
                        doubt_text(&d), d.address);
    }
}

/* RFC 5321 section 4.5.1: whoever takes mail for a domain has its postmaster. */
static void check_postmaster(const struct settings *s, struct diagnostics *diags, const struct settings_domain *d)
{
    char address[MAIL_ADDRESS_MAX + 1];
    struct doubt doubt;

    snprintf(address, sizeof address, "postmaster@%s", d->name);
    if (try_address(s, address, &doubt) != ALIAS_FOUND)
        diagnostics_add(diags, true, d->place.file, d->place.line, 1, SLICE_EMPTY,
                        "%s leads nowhere%s%s; say where by \"postmaster ADDRESS\" or an alias", address,
                        doubt.what != ALIAS_FOUND ? ", its end is " : "", doubt.address);
}

void settings_check_aliases(const struct settings *s, struct diagnostics *diags)
{
    const struct settings_aliases *a = s->alias_tables;
    size_t doubts = 0;

    check_map(s, diags, a->addresses, NULL, &doubts);
    for (size_t i = 0; i < a->file_count; i++) {
        for (size_t k = 0; k < s->domain_count; k++) {
            if (s->domains[k].names == a->files[i].map) {
                check_map(s, diags, a->files[i].map, s->domains[k].name, &doubts);
                break;
            }
        }
    }
    if (doubts > WARNINGS_MAX)
        diagnostics_add(diags, false, "aliases", 0, 0, SLICE_EMPTY, "%zu more have such faults",
                        doubts - WARNINGS_MAX);
    for (size_t i = 0; i < s->domain_count; i++) {
        const struct settings_domain *d = &s->domains[i];

        if (d->listed && !d->relay)
            diagnostics_add(diags, true, d->place.file, d->place.line, 1, SLICE_EMPTY,
                            "domain \"%s\" lists its recipients, but has no place for their mail; add \"relay\"",
                            d->name);
        else if ((d->relay && d->listed) || (!d->relay && d->aliased))
            check_postmaster(s, diags, d);
    }
}
