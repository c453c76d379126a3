/* tests/sim/world.c - the hosts and domains of a run, and when they are well. */
#include "tests/sim/sim.h"

#define HOST_MAX 24u
#define WIDE_HOST_MAX 240u /* addresses hold no more */
#define WIDE_DOMAINS 100u

/* ---- phases ------------------------------------------------------------------- */

int phase_at(const struct phase *p, unsigned count, uint64_t now_ms)
{
    int mode = 0;

    for (unsigned i = 0; i < count && p[i].from_ms <= now_ms; i++)
        mode = p[i].mode;
    return mode;
}

static void add_phase(struct phase **p, unsigned *count, uint64_t from_ms, int mode)
{
    *p = mem_grow(*p, *count + 1, sizeof **p);
    (*p)[(*count)++] = (struct phase){ from_ms, mode };
}

/* Good times and bad ones, from minutes to a day; good from the end on. */
static void make_phases(struct sim *sim, struct phase **p, unsigned *count, unsigned kinds,
                        uint64_t good_ms)
{
    uint64_t at = roll(sim, good_ms);

    while (at < sim->end_ms) {
        uint64_t bad = chance(sim, 30) ? roll(sim, DAY_MS) : roll(sim, 2 * HOUR_MS);

        add_phase(p, count, at, 1 + (int)roll(sim, kinds - 1));
        at += MINUTE_MS + bad;
        add_phase(p, count, at < sim->end_ms ? at : sim->end_ms, 0);
        at += MINUTE_MS + roll(sim, good_ms);
    }
}

enum mode host_mode(const struct host *h)
{
    return h->sim->healed ? MODE_UP
                          : (enum mode)phase_at(h->phases, h->phase_count, h->sim->now_ms);
}

/* ---- hosts ---------------------------------------------------------------------- */

static void make_addresses(struct sim *sim, struct host *h)
{
    unsigned count = chance(sim, 70) ? 1 : 1 + (unsigned)roll(sim, 3);

    for (unsigned i = 0; i < count; i++) {
        struct net_addr *a = &h->addrs[h->addr_count++];

        *a = (struct net_addr){ .family = AF_INET };
        if (chance(sim, 25)) {
            a->family = AF_INET6;
            a->bytes[0] = 0x20;
            a->bytes[1] = 1;
            a->bytes[14] = (uint8_t)h->index;
            a->bytes[15] = (uint8_t)(1 + i);
        } else {
            memcpy(a->bytes, (uint8_t[]){ 198, 51, (uint8_t)h->index, (uint8_t)(1 + i) }, 4);
        }
    }
}

static struct host *add_host(struct sim *sim, bool steady, bool dead)
{
    struct dns_zone *z = &sim->zone;
    struct host *h = &z->hosts[z->host_count];

    h->sim = sim;
    h->index = z->host_count++;
    snprintf(h->name, sizeof h->name, "mx%u.hosts.test", h->index);
    make_addresses(sim, h);
    h->pipelining = chance(sim, 70);
    h->size = chance(sim, 70);
    h->eightbit = chance(sim, 80);
    h->ehlo = steady || chance(sim, 90);
    h->enhanced = chance(sim, 80);
    h->dsn = chance(sim, 50);
    h->chunking = chance(sim, 60);
    h->tls = chance(sim, 60);
    h->steady = steady;
    if (steady)
        return h;
    h->slow = chance(sim, 15);
    if (chance(sim, 20))
        h->limit = 1 + (unsigned)roll(sim, 3);
    if (dead)
        add_phase(&h->phases, &h->phase_count, 0, MODE_REFUSE + (int)roll(sim, 2));
    else if (chance(sim, 30))
        add_phase(&h->phases, &h->phase_count, 0, MODE_FLAKY);
    else if (chance(sim, 70))
        make_phases(sim, &h->phases, &h->phase_count, MODE_COUNT, 12 * HOUR_MS);
    return h;
}

struct host *host_by_addr(struct sim *sim, const struct net_addr *a)
{
    for (unsigned i = 0; i < sim->zone.host_count; i++)
        for (unsigned k = 0; k < sim->zone.hosts[i].addr_count; k++)
            if (net_addr_equal_host(&sim->zone.hosts[i].addrs[k], a))
                return &sim->zone.hosts[i];
    return NULL;
}

/* ---- domains ---------------------------------------------------------------------- */

static void give_hosts(struct sim *sim, struct domain *d)
{
    struct dns_zone *z = &sim->zone;
    unsigned want = 1 + (unsigned)roll(sim, 3);
    bool steady = d->kind == DOMAIN_STEADY, dead = d->kind == DOMAIN_DEAD;
    const struct domain *other =
        z->domain_count > 3 ? &z->domains[1 + roll(sim, z->domain_count - 2)] : NULL;

    /* Some share all their hosts with another domain: one site. */
    if (d->kind == DOMAIN_USUAL && other != NULL && other->kind == DOMAIN_USUAL &&
        chance(sim, 30)) {
        d->host_count = other->host_count;
        memcpy(d->hosts, other->hosts, sizeof d->hosts);
        memcpy(d->preference, other->preference, sizeof d->preference);
        return;
    }
    for (unsigned i = 0; i < want && z->host_count < (sim->opt.newsletter != 0 ? WIDE_HOST_MAX : HOST_MAX); i++) {
        d->preference[i] = (uint16_t)(10 * (1 + roll(sim, 2)));
        d->hosts[i] = add_host(sim, steady, dead);
        d->host_count++;
    }
}

