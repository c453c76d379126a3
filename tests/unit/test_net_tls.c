/* TLS streams: they keep the word of net/stream.h, over a wire in memory and over
 * sockets, and resume. */
#include "tests/unit/tls_fixture.h"

static void test_hello(void **state)
{
    struct fixture *f = *state;
    const struct tls_info *ci, *si;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    assert_false(stream_tls(p.c.stream)->established);
    say(p.c.stream, "early words wait"); /* until the handshake is done */
    p.s.on_data = ACT_ECHO;
    turn_until(f, buf_len(&p.c.in) == 16);
    assert_slice_str(buf_bytes(&p.s.in), "early words wait");
    assert_slice_str(buf_bytes(&p.c.in), "early words wait");
    assert_int_equal(p.c.opened, 1);
    assert_int_equal(p.s.opened, 1);
    ci = stream_tls(p.c.stream);
    si = stream_tls(p.s.stream);
    assert_true(ci->established && ci->verified && ci->peer_certified && !ci->resumed);
    assert_null(ci->why_not);
    assert_string_equal(ci->version, "TLSv1.3");
    assert_string_equal(si->cipher, ci->cipher);
    assert_true(si->bits >= 128 && si->cipher_bits >= 128);
    assert_string_equal(si->server_name, "mx.test");
    assert_false(si->verified || si->peer_certified);
    assert_true(ci->has_binding && si->has_binding);
    assert_memory_equal(ci->binding, si->binding, TLS_BINDING_BYTES);
    turn_until(f, p.s.drained == 1 && p.c.drained == 1);
    pair_close(f, &p);
}

static void test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    p.cw->piece = p.sw->piece = 1;
    p.s.on_data = ACT_ECHO;
    say(p.c.stream, "EHLO me\r\n");
    turn_until(f, buf_len(&p.c.in) == 9);
    assert_slice_str(buf_bytes(&p.c.in), "EHLO me\r\n");
    stream_finish(p.c.stream);
    p.c.stream = NULL;
    turn_until(f, p.s.closed == 1);
    assert_false(stream_tls(p.s.stream)->truncated);
    pair_close(f, &p);
}

/* 8 MiB to a reader that pauses: order, bound, one `drained`. */
static void test_slow_reader(void **state)
{
    enum { MUCH = 8 << 20 };
    struct fixture *f = *state;
    struct pair p;
    unsigned pauses = 0;

    pair_open(f, &p, server, &to_site);
    p.cw->window = 40000;
    turn_until(f, p.c.opened && p.s.opened);
    for (size_t i = 0; i < MUCH; i++)
        buf_add_byte(stream_out(p.s.stream), (char)('a' + i % 23));
    stream_flush(p.s.stream);
    stream_pause(p.c.stream, true);
    for (int i = 0; i < 20; i++)
        turn_nowait(f);
    assert_int_equal(buf_len(&p.c.in), 0);
    assert_int_equal(p.s.drained, 0);
    assert_true(stream_backlog(p.s.stream) >= MUCH - 400000 && stream_backlog(p.s.stream) < MUCH + 400000);
    assert_true(buf_len(stream_out(&p.sw->stream)) < 400000); /* not all is encrypted at once */
    while (buf_len(&p.c.in) < MUCH) {
        size_t before = buf_len(&p.c.in);

        stream_pause(p.c.stream, false);
        turn_until(f, buf_len(&p.c.in) > before);
        if (++pauses % 7 == 0) {
            stream_pause(p.c.stream, true);
            before = buf_len(&p.c.in);
            turn_nowait(f);
            assert_int_equal(buf_len(&p.c.in), before);
        }
    }
    for (size_t i = 0; i < MUCH; i++)
        if (p.c.in.ptr[p.c.in.start + i] != (char)('a' + i % 23))
            fail_msg("byte %zu is wrong", i);
    turn_until(f, p.s.drained > 0);
    assert_int_equal(p.s.drained, 1);
    assert_int_equal(stream_backlog(p.s.stream), 0);
    pair_close(f, &p);
}

