/* dns/message.c - reads what a name server sent, byte by byte and with
 * suspicion: it decides whether mail waits or bounces.
 *
 * c-ares has checked id, sender and question; its parsers leave out TTLs, the
 * SOA of a negative answer (RFC 2308) and the AD bit, so the records are read
 * here.
 */
#include "dns/wire.h"

#include "base/mem.h"

#include <stdlib.h>

#define HEADER_BYTES     12
#define RECORDS_READ_MAX 1200 /* of a section; what follows is not looked at */

enum { TYPE_NS = 2, TYPE_CNAME = 5, TYPE_SOA = 6, CLASS_IN = 1 };
enum {
    RCODE_FORMERR = 1,
    RCODE_SERVFAIL = 2,
    RCODE_NXDOMAIN = 3,
    RCODE_NOTIMP = 4,
    RCODE_REFUSED = 5
};

/* ---- records ---- */

static void *room_for_one(struct dns_answer *a, size_t size)
{
    /* mx stands for any member of the union. */
    a->mx = mem_grow(a->mx, a->count + 1, size);
    return (char *)a->mx + a->count++ * size;
}

static void add_address(struct dns_answer *a, struct wire *d)
{
    size_t want = a->type == DNS_A ? 4 : 16;
    struct net_addr *addr;

    if (d->len - d->at != want) {
        d->bad = true;
        return;
    }
    if (a->count == DNS_RECORDS_MAX)
        return;
    addr = room_for_one(a, sizeof *addr);
    *addr = (struct net_addr){ .family = a->type == DNS_A ? AF_INET : AF_INET6 };
    memcpy(addr->bytes, d->msg + d->at, want);
}

static struct dns_mx *worst_mx(struct dns_answer *a)
{
    struct dns_mx *worst = &a->mx[0];

    for (unsigned i = 1; i < a->count; i++)
        if (a->mx[i].preference >= worst->preference)
            worst = &a->mx[i];
    return worst;
}

static void add_mx(struct dns_answer *a, struct wire *d)
{
    uint16_t preference = (uint16_t)wire_u16(d);
    char host[DNS_NAME_SIZE];
    struct dns_mx *mx;

    wire_name(d, host);
    if (d->bad)
        return;
    if (a->count < DNS_RECORDS_MAX) {
        mx = room_for_one(a, sizeof *mx);
    } else {
        mx = worst_mx(a);
        if (mx->preference <= preference)
            return;
        free(mx->host);
    }
    mx->preference = preference;
    mx->host = mem_str(host);
}

static void add_text(struct dns_answer *a, struct wire *d)
{
    size_t room = d->len - d->at, n = 0;
    char *text;

    if (room == 0) {
        d->bad = true;
        return;
    }
    text = mem_alloc(room);
    while (d->at < d->len && !d->bad) {
        unsigned len = wire_u8(d);

        if (len > d->len - d->at) {
            d->bad = true;
            break;
        }
        memcpy(text + n, d->msg + d->at, len);
        n += len;
        d->at += len;
    }
    text[n] = '\0';
    /* A NUL inside is no text anybody here could use. */
    if (d->bad || a->count == DNS_RECORDS_MAX || memchr(text, '\0', n) != NULL)
        free(text);
    else
        *(char **)room_for_one(a, sizeof text) = text;
}

static void add_pointer(struct dns_answer *a, struct wire *d)
{
    char name[DNS_NAME_SIZE];

    wire_name(d, name);
    if (!d->bad && a->count < DNS_RECORDS_MAX && name[0] != '\0')
        *(char **)room_for_one(a, sizeof(char *)) = mem_str(name);
}

static void add_tlsa(struct dns_answer *a, struct wire *d)
{
    struct dns_tlsa t = { 0 };

    t.usage = (uint8_t)wire_u8(d);
    t.selector = (uint8_t)wire_u8(d);
    t.matching = (uint8_t)wire_u8(d);
    if (d->bad || a->count == DNS_RECORDS_MAX)
        return;
    t.len = (uint16_t)(d->len - d->at);
    t.data = (uint8_t *)mem_dup(d->msg + d->at, t.len);
    *(struct dns_tlsa *)room_for_one(a, sizeof t) = t;
}

