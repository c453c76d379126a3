/* net/uvinside.h - what the files behind uvloop.h share; for net/uv*.c and
 * net/listener.c alone. */
#ifndef NET_UVINSIDE_H
#define NET_UVINSIDE_H

#include "base/list.h"
#include "net/uvloop.h"

#include <stdatomic.h>
#include <uv.h>

/* One for all connections of a loop: an idle connection owns no buffer. */
#define READ_BUF_BYTES (64 * KIB)

struct uvloop {
    struct loop loop;
    uv_loop_t uv;
    uv_prepare_t end_of_turn; /* runs before the loop may sleep */
    uv_idle_t awake;          /* active while something waits for the next turn */
    uv_timer_t timer;         /* wakes the loop for the earliest of loop.timers */
    uv_async_t wake;
    struct inbox inbox;     /* posts of other threads */
    struct post *own_first; /* posts of this thread: no system call needed */
    struct post **own_last;
    struct list dirty;  /* streams with output to write at the end of the turn */
    struct list starved; /* listeners that wait for a free descriptor */
    uint64_t turn; /* counts */
    uint64_t timer_due_ms;
    _Atomic uintptr_t thread; /* that runs the loop; 0 = none */
    atomic_bool stop;
    bool now_stale;
    char read_buf[READ_BUF_BYTES];
};

static inline struct uvloop *uvloop_of(struct loop *l)
{
    return container_of(l, struct uvloop, loop);
}

/* An accepted socket becomes a stream; the descriptor is taken over, and
 * closed when that fails. */
struct err uvstream_accepted(struct uvloop *u, int fd, const struct net_addr *local,
                             const struct net_addr *remote, struct stream **out);
struct err uvstream_connect(struct loop *l, const struct net_addr *to, const struct net_addr *from,
                            const struct stream_events *events, void *ctx, struct stream **out);
/* Writes what the streams in u->dirty have to say. */
void uvstream_flush_dirty(struct uvloop *u);
/* The loop goes away: no event comes any more, memory goes with the handle. */
void uvstream_drop(uv_handle_t *h);
void command_drop(uv_handle_t *h); /* a process that was killed: waits for its end */

/* A descriptor was closed: listeners that starve may try again. */
void listener_feed_starved(struct uvloop *u);

#endif
