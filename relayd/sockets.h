/* relayd/sockets.h - the listening sockets, which outlive every engine.
 *
 * A set belongs to one configuration. The next configuration's set is made
 * beside it: addresses in both are duplicates of the same socket, so clients
 * waiting there are never refused, and either set can be dropped.
 */
#ifndef RELAYD_SOCKETS_H
#define RELAYD_SOCKETS_H

#include "base/buf.h"
#include "relayd/channel.h"
#include "relayd/settings.h"

struct sockets { /* zero-initialised is empty */
    struct channel_listener *listeners; /* as the engine gets them */
    struct net_addr *addrs;
    bool *both_families;
    size_t len;
};

/* Opens what `st` lists and is not open yet, taking over from `have` what is
 * there. ERR_BUSY: an address is taken; call again later to go on. Every
 * failure is explained in `why`, with the directive's place. */
MUST_CHECK struct err sockets_open(struct sockets *s, const struct settings *st,
                                   const struct sockets *have, struct buf *why);
void sockets_release(struct sockets *s); /* closes them */

#endif
