/* net/local.h - the addresses of this machine. */
#ifndef NET_LOCAL_H
#define NET_LOCAL_H

#include "net/addr.h"

/* Those its interfaces have now, without ports; *out is to be freed. The
 * number of them: 0 when the system does not tell. */
size_t net_local_addrs(struct net_addr **out);

#endif
