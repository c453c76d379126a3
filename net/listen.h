/* net/listen.h - a socket that listens. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include "base/err.h"
#include "net/addr.h"

/* Bound, listening, non-blocking, close-on-exec. `both_families`: addr is ::
 * and IPv4 clients are served by the same socket; a machine without IPv6 gets
 * a socket for IPv4 alone. Address taken: ERR_BUSY with sys EADDRINUSE. */
MUST_CHECK struct err net_listen(const struct net_addr *addr, bool both_families, int *out);

#endif
