/* dns/dns.h - what the world's name servers say, asked without waiting.
 *
 * A resolver is an interface: dns/ares.c asks real servers on a loop through
 * c-ares, with one cache for all loops; the simulator and tests bring their
 * own. Answers are shared, immutable and counted.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "base/err.h"
#include "base/slice.h"
#include "net/addr.h"
#include "net/loop.h"

enum dns_type { DNS_A = 1, DNS_AAAA = 28, DNS_MX = 15, DNS_TXT = 16, DNS_PTR = 12, DNS_TLSA = 52 };

enum dns_status {
    DNS_OK,       /* at least one record */
    DNS_NO_DATA,  /* the name exists, without this type */
    DNS_NO_NAME,  /* NXDOMAIN, from a server that answered cleanly */
    DNS_TEMPFAIL, /* time-out, SERVFAIL, REFUSED, lame, malformed: nothing is known */
};

#define DNS_RECORDS_MAX 64u /* of one answer; more are dropped, of MX those least preferred */
#define DNS_NAME_SIZE 256   /* a name as text, with its NUL */

struct dns_mx {
    uint16_t preference;
    char *host; /* lower case, no final dot; "" is the root: null MX (RFC 7505) */
};

struct dns_tlsa { /* RFC 6698 section 2.1 */
    uint8_t usage, selector, matching;
    uint16_t len;
    uint8_t *data;
};

struct dns_answer {
    enum dns_type type;
    enum dns_status status;
    bool authentic;     /* AD bit, all along a chain of CNAMEs, from resolvers on loopback */
    unsigned count;
    union {
        struct dns_mx *mx;
        struct net_addr *addr; /* A and AAAA; port 0 */
        char **text;           /* TXT (strings joined) and PTR: NUL-terminated */
        struct dns_tlsa *tlsa;
    };
    uint64_t good_until_ms;  /* monotonic; not in the cache any longer than that */
    const char *detail;      /* static: "SERVFAIL", "timed out"… for logs */
    int refs;                /* private, atomic */
};

const struct dns_answer *dns_answer_ref(const struct dns_answer *a);
void dns_answer_unref(const struct dns_answer *a); /* NULL is fine */

/* Lends the answer for the call; dns_answer_ref() to keep it. Runs on the
 * asker's loop, never from inside dns_ask(), exactly once unless cancelled.
 * May ask and cancel, but not free the resolver. */
typedef void dns_done(void *ctx, const struct dns_answer *a);

struct dns_query; /* for dns_cancel() */

struct resolver;
struct resolver_ops {
    struct dns_query *(*ask)(struct resolver *r, const char *name, enum dns_type type, dns_done *done, void *ctx);
    void (*cancel)(struct resolver *r, struct dns_query *q); /* done will not run */
};
struct resolver { /* one per loop */
    const struct resolver_ops *ops;
    struct loop *loop;
};

/* name as A-labels; case and a final dot don't matter. CNAMEs are followed (at
 * most 8). What can't be a name, or ends in a label of digits only, is
 * DNS_NO_NAME without asking anybody. An answer comes within about 15 s of its
 * question being sent; each loop has at most 256 questions under way, further
 * ones wait their turn. The pointer is good until done runs or dns_cancel(). */
static inline struct dns_query *dns_ask(struct resolver *r, const char *name, enum dns_type type,
                                        dns_done *done, void *ctx)
{
    return r->ops->ask(r, name, type, done, ctx);
}

static inline void dns_cancel(struct resolver *r, struct dns_query *q)
{
    if (q != NULL)
        r->ops->cancel(r, q);
}

/* "1.2.0.192.in-addr.arpa", "….ip6.arpa"; "" for what has no such name. */
void dns_reverse_name(const struct net_addr *a, char out[DNS_NAME_SIZE]);

/* The cache shared by all loops: sharded and locked, bounded, TTLs cut to
 * 5 s … 1 day; negative answers by their SOA (RFC 2308), at most 15 minutes;
 * TEMPFAIL 5 s. Equal questions under way are asked once per loop. */
struct dns_cache;
struct dns_cache *dns_cache_new(size_t entries_max); /* about 1 KiB each at most */
void dns_cache_free(struct dns_cache *c);            /* after the resolvers. NULL is fine */
void dns_cache_clear(struct dns_cache *c);           /* any thread */

/* Servers in `servers` ("127.0.0.1:5353"; port 0 is 53), or those of
 * /etc/resolv.conf when there is none. l is a uvloop. */
MUST_CHECK struct err ares_resolver_new(struct loop *l, struct dns_cache *cache, const struct net_addr *servers,
                                        unsigned server_count, struct resolver **out);
/* As for ares_resolver_new; on the loop's thread. Questions under way are asked
 * once more. When it fails the servers stay as they were. */
MUST_CHECK struct err ares_resolver_set_servers(struct resolver *r, const struct net_addr *servers,
                                                unsigned server_count);
void ares_resolver_free(struct resolver *r); /* pending questions are cancelled. NULL is fine */

#endif
