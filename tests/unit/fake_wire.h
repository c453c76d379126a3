/* tests/unit/fake_wire.h - two ends of a connection in memory, with every
 * promise of net/stream.h, delivered in pieces of a chosen size, and with a
 * window, so that a slow reader is felt. */
#ifndef TESTS_UNIT_FAKE_WIRE_H
#define TESTS_UNIT_FAKE_WIRE_H

#include "base/mem.h"
#include "net/stream.h"

#include <stdlib.h>

struct wire_end {
    struct stream stream;
    struct wire_end *peer; /* NULL: gone */
    struct timer write, deliver, deadline;
    struct buf arriving;
    size_t piece, window; /* of what arrives here; 0: any */
    unsigned flushes;     /* writes made, not calls of stream_flush */
    bool flush_due, blocked, paused, fin, told, gone, finishing;
};

static inline struct wire_end *wire_of(struct stream *s)
{
    return container_of(s, struct wire_end, stream);
}

static inline void wire_arm(struct wire_end *w, struct timer *t)
{
    if (!timer_armed(t))
        loop_arm(w->stream.loop, t, 0);
}

static inline void wire_free(struct wire_end *w)
{
    struct loop *l = w->stream.loop;

    if (w->peer != NULL) {
        w->peer->peer = NULL;
        w->peer->fin = true;
        wire_arm(w->peer, &w->peer->deliver);
    }
    loop_disarm(l, &w->write);
    loop_disarm(l, &w->deliver);
    loop_disarm(l, &w->deadline);
    buf_release(&w->arriving);
    buf_release(&w->stream.out);
    free(w);
}

static inline void wire_write(struct timer *t)
{
    struct wire_end *w = container_of(t, struct wire_end, write);
    struct buf *out = &w->stream.out;
    size_t room = SIZE_MAX, before = buf_len(out);

    if (w->peer != NULL && w->peer->window != 0)
        room = w->peer->window > buf_len(&w->peer->arriving) ? w->peer->window - buf_len(&w->peer->arriving) : 0;
    if (before > 0)
        w->flushes++;
    if (w->peer != NULL) {
        struct slice head = slice_head(buf_bytes(out), room);

        buf_add(&w->peer->arriving, head);
        buf_take(out, head.len);
        wire_arm(w->peer, &w->peer->deliver);
    } else {
        buf_clear(out);
    }
    w->blocked = buf_len(out) > 0;
    if (w->blocked)
        return;
    if (w->finishing)
        wire_free(w);
    else if (before > 0 && !w->told && w->stream.events->drained != NULL)
        w->stream.events->drained(w->stream.ctx);
}

static inline void wire_deliver(struct timer *t)
{
    struct wire_end *w = container_of(t, struct wire_end, deliver);

    if (w->paused || w->told || w->finishing)
        return;
    if (buf_len(&w->arriving) > 0) {
        size_t n = buf_len(&w->arriving);
        struct slice piece;
        char *copy;

        if (w->piece != 0 && n > w->piece)
            n = w->piece;
        piece = slice_head(buf_bytes(&w->arriving), n);
        copy = mem_dup(piece.ptr, n); /* the callee keeps nothing by pointer */
        buf_take(&w->arriving, n);
        if (w->peer != NULL && w->peer->blocked)
            wire_arm(w->peer, &w->peer->write);
        wire_arm(w, &w->deliver);
        w->stream.events->data(w->stream.ctx, slice_make(copy, n));
        free(copy);
    } else if (w->fin) {
        w->told = true;
        w->stream.events->closed(w->stream.ctx, err_make(ERR_CLOSED, "read"));
    }
}

static inline void wire_late(struct timer *t)
{
    struct wire_end *w = container_of(t, struct wire_end, deadline);

    if (w->told || w->finishing)
        return;
    w->told = true;
    w->stream.events->closed(w->stream.ctx, err_make(ERR_TIMEOUT, "wait for peer"));
}

static inline void wire_flush(struct stream *s)
{
    wire_arm(wire_of(s), &wire_of(s)->write);
}

static inline void wire_pause(struct stream *s, bool on)
{
    wire_of(s)->paused = on;
    if (!on)
        wire_arm(wire_of(s), &wire_of(s)->deliver);
}

static inline void wire_deadline(struct stream *s, uint64_t in_ms)
{
    if (in_ms != 0)
        loop_arm(s->loop, &wire_of(s)->deadline, in_ms);
    else
        loop_disarm(s->loop, &wire_of(s)->deadline);
}

static inline void wire_close(struct stream *s, bool finish)
{
    struct wire_end *w = wire_of(s);

    if (!finish) {
        wire_free(w);
        return;
    }
    w->finishing = true;
    wire_arm(w, &w->write);
}

static inline void wire_pair(struct loop *l, struct wire_end **a, struct wire_end **b)
{
    static const struct stream_ops ops = { wire_flush, wire_pause, wire_deadline, wire_close };
    struct wire_end **both[] = { a, b };

    for (unsigned i = 0; i < 2; i++) {
        struct wire_end *w = mem_new(struct wire_end);

        w->stream.ops = &ops;
        w->stream.loop = l;
        w->write.fire = wire_write;
        w->deliver.fire = wire_deliver;
        w->deadline.fire = wire_late;
        *both[i] = w;
    }
    (*a)->peer = *b;
    (*b)->peer = *a;
}

#endif
