/* relayd/settings_take.c - plain values of the configuration that only mail
 * has: names, addresses, networks, policies. */
#include "relayd/settings_schema.h"

#include "base/mem.h"
#include "conf/value.h"
#include "mail/path.h"

#define SMTP_PORT 25u
#define DNS_PORT  53u

bool settings_parse_resolver(struct slice text, struct net_addr *out)
{
    if (net_addr_parse(text, out)) {
        out->port = DNS_PORT;
        return true;
    }
    return slice_find(text, '*') == text.len && net_addr_parse_port(text, out) && out->port != 0;
}

static bool parse_host_name(struct slice text, struct pool *pool, struct settings_host *out)
{
    size_t colon = slice_find(text, ':');
    char ascii[MAIL_DOMAIN_MAX + 1];
    uint64_t port = SMTP_PORT;

    if (colon < text.len &&
        (!slice_u64(slice_from(text, colon + 1), &port) || port < 1 || port > UINT16_MAX))
        return false;
    if (!mail_domain_to_ascii(slice_head(text, colon), ascii) ||
        !mail_domain_valid(slice_str(ascii)))
        return false;
    out->port = (uint16_t)port;
    if (pool != NULL)
        out->name = pool_dup(pool, slice_str(ascii));
    return true;
}

bool settings_parse_host(struct slice text, struct pool *pool, struct settings_host *out)
{
    char name[NET_ADDR_TEXT_MAX];
    struct slice bare = text;

    *out = (struct settings_host){ .port = SMTP_PORT };
    if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
        bare = slice_make(text.ptr + 1, text.len - 2);
    if (net_addr_parse(bare, &out->addr))
        out->addr.port = SMTP_PORT;
    else if (text.len == 0 || text.ptr[0] == '*' || !net_addr_parse_port(text, &out->addr))
        return parse_host_name(text, pool, out);
    if (out->addr.port == 0)
        return false;
    out->literal = true;
    out->port = out->addr.port;
    if (pool != NULL)
        out->name = pool_dup(pool, slice_str(net_addr_format(&out->addr, name)));
    return true;
}

void settings_take_hostname(struct conf *c, const struct conf_stmt *s, void *into)
{
    char ascii[MAIL_DOMAIN_MAX + 1];

    if (mail_domain_to_ascii(s->args[0].text, ascii))
        *(const char **)into = pool_dup(c->pool, slice_str(ascii));
}

void settings_take_email(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct mail_path path;

    if (mail_address_parse(s->args[0].text, 0, &path) == MAIL_PATH_OK)
        *(const char **)into = pool_dup(c->pool, mail_path_text(&path));
}

void settings_take_factor(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *why;
    uint64_t n;

    if (conf_value_hundredths(s->args[0].text, &n, &why))
        *(unsigned *)into = (unsigned)n;
}

void settings_take_level(struct conf *c, const struct conf_stmt *s, void *into)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        { "debug", LOG_LEVEL_DEBUG },
        { "info", LOG_LEVEL_INFO },
        { "warning", LOG_LEVEL_WARNING },
        { "error", LOG_LEVEL_ERROR },
    };

    for (size_t i = 0; i < countof(levels); i++) {
        if (slice_eq(s->args[0].text, slice_str(levels[i].name)))
            *(enum log_level *)into = levels[i].level;
    }
}

static bool is(const struct conf_stmt *s, const char *keyword)
{
    return slice_eq(s->args[0].text, slice_str(keyword));
}

static void not_yet(struct conf *c, const struct conf_stmt *s, const char *instead)
{
    conf_error(c, &s->name, "\"%s %.*s\" is not in this release%s", s->row->name,
               (int)s->args[0].text.len, s->args[0].text.ptr, instead);
}

void settings_take_log_format(struct conf *c, const struct conf_stmt *s, void *into)
{
    if (!is(s, "postfix"))
        not_yet(c, s, "");
}

void settings_take_loopback_mx(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(bool *)into = is(s, "allow");
}

void settings_take_role(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(enum settings_role *)into = is(s, "submission") ? SETTINGS_ROLE_SUBMISSION : SETTINGS_ROLE_RELAY;
    if (!is(s, "relay") && !is(s, "submission"))
        not_yet(c, s, "");
}

void settings_take_yes(struct conf *c, const struct conf_stmt *s, void *into)
{
    if (s->arg_count == 0)
        *(bool *)into = true;
    else
        conf_take_switch(c, s, into);
}

/* How many values all statements of one name have: the size of their array. */
static size_t count_values(const struct conf *c, const char *name)
{
    size_t n = 0;

    for (const struct conf_stmt *s = c->root->first; s != NULL; s = s->next) {
        for (size_t i = 0; slice_eq(s->name.text, slice_str(name)) && i < s->arg_count; i++)
            n += !s->args[i].comma;
    }
    return n;
}

void settings_take_resolver(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;

    if (b->resolvers == NULL)
        b->s->resolvers = b->resolvers =
            pool_zero(c->pool, count_values(c, "resolver"), sizeof *b->resolvers);
    for (size_t i = 0; i < s->arg_count; i++) {
        if (!s->args[i].comma &&
            settings_parse_resolver(s->args[i].text, &b->resolvers[b->s->resolver_count]))
            b->s->resolver_count++;
    }
}

void settings_take_trusted(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;

    b->s->trust_loopback = false;
    if (is(s, "none")) {
        if (conf_count(c->root, "trusted") > 1)
            conf_error(c, &s->name, "\"trusted none\" stands beside other \"trusted\" directives");
        return;
    }
    if (b->trusted == NULL)
        b->s->trusted = b->trusted =
            pool_zero(c->pool, count_values(c, "trusted"), sizeof *b->trusted);
    for (size_t i = 0; i < s->arg_count; i++) {
        if (!s->args[i].comma &&
            net_prefix_parse(s->args[i].text, &b->trusted[b->s->trusted_count]))
            b->s->trusted_count++;
    }
}

/* delivery { source }: at most one address of each family. */
void settings_take_addr_list(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    struct net_addr *sources = pool_zero(c->pool, 2, sizeof *sources);
    size_t n = 0;

    for (size_t i = 0; i < s->arg_count; i++) {
        struct net_addr addr;

        if (s->args[i].comma || !net_addr_parse(s->args[i].text, &addr))
            continue;
        for (size_t k = 0; k < n; k++) {
            if (sources[k].family == addr.family) {
                conf_error(c, &s->args[i], "a second source address of the same family");
                return;
            }
        }
        sources[n++] = addr;
    }
    b->s->delivery.sources = sources;
    b->s->delivery.source_count = n;
}
