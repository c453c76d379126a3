/* tests/fuzz/tls_play.h - one side of TLS is ours and under test, the other
 * sends anything: instead of a handshake; behind one that was good; or laid
 * over what a good peer says, beginning at any place.
 *
 * The owner of our side gets its events in order and once, no bytes but those
 * that our peer has said, and an error has words.
 */
#ifndef TESTS_FUZZ_TLS_PLAY_H
#define TESTS_FUZZ_TLS_PLAY_H

#include "tests/fuzz/check.h"
#include "tests/unit/fake_wire.h"

#include "net/tls.h"
#include "net/uvloop.h"

#include <uv.h>

#define SAID "MAIL FROM:<a@b.test>\r\n"

enum way { INSTEAD, BEHIND, OVER, WAYS };
enum side { SERVER, CLIENT };

struct end {
    struct stream *stream;
    struct buf in;
    unsigned opened, closed;
};

static void on_opened(void *ctx)
{
    struct end *e = ctx;

    CHECK(e->opened == 0 && e->closed == 0);
    e->opened++;
}

static void on_data(void *ctx, struct slice bytes)
{
    struct end *e = ctx;

    CHECK(e->opened == 1 && e->closed == 0 && bytes.len > 0);
    buf_add(&e->in, bytes);
    buf_add(stream_out(e->stream), bytes);
    stream_flush(e->stream);
    if (bytes.len % 2 == 0)
        stream_pause(e->stream, true);
}

static void on_closed(void *ctx, struct err why)
{
    struct end *e = ctx;

    CHECK(e->closed == 0 && err_failed(why));
    CHECK((why.kind == ERR_TLS) == (tls_error_text(e->stream)[0] != '\0'));
    e->closed++;
}

static const struct stream_events events = { on_opened, on_data, NULL, on_closed };

static void ignore_data(void *ctx, struct slice bytes)
{
    (void)ctx;
    (void)bytes;
}

static void ignore_closed(void *ctx, struct err why)
{
    (void)ctx;
    (void)why;
}

static const struct stream_events nobody = { NULL, ignore_data, NULL, ignore_closed };

static struct loop *loop;
static struct tls_server *server;
static struct tls_client *client;

static void make_once(void)
{
    struct buf cert = { 0 }, key = { 0 }, why = { 0 };
    struct tls_pair pair;
    struct tls_server_options opt = { &pair, 1, tls_tickets_new(), SLICE_EMPTY };

    setenv("SSL_CERT_FILE", "/dev/null", 1);
    CHECK(!err_failed(uvloop_new(0, &clock_system, &loop)));
    CHECK(!err_failed(tls_self_signed("mx.test", 1700000000000, &cert, &key)));
    pair = (struct tls_pair){ buf_bytes(&cert), buf_bytes(&key) };
    opt.client_ca = buf_bytes(&cert);
    CHECK(!err_failed(tls_server_new(&opt, &why, &server)));
    CHECK(!err_failed(tls_client_new(&clock_system, &client)));
    tls_tickets_unref(opt.tickets);
    buf_release(&cert);
    buf_wipe(&key);
}

static void turns(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        uv_run(uvloop_uv(loop), UV_RUN_NOWAIT);
}

/* Byte by byte everything takes its time, but comes. */
static void turns_until(const unsigned *happened)
{
    for (unsigned i = 0; i < 200000 && *happened == 0; i++)
        turns(1);
}

static void overlay(struct wire_end *w, struct slice bytes)
{
    struct slice all = buf_bytes(&w->arriving);
    size_t at = bytes.len > 1 && all.len > 0 ? (unsigned char)bytes.ptr[0] * 3u % all.len : 0;

    for (size_t i = 1; i < bytes.len && at + i < all.len; i++)
        ((char *)all.ptr)[at + i] ^= bytes.ptr[i];
}

/* A TLS stream for that side on w; its peer's word is that any certificate is fine. */
static struct stream *secure(enum side side, struct wire_end *w)
{
    static const struct tls_target to = { "mx.test", TLS_ANY, NULL };
    struct stream *s;

    CHECK(!err_failed(side == SERVER ? tls_accept(&w->stream, server, &s)
                                     : tls_connect(&w->stream, client, &to, &s)));
    return s;
}

static void play(enum side side, enum way way, struct slice bytes, size_t piece)
{
    struct end us = { 0 };
    struct stream *peer;
    struct wire_end *theirs, *ours;

    wire_pair(loop, &theirs, &ours);
    ours->piece = piece;
    us.stream = secure(side, ours);
    stream_set_events(us.stream, &events, &us);
    peer = way == INSTEAD ? &theirs->stream : secure(side == SERVER ? CLIENT : SERVER, theirs);
    stream_set_events(peer, &nobody, NULL);
    buf_add(stream_out(peer), way == INSTEAD ? bytes : SLICE(SAID));
    stream_flush(peer);
    if (way == OVER) {
        stream_pause(&ours->stream, true);
        turns(side == SERVER ? 2 : 6); /* the server speaks second */
        CHECK(buf_len(&ours->arriving) > 0);
        overlay(ours, bytes);
        stream_pause(&ours->stream, false);
    }
    if (way == BEHIND) {
        turns_until(&us.opened);
        buf_add(&ours->arriving, bytes);
        wire_arm(ours, &ours->deliver);
    }
    turns(20);
    CHECK(buf_len(&us.in) <= sizeof SAID - 1 && slice_eq(buf_bytes(&us.in), slice_head(SLICE(SAID), buf_len(&us.in))));
    CHECK(way != INSTEAD || us.opened == 0);
    stream_close(peer);
    for (unsigned i = 0; i < 200000 && us.closed == 0; i++) {
        stream_pause(us.stream, false);
        turns(1);
    }
    CHECK(us.closed == 1);
    stream_finish(us.stream);
    turns(4);
    buf_release(&us.in);
}

/* The first byte says how the bytes reach our side, the second in what pieces. */
static void play_input(enum side side, const uint8_t *data, size_t size)
{
    if (size < 2)
        return;
    if (loop == NULL)
        make_once();
    play(side, data[0] % WAYS, slice_make((const char *)data + 2, size - 2), data[1] % 8 == 0 ? 0 : data[1]);
}

#endif
