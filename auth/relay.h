/* auth/relay.h - who may send to whom without a login.
 *
 * Trusted networks may send anywhere. Everybody else only to the domains that
 * this server relays for, and never by way of routing inside a local part.
 * Rules are immutable once made; their strings belong to the maker. Pure.
 */
#ifndef AUTH_RELAY_H
#define AUTH_RELAY_H

#include "mail/path.h"
#include "net/addr.h"

struct relay_rules;

struct relay_options {
    const struct net_prefix *trusted; /* copied */
    size_t trusted_count;
    bool trust_loopback;              /* of listeners that only loopback can reach */
    const char *const *domains;       /* whose mail is taken from anyone; lower case A-labels, kept by pointer */
    size_t domain_count;
};

struct relay_rules *relay_rules_new(const struct relay_options *opt);
void relay_rules_free(struct relay_rules *r); /* NULL is fine */

bool relay_trusts(const struct relay_rules *r, const struct net_addr *client, const struct net_addr *listener);

enum relay_verdict {
    RELAY_OK,
    RELAY_DENIED,       /* not our domain */
    RELAY_ROUTED_LOCAL, /* "user%elsewhere@ours" and its kin */
};

/* For a path with a domain. */
enum relay_verdict relay_judge(const struct relay_rules *r, bool trusted, const struct mail_path *to);

#endif
