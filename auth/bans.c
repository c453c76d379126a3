/* auth/bans.c - the tables behind slowed and refused logins. */
#include "auth/bans.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define FALL_MS        (2 * MINUTE_MS) /* a count falls by one */
#define ADDRESS_LIMIT  10u
#define USER_LIMIT     30u
#define KNOWN_LIMIT    10u
#define BAN_MS         (5 * MINUTE_MS)
#define ADDRESS_BAN_MAX_MS DAY_MS
#define USER_BAN_MAX_MS HOUR_MS
#define STRIKE_MS      DAY_MS /* without another ban: one is forgiven */
#define DELAY_TIMES_MAX 8u
#define LOOK_FOR_VICTIM 64u

struct entry {
    uint64_t count_ms; /* failures times FALL_MS, as of last_ms */
    uint64_t last_ms, until_ms, struck_ms;
    unsigned strikes;
    unsigned told; /* failures that led to the refusal which lasts until until_ms */
    UT_hash_handle hh; /* in the order they were last touched */
    char what[];
};

struct known {
    unsigned failures;
    UT_hash_handle hh;
    char pair[]; /* client, space, user */
};

struct bans {
    struct entry *clients, *users;
    struct known *known;
    uint64_t first_delay_ms;
};

struct bans *bans_new(uint64_t first_delay_ms)
{
    struct bans *b = mem_new(struct bans);

    b->first_delay_ms = first_delay_ms;
    return b;
}

static void free_entries(struct entry **table)
{
    struct entry *e, *tmp;

    HASH_ITER (hh, *table, e, tmp) {
        HASH_DEL(*table, e);
        free(e);
    }
}

void bans_free(struct bans *b)
{
    struct known *k, *tmp;

    if (b == NULL)
        return;
    free_entries(&b->clients);
    free_entries(&b->users);
    HASH_ITER (hh, b->known, k, tmp) {
        HASH_DEL(b->known, k);
        free(k);
    }
    free(b);
}

#define CLIENT_TEXT_MAX (NET_ADDR_TEXT_MAX + 4)

static const char *client_text(const struct net_addr *client, char out[CLIENT_TEXT_MAX])
{
    struct net_addr network = *client;
    char text[NET_ADDR_TEXT_MAX];

    network.scope = 0;
    if (client->family == AF_INET6)
        memset(network.bytes + 8, 0, 8);
    snprintf(out, CLIENT_TEXT_MAX, "%s%s", net_addr_format(&network, text), client->family == AF_INET6 ? "/64" : "");
    return out;
}

/* ---- those who are known --------------------------------------------------------------- */

static struct known *known_find(struct bans *b, const struct net_addr *client, const char *user)
{
    char text[CLIENT_TEXT_MAX], pair[512];
    struct known *k;

    if (user[0] == '\0')
        return NULL;
    snprintf(pair, sizeof pair, "%s %s", client_text(client, text), user);
    HASH_FIND_STR(b->known, pair, k);
    return k;
}

bool bans_knows(struct bans *b, const struct net_addr *client, const char *user)
{
    return known_find(b, client, user) != NULL;
}

static void known_drop(struct bans *b, struct known *k)
{
    HASH_DEL(b->known, k);
    free(k);
}

void bans_success(struct bans *b, uint64_t now_ms, const struct net_addr *client, const char *user)
{
    char text[CLIENT_TEXT_MAX];
    struct known *k = known_find(b, client, user);
    size_t len;

    if (k != NULL)
        HASH_DEL(b->known, k); /* and in again, as the newest */
    len = strlen(client_text(client, text)) + 1 + strlen(user) + 1;
    if (k == NULL) {
        k = mem_zero(1, sizeof *k + len);
        snprintf(k->pair, len, "%s %s", text, user);
    }
    k->failures = 0;
    if (HASH_COUNT(b->known) >= BANS_KNOWN_MAX)
        known_drop(b, b->known);
    HASH_ADD_STR(b->known, pair, k);
}

/* ---- counts ------------------------------------------------------------------------------ */

static struct entry *entry_find(struct entry *table, const char *what)
{
    struct entry *e;

    HASH_FIND_STR(table, what, e);
    return e;
}

static void entry_drop(struct entry **table, struct entry *e)
{
    HASH_DEL(*table, e);
    free(e);
}

/* The one not touched for the longest time, if there is a choice one that is not refused. */
static void make_room(struct entry **table, uint64_t now_ms)
{
    struct entry *e = *table;

    for (unsigned i = 0; e != NULL && e->until_ms > now_ms && i < LOOK_FOR_VICTIM; i++)
        e = e->hh.next;
    entry_drop(table, e != NULL ? e : *table);
}

static struct entry *entry_touch(struct entry **table, const char *what, uint64_t now_ms)
{
    struct entry *e = entry_find(*table, what);

    if (e != NULL)
        HASH_DEL(*table, e);
    else if (HASH_COUNT(*table) >= BANS_ENTRIES_MAX)
        make_room(table, now_ms);
    if (e == NULL) {
        e = mem_zero(1, sizeof *e + strlen(what) + 1);
        strcpy(e->what, what);
        e->last_ms = now_ms;
    }
    HASH_ADD_STR(*table, what, e);
    return e;
}

