/* tests/unit/dns_wire.h - writes DNS messages, good ones and bad ones. */
#ifndef TESTS_UNIT_DNS_WIRE_H
#define TESTS_UNIT_DNS_WIRE_H

#include "base/buf.h"
#include "dns/dns.h"

enum { WIRE_ANSWER = 0x8180, WIRE_AD = 0x20, WIRE_AA = 0x400, WIRE_TC = 0x200, WIRE_RA = 0x80 };

static inline void wire_u16(struct buf *b, unsigned n)
{
    buf_add_byte(b, (char)(n >> 8));
    buf_add_byte(b, (char)n);
}

static inline void wire_u32(struct buf *b, uint32_t n)
{
    wire_u16(b, n >> 16);
    wire_u16(b, n & 0xffff);
}

static inline void wire_name(struct buf *b, const char *name)
{
    struct slice rest = slice_str(name), label;

    while (slice_split(&rest, '.', &label)) {
        buf_add_byte(b, (char)label.len);
        buf_add(b, label);
    }
    buf_add_byte(b, 0);
}

static inline void wire_count(struct buf *b, size_t at) /* one more in that header field */
{
    if (++b->ptr[b->start + at + 1] == 0)
        b->ptr[b->start + at]++;
}

/* Header and question, nothing counted yet but the question. */
static inline void wire_begin(struct buf *b, unsigned id, unsigned flags, const char *name,
                              unsigned type)
{
    wire_u16(b, id);
    wire_u16(b, flags);
    wire_u16(b, 1);
    wire_u16(b, 0);
    wire_u32(b, 0);
    wire_name(b, name);
    wire_u16(b, type);
    wire_u16(b, 1);
}

enum { WIRE_ANSWERS = 6, WIRE_AUTHORITIES = 8, WIRE_ADDITIONALS = 10 }; /* header offsets */

static inline void wire_rr(struct buf *b, size_t section, const char *owner, unsigned type,
                           uint32_t ttl, struct slice data)
{
    wire_count(b, section);
    wire_name(b, owner);
    wire_u16(b, type);
    wire_u16(b, 1);
    wire_u32(b, ttl);
    wire_u16(b, (unsigned)data.len);
    buf_add(b, data);
}

static inline void wire_mx(struct buf *b, const char *owner, uint32_t ttl, unsigned pref,
                           const char *host)
{
    struct buf d = { 0 };

    wire_u16(&d, pref);
    wire_name(&d, host);
    wire_rr(b, WIRE_ANSWERS, owner, DNS_MX, ttl, buf_bytes(&d));
    buf_release(&d);
}

static inline void wire_pointer(struct buf *b, const char *owner, unsigned type, uint32_t ttl,
                                const char *name)
{
    struct buf d = { 0 };

    wire_name(&d, name);
    wire_rr(b, WIRE_ANSWERS, owner, type, ttl, buf_bytes(&d));
    buf_release(&d);
}

static inline void wire_cname(struct buf *b, const char *owner, uint32_t ttl, const char *target)
{
    wire_pointer(b, owner, 5, ttl, target);
}

static inline void wire_a(struct buf *b, const char *owner, uint32_t ttl, unsigned last)
{
    char d[4] = { (char)192, 0, 2, (char)last };

    wire_rr(b, WIRE_ANSWERS, owner, DNS_A, ttl, slice_make(d, 4));
}

static inline void wire_soa(struct buf *b, const char *zone, uint32_t ttl, uint32_t minimum)
{
    struct buf d = { 0 };

    wire_name(&d, "ns.test");
    wire_name(&d, "root.test");
    for (unsigned i = 0; i < 4; i++)
        wire_u32(&d, 1);
    wire_u32(&d, minimum);
    wire_rr(b, WIRE_AUTHORITIES, zone, 6, ttl, buf_bytes(&d));
    buf_release(&d);
}

#endif
