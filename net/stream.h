/* net/stream.h - one connection as its protocol sees it.
 *
 * Bytes in by callback; bytes out by appending to stream_out() and calling
 * stream_flush(), which writes once at the end of the loop's turn however
 * often it is called. Nothing runs inside stream_flush(), stream_pause(),
 * stream_deadline(), stream_close() or stream_finish(); each may be called
 * from inside any event. After stream_close() or stream_finish() no event
 * comes any more, the stream must not be touched and frees itself. TLS
 * lives below this interface: net/tls.h.
 *
 * `closed` comes at most once and nothing comes after it. With sys 0, which
 * is the end of file (ERR_CLOSED: the peer may still be reading) or the
 * deadline of an open connection (ERR_TIMEOUT), output can still be flushed
 * and stream_finish() delivers it. After any other reason output is dropped
 * silently. A write that fails does not hide what the peer had sent
 * before: its bytes come first, then `closed`; while paused `closed` comes at
 * once.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/buf.h"
#include "net/loop.h"

struct tls_info;

struct stream_events {
    void (*opened)(void *ctx);                     /* connected; only for loop_connect */
    void (*data)(void *ctx, struct slice bytes);   /* the callee keeps nothing of it by pointer */
    void (*drained)(void *ctx);                    /* flushed output is all with the kernel; may be NULL.
                                                      Not when there was none to write */
    void (*closed)(void *ctx, struct err why);     /* end of file or reset: ERR_CLOSED; deadline:
                                                      ERR_TIMEOUT with sys 0; refused and unreachable:
                                                      ERR_SYSTEM with sys; TLS: ERR_TLS; the owner still calls
                                                      stream_close() or stream_finish() */
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
    struct buf out;       /* not yet with the kernel */
    size_t out_under_way; /* bytes taken from out that the kernel has no room for yet */
    /* local: of an accepted stream the listener's, unspecified when that
     * listens on all; of a connecting one `from`, or family 0. */
    struct net_addr local, remote;
    const struct tls_info *tls; /* NULL: in the clear */
};

/* Starts a connection; `opened` or `closed` follows, never from inside this
 * call. On an error (no descriptor, no route, no such source address) there
 * is no stream and no event. `from` (its port 0: any) may be NULL. The deadline
 * is the caller's: stream_deadline(). Output flushed before `opened` waits. */
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

/* All that the peer has not made room for: what a slow reader costs us. */
static inline size_t stream_backlog(const struct stream *s)
{
    return buf_len(&s->out) + s->out_under_way;
}

static inline void stream_flush(struct stream *s)
{
    s->ops->flush(s);
}

/* While paused no `data` and no end of file comes, not even in this turn: the
 * peer is slowed by TCP. The deadline runs on. Cheap while nothing arrives. */
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

/* Sends what waits (flushed or not), at most 10 s, then closes so that the
 * last reply arrives: input nobody will read is drained for up to 2 s after
 * our side is shut down, for a close() over it would reset the connection.
 * Before `opened` it is the same as stream_close(). */
static inline void stream_finish(struct stream *s) /* NULL is fine */
{
    if (s != NULL)
        s->ops->close(s, true);
}

#endif
