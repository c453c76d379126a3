/* TLS with a peer that is plain OpenSSL, for what ours never does, or none at
 * all: bad versions, renegotiation, client certificates, other people's bytes. */
#include "tests/unit/tls_fixture.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

struct raw {
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf in;
    bool ended;
};

static void raw_data(void *ctx, struct slice bytes)
{
    struct raw *r = ctx;

    BIO_write(SSL_get_rbio(r->ssl), bytes.ptr, (int)bytes.len);
}

static void raw_closed(void *ctx, struct err why)
{
    ((struct raw *)ctx)->ended = true;
}

static const struct stream_events raw_events = { NULL, raw_data, NULL, raw_closed };

static void raw_begin(struct raw *r, struct wire_end *w, bool accepts)
{
    *r = (struct raw){ .ctx = SSL_CTX_new(accepts ? TLS_server_method() : TLS_client_method()) };
    SSL_CTX_set_security_level(r->ctx, 0);
    SSL_CTX_set_options(r->ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    r->ssl = SSL_new(r->ctx);
    SSL_set_bio(r->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (accepts) {
        SSL_use_certificate(r->ssl, site.x);
        SSL_use_PrivateKey(r->ssl, site.key);
        SSL_set_accept_state(r->ssl);
    } else {
        SSL_set_connect_state(r->ssl);
    }
    stream_set_events(&w->stream, &raw_events, r);
}

/* One round: OpenSSL's bytes to the wire, what came to r->in. */
static void raw_turn(struct fixture *f, struct raw *r, struct wire_end *w)
{
    char some[20000];
    int n;

    ERR_clear_error();
    n = SSL_read(r->ssl, some, sizeof some);
    if (n > 0)
        buf_add(&r->in, slice_make(some, (size_t)n));
    if (!r->ended) {
        while ((n = BIO_read(SSL_get_wbio(r->ssl), some, sizeof some)) > 0)
            buf_add(stream_out(&w->stream), slice_make(some, (size_t)n));
        stream_flush(&w->stream);
    }
    turn_nowait(f);
    turn_nowait(f);
}

static void raw_end(struct raw *r)
{
    SSL_free(r->ssl);
    SSL_CTX_free(r->ctx);
    buf_release(&r->in);
}

static void test_versions(void **state)
{
    static const struct {
        int version;
        bool good;
    } rows[] = {
        { TLS1_VERSION, false }, { TLS1_1_VERSION, false }, { TLS1_2_VERSION, true }, { TLS1_3_VERSION, true }
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows) * 2; i++) {
        bool accepts = i % 2 != 0;
        struct pair p = { 0 };
        struct raw r;
        struct side *ours = accepts ? &p.c : &p.s;
        struct wire_end **theirs = accepts ? &p.sw : &p.cw;

        if (accepts) {
            wire_pair(f->loop, &p.cw, &p.sw);
            assert_ok(tls_connect(&p.cw->stream, client, &to_site, &p.c.stream));
            stream_set_events(p.c.stream, &events, &p.c);
        } else {
            pair_accept(f, &p, server);
        }
        raw_begin(&r, *theirs, accepts);
        SSL_set_min_proto_version(r.ssl, rows[i / 2].version);
        SSL_set_max_proto_version(r.ssl, rows[i / 2].version);
        while (ours->opened + ours->closed == 0)
            raw_turn(f, &r, *theirs);
        assert_int_equal(ours->opened, rows[i / 2].good);
        if (!rows[i / 2].good) {
            assert_err(ours->why, ERR_TLS);
            assert_non_null(strstr(tls_error_text(ours->stream), "no shared protocol version"));
        } else {
            const struct tls_info *ti = stream_tls(ours->stream);
            unsigned char binding[TLS_BINDING_BYTES];

            assert_true(ti->has_binding);
            for (int n = 0; n < 3; n++)
                raw_turn(f, &r, *theirs);
            assert_int_equal(SSL_export_keying_material(r.ssl, binding, sizeof binding, "EXPORTER-Channel-Binding",
                                                        24, (const unsigned char *)"", 0, 1), 1);
            assert_memory_equal(binding, ti->binding, sizeof binding);
        }
        raw_end(&r);
        stream_close(&(*theirs)->stream);
        pair_close(f, &p);
    }
}

static void test_no_binding_without_master_secret_extension(void **state)
{
    struct fixture *f = *state;
    struct pair p = { 0 };
    struct raw r;

    pair_accept(f, &p, server);
    raw_begin(&r, p.cw, false);
    SSL_set_max_proto_version(r.ssl, TLS1_2_VERSION);
    SSL_set_options(r.ssl, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    while (p.s.opened + p.s.closed == 0)
        raw_turn(f, &r, p.cw);
    assert_int_equal(p.s.opened, 1);
    assert_false(stream_tls(p.s.stream)->has_binding);
    raw_end(&r);
    stream_close(&p.cw->stream);
    pair_close(f, &p);
}

static void test_no_renegotiation(void **state)
{
    struct fixture *f = *state;
    struct pair p = { 0 };
    struct raw r;

    pair_accept(f, &p, server);
    raw_begin(&r, p.cw, false);
    SSL_set_max_proto_version(r.ssl, TLS1_2_VERSION);
    while (p.s.opened + p.s.closed == 0)
        raw_turn(f, &r, p.cw);
    for (int i = 0; i < 3; i++)
        raw_turn(f, &r, p.cw);
    assert_int_equal(SSL_renegotiate(r.ssl), 1);
    SSL_do_handshake(r.ssl);
    for (int i = 0; i < 10; i++)
        raw_turn(f, &r, p.cw);
    assert_int_equal(SSL_total_renegotiations(r.ssl), 1); /* asked for, */
    assert_int_equal(SSL_is_init_finished(r.ssl), 0);     /* and never done */
    raw_end(&r);
    stream_close(&p.cw->stream);
    pair_close(f, &p);
}

/* Each asks for an answer, and none of the answers is read. */
static void test_key_updates_without_end(void **state)
{
    struct fixture *f = *state;
    struct pair p = { 0 };
    struct raw r;

    pair_accept(f, &p, server);
    raw_begin(&r, p.cw, false);
    while (p.s.opened + p.s.closed == 0)
        raw_turn(f, &r, p.cw);
    for (int i = 0; i < 3; i++)
        raw_turn(f, &r, p.cw);
    p.cw->window = 100;
    stream_pause(&p.cw->stream, true);
    for (int i = 0; i < 60000 && p.s.closed == 0; i++) {
        SSL_key_update(r.ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(r.ssl);
        if (i % 500 == 0)
            raw_turn(f, &r, p.cw);
    }
    assert_true(stream_backlog(&p.sw->stream) < 2 * MIB);
    raw_end(&r);
    stream_close(&p.cw->stream);
    pair_close(f, &p);
}

static void test_client_certificates(void **state)
{
    static const struct {
        const struct cert *cert;
        const char *name;
    } rows[] = { { &user, "ann@test" }, { &stranger, NULL }, { NULL, NULL }, { &site, "mx.test" } };
    struct fixture *f = *state;
    struct tls_server *asks = server_make((const struct cert *[]){ &site }, 1, buf_bytes(&ca.pem));

    for (size_t i = 0; i < countof(rows); i++) {
        const struct tls_info *ti;
        struct pair p = { 0 };
        struct raw r;

        pair_accept(f, &p, asks);
        raw_begin(&r, p.cw, false);
        if (rows[i].cert != NULL) {
            SSL_use_certificate(r.ssl, rows[i].cert->x);
            SSL_use_PrivateKey(r.ssl, rows[i].cert->key);
        }
        while (p.s.opened + p.s.closed == 0)
            raw_turn(f, &r, p.cw);
        assert_int_equal(p.s.opened, 1); /* served all the same */
        ti = stream_tls(p.s.stream);
        assert_int_equal(ti->peer_certified, rows[i].cert != NULL);
        assert_int_equal(ti->verified, rows[i].name != NULL);
        if (rows[i].name != NULL)
            assert_string_equal(ti->peer_name, rows[i].name);
        else
            assert_null(ti->peer_name);
        assert_int_equal(ti->why_not != NULL, rows[i].cert != NULL && rows[i].name == NULL);
        raw_end(&r);
        stream_close(&p.cw->stream);
        pair_close(f, &p);
    }
    tls_server_unref(asks);
}

/* ---- hostile and mistaken bytes ---- */

static void test_peers_that_speak_otherwise(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *error;
    } rows[] = {
        { "EHLO me\r\n", 9, "plain text" },
        { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, "plain text" },
        { "220 mx ESMTP\r\n", 14, "plain text" },
        { "\x16\x03\x01\xff\xff\xff\xff\xff\xff\xff", 10, "" },
        { "\x15\x03\x01\x00\x02\x02\x28", 7, "" },
        { "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", 11, "" },
        { "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 11, "" },
        { "\x17\x03\x03\x00\x05hello", 10, "" },
        { "", 0, "ended before the TLS handshake" },
        { "\x16\x03\x01", 3, "ended during the TLS handshake" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows) * 2; i++) {
        bool we_connect = i % 2 != 0;
        struct pair p = { 0 };
        struct side raw = { 0 };
        struct side *ours = we_connect ? &p.c : &p.s;
        struct wire_end *theirs;

        wire_pair(f->loop, &p.cw, &p.sw);
        theirs = we_connect ? p.sw : p.cw;
        raw.stream = &theirs->stream;
        raw.on_closed = ACT_CLOSE;
        stream_set_events(&theirs->stream, &events, &raw);
        if (we_connect)
            assert_ok(tls_connect(&p.cw->stream, client, &to_site, &p.c.stream));
        else
            assert_ok(tls_accept(&p.sw->stream, server, &p.s.stream));
        stream_set_events(ours->stream, &events, ours);
        buf_add(stream_out(raw.stream), slice_make(rows[i / 2].bytes, rows[i / 2].len));
        stream_finish(raw.stream);
        raw.stream = NULL;
        turn_until(f, ours->closed == 1);
        assert_err(ours->why, ERR_TLS);
        assert_int_equal(ours->why.sys, EPROTO);
        assert_int_equal(ours->opened, 0);
        assert_true(tls_error_text(ours->stream)[0] != '\0');
        if (strstr(tls_error_text(ours->stream), rows[i / 2].error) == NULL)
            fail_msg("row %zu: %s", i / 2, tls_error_text(ours->stream));
        buf_release(&raw.in);
        pair_close(f, &p);
    }
}

static void test_a_changed_byte_ends_it(void **state)
{
    struct fixture *f = *state;
    struct pair p;

    pair_open(f, &p, server, &to_site);
    turn_until(f, p.c.opened && p.s.opened);
    for (int i = 0; i < 5; i++)
        turn_nowait(f);
    stream_pause(&p.sw->stream, true);
    say(p.c.stream, "MAIL FROM:<a@b>\r\n");
    turn_until(f, buf_len(&p.sw->arriving) > 0);
    p.sw->arriving.ptr[p.sw->arriving.start + 12] ^= 1;
    stream_pause(&p.sw->stream, false);
    turn_until(f, p.s.closed == 1);
    assert_err(p.s.why, ERR_TLS);
    assert_int_equal(buf_len(&p.s.in), 0);
    assert_true(tls_error_text(p.s.stream)[0] != '\0');
    say(p.s.stream, "this goes nowhere");
    turn_until(f, p.c.closed == 1); /* told by an alert */
    assert_int_equal(buf_len(&p.c.in), 0);
    pair_close(f, &p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_versions),
        EACH(test_no_binding_without_master_secret_extension),
        EACH(test_no_renegotiation),
        EACH(test_key_updates_without_end),
        EACH(test_client_certificates),
        EACH(test_peers_that_speak_otherwise),
        EACH(test_a_changed_byte_ends_it),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
