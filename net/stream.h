/* net/stream.h - one connection as its protocol sees it.
 *
 * Bytes in by callback; bytes out by appending to stream_out() and calling
 * stream_flush(), which writes once at the end of the loop's turn however
 * often it is called. Nothing runs inside stream_flush(), stream_close() or
 * stream_finish(); after stream_close() or stream_finish() no event comes any
 * more and the stream frees itself. TLS will live below this interface.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/buf.h"
#include "net/loop.h"

struct stream_events {
    void (*opened)(void *ctx);                     /* connected; only for loop_connect */
    void (*data)(void *ctx, struct slice bytes);   /* the callee keeps nothing of it by pointer */
    void (*drained)(void *ctx);                    /* all output is with the kernel; may be NULL */
    void (*closed)(void *ctx, struct err why);     /* ERR_CLOSED at end of file, ERR_TIMEOUT, ERR_SYSTEM;
                                                      the owner still calls stream_close() */
};

struct stream_ops {
    void (*flush)(struct stream *s);
    void (*pause)(struct stream *s, bool on);
    void (*deadline)(struct stream *s, uint64_t in_ms);
    void (*close)(struct stream *s, bool finish);
};

struct stream {
    const struct stream_ops *ops;
    const struct stream_events *events;
    void *ctx;
    struct loop *loop;
    struct buf out; /* not yet with the kernel */
    struct net_addr local, remote;
};

/* Starts a connection; `opened` or `closed` follows. `from` may be NULL.
 * The deadline is the caller's: stream_deadline(). */
static inline MUST_CHECK struct err stream_connect(struct loop *l, const struct net_addr *to,
                                                   const struct net_addr *from,
                                                   const struct stream_events *events, void *ctx,
                                                   struct stream **out)
{
    return l->ops->connect(l, to, from, events, ctx, out);
}

static inline void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx)
{
    s->events = events;
    s->ctx = ctx;
}

static inline struct buf *stream_out(struct stream *s)
{
    return &s->out;
}

static inline void stream_flush(struct stream *s)
{
    s->ops->flush(s);
}

/* While paused no `data` comes: the peer is slowed by TCP. */
static inline void stream_pause(struct stream *s, bool on)
{
    s->ops->pause(s, on);
}

/* `closed` with ERR_TIMEOUT in that many ms unless set again; 0 = never.
 * Cheap: may be called for every command. */
static inline void stream_deadline(struct stream *s, uint64_t in_ms)
{
    s->ops->deadline(s, in_ms);
}

static inline void stream_close(struct stream *s) /* drops unsent output. NULL is fine */
{
    if (s != NULL)
        s->ops->close(s, false);
}

static inline void stream_finish(struct stream *s) /* sends what waits, at most 10 s, then closes */
{
    if (s != NULL)
        s->ops->close(s, true);
}

#endif
