/* delivery/dest.c - from a route to the site that serves it.
 *
 * A destination is what a route makes of a recipient: a domain to be looked
 * up, smart hosts, or nowhere. A domain keeps its site for the TTL of its MX;
 * while its name servers don't answer its messages wait here, and one of them
 * at a time is told why. Held and discarded mail has a destination too.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/path.h"

#include <stdio.h>
#include <stdlib.h>

#define DEST_SWEEP_MS (10 * SECOND_MS)

static void dest_resolve(struct dest *dest);

/* ---- sites ----------------------------------------------------------------- */

static struct site *site_for(struct dispatch *d, const char *key, struct host_list *hosts, bool literal_ok)
{
    struct site *s;

    HASH_FIND_STR(d->site_by_key, key, s);
    if (s == NULL) {
        s = site_new(d, key, hosts, literal_ok);
        HASH_ADD_KEYPTR(hh, d->site_by_key, s->key, strlen(s->key), s);
    } else if (hosts != NULL && hosts != s->hosts) {
        host_list_unref(s->hosts); /* the same names, perhaps other ports after a reload */
        s->hosts = host_list_ref(hosts);
    }
    return s;
}

static void dest_set_site(struct dest *dest, struct site *s, uint64_t until_ms)
{
    struct dispatch *d = dest->dispatch;
    struct site *old = dest->site;

    dest->site_until_ms = until_ms;
    if (old == s)
        return;
    s->users++;
    dest->site = s;
    if (old != NULL) {
        old->users--;
        site_move(old, d->sched, dest->index, s);
    }
}

/* The MX set names the site: domains that share it share connections, unless
 * their routes want another TLS. */
static struct site *site_for_hosts(struct dispatch *d, struct host_list *hosts, enum hop_tls tls)
{
    struct buf key = { 0 };
    struct site *s;

    for (size_t i = 0; i < hosts->count; i++)
        buf_printf(&key, "%s%u:%s", i != 0 ? "," : "", hosts->hosts[i].preference, hosts->hosts[i].name);
    if (tls != HOP_TLS_OPTIONAL)
        buf_printf(&key, " tls %s", hop_tls_text(tls));
    s = site_for(d, buf_cstr(&key), hosts, false);
    s->tls = tls;
    buf_release(&key);
    return s;
}

/* A site that leads nowhere, for one reason. */
static struct site *site_for_verdict(struct dispatch *d, enum event_type event, struct mail_status status,
                                     const char *text)
{
    struct buf key = { 0 };
    struct site *s;

    buf_printf(&key, "(%s %u.%u.%u %s)", event_type_text(event), status.class_, status.subject, status.detail, text);
    s = site_for(d, buf_cstr(&key), NULL, false);
    buf_release(&key);
    if (!s->verdict.set) {
        s->verdict.set = true;
        s->verdict.event = event;
        s->verdict.status = status;
        s->verdict.text = mem_str(text);
    }
    return s;
}

static struct site *site_for_smarthosts(struct dispatch *d, const struct route *r, const char *key)
{
    struct site *s = site_for(d, key, NULL, true);

    free(s->smarts);
    s->smarts = mem_alloc(r->smarthost_count * sizeof(struct smart *));
    s->smart_count = r->smarthost_count;
    for (size_t i = 0; i < r->smarthost_count; i++)
        s->smarts[i] = smarts_find(&d->smarts, d->policy->smarthosts[r->smarthosts[i]].title);
    return s;
}

/* ---- destinations ---------------------------------------------------------- */

static void dest_retry_fire(struct timer *t);

static struct dest *dest_new(struct dispatch *d, const char *key, enum dest_kind kind)
{
    struct dest *dest = mem_new(struct dest);
    uint32_t index = d->dest_hole_count > 0 ? d->dest_holes[--d->dest_hole_count] : d->dest_count;

    if (index >= d->dest_cap) {
        uint32_t cap = d->dest_cap != 0 ? d->dest_cap * 2 : 64;

        d->dests = mem_grow(d->dests, cap, sizeof *d->dests);
        d->dest_holes = mem_grow(d->dest_holes, cap, sizeof *d->dest_holes);
        memset(d->dests + d->dest_cap, 0, (cap - d->dest_cap) * sizeof *d->dests);
        d->dest_cap = cap;
    }
    if (index >= d->dest_count)
        d->dest_count = index + 1;
    d->dests[index] = dest;
    dest->dispatch = d;
    dest->index = index;
    dest->kind = kind;
    dest->key = mem_str(key);
    dest->retry.fire = dest_retry_fire;
    HASH_ADD_KEYPTR(hh, d->dest_by_key, dest->key, strlen(dest->key), dest);
    if (!timer_armed(&d->dest_sweep))
        loop_arm(d->opt.home, &d->dest_sweep, DEST_SWEEP_MS);
    return dest;
}

