/* relayd/listen.c - where clients come in: the sockets the acceptors wait on. */
#include "relayd/listen.h"

#include <errno.h>
#include <unistd.h>

/* The kernel cuts it to net.core.somaxconn. While an engine is started again
 * its clients wait here. */
#define BACKLOG 4096

static struct err set_options(int fd, const struct net_addr *addr, bool both_families)
{
    int on = 1;
    int v6only = !both_families;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return err_sys(errno, "set SO_REUSEADDR");
    if (addr->family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) != 0)
        return err_sys(errno, "set IPV6_V6ONLY");
    return ERR_OK;
}

static struct err listen_at(const struct net_addr *addr, bool both_families, int *out)
{
    struct sockaddr_storage sa;
    socklen_t len = net_addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct err e;

    if (fd < 0)
        return err_sys(errno, "open socket");
    e = set_options(fd, addr, both_families);
    if (!err_failed(e) && bind(fd, (struct sockaddr *)&sa, len) != 0)
        e = err_sys(errno, "bind");
    /* Two that bound with SO_REUSEADDR at the same moment meet here. */
    if (!err_failed(e) && listen(fd, BACKLOG) != 0)
        e = err_sys(errno, "listen");
    if (err_failed(e)) {
        close(fd);
        if (e.sys == EADDRINUSE)
            e.kind = ERR_BUSY;
        return e;
    }
    *out = fd;
    return ERR_OK;
}

struct err listen_open(const struct net_addr *addr, bool both_families, int *out)
{
    struct err e = listen_at(addr, both_families, out);

    if (both_families && (e.sys == EAFNOSUPPORT || e.sys == EADDRNOTAVAIL)) {
        struct net_addr any4 = { .family = AF_INET, .port = addr->port };

        return listen_at(&any4, false, out);
    }
    return e;
}
