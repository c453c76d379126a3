/* net/local.c - which addresses are this machine's own: a mail host at one of
 * them leads a message back to where it is. */
#include "net/local.h"

#include "base/mem.h"

#include <ifaddrs.h>

size_t net_local_addrs(struct net_addr **out)
{
    struct ifaddrs *list = NULL;
    size_t count = 0, n = 0;

    *out = NULL;
    if (getifaddrs(&list) != 0)
        return 0;
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
        count++;
    *out = mem_zero(count, sizeof **out);
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
        if (i->ifa_addr != NULL && net_addr_from_sockaddr(i->ifa_addr, &(*out)[n]))
            n++;
    freeifaddrs(list);
    return n;
}