void dest_free(struct dispatch *d, struct dest *dest)
{
    mx_cancel(dest->query);
    loop_disarm(d->opt.home, &dest->retry);
    HASH_DEL(d->dest_by_key, dest);
    d->dests[dest->index] = NULL;
    d->dest_holes[d->dest_hole_count++] = dest->index;
    free(dest->key);
    free(dest->domain);
    free(dest->last_error);
    free(dest);
}

bool dest_is_stale(const struct dispatch *d, const struct dest *dest)
{
    return dest->kind == DEST_DIRECT && dest->site_until_ms <= d->opt.home->now_ms;
}

/* Frees destinations and sites that nothing uses. Only here, between other
 * work, so that nobody's pointer to one goes stale in his hands. */
void dest_sweep_fire(struct timer *t)
{
    struct dispatch *d = container_of(t, struct dispatch, dest_sweep);
    struct dest *dest, *dest_tmp;
    struct site *s, *site_tmp;

    HASH_ITER (hh, d->dest_by_key, dest, dest_tmp) {
        struct site *of = dest->site;

        if (dest->groups != 0 || dest->query != NULL || (dest->kind == DEST_DIRECT && !dest_is_stale(d, dest)))
            continue;
        dest_free(d, dest);
        if (of != NULL)
            of->users--;
    }
    HASH_ITER (hh, d->site_by_key, s, site_tmp) {
        site_tidy(s);
        if (!site_unused(s) || rate_wait_ms(&s->meter, &d->policy->rate, d->opt.home->now_ms) != 0)
            continue;
        loop_disarm(d->opt.home, &s->wake);
        list_remove(&s->starved_link);
        HASH_DEL(d->site_by_key, s);
        site_free(s);
    }
    if (d->dest_by_key != NULL || d->site_by_key != NULL)
        loop_arm(d->opt.home, &d->dest_sweep, DEST_SWEEP_MS);
}

/* "GENERATION WAY": a reload that changes the routes makes new destinations;
 * sites, known by the way alone, go on. */
static void key_of_route(struct dispatch *d, const struct route *r, struct slice recipient, struct buf *key)
{
    struct slice domain = mail_address_domain(recipient);

    buf_clear(key);
    buf_add_u64(key, d->generation);
    switch (r->action) {
    case ROUTE_DIRECT:
        buf_add_str(key, " mx ");
        buf_add_str(key, hop_tls_text(r->tls));
        buf_add_byte(key, ':');
        buf_add(key, domain);
        break;
    case ROUTE_VIA:
        buf_add_str(key, " via:");
        for (size_t i = 0; i < r->smarthost_count; i++) {
            buf_add_str(key, i != 0 ? "," : "");
            buf_add_str(key, d->policy->smarthosts[r->smarthosts[i]].title);
        }
        break;
    case ROUTE_HOLD:
        buf_add_str(key, " hold");
        break;
    case ROUTE_DISCARD:
        buf_add_str(key, " discard");
        break;
    case ROUTE_REJECT:
        buf_add_str(key, " reject:");
        buf_add_str(key, r->text);
        break;
    }
}

static void set_direct(struct dispatch *d, struct dest *dest, const struct route *r, struct slice recipient)
{
    struct slice domain = mail_address_domain(recipient);
    struct host_list *literal = mx_literal(domain, d->policy->port);

    dest->tls = r->tls;
    dest->domain = mem_dup(domain.ptr, domain.len);
    if (literal != NULL) {
        dest_set_site(dest, site_for_hosts(d, literal, r->tls), TIMERS_NEVER);
        host_list_unref(literal);
    } else if (domain.len == 0 || domain.ptr[0] == '[') {
        dest->kind = DEST_VERDICT;
        dest_set_site(dest, site_for_verdict(d, EVENT_BOUNCED, (struct mail_status){ 5, 1, 2 },
                                             "the address has no domain that could be looked up"),
                      TIMERS_NEVER);
    }
}

struct dest *dest_for(struct dispatch *d, const struct route *r, struct slice recipient)
{
    struct dest *dest;

