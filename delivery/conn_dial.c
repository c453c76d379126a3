/* delivery/conn_dial.c - from a site's hosts to one open connection.
 *
 * Hosts in order of preference, equal ones shuffled; all addresses of a host,
 * the families interleaved and raced (RFC 8305); the backup MX in the same
 * attempt.
 */
#include "delivery/conn_internal.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static void dial_address(struct conn *c);

static void note_temporary(struct conn *c, const char *text)
{
    struct smtp_outcome o = {
        .verdict = SMTP_DEFERRED,
        .stage = SMTP_STAGE_CONNECT,
        .status = { 4, 4, 1 },
        .text = slice_str(text),
    };

    c->saw_temporary = true;
    conn_note_failure(c, &o);
}

/* ---- addresses ------------------------------------------------------------- */

/* IPv6 first, then alternating, so that a broken family costs one race step. */
static void interleave(struct conn *c)
{
    unsigned a = 0, aaaa = 0;

    c->addr_count = c->addr_at = 0;
    while (c->addr_count < CONN_ADDRS_MAX && (a < c->count_a || aaaa < c->count_aaaa)) {
        if (aaaa < c->count_aaaa)
            c->addrs[c->addr_count++] = c->found_aaaa[aaaa++];
        if (a < c->count_a && c->addr_count < CONN_ADDRS_MAX)
            c->addrs[c->addr_count++] = c->found_a[a++];
    }
}

/* An address that leads back here, or nowhere. */
static bool leads_home(const struct conn *c, const struct net_addr *a, uint16_t port)
{
    const struct delivery_policy *p = c->opt.policy;

    if (policy_is_own_address(p, a, port))
        return true;
    if (net_addr_is_unspecified(a))
        return true;
    return net_addr_is_loopback(a) && !p->loopback_mx && !c->opt.literal_ok;
}

/* A mail host that is ourselves: neither its other addresses nor hosts that
 * are no better may have the mail, for they would send it here (RFC 5321
 * section 5.1). */
static void cut_at_ourselves(struct conn *c)
{
    c->addr_count = 0;
    c->host_count = c->host_at + 1;
}

static void drop_loops(struct conn *c)
{
    uint16_t port = c->order[c->host_at].port;
    unsigned kept = 0;
    bool home = false;

    for (unsigned i = 0; i < c->addr_count; i++) {
        net_addr_unmap(&c->addrs[i]); /* an AAAA record can name 127.0.0.1 too */
        if (leads_home(c, &c->addrs[i], port)) {
            c->saw_loop = home = true;
            continue;
        }
        c->addrs[kept] = c->addrs[i];
        c->addrs[kept++].port = port;
    }
    c->addr_count = kept;
    if (home && !c->opt.literal_ok)
        cut_at_ourselves(c);
}

static void addresses_known(struct conn *c)
{
    unsigned found;

    loop_disarm(c->opt.loop, &c->names_timer);
    interleave(c);
    found = c->addr_count;
    drop_loops(c);
    if (found == 0 && !c->saw_temporary)
        c->saw_no_address = true;
    conn_dial_next(c);
}

static void take_answer(struct conn *c, const struct dns_answer *a, struct net_addr *out, unsigned *count)
{
    *count = 0;
    if (a->status == DNS_TEMPFAIL) {
        char text[512];

        snprintf(text, sizeof text, "address of %s can't be looked up: %s", c->host_name,
                 a->detail != NULL ? a->detail : "no answer");
        note_temporary(c, text);
        return;
    }
    if (a->status != DNS_OK)
        return;
    for (unsigned i = 0; i < a->count && *count < CONN_ADDRS_MAX; i++)
        out[(*count)++] = a->addr[i];
}

/* One family has answered: the other gets a moment more, not a resolver's
 * whole patience (RFC 8305 section 3). */
static void wait_for_other_family(struct conn *c)
{
    if (c->count_a + c->count_aaaa > 0)
        loop_arm(c->opt.loop, &c->names_timer, CONN_OTHER_FAMILY_MS);
}

static void names_fire(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, names_timer);

    dns_cancel(c->opt.resolver, c->query_a);
    dns_cancel(c->opt.resolver, c->query_aaaa);
    c->query_a = c->query_aaaa = NULL;
    c->waiting_a = c->waiting_aaaa = false;
    addresses_known(c);
}

static void answered_a(void *ctx, const struct dns_answer *a)
{
    struct conn *c = ctx;

    c->query_a = NULL;
    c->waiting_a = false;
    take_answer(c, a, c->found_a, &c->count_a);
    if (!c->waiting_aaaa)
        addresses_known(c);
    else
        wait_for_other_family(c);
}

static void answered_aaaa(void *ctx, const struct dns_answer *a)
{
    struct conn *c = ctx;

    c->query_aaaa = NULL;
    c->waiting_aaaa = false;
    take_answer(c, a, c->found_aaaa, &c->count_aaaa);
    if (!c->waiting_a)
        addresses_known(c);
    else
        wait_for_other_family(c);
}

