/* relayd/helper.h - a child that the engine asks: one loop, the parent's
 * channel, a server object that gets the links.
 *
 * It answers START with READY once the server has begun, RELOAD by the
 * server's word, and ends at STOP, or when the parent is gone.
 */
#ifndef RELAYD_HELPER_H
#define RELAYD_HELPER_H

#include "net/sandbox.h"
#include "net/uvloop.h"
#include "relayd/kinds.h"
#include "relayd/settings.h"

struct helper; /* the process */

struct helper_ops {
    const char *name; /* "accounts", for the log */
    /* Begins to serve; `why` is for people. An error ends the process with *exit_code,
     * EX_OSERR unless changed: EX_CANTCREAT and the like end a first start for good. */
    struct err (*start)(struct helper *h, struct loop *l, const struct settings *st, void **server,
                        int *exit_code, struct buf *why);
    /* The new configuration, wholly or not at all. */
    struct err (*reload)(void *server, const struct settings *st, struct buf *why);
    /* A new connection to another process, for ipc_new(); fd is taken over. One of the same
     * peer and index that there was before is dead or about to be. */
    void (*link)(void *server, enum process_kind peer, unsigned index, int fd);
    bool (*linked)(const void *server); /* it has such a connection */
    void (*free)(void *server); /* the loop still lives, but turns no more */
};

/* From start(), once what the libraries load when first used is there and
 * before a thread is made: gives up for good what `r` does not name, and logs
 * which locks hold. */
MUST_CHECK struct err helper_confine(const struct helper *h, const struct sandbox_rules *r,
                                     struct buf *why);

/* Returns the exit code; takes channel_fd over. */
int helper_main(int channel_fd, const struct helper_ops *ops);

/* From the server, on its loop: its link is broken, or could not be taken. If no
 * other comes by itself (the engine may have died) the parent is asked for one. */
void helper_unlinked(struct helper *h);

/* From the server, on its loop: it has done its part (a worker that is to be
 * replaced); the process ends with 0 and the parent starts another. */
void helper_finish(struct helper *h);

#endif