static void add_domain(struct sim *sim, enum domain_kind kind)
{
    struct dns_zone *z = &sim->zone;
    struct domain *d = &z->domains[z->domain_count];

    d->index = z->domain_count++;
    d->kind = kind;
    d->ttl_ms = (uint32_t)(chance(sim, 50) ? 5 * SECOND_MS + roll(sim, HOUR_MS)
                                           : HOUR_MS + roll(sim, DAY_MS));
    snprintf(d->name, sizeof d->name, "d%u.test", d->index);
    switch (kind) {
    case DOMAIN_STEADY:
    case DOMAIN_USUAL:
    case DOMAIN_CHANGING:
    case DOMAIN_DEAD:
        give_hosts(sim, d);
        break;
    case DOMAIN_IMPLICIT:
        d->hosts[0] = add_host(sim, false, false);
        d->host_count = 1;
        snprintf(d->hosts[0]->name, sizeof d->hosts[0]->name, "%s", d->name);
        break;
    default:
        break;
    }
    if (d->host_count == 0 &&
        (kind == DOMAIN_USUAL || kind == DOMAIN_CHANGING || kind == DOMAIN_DEAD))
        d->kind = DOMAIN_NO_NAME; /* no hosts left to give */
    d->tls = HOP_TLS_OPTIONAL;
    if (d->index == 3 || d->index == 4) { /* see the routes in sim.c */
        d->tls = d->index == 3 ? HOP_TLS_REQUIRED : HOP_TLS_VERIFIED;
        for (unsigned i = 0; i < d->host_count; i++)
            d->hosts[i]->tls = d->hosts[i]->ehlo = true;
    }
    if (kind == DOMAIN_USUAL && chance(sim, 40))
        make_phases(sim, &d->phases, &d->phase_count, DNS_GONE, DAY_MS);
    if (kind == DOMAIN_CHANGING)
        make_phases(sim, &d->phases, &d->phase_count, DNS_GONE + 1, DAY_MS);
}

/* Eighty domains that are well, ten that are slow, ten that nobody answers for. */
static void make_wide(struct sim *sim)
{
    struct dns_zone *z = &sim->zone;

    z->hosts = mem_zero(WIDE_HOST_MAX, sizeof *z->hosts);
    z->domains = mem_zero(1 + WIDE_DOMAINS, sizeof *z->domains);
    for (unsigned i = 0; i <= WIDE_DOMAINS; i++) {
        add_domain(sim, i > 90 ? DOMAIN_DEAD : DOMAIN_STEADY);
        for (unsigned k = 0; i > 80 && k < z->domains[i].host_count; k++)
            z->domains[i].hosts[k]->slow = true;
        if (i > 80 && i <= 90)
            z->domains[i].kind = DOMAIN_USUAL;
    }
}

void world_make(struct sim *sim)
{
    static const enum domain_kind odd[] = { DOMAIN_IMPLICIT, DOMAIN_NULL_MX, DOMAIN_NO_NAME,
                                            DOMAIN_OURS,     DOMAIN_NO_ADDR, DOMAIN_CHANGING,
                                            DOMAIN_DEAD };
    struct dns_zone *z = &sim->zone;
    unsigned usual = 3 + (unsigned)roll(sim, 4), others = 2 + (unsigned)roll(sim, 4);

    if (sim->opt.newsletter != 0) {
        make_wide(sim);
        return;
    }
    z->hosts = mem_zero(HOST_MAX + 8, sizeof *z->hosts);
    z->domains = mem_zero(2 + usual + others, sizeof *z->domains);
    add_domain(sim, DOMAIN_STEADY); /* 0: most senders live here, so that every DSN can be seen */
    add_domain(sim, DOMAIN_STEADY);
    for (unsigned i = 0; i < usual; i++)
        add_domain(sim, DOMAIN_USUAL);
    for (unsigned i = 0; i < others; i++)
        add_domain(sim, odd[roll(sim, countof(odd))]);
    if (chance(sim, 40))
        make_phases(sim, &z->blackouts, &z->blackout_count, DNS_GONE, 2 * DAY_MS);
}

void world_free(struct sim *sim)
{
    struct dns_zone *z = &sim->zone;

    for (unsigned i = 0; i < z->host_count; i++)
        free(z->hosts[i].phases);
    for (unsigned i = 0; i < z->domain_count; i++)
        free(z->domains[i].phases);
    free(z->hosts);
    free(z->domains);
    free(z->blackouts);
}

const struct domain *domain_by_name(struct sim *sim, struct slice name)
{
    for (unsigned i = 0; i < sim->zone.domain_count; i++)
        if (slice_eq_nocase(slice_str(sim->zone.domains[i].name), name))
            return &sim->zone.domains[i];
    return NULL;
}

static bool well_since(const struct phase *p, unsigned count, uint64_t now_ms, uint64_t *since)
{
    for (unsigned i = 0; i < count && p[i].from_ms <= now_ms; i++) {
        if (p[i].mode != 0 && i + 1 == count)
            return false;
        if (p[i].mode != 0 && p[i + 1].from_ms > now_ms)
            return false;
        if (p[i].mode != 0 && p[i + 1].from_ms > *since)
            *since = p[i + 1].from_ms;
    }
    return true;
}

uint64_t domain_well_since(struct sim *sim, const struct domain *d)
{
    uint64_t since = 0;

    if (sim->healed)
        return sim->end_ms;
    if (!well_since(sim->zone.blackouts, sim->zone.blackout_count, sim->now_ms, &since) ||
        !well_since(d->phases, d->phase_count, sim->now_ms, &since))
        return UINT64_MAX;
    if (since < d->last_bad_ms)
        since = d->last_bad_ms;
    for (unsigned i = 0; i < d->host_count; i++)
        if (!well_since(d->hosts[i]->phases, d->hosts[i]->phase_count, sim->now_ms, &since))
            return UINT64_MAX;
    return since;
}