static void test_one_write_a_turn(void **state)
{
    struct fixture *f = *state;
    struct pair p;
    unsigned before;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    for (int i = 0; i < 5; i++)
        turn_nowait(f);
    before = p.sw->flushes;
    for (int i = 0; i < 500; i++)
        say(p.s.stream, "250 ok\r\n");
    assert_int_equal(p.sw->flushes, before); /* nothing runs inside stream_flush */
    turn_until(f, buf_len(&p.c.in) == 4000);
    assert_int_equal(p.sw->flushes, before + 1);
    assert_int_equal(p.c.data_calls, 1); /* one record */
    pair_close(f, &p);
}

/* Several records arrive at once; the owner pauses at the first. */
static void test_pause_inside_data(void **state)
{
    struct fixture *f = *state;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    stream_pause(p.s.stream, true);
    for (int i = 0; i < 3; i++) {
        say(p.c.stream, "x");
        turn_nowait(f);
    }
    stream_finish(p.c.stream);
    p.c.stream = NULL;
    turn_nowait(f);
    p.s.on_data = ACT_PAUSE;
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(buf_len(&p.s.in), i - 1);
        stream_pause(p.s.stream, false);
        assert_int_equal(buf_len(&p.s.in), i - 1); /* not inside the call */
        for (int n = 0; n < 5; n++)
            turn_nowait(f);
        assert_int_equal(buf_len(&p.s.in), i);
        assert_int_equal(p.s.closed, 0);
    }
    stream_pause(p.s.stream, false);
    turn_until(f, p.s.closed == 1);
    assert_err(p.s.why, ERR_CLOSED);
    assert_int_equal(p.s.why.sys, 0);
    pair_close(f, &p);
}

static void test_finish_sends_what_waits(void **state)
{
    enum { MUCH = 1 << 20 };
    struct fixture *f = *state;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    p.cw->window = 5000;
    for (size_t i = 0; i < MUCH; i++)
        buf_add_byte(stream_out(p.s.stream), 'x');
    stream_finish(p.s.stream); /* without a flush */
    p.s.stream = NULL;
    turn_until(f, p.c.closed == 1);
    assert_int_equal(buf_len(&p.c.in), MUCH);
    assert_false(stream_tls(p.c.stream)->truncated);
    pair_close(f, &p);
}

static void test_answer_after_the_peers_end(void **state)
{
    struct fixture *f = *state;
    struct pair p;
    SSL *ssl;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    (void)ssl;
    say(p.c.stream, "QUIT\r\n");
    stream_finish(p.c.stream);
    p.c.stream = NULL;
    turn_until(f, p.s.closed == 1);
    assert_slice_str(buf_bytes(&p.s.in), "QUIT\r\n");
    say(p.s.stream, "221 bye\r\n"); /* may be flushed, and harms nothing */
    turn_nowait(f);
    stream_finish(p.s.stream);
    p.s.stream = NULL;
    pair_close(f, &p);
}

static void test_truncation_shows(void **state)
{
    struct fixture *f = *state;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    say(p.c.stream, "half of a mess");
    turn_until(f, buf_len(&p.s.in) == 14);
    stream_close(p.c.stream); /* no close_notify */
    p.c.stream = NULL;
    turn_until(f, p.s.closed == 1);
    assert_err(p.s.why, ERR_CLOSED);
    assert_int_equal(p.s.why.sys, 0);
    assert_true(stream_tls(p.s.stream)->truncated);
    pair_close(f, &p);
}

static void test_cut_inside_a_record(void **state)
{
    struct fixture *f = *state;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    for (int i = 0; i < 5; i++)
        turn_nowait(f);
    p.sw->piece = 10;
    say(p.c.stream, "this record will never be whole");
    turn_until(f, buf_len(&p.sw->arriving) > 0);
    buf_clear(&p.sw->arriving);
    p.sw->fin = true;
    wire_arm(p.sw, &p.sw->deliver);
    turn_until(f, p.s.closed == 1);
    assert_int_equal(buf_len(&p.s.in), 0);
    assert_true(stream_tls(p.s.stream)->truncated);
    pair_close(f, &p);
}