static uint64_t count_now(const struct entry *e, uint64_t now_ms)
{
    uint64_t fallen = now_ms > e->last_ms ? now_ms - e->last_ms : 0; /* refused: it falls only afterwards */

    return e->count_ms > fallen ? e->count_ms - fallen : 0;
}

static unsigned failures_of(uint64_t count_ms)
{
    return (unsigned)((count_ms + FALL_MS - 1) / FALL_MS);
}

/* Returns how many count now. */
static unsigned entry_count(struct entry *e, uint64_t now_ms, unsigned limit, uint64_t ban_max_ms)
{
    uint64_t ban_ms;
    unsigned failures;

    e->count_ms = count_now(e, now_ms) + FALL_MS;
    e->last_ms = now_ms > e->last_ms ? now_ms : e->last_ms;
    failures = failures_of(e->count_ms);
    if (failures < limit || e->until_ms > now_ms)
        return failures;
    while (e->strikes > 0 && now_ms - e->struck_ms >= STRIKE_MS) {
        e->strikes--;
        e->struck_ms += STRIKE_MS;
    }
    ban_ms = BAN_MS << (e->strikes < 10 ? e->strikes : 10);
    e->until_ms = now_ms + (ban_ms < ban_max_ms ? ban_ms : ban_max_ms);
    e->struck_ms = e->until_ms;
    e->strikes++;
    e->told = failures;
    e->count_ms = (limit / 2) * FALL_MS; /* afterwards there are some tries, not all of them */
    e->last_ms = e->until_ms;
    return failures;
}

static bool entry_refused(struct entry *table, const char *what, uint64_t now_ms)
{
    const struct entry *e = entry_find(table, what);

    return e != NULL && e->until_ms > now_ms;
}

bool bans_refuses(struct bans *b, uint64_t now_ms, const struct net_addr *client, const char *user)
{
    char text[CLIENT_TEXT_MAX];

    if (known_find(b, client, user) != NULL)
        return false;
    return entry_refused(b->clients, client_text(client, text), now_ms) || entry_refused(b->users, user, now_ms);
}

uint64_t bans_failure(struct bans *b, uint64_t now_ms, const struct net_addr *client, const char *user)
{
    char text[CLIENT_TEXT_MAX];
    struct known *k = known_find(b, client, user);
    uint64_t delay_ms = b->first_delay_ms;
    unsigned failures;

    if (k != NULL && ++k->failures >= KNOWN_LIMIT)
        known_drop(b, k);
    failures = entry_count(entry_touch(&b->clients, client_text(client, text), now_ms), now_ms, ADDRESS_LIMIT,
                           ADDRESS_BAN_MAX_MS);
    if (user[0] != '\0')
        entry_count(entry_touch(&b->users, user, now_ms), now_ms, USER_LIMIT, USER_BAN_MAX_MS);
    for (; failures > 2 && delay_ms < b->first_delay_ms * DELAY_TIMES_MAX; failures--)
        delay_ms *= 2;
    return delay_ms;
}

bool bans_suspects(struct bans *b, uint64_t now_ms, const struct net_addr *client)
{
    char text[CLIENT_TEXT_MAX];
    const struct entry *e = entry_find(b->clients, client_text(client, text));

    return e != NULL && count_now(e, now_ms) != 0;
}

/* ---- the admin ---------------------------------------------------------------------------- */

static bool each_of(struct entry *table, bool is_user, uint64_t now_ms,
                    bool (*visit)(void *ctx, const struct bans_view *v), void *ctx)
{
    for (const struct entry *e = table; e != NULL; e = e->hh.next) {
        bool refused = e->until_ms > now_ms;
        struct bans_view v = {
            .what = e->what,
            .is_user = is_user,
            .failures = refused ? e->told : failures_of(count_now(e, now_ms)),
            .refused_ms = refused ? e->until_ms - now_ms : 0,
        };

        if ((v.failures != 0 || refused) && !visit(ctx, &v))
            return false;
    }
    return true;
}

void bans_each(struct bans *b, uint64_t now_ms, bool (*visit)(void *ctx, const struct bans_view *v), void *ctx)
{
    if (each_of(b->clients, false, now_ms, visit, ctx))
        each_of(b->users, true, now_ms, visit, ctx);
}

bool bans_lift(struct bans *b, const char *what)
{
    struct slice text = slice_head(slice_str(what), slice_find(slice_str(what), '/'));
    char client[CLIENT_TEXT_MAX];
    struct net_addr addr;
    struct entry *e;

    if (net_addr_parse(text, &addr)) {
        e = entry_find(b->clients, client_text(&addr, client));
        if (e != NULL)
            entry_drop(&b->clients, e);
        return e != NULL;
    }
    e = entry_find(b->users, what);
    if (e != NULL)
        entry_drop(&b->users, e);
    return e != NULL;
}
