/* delivery/policy.c - which way a recipient's mail goes. */
#include "delivery/policy.h"

#include "mail/author.h"
#include "mail/path.h"

#include <stdlib.h>

static const struct route direct_route = { .action = ROUTE_DIRECT, .tls = HOP_TLS_OPTIONAL };

const char *hop_tls_text(enum hop_tls tls)
{
    static const char *const texts[] = {
        [HOP_TLS_NONE] = "none",
        [HOP_TLS_OPTIONAL] = "optional",
        [HOP_TLS_REQUIRED] = "required",
        [HOP_TLS_VERIFIED] = "verified",
    };

    return texts[tls];
}

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

static int compare_domain(const void *name, const void *domain)
{
    return strcmp(name, ((const struct signing_domain *)domain)->name);
}

const struct signing_domain *policy_signing_domain(const struct delivery_policy *p, const char *name)
{
    return p->signing_count == 0 ? NULL : bsearch(name, p->signing, p->signing_count, sizeof *p->signing, compare_domain);
}

/* Our notices come from the host's name: the nearest domain above it that
 * signs will do for DMARC (RFC 7489 section 3.1.1), else postmaster's. */
static const struct signing_domain *notice_signing(const struct delivery_policy *p, const char *name)
{
    const struct signing_domain *found = policy_signing_domain(p, name);

    while (found == NULL && (name = strchr(name, '.')) != NULL)
        found = policy_signing_domain(p, ++name);
    if (found == NULL && p->postmaster_domain != NULL)
        found = policy_signing_domain(p, p->postmaster_domain);
    return found;
}

const struct signing_domain *policy_signing(const struct delivery_policy *p, const struct message *m)
{
    bool by_sender = (m->flags & MESSAGE_OURS_BY_SENDER) != 0;
    char domain[MAIL_DOMAIN_MAX + 1];

    if (p->signing_count == 0 || (m->flags & (MESSAGE_OURS | MESSAGE_OURS_BY_SENDER | MESSAGE_DSN)) == 0)
        return NULL;
    if ((by_sender || !mail_author_domain(m->header, domain)) &&
        !mail_domain_to_ascii(mail_address_domain(m->reverse_path), domain))
        return NULL;
    return (m->flags & MESSAGE_DSN) != 0 ? notice_signing(p, domain) : policy_signing_domain(p, domain);
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

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_words(const char *const *a, const char *const *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    while (*a != NULL && same_text(*a, *b)) {
        a++;
        b++;
    }
    return *a == *b;
}

static bool same_host(const struct next_host *a, const struct next_host *b)
{
    return same_text(a->name, b->name) && a->port == b->port && a->tls_first == b->tls_first;
}

bool policy_same_smarthost(const struct smarthost *a, const struct smarthost *b)
{
    if (!same_text(a->title, b->title) || a->host_count != b->host_count)
        return false;
    for (size_t i = 0; i < a->host_count; i++)
        if (!same_host(&a->hosts[i], &b->hosts[i]))
            return false;
    return a->tls == b->tls && same_text(a->user, b->user) && same_text(a->password, b->password) &&
           same_text(a->token_file, b->token_file) && same_words(a->token_command, b->token_command) &&
           a->mechanisms == b->mechanisms && a->connections == b->connections && a->rate.count == b->rate.count &&
           a->rate.per_ms == b->rate.per_ms;
}
