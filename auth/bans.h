/* auth/bans.h - failed logins: counted, slowed, refused.
 *
 * Counted per client (an IPv6 client is its /64) and per user. A failure adds
 * one to each count, and counts fall by one every two minutes. A client's
 * failures are answered late: the more, the later. From ADDRESS_LIMIT on a
 * client is refused for five minutes, and for twice as long each time it
 * comes to that again, up to a day; a user from USER_LIMIT on, up to an hour.
 *
 * Who has logged in lately as that user from that address is not refused by
 * either count, so nobody is locked out by a stranger's guessing; he has ten
 * failures of his own.
 *
 * Memory only, and bounded: a restart forgets, which costs a stranger's
 * guessing a pause and an innocent nothing. One thread; time is monotonic.
 */
#ifndef AUTH_BANS_H
#define AUTH_BANS_H

#include "net/addr.h"

#define BANS_ENTRIES_MAX 50000u /* clients and users, each */
#define BANS_KNOWN_MAX   20000u

struct bans;

#define BANS_DELAY_MS 1000u /* of a first failure; longer than any hash takes; see also accounts_dialogue.c */

struct bans *bans_new(uint64_t first_delay_ms);
void bans_free(struct bans *b); /* NULL is fine */

/* user: of user_key(), or "" when there is none yet. */
bool bans_refuses(struct bans *b, uint64_t now_ms, const struct net_addr *client, const char *user);
/* Whether failures of his are counted. */
bool bans_suspects(struct bans *b, uint64_t now_ms, const struct net_addr *client);
bool bans_knows(struct bans *b, const struct net_addr *client, const char *user);
/* How long after its beginning the attempt is to be answered. */
uint64_t bans_failure(struct bans *b, uint64_t now_ms, const struct net_addr *client, const char *user);
void bans_success(struct bans *b, uint64_t now_ms, const struct net_addr *client, const char *user);

struct bans_view {
    const char *what;     /* an address, a network "2001:db8::/64", or a user */
    bool is_user;
    unsigned failures;    /* as they count now; while refused, those that led to it */
    uint64_t refused_ms;  /* still; 0 = slowed only */
};
/* Those that count still. False from visit ends it. */
void bans_each(struct bans *b, uint64_t now_ms, bool (*visit)(void *ctx, const struct bans_view *v), void *ctx);
/* An address, its network, or a user: forgets all about it. False when nothing was counted. */
bool bans_lift(struct bans *b, const char *what);

#endif
