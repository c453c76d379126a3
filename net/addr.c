/* net/addr.c - the addresses of listeners, clients and next hops, read from
 * configuration and DNS, shown in logs and Received fields. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* ::ffff:192.0.2.1 is how a socket for both families tells of an IPv4 peer;
 * rules and logs know it as 192.0.2.1. */
void net_addr_unmap(struct net_addr *a)
{
    if (a->family != AF_INET6 || memcmp(a->bytes, mapped_prefix, sizeof mapped_prefix) != 0)
        return;
    a->family = AF_INET;
    a->scope = 0;
    memmove(a->bytes, a->bytes + 12, 4);
    memset(a->bytes + 4, 0, 12);
}

bool net_addr_parse(struct slice text, struct net_addr *out)
{
    struct net_addr a = { 0 };
    char host[INET6_ADDRSTRLEN];
    struct slice zone;
    uint64_t scope = 0;
    size_t len = slice_find(text, '%');

    if (len == 0 || len >= sizeof host || memchr(text.ptr, '\0', len) != NULL)
        return false;
    memcpy(host, text.ptr, len);
    host[len] = '\0';
    if (inet_pton(AF_INET, host, a.bytes) == 1)
        a.family = AF_INET;
    else if (inet_pton(AF_INET6, host, a.bytes) == 1)
        a.family = AF_INET6;
    else
        return false;
    if (len < text.len) {
        zone = slice_from(text, len + 1);
        /* Zones by number only: names belong to this machine's interfaces. */
        if (a.family != AF_INET6 || !slice_u64(zone, &scope) || scope == 0 || scope > UINT32_MAX)
            return false;
        a.scope = (uint32_t)scope;
    }
    net_addr_unmap(&a);
    *out = a;
    return true;
}

bool net_addr_parse_port(struct slice text, struct net_addr *out)
{
    struct net_addr a = { 0 };
    struct slice host, port;
    uint64_t n;

    if (text.len == 0)
        return false;
    if (text.ptr[0] == '[') {
        size_t end = slice_find(text, ']');

        if (end == text.len)
            return false;
        host = slice_make(text.ptr + 1, end - 1);
        port = slice_from(text, end + 1);
        if (slice_find(host, ':') == host.len) /* brackets are IPv6's */
            return false;
    } else {
        size_t colon = slice_find(text, ':');

        host = slice_head(text, colon);
        port = slice_from(text, colon);
    }
    if (port.len < 2 || port.ptr[0] != ':' || !slice_u64(slice_from(port, 1), &n) || n > UINT16_MAX)
        return false;
    if (slice_eq(host, SLICE("*")) && text.ptr[0] != '[')
        a.family = AF_INET6;
    else if (!net_addr_parse(host, &a))
        return false;
    a.port = (uint16_t)n;
    *out = a;
    return true;
}

static unsigned family_bits(const struct net_addr *a)
{
    return a->family == AF_INET ? 32 : 128;
}

/* Whether the first `bits` bits agree. */
static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool net_prefix_parse(struct slice text, struct net_prefix *out)
{
    struct net_prefix p = { 0 };
    size_t slash = slice_find(text, '/');
    uint64_t bits;

    if (!net_addr_parse(slice_head(text, slash), &p.addr) || p.addr.scope != 0)
        return false;
    bits = family_bits(&p.addr);
    if (slash < text.len) {
        struct slice digits = slice_from(text, slash + 1);
        bool mapped = p.addr.family == AF_INET && slice_find(text, ':') < text.len;

        if (!slice_u64(digits, &bits) || digits.len > 3)
            return false;
        if (mapped) { /* "::ffff:10.0.0.0/104" is 10.0.0.0/8 */
            if (bits < 96)
                return false;
            bits -= 96;
        }
        if (bits > family_bits(&p.addr))
            return false;
    }
    /* 10.0.0.1/8 is more likely a slip than a wish. */
    for (unsigned i = (unsigned)bits; i < family_bits(&p.addr); i++)
        if ((p.addr.bytes[i / 8] >> (7 - i % 8) & 1) != 0)
            return false;
    p.bits = (uint8_t)bits;
    *out = p;
    return true;
}

