/* relayd/delivery_settings.c - directives into routes, limits and time-outs. */
#include "relayd/delivery_settings.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/local.h"

#include <stdlib.h>
#include <string.h>

#define SUBMISSIONS_PORT 465u

static enum hop_tls tls_of(enum settings_tls tls)
{
    switch (tls) {
    case SETTINGS_TLS_NONE:
        return HOP_TLS_NONE;
    case SETTINGS_TLS_OPTIONAL:
        return HOP_TLS_OPTIONAL;
    case SETTINGS_TLS_REQUIRED:
        return HOP_TLS_REQUIRED;
    case SETTINGS_TLS_VERIFIED:
    case SETTINGS_TLS_IMPLICIT:
        break;
    }
    return HOP_TLS_VERIFIED;
}

static struct rate_limit rate_of(const struct conf_rate *r)
{
    return (struct rate_limit){ .count = r->count, .per_ms = r->per_ms };
}

static struct route route_of(const struct settings_route *r)
{
    static const enum route_action actions[] = {
        [SETTINGS_DIRECT] = ROUTE_DIRECT, [SETTINGS_VIA] = ROUTE_VIA,       [SETTINGS_HOLD] = ROUTE_HOLD,
        [SETTINGS_DISCARD] = ROUTE_DISCARD, [SETTINGS_REJECT] = ROUTE_REJECT,
    };

    return (struct route){
        .from = r->from,
        .to = r->to,
        .action = actions[r->action],
        .tls = tls_of(r->tls),
        .smarthosts = r->smarthosts,
        .smarthost_count = r->smarthost_count,
        .text = r->reject_text,
    };
}

static struct retry_policy retry_of(const struct settings_retry *r)
{
    return (struct retry_policy){
        .first_ms = r->first_ms,
        .factor_percent = r->factor_percent,
        .max_ms = r->max_ms,
        .doubt_ms = r->doubt_ms,
        .expire_ms = r->expire_ms,
        .warn_ms = r->warn_ms,
    };
}

/* On port 465 TLS comes first, without STARTTLS (RFC 8314 section 3.3), unless
 * the configuration knows better. */
static bool tls_first(const struct settings_smarthost *sh, uint16_t port)
{
    if (sh->tls == SETTINGS_TLS_NONE)
        return false;
    return sh->tls_start == SETTINGS_TLS_FIRST || (sh->tls_start == SETTINGS_TLS_BY_PORT && port == SUBMISSIONS_PORT);
}

static struct smarthost smarthost_of(const struct settings_smarthost *sh)
{
    struct next_host *hosts = mem_zero(sh->host_count, sizeof *hosts);

    for (size_t i = 0; i < sh->host_count; i++) {
        hosts[i].name = sh->hosts[i].name;
        hosts[i].literal = sh->hosts[i].literal;
        hosts[i].addr = sh->hosts[i].addr;
        hosts[i].port = sh->hosts[i].port;
        hosts[i].tls_first = tls_first(sh, sh->hosts[i].port);
    }
    return (struct smarthost){
        .title = sh->title,
        .hosts = hosts,
        .host_count = sh->host_count,
        .tls = tls_of(sh->tls),
        .user = sh->user,
        .password = sh->password,
        .token_file = sh->token_file,
        .token_command = sh->token_command,
        .mechanisms = sh->mechanisms,
        .connections = sh->limit.connections,
        .rate = rate_of(&sh->limit.rate),
    };
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct signing_domain *)a)->name, ((const struct signing_domain *)b)->name);
}

/* A domain with a key that can't be used does not sign with the others only:
 * whoever set up two wants both. */
static struct signing_domain signing_of(const struct settings_domain *domain)
{
    struct sign_identity *keys = mem_zero(domain->dkim_count, sizeof *keys);
    struct signing_domain out = { .name = domain->name, .keys = keys, .problem = domain->dkim_problem };

    for (size_t i = 0; i < domain->dkim_count; i++) {
        if (out.problem == NULL)
            out.problem = domain->dkim[i].problem;
        keys[out.key_count++] = (struct sign_identity){ domain->name, domain->dkim[i].selector };
    }
    if (out.key_count == 0 && out.problem == NULL)
        out.problem = "the domain has no key";
    return out;
}

