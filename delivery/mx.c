/* delivery/mx.c - from a domain to its mail hosts in order of preference. */
#include "delivery/mx.h"

#include "base/mem.h"

#include <stdlib.h>

struct mx_query {
    struct resolver *resolver;
    struct delivery_policy *policy;
    char *domain;
    struct dns_query *dns;
    mx_done *done;
    void *ctx;
};

static int by_preference(const void *a, const void *b)
{
    const struct next_host *x = a, *y = b;

    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return strcmp(x->name, y->name); /* one order, so that equal sets have equal keys */
}

struct host_list *host_list_new(const struct next_host *hosts, size_t count, bool implicit)
{
    struct host_list *l = mem_new(struct host_list);

    atomic_init(&l->refs, 1);
    l->implicit = implicit;
    l->count = count;
    l->hosts = mem_zero(count, sizeof *l->hosts);
    for (size_t i = 0; i < count; i++) {
        l->hosts[i] = hosts[i];
        l->hosts[i].name = mem_str(hosts[i].name);
    }
    qsort(l->hosts, count, sizeof *l->hosts, by_preference);
    return l;
}

struct host_list *host_list_ref(struct host_list *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void host_list_unref(struct host_list *l)
{
    if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < l->count; i++)
        free((char *)l->hosts[i].name);
    free(l->hosts);
    free(l);
}

static void query_free(struct mx_query *q)
{
    policy_unref(q->policy);
    free(q->domain);
    free(q);
}

static void answer(struct mx_query *q, const struct mx_answer *a)
{
    q->done(q->ctx, a);
    query_free(q);
}

/* Hosts less preferred than, or equal to, ourselves lead back here (RFC 5321
 * section 5.1): they are left out. Returns how many of the sorted hosts stay. */
static size_t cut_at_ourselves(const struct next_host *sorted, size_t count, const char *hostname)
{
    for (size_t i = 0; i < count; i++) {
        if (!slice_eq_nocase(slice_str(sorted[i].name), slice_str(hostname)))
            continue;
        while (i > 0 && sorted[i - 1].preference == sorted[i].preference)
            i--;
        return i;
    }
    return count;
}

static void answer_hosts(struct mx_query *q, const struct dns_answer *dns)
{
    struct next_host hosts[DNS_RECORDS_MAX];
    struct mx_answer a = { .result = MX_HOSTS, .good_until_ms = dns->good_until_ms };
    size_t count = 0;

    for (unsigned i = 0; i < dns->count && count < countof(hosts); i++) {
        if (dns->mx[i].host[0] == '\0')
            continue; /* "." beside others is malformed (RFC 7505 section 3): only it is ignored */
        hosts[count++] = (struct next_host){
            .name = dns->mx[i].host, .port = q->policy->port, .preference = dns->mx[i].preference
        };
    }
    if (count == 0) {
        a.result = MX_NULL;
        answer(q, &a);
        return;
    }
    qsort(hosts, count, sizeof *hosts, by_preference);
    count = cut_at_ourselves(hosts, count, q->policy->hostname);
    if (count == 0) {
        a.result = MX_LOOP;
        answer(q, &a);
        return;
    }
    a.hosts = host_list_new(hosts, count < MX_HOSTS_MAX ? count : MX_HOSTS_MAX, false);
    answer(q, &a);
    host_list_unref(a.hosts);
}

/* No MX: the domain's own address serves (RFC 5321 section 5.1). Whether it
 * has one is found when it is dialled. */
static void answer_implicit(struct mx_query *q, const struct dns_answer *dns)
{
    struct next_host self = { .name = q->domain, .port = q->policy->port };
    struct mx_answer a = { .result = MX_HOSTS, .good_until_ms = dns->good_until_ms };

    if (slice_eq_nocase(slice_str(q->domain), slice_str(q->policy->hostname))) {
        a.result = MX_LOOP;
        answer(q, &a);
        return;
    }
    a.hosts = host_list_new(&self, 1, true);
    answer(q, &a);
    host_list_unref(a.hosts);
}

static void mx_answered(void *ctx, const struct dns_answer *dns)
{
    struct mx_query *q = ctx;
    struct mx_answer a = { .good_until_ms = dns->good_until_ms, .detail = dns->detail };

    q->dns = NULL;
    switch (dns->status) {
    case DNS_OK:
        answer_hosts(q, dns);
        return;
    case DNS_NO_DATA:
        answer_implicit(q, dns);
        return;
    case DNS_NO_NAME:
        a.result = MX_NO_DOMAIN;
        break;
    case DNS_TEMPFAIL:
        a.result = MX_TEMPFAIL;
        break;
    }
    answer(q, &a);
}

struct mx_query *mx_ask(struct resolver *r, struct delivery_policy *policy, const char *domain, mx_done *done,
                        void *ctx)
{
    struct mx_query *q = mem_new(struct mx_query);

    q->resolver = r;
    q->policy = policy_ref(policy);
    q->domain = mem_str(domain);
    q->done = done;
    q->ctx = ctx;
    q->dns = dns_ask(r, q->domain, DNS_MX, mx_answered, q);
    return q;
}

void mx_cancel(struct mx_query *q)
{
    if (q == NULL)
        return;
    dns_cancel(q->resolver, q->dns);
    query_free(q);
}

struct host_list *mx_literal(struct slice domain, uint16_t port)
{
    struct next_host host = { .literal = true, .port = port };
    char name[NET_ADDR_TEXT_MAX];
    struct slice inner;

    if (domain.len < 2 || domain.ptr[0] != '[' || domain.ptr[domain.len - 1] != ']')
        return NULL;
    inner = slice_make(domain.ptr + 1, domain.len - 2);
    if (slice_starts_nocase(inner, SLICE("IPv6:")))
        inner = slice_from(inner, 5);
    if (!net_addr_parse(inner, &host.addr))
        return NULL;
    host.addr.port = port;
    host.name = net_addr_format(&host.addr, name);
    return host_list_new(&host, 1, false);
}
