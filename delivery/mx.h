/* delivery/mx.h - where a domain's mail goes (RFC 5321 section 5.1, RFC 7505). */
#ifndef DELIVERY_MX_H
#define DELIVERY_MX_H

#include "delivery/policy.h"
#include "dns/dns.h"

#define MX_HOSTS_MAX 16u /* of a domain; the rest, least preferred, is not tried */

/* Next hosts of a site, sorted by preference; immutable and counted. */
struct host_list {
    atomic_uint refs;
    struct next_host *hosts; /* names belong to the list */
    size_t count;
    bool implicit;           /* no MX: the domain itself */
};
struct host_list *host_list_new(const struct next_host *hosts, size_t count, bool implicit); /* copies, sorts */
struct host_list *host_list_ref(struct host_list *l);
void host_list_unref(struct host_list *l); /* NULL is fine */

enum mx_result {
    MX_HOSTS,
    MX_TEMPFAIL,  /* nothing is known: defer, never bounce */
    MX_NO_DOMAIN, /* NXDOMAIN */
    MX_NULL,      /* the domain takes no mail (RFC 7505) */
    MX_LOOP,      /* the best MX is ourselves */
};

struct mx_answer {
    enum mx_result result;
    struct host_list *hosts; /* MX_HOSTS: lent */
    uint64_t good_until_ms;
    const char *detail;      /* MX_TEMPFAIL: what the resolver said */
};

typedef void mx_done(void *ctx, const struct mx_answer *a);
struct mx_query;

/* Asks; done runs later, once. A domain that is an address literal ("[…]")
 * is not asked for: use mx_literal(). */
struct mx_query *mx_ask(struct resolver *r, struct delivery_policy *policy, const char *domain, mx_done *done,
                        void *ctx);
void mx_cancel(struct mx_query *q); /* NULL is fine */

/* "[192.0.2.1]" or "[IPv6:…]" as the only host; NULL if it is none. */
struct host_list *mx_literal(struct slice domain, uint16_t port);

#endif