static void host_begin(struct conn *c)
{
    const struct next_host *h = &c->order[c->host_at];

    snprintf(c->host_name, sizeof c->host_name, "%s", h->name);
    c->tls_first = h->tls_first;
    c->count_a = c->count_aaaa = c->addr_count = c->addr_at = 0;
    if (h->literal) {
        c->addrs[0] = h->addr;
        c->addr_count = 1;
        drop_loops(c);
        conn_dial_next(c);
        return;
    }
    c->waiting_a = c->opt.policy->ipv4;
    c->waiting_aaaa = c->opt.policy->ipv6;
    if (c->waiting_aaaa)
        c->query_aaaa = dns_ask(c->opt.resolver, h->name, DNS_AAAA, answered_aaaa, c);
    if (c->waiting_a)
        c->query_a = dns_ask(c->opt.resolver, h->name, DNS_A, answered_a, c);
    if (!c->waiting_a && !c->waiting_aaaa)
        addresses_known(c);
}

/* ---- attempts -------------------------------------------------------------- */

static void close_dials(struct conn *c)
{
    for (unsigned i = 0; i < c->dial_count; i++) {
        stream_close(c->dials[i].stream);
        c->dials[i].stream = NULL;
    }
    c->dial_count = c->dials_open = 0;
}

static void dial_opened(void *ctx)
{
    struct dial *d = ctx;
    struct conn *c = d->conn;
    struct stream *s = d->stream;

    d->stream = NULL;
    loop_disarm(c->opt.loop, &c->race_timer);
    close_dials(c);
    conn_opened(c, s);
}

static void note_dial_failure(struct conn *c, const struct net_addr *addr, struct err why)
{
    char text[512], addr_text[NET_ADDR_TEXT_MAX], why_text[128];

    snprintf(text, sizeof text, "connect to %s[%s]:%u: %s", c->host_name, net_addr_format(addr, addr_text),
             addr->port, err_text((struct err){ why.kind, why.sys, NULL }, why_text, sizeof why_text));
    note_temporary(c, text);
}

static void dial_closed(void *ctx, struct err why)
{
    struct dial *d = ctx;
    struct conn *c = d->conn;

    note_dial_failure(c, &d->addr, why);
    stream_close(d->stream);
    d->stream = NULL;
    c->dials_open--;
    loop_disarm(c->opt.loop, &c->race_timer);
    if (c->addr_at < c->addr_count)
        dial_address(c);
    else if (c->dials_open == 0)
        conn_dial_next(c);
}

static void dial_data(void *ctx, struct slice bytes)
{
    /* Reading starts with the events that conn_opened() sets. */
}

static const struct stream_events dial_events = { dial_opened, dial_data, NULL, dial_closed };

static const struct net_addr *source_for(const struct delivery_policy *p, const struct net_addr *to)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (p->sources[i].family == to->family)
            return &p->sources[i];
    return NULL;
}

static void dial_address(struct conn *c)
{
    while (c->addr_at < c->addr_count) {
        struct net_addr *to = &c->addrs[c->addr_at++];
        struct dial *d = &c->dials[c->dial_count];
        struct err e;

        d->conn = c;
        d->addr = *to;
        c->met_server = true;
        e = stream_connect(c->opt.loop, to, source_for(c->opt.policy, to), &dial_events, d, &d->stream);
        if (err_failed(e)) {
            d->stream = NULL;
            note_dial_failure(c, to, e);
            continue;
        }
        c->dial_count++;
        c->dials_open++;
        stream_deadline(d->stream, c->opt.policy->connect_timeout_ms);
        if (c->addr_at < c->addr_count)
            loop_arm(c->opt.loop, &c->race_timer, CONN_RACE_MS);
        return;
    }
    if (c->dials_open == 0)
        conn_dial_next(c);
}

static void race_fire(struct timer *t)
{
    dial_address(container_of(t, struct conn, race_timer));
}

void conn_dial_next(struct conn *c)
{
    c->state = CONN_DIALLING;
    close_dials(c);
    if (c->addr_at < c->addr_count) {
        dial_address(c);
        return;
    }
    c->host_at++;
    if (c->host_at < c->host_count)
        host_begin(c);
    else
        conn_unreachable(c);
}

void conn_dial_again(struct conn *c, const struct net_addr *addr)
{
    c->addrs[--c->addr_at] = *addr; /* some address was taken from there, and is over */
    conn_dial_next(c);
}

/* Shuffles runs of equal preference (Fisher-Yates). */
static void shuffle_equal(struct next_host *hosts, size_t count, struct rng *rng)
{
    size_t begin = 0;

    while (begin < count) {
        size_t end = begin + 1;

        while (end < count && hosts[end].preference == hosts[begin].preference)
            end++;
        for (size_t i = end - 1; i > begin; i--) {
            size_t k = begin + rng_below(rng, i - begin + 1);
            struct next_host swap = hosts[i];

            hosts[i] = hosts[k];
            hosts[k] = swap;
        }
        begin = end;
    }
}

void conn_dial_begin(struct conn *c)
{
    c->state = CONN_DIALLING;
    c->host_count = c->opt.hosts->count;
    c->order = mem_alloc(c->host_count * sizeof *c->order);
    memcpy(c->order, c->opt.hosts->hosts, c->host_count * sizeof *c->order);
    shuffle_equal(c->order, c->host_count, &c->opt.loop->rng);
    c->race_timer.fire = race_fire;
    c->names_timer.fire = names_fire;
    c->host_at = 0;
    host_begin(c);
}

void conn_dial_stop(struct conn *c)
{
    dns_cancel(c->opt.resolver, c->query_a);
    dns_cancel(c->opt.resolver, c->query_aaaa);
    c->query_a = c->query_aaaa = NULL;
    loop_disarm(c->opt.loop, &c->race_timer);
    loop_disarm(c->opt.loop, &c->names_timer);
    close_dials(c);
}
