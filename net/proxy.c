/* net/proxy.c - reading PROXY headers to the letter: an address taken from one
 * counts for trust and limits, so nothing is guessed. */
#include "net/proxy.h"

#define V1_MAX       107u /* with CR LF, by the specification */
#define V2_FIXED     16u
#define V2_INET      12u  /* two addresses, two ports */
#define V2_INET6     36u
#define PART_IS(a, b) slice_eq((a), SLICE(b))

static const char v2_signature[12] = { '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

static enum proxy_result bad(const char **why, const char *text)
{
    *why = text;
    return PROXY_BAD;
}

/* ---- version 1: a line ------------------------------------------------------------ */

static bool parse_port(struct slice text, uint16_t *out)
{
    uint64_t n;

    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.ptr[0] == '0') || !slice_u64(text, &n) ||
        n > UINT16_MAX)
        return false;
    *out = (uint16_t)n;
    return true;
}

/* IPv6 may carry an IPv4 address, which then is one. */
static bool parse_addr(struct slice text, bool six, struct net_addr *out)
{
    if (slice_find(text, '%') != text.len || (slice_find(text, ':') != text.len) != six)
        return false;
    return net_addr_parse(text, out);
}

/* What follows "PROXY ", without CR LF. */
static enum proxy_result parse_line(struct slice line, struct proxy_header *out, const char **why)
{
    struct slice part[5];
    size_t count = 0;

    if (slice_eq(line, SLICE("UNKNOWN")) || slice_starts_nocase(line, SLICE("UNKNOWN ")))
        return PROXY_DONE;
    for (;;) {
        size_t len = slice_find(line, ' ');

        if (count == countof(part))
            return bad(why, "too many words");
        part[count++] = slice_head(line, len);
        if (len == line.len)
            break;
        line = slice_from(line, len + 1);
    }
    if (count != countof(part))
        return bad(why, "words are missing");
    if (!PART_IS(part[0], "TCP4") && !PART_IS(part[0], "TCP6"))
        return bad(why, "it is of neither TCP4 nor TCP6");
    if (!parse_addr(part[1], PART_IS(part[0], "TCP6"), &out->source) ||
        !parse_addr(part[2], PART_IS(part[0], "TCP6"), &out->destination))
        return bad(why, "not an address");
    if (!parse_port(part[3], &out->source.port) || !parse_port(part[4], &out->destination.port))
        return bad(why, "not a port");
    out->known = true;
    return PROXY_DONE;
}

static enum proxy_result parse_v1(struct slice in, struct proxy_header *out, const char **why)
{
    struct slice head = slice_head(in, V1_MAX);
    size_t lf = slice_find(head, '\n');

    if (lf == head.len)
        return head.len == V1_MAX ? bad(why, "its line does not end") : PROXY_MORE;
    if (head.ptr[lf - 1] != '\r')
        return bad(why, "its line ends in LF alone");
    out->used = lf + 1;
    return parse_line(slice_make(head.ptr + 6, lf - 7), out, why);
}

/* ---- version 2: binary --------------------------------------------------------------- */

static uint16_t u16_at(struct slice in, size_t at)
{
    return (uint16_t)((unsigned char)in.ptr[at] << 8 | (unsigned char)in.ptr[at + 1]);
}

static void take_addresses(struct slice in, size_t size, uint8_t family, struct proxy_header *out)
{
    out->known = true;
    out->source.family = out->destination.family = family;
    memcpy(out->source.bytes, in.ptr, size);
    memcpy(out->destination.bytes, in.ptr + size, size);
    out->source.port = u16_at(in, 2 * size);
    out->destination.port = u16_at(in, 2 * size + 2);
    net_addr_unmap(&out->source);
    net_addr_unmap(&out->destination);
}

/* Of the TLVs only the one about TLS counts: PP2_TYPE_SSL, whose first byte has
 * PP2_CLIENT_SSL set. */
static enum proxy_result read_tlvs(struct slice in, struct proxy_header *out, const char **why)
{
    while (in.len > 0) {
        size_t len;

        if (in.len < 3 || (len = u16_at(in, 1)) > in.len - 3)
            return bad(why, "a TLV that does not fit");
        if (in.ptr[0] == 0x20 && len >= 5 && (in.ptr[3] & 1) != 0)
            out->tls = true;
        in = slice_from(in, 3 + len);
    }
    return PROXY_DONE;
}

/* The family's addresses, and TLVs behind them. */
static enum proxy_result parse_body(unsigned family, struct slice body, struct proxy_header *out, const char **why)
{
    switch (family) {
    case 0x11:
        if (body.len < V2_INET)
            return bad(why, "too short for its addresses");
        take_addresses(body, 4, AF_INET, out);
        return read_tlvs(slice_from(body, V2_INET), out, why);
    case 0x21:
        if (body.len < V2_INET6)
            return bad(why, "too short for its addresses");
        take_addresses(body, 16, AF_INET6, out);
        return read_tlvs(slice_from(body, V2_INET6), out, why);
    case 0x00:
        return PROXY_DONE; /* unspecified: the same as UNKNOWN */
    default:
        return bad(why, "it is not of TCP");
    }
}

static enum proxy_result parse_v2(struct slice in, struct proxy_header *out, const char **why)
{
    unsigned command;
    size_t len;

    if (in.len < V2_FIXED)
        return PROXY_MORE;
    command = (unsigned char)in.ptr[12];
    len = u16_at(in, 14);
    if (command >> 4 != 2)
        return bad(why, "a version that is not known");
    if ((command & 15) > 1)
        return bad(why, "a command that is not known");
    if (V2_FIXED + len > PROXY_HEADER_MAX)
        return bad(why, "too long");
    if (in.len < V2_FIXED + len)
        return PROXY_MORE;
    out->used = V2_FIXED + len;
    if ((command & 15) == 0)
        return PROXY_DONE; /* LOCAL: a health check; the rest is to be skipped */
    return parse_body((unsigned char)in.ptr[13], slice_make(in.ptr + V2_FIXED, len), out, why);
}

static bool begins(struct slice in, struct slice with)
{
    size_t n = in.len < with.len ? in.len : with.len;

    return n == 0 || memcmp(in.ptr, with.ptr, n) == 0;
}

enum proxy_result proxy_parse(struct slice in, struct proxy_header *out, const char **why)
{
    static const struct slice v1 = { "PROXY ", 6 };
    const struct slice v2 = slice_make(v2_signature, sizeof v2_signature);
    enum proxy_result r;

    *out = (struct proxy_header){ 0 };
    *why = NULL;
    if (begins(in, v1))
        r = in.len < v1.len ? PROXY_MORE : parse_v1(in, out, why);
    else if (begins(in, v2))
        r = parse_v2(in, out, why);
    else
        r = bad(why, "there is none");
    if (r != PROXY_DONE)
        *out = (struct proxy_header){ 0 };
    return r;
}
