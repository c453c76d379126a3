/* net/uvstream.c - one TCP connection, accepted or made, on libuv.
 *
 * Costs per connection are counted in system calls here: reads share the
 * loop's buffer, output is written once a turn, deadlines and pauses are only
 * noted until they matter.
 */
#include "net/uvstream.h"

#include "base/mem.h"

#include <stdlib.h>

#define FINISH_MS        (10 * SECOND_MS)
#define LINGER_MS        (2 * SECOND_MS)
#define LINGER_BYTES_MAX (1 * MIB)
#define KEEP_BUF_BYTES   256 /* an idle stream's output buffer is not larger */

static struct uvstream *of_stream(struct stream *s)
{
    return container_of(s, struct uvstream, stream);
}

static struct uvloop *loop_of(struct uvstream *s)
{
    return uvloop_of(s->stream.loop);
}

/* ---- the end ---- */

static void on_handle_closed(uv_handle_t *h)
{
    struct uvstream *s = uvstream_of(h);

    buf_release(&s->stream.out);
    free(s);
}

void uvstream_close_now(struct uvstream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    list_remove(&s->dirty);
    loop_disarm(s->stream.loop, &s->timer);
    uv_close((uv_handle_t *)&s->tcp, on_handle_closed); /* closes the descriptor now */
    listener_feed_starved(loop_of(s));
}

void uvstream_drop(uv_handle_t *h)
{
    struct uvstream *s = uvstream_of(h);

    if (s->closing)
        return;
    s->closing = true;
    list_remove(&s->dirty);
    loop_disarm(s->stream.loop, &s->timer);
    uv_close(h, on_handle_closed);
}

void uvstream_tell_closed(struct uvstream *s, struct err why)
{
    if (s->told || s->closing || s->finishing)
        return;
    s->told = true;
    s->deadline_ms = 0;
    s->stream.events->closed(s->stream.ctx, why);
}

static void stop_reading(struct uvstream *s)
{
    if (!s->reading)
        return;
    uv_read_stop((uv_stream_t *)&s->tcp);
    s->reading = false;
}

/* ---- input ---- */

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *out)
{
    struct uvstream *s = uvstream_of(h);
    struct uvloop *u = loop_of(s);
    unsigned most = u->loop.read_max != 0 ? u->loop.read_max : READ_BUF_BYTES;

    (void)size;
    /* No buffer makes on_read say ENOBUFS, without a read: that is where a
     * pause takes effect. */
    *out = uv_buf_init(u->read_buf, s->paused ? 0 : most);
}

static void drain_read(struct uvstream *s, ssize_t n)
{
    if (n > 0 && (s->lingered_bytes += (uint32_t)n) <= LINGER_BYTES_MAX)
        return;
    uvstream_close_now(s);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
    struct uvstream *s = uvstream_of(h);
    struct err why;

    uvloop_enter(s->stream.loop);
    if (n == 0)
        return;
    /* Besides ENOBUFS a hang-up: libuv tells of it right behind the bytes at
     * which the owner paused or finished. Read again it is told again. */
    if (n < 0 && s->paused) {
        stop_reading(s);
        return;
    }
    if (s->lingering) {
        drain_read(s, n);
        return;
    }
    if (n > 0) {
        s->stream.events->data(s->stream.ctx, slice_make(buf->base, (size_t)n));
        return;
    }
    stop_reading(s);
    s->ended = n == UV_EOF;
    why = s->ended ? err_make(ERR_CLOSED, "read") : err_sys((int)-n, "read");
    if (err_failed(s->write_failed))
        why = s->write_failed; /* the earlier and more telling cause */
    else if (!s->ended)
        s->write_failed = why;
    uvstream_tell_closed(s, why);
}

void uvstream_start_reading(struct uvstream *s)
{
    if (s->reading || s->connecting || (s->told && !s->lingering))
        return;
    s->reading = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) == 0;
}

static void op_pause(struct stream *st, bool on)
{
    struct uvstream *s = of_stream(st);

    s->paused = on;
    if (!on)
        uvstream_start_reading(s);
}

/* ---- deadlines ---- */

static void op_deadline(struct stream *st, uint64_t in_ms)
{
    struct uvstream *s = of_stream(st);

    if (s->told)
        return;
    s->deadline_ms = in_ms != 0 ? st->loop->now_ms + in_ms : 0;
    /* Moving it ahead is left to the timer that is armed already. */
    if (in_ms != 0 && (!timer_armed(&s->timer) || s->timer.due_ms > s->deadline_ms))
        loop_arm(st->loop, &s->timer, in_ms);
}

void uvstream_on_timer(struct timer *t)
{
    struct uvstream *s = container_of(t, struct uvstream, timer);
    struct loop *l = s->stream.loop;

    if (s->deadline_ms == 0)
        return;
    if (s->deadline_ms > l->now_ms) {
        loop_arm(l, t, s->deadline_ms - l->now_ms);
        return;
    }
    if (s->finishing) {
        uvstream_close_now(s);
        return;
    }
    stop_reading(s);
    if (s->connecting)
        s->write_failed = err_make(ERR_TIMEOUT, "connect");
    /* Otherwise a last word ("421 idle too long") may still be sent. */
    uvstream_tell_closed(s, err_make(ERR_TIMEOUT, s->connecting ? "connect" : "wait for peer"));
}

