/* relayd/settings_blocks.c - the directives that are things of their own:
 * listeners, domains, smart hosts, routes, retry schedules. */
#include "relayd/settings_schema.h"

#include "conf/suggest.h"
#include "mail/path.h"

#define LISTENS_MAX    256u  /* each is a socket, and a descriptor on every loop */

/* What a listener of this role is without a word about TLS: where passwords
 * are said nothing goes in the clear. */
static enum settings_tls default_tls(enum settings_role role)
{
    switch (role) {
    case SETTINGS_ROLE_RELAY:
    case SETTINGS_ROLE_LMTP:
        return SETTINGS_TLS_OPTIONAL;
    case SETTINGS_ROLE_SUBMISSION:
    case SETTINGS_ROLE_IMAP:
    case SETTINGS_ROLE_POP3:
        return SETTINGS_TLS_REQUIRED;
    case SETTINGS_ROLE_METRICS:
        break;
    }
    return SETTINGS_TLS_NONE;
}

static bool same_listen(const struct settings_listen *a, const struct settings_listen *b)
{
    return a->addr.port == b->addr.port && a->both_families == b->both_families &&
           net_addr_equal_host(&a->addr, &b->addr);
}

void settings_take_listen(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    const struct conf_stmt *tls = s->has_block ? conf_find(s, "tls") : NULL;
    const struct conf_stmt *certificates = s->has_block ? conf_find(s, "client_certificates") : NULL;
    struct settings_listen listen = {
        .both_families = s->args[0].text.ptr[0] == '*',
        .index = (unsigned)b->s->listen_count,
        .place = settings_place_of(s),
    };

    if (!net_addr_parse_port(s->args[0].text, &listen.addr))
        return;
    if (s->has_block)
        conf_take_block(c, s, &listen);
    if (tls == NULL || tls->bad)
        listen.tls = default_tls(listen.role);
    else if (listen.tls == SETTINGS_TLS_NONE && !net_addr_is_loopback(&listen.addr))
        conf_error(c, &tls->name, "\"tls none\" is for listeners on loopback only");
    settings_finish_login(c, s, &listen);
    if (certificates != NULL && listen.tls == SETTINGS_TLS_NONE)
        conf_error(c, &certificates->name, "client certificates need TLS, and here is \"tls none\"");
    if (b->s->listen_count == LISTENS_MAX) {
        conf_error(c, &s->name, "more than %u listeners", LISTENS_MAX);
        return;
    }
    for (size_t i = 0; i < b->s->listen_count; i++) {
        if (same_listen(&b->listens[i], &listen)) {
            conf_error(c, &s->args[0], "a second listener on this address; the first is at %s:%u",
                       b->listens[i].place.file, b->listens[i].place.line);
            return;
        }
    }
    if (b->listens == NULL)
        b->s->listens = b->listens = pool_zero(c->pool, LISTENS_MAX, sizeof *b->listens);
    b->listens[b->s->listen_count++] = listen;
}

void settings_take_domain(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    struct settings_domain *domain;

    if (b->domains == NULL)
        b->s->domains = b->domains =
            pool_zero(c->pool, conf_count(c->root, "domain"), sizeof *b->domains);
    domain = &b->domains[b->s->domain_count++];
    domain->place = settings_place_of(s);
    settings_take_hostname(c, s, &domain->name);
    if (s->has_block)
        conf_take_block(c, s, domain);
}

/* Smart hosts are numbered as they are written; a route may stand before them. */
static void list_smarthosts(struct conf *c, struct settings_build *b)
{
    b->smarthost_stmts = pool_zero(c->pool, SETTINGS_SMARTHOSTS_MAX, sizeof *b->smarthost_stmts);
    for (const struct conf_stmt *s = c->root->first; s != NULL; s = s->next) {
        if (slice_eq(s->name.text, SLICE("smarthost")) && s->arg_count != 0 &&
            b->smarthost_stmt_count < SETTINGS_SMARTHOSTS_MAX)
            b->smarthost_stmts[b->smarthost_stmt_count++] = s;
    }
}

static bool find_smarthost(struct conf *c, const struct conf_word *name, unsigned *index)
{
    struct settings_build *b = c->user;
    struct suggest suggest = { .word = name->text };

    if (b->smarthost_stmts == NULL)
        list_smarthosts(c, b);
    for (unsigned i = 0; i < b->smarthost_stmt_count; i++) {
        struct slice title = b->smarthost_stmts[i]->args[0].text;

        if (slice_eq_nocase(title, name->text)) {
            *index = i;
            return true;
        }
    }
    for (unsigned i = 0; i < b->smarthost_stmt_count; i++)
        suggest_offer(&suggest, b->smarthost_stmts[i]->args[0].text);
    if (suggest.best.len != 0)
        conf_error(c, name, "there is no smarthost \"%.*s\"; did you mean \"%.*s\"?",
                   (int)name->text.len, name->text.ptr, (int)suggest.best.len, suggest.best.ptr);
    else
        conf_error(c, name, "there is no smarthost \"%.*s\"", (int)name->text.len, name->text.ptr);
    return false;
}