static void test_deadlines(void **state)
{
    struct fixture *f = *state;
    struct pair p = { 0 };

    pair_accept(f, &p, server); /* a client that says nothing */
    stream_deadline(p.s.stream, 5);
    turn_until(f, p.s.closed == 1);
    assert_err(p.s.why, ERR_TIMEOUT);
    assert_int_not_equal(p.s.why.sys, 0); /* nothing can be said any more */
    stream_close(&p.cw->stream);
    pair_close(f, &p);

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    stream_deadline(p.s.stream, 5);
    turn_until(f, p.s.closed == 1);
    assert_err(p.s.why, ERR_TIMEOUT);
    assert_int_equal(p.s.why.sys, 0);
    say(p.s.stream, "421 idle\r\n"); /* a last word */
    stream_finish(p.s.stream);
    p.s.stream = NULL;
    turn_until(f, p.c.closed == 1);
    assert_slice_str(buf_bytes(&p.c.in), "421 idle\r\n");
    assert_false(stream_tls(p.c.stream)->truncated);
    pair_close(f, &p);
}

static void test_close_inside_events(void **state)
{
    static const enum act ends[] = { ACT_CLOSE, ACT_FINISH };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(ends); i++) {
        struct pair p;

        pair_open(f, &p, server, &to_site);
        p.s.on_opened = ends[i];
        turn_until(f, p.c.closed == 1);
        pair_close(f, &p);

        pair_open(f, &p, server, &to_site);
        p.s.on_data = ends[i];
        say(p.c.stream, "x");
        turn_until(f, p.c.closed == 1);
        pair_close(f, &p);

        pair_open(f, &p, server, &to_site);
        p.s.on_drained = ends[i];
        say(p.s.stream, "x");
        turn_until(f, p.c.closed == 1);
        assert_int_equal(buf_len(&p.c.in), 1);
        pair_close(f, &p);

        pair_open(f, &p, server, &to_site);
        p.s.on_closed = ends[i];
        turn_until(f, p.c.opened);
        stream_close(p.c.stream);
        p.c.stream = NULL;
        turn_until(f, p.s.closed == 1);
        pair_close(f, &p);

        pair_open(f, &p, server, &to_site); /* before the handshake */
        turn_nowait(f);
        act(&p.s, ends[i]);
        turn_until(f, p.c.closed == 1);
        assert_err(p.c.why, ERR_TLS);
        pair_close(f, &p);
    }
}

/* ---- resumption ---- */

static bool meets_again(struct fixture *f, struct tls_server *t, const char *key, enum tls_verify verify)
{
    struct tls_target to = { "mx.test", verify, key };
    struct pair p;
    bool resumed;

    pair_open(f, &p, t, &to);
    p.s.on_data = ACT_ECHO;
    say(p.c.stream, "x");
    turn_until(f, buf_len(&p.c.in) == 1); /* the ticket has come before it */
    resumed = stream_tls(p.c.stream)->resumed;
    assert_int_equal(stream_tls(p.s.stream)->resumed, resumed);
    assert_true(stream_tls(p.c.stream)->verified);
    assert_memory_equal(stream_tls(p.c.stream)->binding, stream_tls(p.s.stream)->binding, TLS_BINDING_BYTES);
    pair_close(f, &p);
    return resumed;
}

static void test_resumption(void **state)
{
    struct fixture *f = *state;
    struct tls_server *after_reload = server_make((const struct cert *[]){ &site, &wild }, 2, SLICE_EMPTY);
    struct tls_server *asks = server_make((const struct cert *[]){ &site }, 1, buf_bytes(&ca.pem));

    assert_false(meets_again(f, server, "a", TLS_NAME));
    assert_true(meets_again(f, server, "a", TLS_NAME));
    assert_true(meets_again(f, server, "a", TLS_NAME));
    assert_false(meets_again(f, server, "b", TLS_NAME));
    assert_false(meets_again(f, server, NULL, TLS_NAME));
    assert_true(meets_again(f, after_reload, "a", TLS_NAME));
    tls_tickets_rotate(tickets);
    assert_true(meets_again(f, server, "a", TLS_NAME)); /* the key before still opens it */
    tls_tickets_rotate(tickets);
    assert_true(meets_again(f, server, "a", TLS_NAME)); /* it was given a new ticket */
    tls_tickets_rotate(tickets);
    tls_tickets_rotate(tickets);
    assert_false(meets_again(f, server, "a", TLS_NAME));
    assert_false(meets_again(f, asks, "a", TLS_NAME)); /* another policy for clients */
    tls_server_unref(after_reload);
    tls_server_unref(asks);
}