/* ---- output ---- */

/* Everything is with the kernel and the owner has gone. Closing over unread
 * input would make the kernel reset the connection and might cost the peer
 * our last reply (RFC 1122 section 4.2.2.13), so look first. */
static void finish_end(struct uvstream *s)
{
    struct uvloop *u = loop_of(s);

    if (s->ended || err_failed(s->write_failed) ||
        recv(s->fd, u->read_buf, READ_BUF_BYTES, MSG_DONTWAIT) <= 0 ||
        shutdown(s->fd, SHUT_WR) != 0) {
        uvstream_close_now(s);
        return;
    }
    s->lingering = true;
    s->paused = false;
    s->deadline_ms = u->loop.now_ms + LINGER_MS;
    loop_arm(&u->loop, &s->timer, LINGER_MS);
    uvstream_start_reading(s);
    if (!s->reading)
        uvstream_close_now(s);
}

static void output_done(struct uvstream *s)
{
    struct buf *out = &s->stream.out;

    if (s->finishing) {
        finish_end(s);
        return;
    }
    if (s->stream.events->drained != NULL && !s->told)
        s->stream.events->drained(s->stream.ctx);
    if (!s->closing && buf_len(out) == 0 && out->cap > KEEP_BUF_BYTES)
        buf_release(out);
}

static void output_failed(struct uvstream *s, int sys)
{
    buf_release(&s->stream.out);
    if (s->finishing) {
        uvstream_close_now(s);
        return;
    }
    if (!err_failed(s->write_failed))
        s->write_failed = err_sys(sys, "write");
    /* Input that a peer sent before it went is still there and ends with the
     * cause. One that lives would wait for what is lost here. */
    if (s->paused || (s->write_failed.kind != ERR_CLOSED && s->write_failed.kind != ERR_TIMEOUT))
        uvstream_tell_closed(s, s->write_failed);
}

static void on_written(uv_write_t *req, int status)
{
    struct write_rest *w = container_of(req, struct write_rest, req);
    struct uvstream *s = w->owner;

    buf_release(&w->bytes);
    free(w);
    s->writing = NULL;
    s->stream.out_under_way = 0;
    if (s->closing)
        return;
    uvloop_enter(s->stream.loop);
    if (status != 0)
        output_failed(s, -status);
    else if (buf_len(&s->stream.out) != 0)
        stream_flush(&s->stream);
    else
        output_done(s);
}

/* The rest goes to libuv with its buffer, so that the owner may go on
 * appending. */
static void write_later(struct uvstream *s)
{
    struct write_rest *w = mem_new(struct write_rest);
    struct slice rest;
    uv_buf_t b;
    int rc;

    w->owner = s;
    w->bytes = s->stream.out;
    s->stream.out = (struct buf){ 0 };
    rest = buf_bytes(&w->bytes);
    b = uv_buf_init((char *)rest.ptr, (unsigned)rest.len);
    rc = uv_write(&w->req, (uv_stream_t *)&s->tcp, &b, 1, on_written);
    if (rc != 0) {
        buf_release(&w->bytes);
        free(w);
        output_failed(s, -rc);
        return;
    }
    s->writing = w;
    s->stream.out_under_way = rest.len;
}

static void write_output(struct uvstream *s)
{
    struct slice bytes = buf_bytes(&s->stream.out);
    uv_buf_t b;
    int n;

    if (s->connecting || s->writing != NULL) /* goes on when that is done */
        return;
    if (err_failed(s->write_failed)) {
        output_failed(s, 0);
        return;
    }
    if (bytes.len == 0) {
        if (s->finishing)
            finish_end(s);
        return;
    }
    b = uv_buf_init((char *)bytes.ptr, bytes.len < INT32_MAX ? (unsigned)bytes.len : INT32_MAX);
    n = uv_try_write((uv_stream_t *)&s->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        output_failed(s, -n);
        return;
    }
    if (n > 0)
        buf_take(&s->stream.out, (size_t)n);
    if (buf_len(&s->stream.out) == 0)
        output_done(s);
    else
        write_later(s);
}

void uvstream_flush_dirty(struct uvloop *u)
{
    struct list batch;

    if (list_empty(&u->dirty))
        return;
    /* What is flushed meanwhile waits for the next turn: no stream can keep
     * the loop to itself. */
    list_init(&batch);
    list_append(&u->dirty, &batch);
    list_remove(&u->dirty);
    while (!list_empty(&batch)) {
        struct uvstream *s = list_first(&batch, struct uvstream, dirty);

        list_remove(&s->dirty);
        write_output(s);
    }
}

static void op_flush(struct stream *st)
{
    struct uvstream *s = of_stream(st);

    if (list_empty(&s->dirty)) /* not in it yet */
        list_append(&loop_of(s)->dirty, &s->dirty);
}

static void op_close(struct stream *st, bool finish)
{
    struct uvstream *s = of_stream(st);

    if (!finish || s->connecting || err_failed(s->write_failed)) {
        uvstream_close_now(s);
        return;
    }
    s->finishing = true;
    s->paused = true; /* input nobody asked for waits in the kernel */
    s->deadline_ms = st->loop->now_ms + FINISH_MS;
    loop_arm(st->loop, &s->timer, FINISH_MS);
    op_flush(st);
}

const struct stream_ops uvstream_ops = { op_flush, op_pause, op_deadline, op_close };
