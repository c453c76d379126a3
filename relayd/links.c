/* relayd/links.c - the engine's connections to those it asks: who may send,
 * sign this. Made here because only the parent knows who lives; what passes
 * over them it never sees. */
#include "net/ipc.h"
#include "relayd/tree.h"

#include <unistd.h>

static void hand(struct process *to, const struct process *peer, int fd)
{
    struct channel_link link = { .fd = fd, .peer = peer->kind, .index = peer->index };
    struct err e = channel_send_link(to->channel, &link);

    if (err_failed(e) && e.kind != ERR_CLOSED)
        process_distrust(to, e);
}

/* Without it the two would wait for each other for good, so who can't be
 * given its end is started again. */
static void connect_two(struct process *a, struct process *b)
{
    int ends[2];
    struct err e = ipc_pair(ends);

    if (err_failed(e)) {
        process_distrust(b, e);
        return;
    }
    hand(a, b, ends[0]);
    if (a->channel != NULL)
        hand(b, a, ends[1]);
    close(ends[0]);
    close(ends[1]);
}

void links_renew(struct process *p)
{
    struct process *engine = tree_engine(p->tree);

    tree_foreach(other, p->tree) {
        if (p->channel == NULL)
            return;
        if (other->channel != NULL && other != p && (p == engine || other == engine))
            connect_two(p == engine ? p : engine, p == engine ? other : p);
    }
}
