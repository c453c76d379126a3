/* net/local.c - which addresses are this machine's own: a mail host at one of
 * them leads a message back to where it is. */
#include "net/local.h"

#include "base/mem.h"

#include <errno.h>
#include <ifaddrs.h>

struct err net_local_addrs(struct net_addr **out, size_t *count)
{
    struct ifaddrs *list = NULL;
    size_t most = 0;

    *out = NULL;
    *count = 0;
    if (getifaddrs(&list) != 0)
        return err_sys(errno, "list the addresses of this machine");
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
        most++;
    *out = mem_zero(most, sizeof **out);
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
        if (i->ifa_addr != NULL && net_addr_from_sockaddr(i->ifa_addr, &(*out)[*count]))
            ++*count;
    freeifaddrs(list);
    return ERR_OK;
}