    /* Once for each recipient of a queue that is found at start. */
    key_of_route(d, r, recipient, &d->dest_key);
    HASH_FIND_STR(d->dest_by_key, buf_cstr(&d->dest_key), dest);
    if (dest == NULL) {
        const char *text = buf_cstr(&d->dest_key);

        switch (r->action) {
        case ROUTE_DIRECT:
            dest = dest_new(d, text, DEST_DIRECT);
            set_direct(d, dest, r, recipient);
            break;
        case ROUTE_VIA:
            dest = dest_new(d, text, DEST_VIA);
            dest_set_site(dest, site_for_smarthosts(d, r, strchr(text, ' ') + 1), TIMERS_NEVER);
            break;
        case ROUTE_HOLD:
            dest = dest_new(d, text, DEST_HOLD);
            break;
        case ROUTE_DISCARD:
            dest = dest_new(d, text, DEST_VERDICT);
            dest_set_site(dest, site_for_verdict(d, EVENT_DISCARDED, (struct mail_status){ 2, 0, 0 },
                                                 "discarded by a route"), TIMERS_NEVER);
            break;
        case ROUTE_REJECT:
            dest = dest_new(d, text, DEST_VERDICT);
            dest_set_site(dest, site_for_verdict(d, EVENT_BOUNCED, (struct mail_status){ 5, 7, 1 }, r->text),
                          TIMERS_NEVER);
            break;
        }
    }
    return dest;
}

/* ---- looking a domain up ------------------------------------------------------ */

static void waiting_to_site(struct dest *dest)
{
    struct dispatch *d = dest->dispatch;
    struct group *g;

    while ((g = group_queue_take(d->sched, &dest->waiting)) != NULL)
        site_add(dest->site, d->sched, g);
    dispatch_pump(d, dest->site);
}

/* The name servers don't answer: one message is told, the others wait on. */
static void dns_failed(struct dest *dest, const char *detail)
{
    struct dispatch *d = dest->dispatch;
    struct group *g = group_queue_take(d->sched, &dest->waiting);
    char text[512];
    uint64_t wait;

    snprintf(text, sizeof text, "mail servers of %s can't be looked up: %s", dest->domain,
             detail != NULL ? detail : "no answer");
    free(dest->last_error);
    dest->last_error = mem_str(text);
    dest->failures++;
    wait = retry_wait_ms(&d->policy->retry, dest->failures, &d->opt.home->rng);
    loop_arm(d->opt.home, &dest->retry, wait < NAMES_WAIT_MS ? wait : NAMES_WAIT_MS);
    if (g != NULL)
        attempt_local(d, ATTEMPT_DNS, NULL, g, text);
}

static void resolved(void *ctx, const struct mx_answer *a)
{
    struct dest *dest = ctx;
    struct dispatch *d = dest->dispatch;
    struct site *s = NULL;
    char text[512];

    dest->query = NULL;
    switch (a->result) {
    case MX_HOSTS:
        s = site_for_hosts(d, a->hosts, dest->tls);
        break;
    case MX_TEMPFAIL:
        dns_failed(dest, a->detail);
        return;
    case MX_NO_DOMAIN:
        snprintf(text, sizeof text, "the domain %s does not exist", dest->domain);
        s = site_for_verdict(d, EVENT_BOUNCED, (struct mail_status){ 5, 1, 2 }, text);
        break;
    case MX_NULL:
        snprintf(text, sizeof text, "the domain %s takes no mail (null MX)", dest->domain);
        s = site_for_verdict(d, EVENT_BOUNCED, (struct mail_status){ 5, 1, 10 }, text);
        break;
    case MX_LOOP:
        snprintf(text, sizeof text, "mail for %s loops back to this server", dest->domain);
        s = site_for_verdict(d, EVENT_BOUNCED, (struct mail_status){ 5, 4, 6 }, text);
        break;
    }
    dest->failures = 0;
    free(dest->last_error);
    dest->last_error = NULL;
    dest_set_site(dest, s, a->good_until_ms);
    waiting_to_site(dest);
}

static void dest_resolve(struct dest *dest)
{
    struct dispatch *d = dest->dispatch;

    if (dest->query != NULL || timer_armed(&dest->retry))
        return;
    dest->query = mx_ask(d->opt.resolvers[0], d->policy, dest->domain, resolved, dest);
}

static void dest_retry_fire(struct timer *t)
{
    struct dest *dest = container_of(t, struct dest, retry);

    if (dest->waiting.len != 0)
        dest_resolve(dest);
}

void dest_enqueue(struct dispatch *d, struct dest *dest, struct group *g)
{
    switch (dest->kind) {
    case DEST_HOLD:
        schedule_set_state(d->sched, g, GROUP_ROUTE_HELD);
        return;
    case DEST_DIRECT:
        if (dest->site == NULL || dest_is_stale(d, dest)) {
            group_queue_add(d->sched, &dest->waiting, g);
            dest_resolve(dest);
            return;
        }
        break;
    case DEST_VIA:
    case DEST_VERDICT:
        break;
    }
    site_add(dest->site, d->sched, g);
    dispatch_pump(d, dest->site);
}
