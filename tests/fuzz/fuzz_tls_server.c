/* Any bytes as a TLS client. The first byte says how they reach the server,
 * the second in what pieces: instead of a handshake; behind one that was
 * good; or laid over what a good client says, beginning at any place.
 *
 * The server's owner gets its events in order and once, no bytes but those
 * that our client has said, and an error has words.
 */
#include "tests/unit/fake_wire.h"

#include "net/tls.h"
#include "net/uvloop.h"

#include <stdio.h>
#include <uv.h>

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define SAID "MAIL FROM:<a@b.test>\r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum way { INSTEAD, BEHIND, OVER };

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

static void play(enum way way, struct slice bytes, size_t piece)
{
    static const struct tls_target to = { "mx.test", TLS_ANY, NULL };
    struct end s = { 0 }, c = { 0 };
    struct wire_end *cw, *sw;

    wire_pair(loop, &cw, &sw);
    sw->piece = piece;
    CHECK(!err_failed(tls_accept(&sw->stream, server, &s.stream)));
    stream_set_events(s.stream, &events, &s);
    if (way == INSTEAD) {
        c.stream = &cw->stream;
        stream_set_events(c.stream, &nobody, NULL);
        buf_add(stream_out(c.stream), bytes);
        stream_flush(c.stream);
    } else {
        CHECK(!err_failed(tls_connect(&cw->stream, client, &to, &c.stream)));
        stream_set_events(c.stream, &nobody, NULL);
        buf_add(stream_out(c.stream), SLICE(SAID));
        stream_flush(c.stream);
    }
    if (way == OVER) {
        stream_pause(&sw->stream, true);
        turns(2);
        overlay(sw, bytes);
        stream_pause(&sw->stream, false);
    }
    if (way == BEHIND) {
        turns_until(&s.opened);
        buf_add(&sw->arriving, bytes);
        wire_arm(sw, &sw->deliver);
    }
    turns(20);
    CHECK(buf_len(&s.in) <= sizeof SAID - 1 && memcmp(SAID, buf_len(&s.in) > 0 ? s.in.ptr : "", buf_len(&s.in)) == 0);
    CHECK(way != INSTEAD || s.opened == 0);
    stream_close(c.stream);
    for (unsigned i = 0; i < 200000 && s.closed == 0; i++) {
        stream_pause(s.stream, false);
        turns(1);
    }
    CHECK(s.closed == 1);
    stream_finish(s.stream);
    turns(4);
    buf_release(&s.in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (loop == NULL)
        make_once();
    play(data[0] % 3, slice_make((const char *)data + 2, size - 2), data[1] % 8 == 0 ? 0 : data[1]);
    return 0;
}