static void take_via(struct conf *c, const struct conf_stmt *s, size_t at,
                     struct settings_route *route)
{
    unsigned *indexes = pool_zero(c->pool, s->arg_count - at, sizeof *indexes);

    for (; at < s->arg_count; at++) {
        if (!s->args[at].comma && find_smarthost(c, &s->args[at], &indexes[route->smarthost_count]))
            route->smarthost_count++;
    }
    route->smarthosts = indexes;
}

static void take_action(struct conf *c, const struct conf_stmt *s, size_t at,
                        struct settings_route *route)
{
    static const struct {
        const char *name;
        enum settings_action action;
    } actions[] = {
        { "direct", SETTINGS_DIRECT },   { "via", SETTINGS_VIA },       { "hold", SETTINGS_HOLD },
        { "discard", SETTINGS_DISCARD }, { "reject", SETTINGS_REJECT },
    };

    for (size_t i = 0; i < countof(actions); i++) {
        if (slice_eq(s->args[at].text, slice_str(actions[i].name)))
            route->action = actions[i].action;
    }
    if (route->action == SETTINGS_VIA)
        take_via(c, s, at + 1, route);
    else if (route->action == SETTINGS_REJECT)
        route->reject_text = pool_dup(c->pool, s->args[at + 1].text);
}

/* An argument "from" or "to" with its pattern. */
static bool take_side(struct conf *c, const struct conf_stmt *s, size_t *at, const char *side,
                      const char **pattern)
{
    if (!slice_eq(s->args[*at].text, slice_str(side)))
        return false;
    *pattern = pool_dup(c->pool, s->args[*at + 1].text);
    *at += 2;
    return true;
}

void settings_take_route(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    struct settings_route route = { .tls = SETTINGS_TLS_OPTIONAL, .place = settings_place_of(s) };
    bool is_default = slice_eq(s->args[0].text, SLICE("default"));
    size_t at = is_default;

    if (!is_default) {
        take_side(c, s, &at, "from", &route.from);
        take_side(c, s, &at, "to", &route.to);
    }
    take_action(c, s, at, &route);
    if (s->has_block)
        conf_take_block(c, s, &route);
    if (s->has_block && route.action != SETTINGS_DIRECT && conf_find(s, "tls") != NULL)
        conf_error(c, &conf_find(s, "tls")->name, "\"tls\" of a route is for \"direct\"; a smart host has its own");
    if (!is_default) {
        if (b->routes == NULL)
            b->s->routes = b->routes =
                pool_zero(c->pool, conf_count(c->root, "route"), sizeof *b->routes);
        b->routes[b->s->route_count++] = route;
        return;
    }
    if (b->route_default != NULL)
        conf_error(c, &s->args[0], "a second default route; the first is at %s:%u",
                   b->route_default->name.file->shown, b->route_default->name.line);
    b->route_default = s;
    b->s->route_default = route;
}

void settings_take_delivery(struct conf *c, const struct conf_stmt *s, void *into)
{
    const struct settings_delivery *delivery = into;

    conf_take_block(c, s, into);
    if (!delivery->ipv4 && !delivery->ipv6)
        conf_error(c, &s->name, "with neither IPv4 nor IPv6 nothing can be delivered");
}

static void check_retry(struct conf *c, const struct conf_stmt *s,
                        const struct settings_retry *retry)
{
    const struct conf_stmt *max = conf_find(s, "max");

    if (retry->max_ms < retry->first_ms)
        conf_error(c, max != NULL ? &max->name : &s->name, "\"max\" is shorter than \"first\"");
    if (retry->warn_ms >= retry->expire_ms)
        conf_warning_at(c->diags, &s->name, "nobody is warned: \"expire\" comes before \"warn\"");
}

static const struct conf_stmt *general_retry(const struct conf *c, struct settings_build *b)
{
    if (b->retry_searched)
        return b->retry_stmt;
    b->retry_searched = true;
    for (const struct conf_stmt *s = c->root->first; s != NULL && b->retry_stmt == NULL;
         s = s->next) {
        if (slice_eq(s->name.text, SLICE("retry")) && s->arg_count == 0 && !s->bad)
            b->retry_stmt = s;
    }
    return b->retry_stmt;
}

/* A schedule with a pattern begins as a copy of the general one, wherever that
 * stands. */
void settings_take_retry(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    const struct conf_stmt *general = general_retry(c, b);
    struct settings_retry_for *own;

    if (s->arg_count == 0) {
        conf_take_block(c, s, &b->s->retry);
        check_retry(c, s, &b->s->retry);
        return;
    }
    if (b->retries == NULL)
        b->s->retries = b->retries =
            pool_zero(c->pool, conf_count(c->root, "retry"), sizeof *b->retries);
    own = &b->retries[b->s->retry_count++];
    own->pattern = pool_dup(c->pool, s->args[0].text);
    own->place = settings_place_of(s);
    own->retry = b->s->retry;
    if (general != NULL)
        conf_take_block(c, general, &own->retry);
    conf_take_block(c, s, &own->retry);
    check_retry(c, s, &own->retry);
}
