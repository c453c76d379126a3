/* net/local.h - the addresses of this machine. */
#ifndef NET_LOCAL_H
#define NET_LOCAL_H

#include "base/err.h"
#include "net/addr.h"

/* Those its interfaces have now, without ports; *out is to be freed, and NULL
 * after an error. */
MUST_CHECK struct err net_local_addrs(struct net_addr **out, size_t *count);

#endif
