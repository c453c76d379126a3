/* relayd/settings_frontend.c - who may say that he speaks for somebody else. */
#include "relayd/settings_frontend.h"
#include "relayd/settings.h"

/* "from PREFIX {, PREFIX}" */
static const struct net_prefix *take_prefixes(struct conf *c, const struct conf_stmt *s, size_t *count)
{
    struct net_prefix *list = pool_zero(c->pool, s->arg_count, sizeof *list);

    for (size_t i = 1; i < s->arg_count; i++)
        if (!s->args[i].comma && net_prefix_parse(s->args[i].text, &list[*count]))
            ++*count;
    return list;
}

void settings_take_proxies(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_listen *listen = into;

    listen->proxies = take_prefixes(c, s, &listen->proxy_count);
}

void settings_take_xclients(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_listen *listen = into;

    listen->xclients = take_prefixes(c, s, &listen->xclient_count);
}
