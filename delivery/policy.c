/* delivery/policy.c - which way a recipient's mail goes. */
#include "delivery/policy.h"

#include "mail/path.h"

static const struct route direct_route = { .action = ROUTE_DIRECT };

static bool route_matches(const struct route *r, struct slice reverse_path, struct slice recipient)
{
    return (r->from == NULL || mail_pattern_matches(slice_str(r->from), reverse_path)) &&
           (r->to == NULL || mail_pattern_matches(slice_str(r->to), recipient));
}

const struct route *policy_route(const struct delivery_policy *p, struct slice reverse_path,
                                 struct slice recipient, bool skip_hold)
{
    for (size_t i = 0; i < p->route_count; i++) {
        const struct route *r = &p->routes[i];

        if (skip_hold && r->action == ROUTE_HOLD)
            continue;
        if (route_matches(r, reverse_path, recipient))
            return r;
    }
    return skip_hold && p->fallback.action == ROUTE_HOLD ? &direct_route : &p->fallback;
}

const struct retry_policy *policy_retry(const struct delivery_policy *p, struct slice recipient)
{
    for (size_t i = 0; i < p->retry_count; i++)
        if (mail_pattern_matches(slice_str(p->retries[i].to), recipient))
            return &p->retries[i].retry;
    return &p->retry;
}

bool policy_is_own_address(const struct delivery_policy *p, const struct net_addr *a, uint16_t port)
{
    for (size_t i = 0; i < p->own_count; i++) {
        const struct net_addr *own = &p->own[i];

        if (own->port != port)
            continue;
        if (net_addr_equal_host(own, a))
            return true;
        /* A listener on every address answers on loopback at least. */
        if (net_addr_is_unspecified(own) && net_addr_is_loopback(a))
            return true;
    }
    return false;
}
