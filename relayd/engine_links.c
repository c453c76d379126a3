/* relayd/engine_links.c - the engine's ends of its links to those it asks.
 * Each comes anew whenever they or we were started; the object that asks
 * carries on with it, or waits for it. */
#include "relayd/engine_internal.h"

#include <unistd.h>

void engine_link(struct engine *en, struct channel_link *link)
{
    switch (link->peer) {
    case PROCESS_ACCOUNTS:
        accounts_link(en->accounts, channel_take_fd(&link->fd));
        break;
    default:
        close(channel_take_fd(&link->fd)); /* nobody here asks that kind */
        break;
    }
}