const char *net_addr_format(const struct net_addr *a, char out[NET_ADDR_TEXT_MAX])
{
    if (a->family == AF_INET || a->family == AF_INET6)
        inet_ntop(a->family, a->bytes, out, NET_ADDR_TEXT_MAX);
    else
        snprintf(out, NET_ADDR_TEXT_MAX, "%s", a->family == AF_UNIX ? "local" : "unknown");
    if (a->family == AF_INET6 && a->scope != 0) {
        size_t n = strlen(out);

        snprintf(out + n, NET_ADDR_TEXT_MAX - n, "%%%u", a->scope);
    }
    return out;
}

const char *net_addr_format_port(const struct net_addr *a, char out[NET_ADDR_TEXT_MAX])
{
    char host[NET_ADDR_TEXT_MAX];

    net_addr_format(a, host);
    /* Eight groups and a zone are 50 bytes at most. */
    if (a->family == AF_INET6)
        snprintf(out, NET_ADDR_TEXT_MAX, "[%.50s]:%u", host, (unsigned)a->port);
    else if (a->family == AF_INET)
        snprintf(out, NET_ADDR_TEXT_MAX, "%.50s:%u", host, (unsigned)a->port);
    else
        snprintf(out, NET_ADDR_TEXT_MAX, "%.50s", host);
    return out;
}

bool net_addr_equal_host(const struct net_addr *a, const struct net_addr *b)
{
    return a->family == b->family && a->scope == b->scope &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool net_prefix_holds(const struct net_prefix *p, const struct net_addr *a)
{
    if (a->family != p->addr.family || (a->family != AF_INET && a->family != AF_INET6))
        return false;
    return bits_equal(p->addr.bytes, a->bytes, p->bits);
}

bool net_addr_is_loopback(const struct net_addr *a)
{
    static const uint8_t six[16] = { [15] = 1 };

    switch (a->family) {
    case AF_INET:
        return a->bytes[0] == 127;
    case AF_INET6:
        return memcmp(a->bytes, six, sizeof six) == 0;
    default:
        return a->family == AF_UNIX;
    }
}

bool net_addr_is_unspecified(const struct net_addr *a)
{
    static const uint8_t zero[16];

    return (a->family == AF_INET || a->family == AF_INET6) &&
           memcmp(a->bytes, zero, sizeof zero) == 0;
}

uint64_t net_addr_hash(const struct net_addr *a)
{
    uint8_t key[1 + sizeof a->scope + sizeof a->bytes];

    key[0] = a->family;
    memcpy(key + 1, &a->scope, sizeof a->scope);
    memcpy(key + 1 + sizeof a->scope, a->bytes, sizeof a->bytes);
    return slice_hash(slice_make(key, sizeof key));
}

socklen_t net_addr_to_sockaddr(const struct net_addr *a, struct sockaddr_storage *out)
{
    *out = (struct sockaddr_storage){ 0 };
    if (a->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;

        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->bytes, 4);
        return sizeof *in;
    }
    if (a->family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        in6->sin6_scope_id = a->scope;
        memcpy(&in6->sin6_addr, a->bytes, 16);
        return sizeof *in6;
    }
    return 0;
}

bool net_addr_from_sockaddr(const struct sockaddr *sa, struct net_addr *out)
{
    *out = (struct net_addr){ .family = (uint8_t)sa->sa_family };
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

        out->port = ntohs(in->sin_port);
        memcpy(out->bytes, &in->sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

        out->port = ntohs(in6->sin6_port);
        out->scope = in6->sin6_scope_id;
        memcpy(out->bytes, &in6->sin6_addr, 16);
        net_addr_unmap(out);
        return true;
    }
    if (sa->sa_family == AF_UNIX)
        return true;
    out->family = 0;
    return false;
}
