/* relayd/settings_alias_check.c - tries each alias once, before anybody writes
 * to it, and warns of those that lead nowhere. */
#include "relayd/settings_alias_inside.h"

#include <stdio.h>
#include <string.h>

#define ANYBODY "anybody" /* a name to try what catches all */

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
        if (d.what == ALIAS_FOUND || (*doubts)++ >= ALIAS_WARNINGS_MAX)
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
    if (doubts > ALIAS_WARNINGS_MAX)
        diagnostics_add(diags, false, "aliases", 0, 0, SLICE_EMPTY, "%zu more have such faults",
                        doubts - ALIAS_WARNINGS_MAX);
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