/* ---- over real sockets ---- */

static void starttls_accepted(void *ctx, struct stream *s);
static void starttls_data(void *ctx, struct slice bytes);

static const struct stream_events starttls_events = { NULL, starttls_data, NULL, on_closed };

/* The answer goes out in the clear, everything behind it encrypted. */
static void starttls_data(void *ctx, struct slice bytes)
{
    struct side *sd = ctx;
    struct stream *s = sd->stream;

    assert_slice_str(bytes, "STARTTLS\r\n");
    buf_add_str(stream_out(s), "220 go ahead\r\n");
    assert_ok(tls_accept(s, server, &sd->stream));
    stream_set_events(sd->stream, &events, sd);
}

static void starttls_accepted(void *ctx, struct stream *s)
{
    struct side *sd = ctx;

    sd->stream = s;
    stream_set_events(s, &starttls_events, sd);
}

static void client_turns_to_tls(void *ctx, struct slice bytes)
{
    struct side *sd = ctx;
    struct stream *s = sd->stream;

    assert_slice_str(bytes, "220 go ahead\r\n");
    assert_ok(stream_secure(s, client, &to_site, &sd->stream));
    stream_set_events(sd->stream, &events, sd);
    say(sd->stream, "EHLO me\r\n");
}

static void client_says_starttls(void *ctx)
{
    say(((struct side *)ctx)->stream, "STARTTLS\r\n");
}

static void test_starttls_over_sockets(void **state)
{
    static const struct stream_events plain = { client_says_starttls, client_turns_to_tls, NULL, on_closed };
    struct fixture *f = *state;
    struct pair p = { 0 };

    listener_free(f->listener);
    assert_ok(listener_new(f->loop, listen_on("127.0.0.1:0", &f->addr), starttls_accepted, &p.s, &f->listener));
    p.s.on_data = ACT_ECHO;
    p.c.on_data = ACT_FINISH;
    p.s.on_closed = ACT_FINISH;
    assert_ok(stream_connect(f->loop, &f->addr, NULL, &plain, &p.c, &p.c.stream));
    turn_until(f, p.s.closed == 1);
    assert_slice_str(buf_bytes(&p.c.in), "EHLO me\r\n");
    assert_slice_str(buf_bytes(&p.s.in), "EHLO me\r\n");
    assert_int_equal(p.s.opened + p.c.opened, 2);
    assert_err(p.s.why, ERR_CLOSED);
    pair_close(f, &p);
}

static void test_connection_refused(void **state)
{
    struct fixture *f = *state;
    struct net_addr nobody;
    struct side sd = { 0 };
    struct stream *inner;

    close(listen_on("127.0.0.1:0", &nobody));
    assert_ok(stream_connect(f->loop, &nobody, NULL, &events, &sd, &inner));
    assert_ok(stream_secure(inner, client, &to_site, &sd.stream)); /* implicit TLS */
    stream_set_events(sd.stream, &events, &sd);
    turn_until(f, sd.closed == 1);
    assert_int_equal(sd.why.sys, ECONNREFUSED);
    stream_close(sd.stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_hello),
        EACH(test_byte_by_byte),
        EACH(test_slow_reader),
        EACH(test_one_write_a_turn),
        EACH(test_pause_inside_data),
        EACH(test_finish_sends_what_waits),
        EACH(test_answer_after_the_peers_end),
        EACH(test_truncation_shows),
        EACH(test_cut_inside_a_record),
        EACH(test_deadlines),
        EACH(test_close_inside_events),
        EACH(test_resumption),
        EACH(test_starttls_over_sockets),
        EACH(test_connection_refused),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
