/* net/loop.h - what a thread that serves connections offers its guests.
 *
 * A loop is an interface: net/uvloop.c makes real ones, the simulator its
 * own. All calls are for the loop's own thread but loop_post().
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/clock.h"
#include "base/err.h"
#include "base/post.h"
#include "base/timers.h"
#include "net/addr.h"

struct loop;
struct stream;
struct stream_events;
struct tls_client;
struct tls_target;

struct loop_ops {
    void (*post)(struct loop *l, struct post *p);
    void (*timers_changed)(struct loop *l); /* the earliest timer may have moved */
    struct err (*connect)(struct loop *l, const struct net_addr *to, const struct net_addr *from,
                          const struct stream_events *events, void *ctx, struct stream **out);
    struct err (*secure)(struct stream *inner, struct tls_client *client, const struct tls_target *to,
                         struct stream **out); /* stream_secure() of net/tls.h */
};

struct loop {
    const struct loop_ops *ops;
    const struct clock *clock;
    struct timers timers;
    struct rng rng;
    uint64_t now_ms; /* monotonic; read once a turn */
    unsigned index;  /* 0 is the scheduler's */
    unsigned read_max; /* bytes a stream takes from the kernel at once, while memory is short; 0: as many as come */
};

/* Any thread. p->run runs on the loop's thread, never before this returns;
 * posts of one thread run in the order they were made. */
static inline void loop_post(struct loop *l, struct post *p)
{
    l->ops->post(l, p);
}

/* Fires in that many ms counted from the beginning of the turn; 0: later in
 * this turn or at the beginning of the next, never inside this call. */
static inline void loop_arm(struct loop *l, struct timer *t, uint64_t delay_ms)
{
    timers_arm(&l->timers, t, l->now_ms + delay_ms);
    l->ops->timers_changed(l);
}

/* Without telling the loop: it may wake once for nothing. */
static inline void loop_disarm(struct loop *l, struct timer *t)
{
    timers_disarm(&l->timers, t);
}

#endif
