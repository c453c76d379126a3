/* relayd/settings_alias.c - who the addresses of our domains stand for: the
 * directives of it, and what comes of them all together. */
#include "relayd/settings_alias_inside.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

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

struct settings_aliases *settings_aliases_of(struct conf *c)
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

bool settings_alias_add_target(struct alias_map *map, const struct alias_item *i)
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

    if (settings_alias_add_target(t->map, i))
        return;
    if (i->kind == ALIAS_INCLUDE)
        conf_error(t->c, t->word, "\":include:\" is for files; name one by \"aliases\" or \"virtual_aliases\"");
    else
        conf_error(t->c, t->word, "%.*s", (int)i->text.len, i->text.ptr);
}

/* The entry `name`, leading to the arguments from `at` on. */
static void take_entry(struct conf *c, const struct conf_stmt *s, struct slice name, size_t at)
{
    struct alias_map *map = settings_aliases_of(c)->addresses;
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

bool settings_alias_address_in(struct slice name, const char *domain, char out[ALIAS_NAME_MAX + 1], const char **why)
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

    if (settings_alias_address_in(s->args[0].text, d->name, name, &why))
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
        if (settings_alias_address_in(s->args[i].text, d->name, name, &why))
            alias_map_begin(settings_aliases_of(c)->recipients, slice_str(name), place, &first);
        else
            conf_error(c, &s->args[i], "\"%.*s\": %s", (int)s->args[i].text.len, s->args[i].text.ptr, why);
    }
}

void settings_take_delimiter(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(char *)into = s->args[0].text.len == 1 ? s->args[0].text.ptr[0] : '\0';
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
    const struct alias_map *m = settings_aliases_of(c)->addresses;
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
        else if (strangers++ < ALIAS_WARNINGS_MAX)
            diagnostics_add(c->diags, false, at.file, at.line, 1, SLICE_EMPTY,
                            "\"%.*s\" is never looked up, for \"%.*s\" is none of our domains; write \"domain %.*s\"",
                            (int)name.len, name.ptr, (int)domain.len, domain.ptr, (int)domain.len, domain.ptr);
    }
    if (strangers > ALIAS_WARNINGS_MAX)
        diagnostics_add(c->diags, false, c->bundle->name, 0, 0, SLICE_EMPTY,
                        "%zu more aliases are in domains that are not ours", strangers - ALIAS_WARNINGS_MAX);
    free(sorted);
}

void settings_finish_aliases(struct conf *c)
{
    struct settings_build *b = c->user;
    struct settings *s = b->s;
    struct settings_aliases *a = settings_aliases_of(c);
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
