/* net/addr.h - IP addresses, ports and networks as values. Pure functions. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "base/err.h"
#include "base/slice.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct net_addr {
    uint8_t family;    /* AF_INET, AF_INET6, AF_UNIX (a local peer), 0 = none */
    uint16_t port;     /* host byte order */
    uint32_t scope;    /* IPv6 link-local */
    uint8_t bytes[16]; /* network byte order; IPv4 in the first four */
};

struct net_prefix {
    struct net_addr addr;
    uint8_t bits;
};

#define NET_ADDR_TEXT_MAX 64

/* "192.0.2.1", "2001:db8::1", "fe80::1%2" (zones by number only); no port, no
 * brackets. IPv4-mapped IPv6 becomes IPv4. On false *out is untouched. */
bool net_addr_parse(struct slice text, struct net_addr *out);
/* "192.0.2.1:25", "[2001:db8::1]:25", "*:25" (any, IPv6 and IPv4: out is ::).
 * The port is there and may be 0. */
bool net_addr_parse_port(struct slice text, struct net_addr *out);
/* "10.0.0.0/8", "::1" (all bits); bits beyond the prefix must be zero. */
bool net_prefix_parse(struct slice text, struct net_prefix *out);

/* A local peer reads "local", no address "unknown". Both return out. */
const char *net_addr_format(const struct net_addr *a, char out[NET_ADDR_TEXT_MAX]);      /* no port */
const char *net_addr_format_port(const struct net_addr *a, char out[NET_ADDR_TEXT_MAX]); /* host:port */
bool net_addr_equal_host(const struct net_addr *a, const struct net_addr *b);            /* ignores the port */
bool net_prefix_holds(const struct net_prefix *p, const struct net_addr *a);
void net_addr_unmap(struct net_addr *a);               /* ::ffff:192.0.2.1 becomes 192.0.2.1 */
bool net_addr_is_loopback(const struct net_addr *a);   /* 127/8, ::1, unix */
bool net_addr_is_unspecified(const struct net_addr *a); /* 0.0.0.0, :: */
uint64_t net_addr_hash(const struct net_addr *a);      /* of the host */

/* 0 for anything but IPv4 and IPv6. */
socklen_t net_addr_to_sockaddr(const struct net_addr *a, struct sockaddr_storage *out);
bool net_addr_from_sockaddr(const struct sockaddr *sa, struct net_addr *out);

#endif
