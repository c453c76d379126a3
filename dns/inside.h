/* dns/inside.h - what the files behind dns.h share. */
#ifndef DNS_INSIDE_H
#define DNS_INSIDE_H

#include "dns/dns.h"

/* ---- answers (answer.c) ---- */

/* One reference, no records, status OK. */
struct dns_answer *dns_answer_new(enum dns_type type);
struct dns_answer *dns_answer_failed(enum dns_type type, enum dns_status status, const char *detail);
size_t dns_answer_cost(const struct dns_answer *a); /* bytes of memory, about */

/* Lower case, no final dot; false for what can't be asked. */
bool dns_name_normalise(const char *name, char out[DNS_NAME_SIZE]);

/* ---- one message of a server (message.c). Pure. ---- */

enum dns_next {
    DNS_NEXT_DONE,      /* answer is set; the caller owns it */
    DNS_NEXT_FOLLOW,    /* ask for `target`: the chain of CNAMEs leads out of the message */
    DNS_NEXT_TCP,       /* truncated */
    DNS_NEXT_PLAIN_DNS, /* the server does not know EDNS */
};

struct dns_reading {
    enum dns_next next;
    struct dns_answer *answer;
    uint32_t ttl_s;  /* of the answer or of the CNAMEs so far; UINT32_MAX when nothing tells */
    bool authentic;  /* AD bit */
    bool unwilling;  /* SERVFAIL, REFUSED, lame: another server may know more */
    unsigned hops;   /* CNAMEs followed, at most DNS_CNAMES_MAX */
    char target[DNS_NAME_SIZE];
};

#define DNS_CNAMES_MAX 8u

/* raw answers the question for name (normalised) and type; hops is how many
 * CNAMEs led to that name. */
void dns_message_read(struct slice raw, const char *name, enum dns_type type, unsigned hops,
                      struct dns_reading *out);

/* ---- the cache (cache.c). Any thread. ---- */

/* A reference for the caller, or NULL. */
const struct dns_answer *dns_cache_get(struct dns_cache *c, const char *name, enum dns_type type,
                                       uint64_t now_ms);
void dns_cache_put(struct dns_cache *c, const char *name, const struct dns_answer *a,
                   uint64_t now_ms);

/* ---- the resolver (ares.c) ---- */

/* With the patience of a test. */
MUST_CHECK struct err ares_resolver_new_timed(struct loop *l, struct dns_cache *cache,
                                              const struct net_addr *servers, unsigned server_count,
                                              unsigned timeout_ms, unsigned question_ms,
                                              struct resolver **out);

#endif