static void set_signing(struct delivery_policy *p, const struct settings *s)
{
    struct signing_domain *signing = mem_zero(s->domain_count, sizeof *signing);
    const char *at = s->postmaster != NULL ? strrchr(s->postmaster, '@') : NULL;

    for (size_t i = 0; i < s->domain_count; i++)
        if (s->domains[i].dkim_auto || s->domains[i].dkim_count != 0)
            signing[p->signing_count++] = signing_of(&s->domains[i]);
    if (p->signing_count > 1)
        qsort(signing, p->signing_count, sizeof *signing, compare_names);
    p->signing = signing;
    p->postmaster_domain = at != NULL ? at + 1 : NULL;
}

static void release(struct delivery_policy *p)
{
    for (size_t i = 0; i < p->signing_count; i++)
        free((void *)p->signing[i].keys);
    free((void *)p->signing);
    for (size_t i = 0; i < p->smarthost_count; i++)
        free((void *)p->smarthosts[i].hosts);
    free((void *)p->smarthosts);
    free((void *)p->routes);
    free((void *)p->retries);
    free((void *)p->own);
    settings_unref(p->owner);
    free(p);
}

static bool answers_on(const struct settings_listen *l, const struct net_addr *local)
{
    return net_addr_is_unspecified(&l->addr) && (l->both_families || l->addr.family == local->family);
}

/* Where we listen; for a listener on every address also each that this
 * machine has. */
static void set_own(struct delivery_policy *p, const struct settings *s)
{
    struct net_addr *local, *own;
    size_t local_count, n = 0;
    struct err e = net_local_addrs(&local, &local_count);
    char text[256];

    if (err_failed(e))
        log_error("relayd", "%s: mail that comes back to one of them may not be noticed until a reload",
                  err_text(e, text, sizeof text));
    own = mem_zero(s->listen_count * (1 + local_count), sizeof *own);

    for (size_t i = 0; i < s->listen_count; i++) {
        const struct settings_listen *l = &s->listens[i];

        own[n++] = l->addr;
        for (size_t k = 0; k < local_count; k++) {
            if (!answers_on(l, &local[k]))
                continue;
            own[n] = local[k];
            own[n++].port = l->addr.port;
        }
    }
    free(local);
    p->own = own;
    p->own_count = n;
}

static void set_lists(struct delivery_policy *p, const struct settings *s)
{
    struct route *routes = mem_zero(s->route_count, sizeof *routes);
    struct smarthost *smarthosts = mem_zero(s->smarthost_count, sizeof *smarthosts);
    struct retry_rule *retries = mem_zero(s->retry_count, sizeof *retries);

    for (size_t i = 0; i < s->route_count; i++)
        routes[i] = route_of(&s->routes[i]);
    for (size_t i = 0; i < s->smarthost_count; i++)
        smarthosts[i] = smarthost_of(&s->smarthosts[i]);
    for (size_t i = 0; i < s->retry_count; i++)
        retries[i] = (struct retry_rule){ s->retries[i].pattern, retry_of(&s->retries[i].retry) };
    p->routes = routes;
    p->route_count = s->route_count;
    p->smarthosts = smarthosts;
    p->smarthost_count = s->smarthost_count;
    p->retries = retries;
    p->retry_count = s->retry_count;
}

struct delivery_policy *delivery_policy_new(const struct settings *s)
{
    struct delivery_policy *p = mem_new(struct delivery_policy);
    const struct settings_delivery *d = &s->delivery;

    atomic_init(&p->refs, 1);
    p->release = release;
    p->owner = (void *)settings_ref(s);
    p->hostname = s->hostname;
    p->fallback = route_of(&s->route_default);
    set_lists(p, s);
    set_own(p, s);
    set_signing(p, s);
    p->port = d->port;
    p->loopback_mx = d->loopback_mx;
    p->ipv4 = d->ipv4;
    p->ipv6 = d->ipv6;
    p->sources = d->sources;
    p->source_count = d->source_count;
    p->connections = d->connections;
    p->connections_per_site = d->connections_per_site;
    p->rate = rate_of(&d->rate);
    p->messages_per_connection = d->messages_per_connection;
    p->recipients_per_message = d->recipients_per_message;
    p->connect_timeout_ms = d->connect_timeout_ms;
    p->idle_timeout_ms = d->idle_timeout_ms;
    p->client = (struct smtp_client_options){
        .helo = d->helo,
        .greeting_timeout_ms = d->greeting_timeout_ms,
        .command_timeout_ms = d->command_timeout_ms,
        .data_timeout_ms = d->data_timeout_ms,
        .final_timeout_ms = d->final_timeout_ms,
        .quit_timeout_ms = 5 * SECOND_MS,
    };
    p->retry = retry_of(&s->retry);
    return p;
}
