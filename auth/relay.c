/* auth/relay.c - what keeps this server from being an open relay. */
#include "auth/relay.h"

#include "base/mem.h"

#include <stdlib.h>

struct relay_rules {
    struct net_prefix *trusted;
    size_t trusted_count;
    bool trust_loopback;
    struct slice *domains; /* sorted */
    size_t domain_count;
};

static int compare_nocase(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;

    for (size_t i = 0; i < n; i++) {
        int d = (unsigned char)ascii_lower(a.ptr[i]) - (unsigned char)ascii_lower(b.ptr[i]);

        if (d != 0)
            return d;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

static int by_name(const void *a, const void *b)
{
    return compare_nocase(*(const struct slice *)a, *(const struct slice *)b);
}

struct relay_rules *relay_rules_new(const struct relay_options *opt)
{
    struct relay_rules *r = mem_new(struct relay_rules);

    r->trusted = mem_zero(opt->trusted_count, sizeof *r->trusted);
    for (size_t i = 0; i < opt->trusted_count; i++)
        r->trusted[i] = opt->trusted[i];
    r->trusted_count = opt->trusted_count;
    r->trust_loopback = opt->trust_loopback;
    r->domains = mem_zero(opt->domain_count, sizeof *r->domains);
    for (size_t i = 0; i < opt->domain_count; i++)
        r->domains[i] = slice_str(opt->domains[i]);
    r->domain_count = opt->domain_count;
    qsort(r->domains, r->domain_count, sizeof *r->domains, by_name);
    return r;
}

void relay_rules_free(struct relay_rules *r)
{
    if (r == NULL)
        return;
    free(r->trusted);
    free(r->domains);
    free(r);
}

bool relay_trusts(const struct relay_rules *r, const struct net_addr *client, const struct net_addr *listener)
{
    for (size_t i = 0; i < r->trusted_count; i++)
        if (net_prefix_holds(&r->trusted[i], client))
            return true;
    /* Behind a container's NAT strangers come from 127.0.0.1, so loopback
     * counts only where nobody else can connect. */
    return r->trust_loopback && net_addr_is_loopback(client) && net_addr_is_loopback(listener);
}

/* Routing inside a local part is how open relays were made. */
static bool local_part_routes(struct slice local)
{
    for (size_t i = 0; i < local.len; i++)
        if (local.ptr[i] == '%' || local.ptr[i] == '!' || local.ptr[i] == '@')
            return true;
    return false;
}

enum relay_verdict relay_judge(const struct relay_rules *r, bool trusted, const struct mail_path *to)
{
    struct slice domain = mail_path_domain(to);

    if (trusted)
        return RELAY_OK;
    if (r->domain_count == 0 ||
        bsearch(&domain, r->domains, r->domain_count, sizeof *r->domains, by_name) == NULL)
        return RELAY_DENIED;
    return local_part_routes(mail_path_local(to)) ? RELAY_ROUTED_LOCAL : RELAY_OK;
}
