/* relayd/holder.h - who has what we want: told to the admin when a start fails. */
#ifndef RELAYD_HOLDER_H
#define RELAYD_HOLDER_H

#include "base/buf.h"
#include "net/addr.h"

#include <sys/types.h>

/* Appends "pid 4711 (smtp-sink)" and returns true, or appends nothing: the
 * kernel shows a process's descriptors only to its owner and to root. */
bool holder_of_port(const struct net_addr *addr, struct buf *out);

/* Of a lock by flock(2) on the file open at fd; *pid (may be NULL) gets the holder. */
bool holder_of_lock(int fd, pid_t *pid, struct buf *out);

#endif