static void add_record(struct dns_answer *a, struct wire *d)
{
    switch (a->type) {
    case DNS_A:
    case DNS_AAAA:
        add_address(a, d);
        break;
    case DNS_MX:
        add_mx(a, d);
        break;
    case DNS_TXT:
        add_text(a, d);
        break;
    case DNS_PTR:
        add_pointer(a, d);
        break;
    case DNS_TLSA:
        add_tlsa(a, d);
        break;
    }
}

/* ---- sections ---- */

struct sections {
    struct wire c; /* at the answer section, later past it */
    unsigned answers, authorities, additionals;
};

/* Records of `name` in the answer section go to a; a CNAME it has goes to
 * target. *ttl shrinks to the least TTL used. */
static bool scan_answers(struct sections *s, const char *name, struct dns_answer *a,
                         char target[DNS_NAME_SIZE], uint32_t *ttl)
{
    struct wire c = s->c;
    struct wire_rr rr;
    bool alias = false;

    for (unsigned i = 0; i < s->answers && i < RECORDS_READ_MAX && wire_rr(&c, &rr); i++) {
        struct wire d = wire_rr_data(&c, &rr);

        if (rr.class != CLASS_IN || strcmp(rr.owner, name) != 0)
            continue;
        if (rr.type == (unsigned)a->type) {
            add_record(a, &d);
        } else if (rr.type == TYPE_CNAME && !alias) {
            wire_name(&d, target);
            alias = true;
        } else {
            continue;
        }
        if (d.bad) {
            c.bad = true;
            break;
        }
        if (rr.ttl < *ttl)
            *ttl = rr.ttl;
    }
    s->c.bad = c.bad;
    return alias;
}

struct rest { /* what the sections after the answers tell */
    bool soa, referral;
    uint32_t negative_ttl;
    unsigned extended_rcode; /* its upper eight bits (RFC 6891 section 6.1.3) */
};

static uint32_t soa_ttl(const struct wire *c, const struct wire_rr *rr)
{
    struct wire d = wire_rr_data(c, rr);
    char skipped[DNS_NAME_SIZE];
    uint32_t minimum = 0;

    wire_name(&d, skipped);
    wire_name(&d, skipped);
    for (unsigned i = 0; i < 5; i++) /* serial, refresh, retry, expire, minimum */
        minimum = wire_u32(&d);
    if (d.bad)
        return 0;
    return rr->ttl < minimum ? rr->ttl : minimum; /* RFC 2308 section 5 */
}

static void read_rest(struct sections *s, struct rest *out)
{
    unsigned total = s->answers + s->authorities + s->additionals;
    struct wire_rr rr;

    *out = (struct rest){ 0 };
    for (unsigned i = 0; i < total && i < RECORDS_READ_MAX && wire_rr(&s->c, &rr); i++) {
        bool authority = i >= s->answers && i < s->answers + s->authorities;

        if (authority && rr.type == TYPE_SOA && !out->soa) {
            out->soa = true;
            out->negative_ttl = soa_ttl(&s->c, &rr);
        }
        if (authority && rr.type == TYPE_NS)
            out->referral = true;
        if (i >= s->answers + s->authorities && rr.type == WIRE_TYPE_OPT)
            out->extended_rcode = rr.ttl >> 24;
    }
}

static void done(struct dns_reading *out, enum dns_type type, enum dns_status status,
                 const char *detail)
{
    out->next = DNS_NEXT_DONE;
    out->answer = dns_answer_failed(type, status, detail);
}

/* The chain of CNAMEs as far as the message tells it; records found end up in
 * *answer, else out->target is where it leads. */
static bool follow_chain(struct sections *s, enum dns_type type, struct dns_reading *out,
                         struct dns_answer **answer)
{
    struct dns_answer *a = dns_answer_new(type);
    char next[DNS_NAME_SIZE];

    while (scan_answers(s, out->target, a, next, &out->ttl_s) && a->count == 0 && !s->c.bad) {
        if (out->hops++ == DNS_CNAMES_MAX)
            break;
        memcpy(out->target, next, sizeof next);
    }
    if (a->count > 0 && !s->c.bad && out->hops <= DNS_CNAMES_MAX) {
        *answer = a;
        return true;
    }
    dns_answer_unref(a);
    return false;
}

