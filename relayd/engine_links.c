/* relayd/engine_links.c - the engine's ends of its links to those it asks.
 * Each comes anew whenever they or we were started; the object that asks
 * carries on with it, or waits for it. */
#include "relayd/engine_internal.h"
#include "relayd/kinds.h"

#include <unistd.h>

void engine_link(struct engine *en, struct channel_link *link)
{
    switch (link->peer) {
    case PROCESS_ACCOUNTS:
        accounts_link(en->accounts, channel_take_fd(&link->fd));
        break;
    case PROCESS_SIGN:
        signers_link(en->signers, link->index, channel_take_fd(&link->fd));
        break;
    default:
        close(channel_take_fd(&link->fd)); /* nobody here asks that kind */
        break;
    }
}

void engine_accounts_configure(struct engine *en)
{
    accounts_expect(en->accounts, processes_wanted(PROCESS_ACCOUNTS, en->settings) != 0);
    accounts_set_scram(en->accounts, settings_offer_scram(en->settings));
}
