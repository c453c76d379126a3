/* relayd/listen.h - a socket that listens. */
#ifndef RELAYD_LISTEN_H
#define RELAYD_LISTEN_H

#include "base/err.h"
#include "net/addr.h"

/* Bound, listening, non-blocking, close-on-exec. `both_families`: addr is ::
 * and IPv4 clients are served by the same socket; a machine without IPv6 gets
 * a socket for IPv4 alone. Address taken: ERR_BUSY with sys EADDRINUSE. */
MUST_CHECK struct err listen_open(const struct net_addr *addr, bool both_families, int *out);

#endif