static void read_negative(struct dns_reading *out, enum dns_type type, unsigned rcode,
                          unsigned flags, const struct rest *rest)
{
    bool authoritative = (flags & 0x0400) != 0, recursive = (flags & 0x0080) != 0;

    if (rest->soa && rest->negative_ttl < out->ttl_s)
        out->ttl_s = rest->negative_ttl;
    if (!rest->soa) /* RFC 2308 section 5: not to be cached; the caller's least time */
        out->ttl_s = 0;
    if (!rest->soa && !authoritative && (rest->referral || !recursive))
        out->unwilling = true; /* a name it has nothing to say about is not gone */
    else if (rcode == RCODE_NXDOMAIN)
        done(out, type, DNS_NO_NAME, "NXDOMAIN");
    else
        done(out, type, DNS_NO_DATA, "no such record");
    if (out->unwilling)
        done(out, type, DNS_TEMPFAIL, "lame name server");
}

static const char *rcode_text(unsigned rcode)
{
    switch (rcode) {
    case RCODE_SERVFAIL:
        return "SERVFAIL";
    case RCODE_REFUSED:
        return "REFUSED";
    case RCODE_FORMERR:
        return "FORMERR";
    case RCODE_NOTIMP:
        return "NOTIMP";
    }
    return "unexpected response code";
}

/* The header and the question; false when it is not what was asked. */
static bool read_head(struct sections *s, const char *name, enum dns_type type, unsigned *flags)
{
    struct wire *c = &s->c;
    char asked[DNS_NAME_SIZE];
    unsigned questions;

    wire_u16(c); /* the id: c-ares has compared it */
    *flags = wire_u16(c);
    questions = wire_u16(c);
    s->answers = wire_u16(c);
    s->authorities = wire_u16(c);
    s->additionals = wire_u16(c);
    if (c->bad || (*flags & 0x8000) == 0 || (*flags & 0x7800) != 0 || questions != 1)
        return false;
    wire_name(c, asked);
    return !c->bad && strcmp(asked, name) == 0 && wire_u16(c) == (unsigned)type &&
           wire_u16(c) == CLASS_IN && !c->bad;
}

static void read_records(struct sections *s, struct dns_reading *out, enum dns_type type,
                         unsigned flags)
{
    unsigned rcode = flags & 0xf;
    struct sections all = *s;
    struct dns_answer *a = NULL;
    struct rest rest;
    unsigned hops = out->hops;

    read_rest(&all, &rest);
    if (all.c.bad) {
        done(out, type, DNS_TEMPFAIL, "malformed answer");
    } else if (rcode == RCODE_FORMERR || rcode == RCODE_NOTIMP || rest.extended_rcode != 0) {
        out->next = DNS_NEXT_PLAIN_DNS;
    } else if (rcode != 0 && rcode != RCODE_NXDOMAIN) {
        out->unwilling = true;
        done(out, type, DNS_TEMPFAIL, rcode_text(rcode));
    } else if (follow_chain(s, type, out, &a)) {
        out->next = DNS_NEXT_DONE;
        out->answer = a;
        if (rcode == 0)
            return;
        dns_answer_unref(a); /* records of a name that is said not to exist */
        done(out, type, DNS_TEMPFAIL, "contradictory answer");
    } else if (s->c.bad) {
        done(out, type, DNS_TEMPFAIL, "malformed answer");
    } else if (out->hops > DNS_CNAMES_MAX) {
        done(out, type, DNS_TEMPFAIL, "chain of CNAMEs too long");
    } else if (out->hops > hops && rcode == 0 && !rest.soa) {
        out->next = DNS_NEXT_FOLLOW;
    } else {
        read_negative(out, type, rcode, flags, &rest);
    }
}

void dns_message_read(struct slice raw, const char *name, enum dns_type type, unsigned hops,
                      struct dns_reading *out)
{
    struct sections s = { .c = { (const uint8_t *)raw.ptr, raw.len, 0, false } };
    unsigned flags;

    *out = (struct dns_reading){ .ttl_s = UINT32_MAX, .hops = hops };
    memcpy(out->target, name, strlen(name) + 1);
    if (!read_head(&s, name, type, &flags)) {
        /* A server that knows no EDNS may answer with a header alone. */
        if (raw.len >= HEADER_BYTES && (flags & 0x8000) != 0 && (flags & 0xf) == RCODE_FORMERR)
            out->next = DNS_NEXT_PLAIN_DNS;
        else
            done(out, type, DNS_TEMPFAIL, "malformed answer");
        return;
    }
    if ((flags & 0x0200) != 0) {
        out->next = DNS_NEXT_TCP;
        return;
    }
    out->authentic = (flags & 0x0020) != 0;
    read_records(&s, out, type, flags);
}
