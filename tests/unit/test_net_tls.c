/* TLS streams: they keep the word of net/stream.h, choose and check
 * certificates, resume, and survive whatever a peer sends. */
#include "tests/unit/net_fixture.h"

#include "tests/unit/fake_wire.h"
#include "tests/unit/tls_certs.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

/* ---- what all tests share ---- */

static struct cert ca, other_ca, site, wild, expired, other_name, self_signed, user, stranger;
static struct tls_tickets *tickets;
static struct tls_client *client;
static struct tls_server *server;

static struct tls_server *server_make(const struct cert *const *certs, size_t count, struct slice client_ca)
{
    struct tls_pair pairs[4];
    struct tls_server_options opt = { pairs, count, tickets, client_ca };
    struct tls_server *t = NULL;
    struct buf why = { 0 };

    for (size_t i = 0; i < count; i++)
        pairs[i] = cert_pair(certs[i]);
    assert_ok(tls_server_new(&opt, &why, &t));
    assert_int_equal(buf_len(&why), 0);
    return t;
}

static int make_all(void **state)
{
    ca = cert_make((struct cert_plan){ .name = "Test CA", .ca = true });
    other_ca = cert_make((struct cert_plan){ .name = "Other CA", .ca = true });
    site = cert_make((struct cert_plan){ .name = "mx.test", .alternatives = "DNS:mx.test,DNS:Mail.TEST", .by = &ca });
    wild = cert_make((struct cert_plan){ .name = "w", .alternatives = "DNS:*.wild.test", .by = &ca });
    expired = cert_make((struct cert_plan){
        .name = "mx.test", .alternatives = "DNS:mx.test", .by = &ca, .begins_s = -7200, .ends_s = -3600 });
    other_name = cert_make((struct cert_plan){ .name = "x", .alternatives = "DNS:other.test", .by = &ca });
    self_signed = cert_make((struct cert_plan){ .name = "mx.test", .alternatives = "DNS:mx.test" });
    user = cert_make((struct cert_plan){ .name = "Ann", .alternatives = "email:ann@test", .by = &ca });
    stranger = cert_make((struct cert_plan){ .name = "Eve", .by = &other_ca });
    tickets = tls_tickets_new();
    client = cert_client(buf_bytes(&ca.pem));
    assert_int_equal(tls_client_ca_count(client), 1);
    server = server_make((const struct cert *[]){ &site, &wild }, 2, SLICE_EMPTY);
    return 0;
}

static int free_all(void **state)
{
    struct cert *all[] = { &ca, &other_ca, &site, &wild, &expired, &other_name, &self_signed, &user, &stranger };

    for (size_t i = 0; i < countof(all); i++)
        cert_free(all[i]);
    tls_server_unref(server);
    tls_client_unref(client);
    tls_tickets_unref(tickets);
    return 0;
}

/* ---- our client and our server over a wire in memory ---- */

struct pair {
    struct side c, s;
    struct wire_end *cw, *sw; /* valid while the streams are */
};

static const struct tls_target to_site = { "mx.test", TLS_NAME, NULL };

static void pair_accept(struct fixture *f, struct pair *p, struct tls_server *t)
{
    wire_pair(f->loop, &p->cw, &p->sw);
    assert_ok(tls_accept(&p->sw->stream, t, &p->s.stream));
    stream_set_events(p->s.stream, &events, &p->s);
}

static void pair_open(struct fixture *f, struct pair *p, struct tls_server *t, const struct tls_target *to)
{
    *p = (struct pair){ 0 };
    pair_accept(f, p, t);
    assert_ok(tls_connect(&p->cw->stream, client, to, &p->c.stream));
    stream_set_events(p->c.stream, &events, &p->c);
}

static void pair_close(struct fixture *f, struct pair *p)
{
    stream_close(p->c.stream);
    stream_close(p->s.stream);
    buf_release(&p->c.in);
    buf_release(&p->s.in);
    for (int i = 0; i < 4; i++)
        turn_nowait(f);
}

static void say(struct stream *s, const char *text)
{
    buf_add_str(stream_out(s), text);
    stream_flush(s);
}

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

/* ---- certificates ---- */

struct judgement {
    const struct cert *cert;
    const char *name;
    const char *error; /* NULL: good */
};

static void test_names_and_trust(void **state)
{
    const struct judgement rows[] = {
        { &site, "mx.test", NULL },
        { &site, "mail.test", NULL },
        { &wild, "a.wild.test", NULL },
        { &expired, "mx.test", "certificate has expired" },
        { &self_signed, "mx.test", "self-signed certificate" },
        { &other_name, "mx.test", "hostname mismatch" },
        { &wild, "a.b.wild.test", "hostname mismatch" },
        { &wild, "wild.test", "hostname mismatch" },
        { &site, "192.0.2.1", "IP address mismatch" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        struct tls_server *t = server_make(&rows[i].cert, 1, SLICE_EMPTY);
        struct tls_target to = { rows[i].name, TLS_NAME, NULL };
        struct pair p;

        pair_open(f, &p, t, &to);
        say(p.c.stream, "secret");
        turn_until(f, p.c.closed + p.c.opened > 0);
        if (rows[i].error == NULL) {
            assert_true(stream_tls(p.c.stream)->verified);
        } else {
            assert_int_equal(p.c.opened, 0);
            assert_err(p.c.why, ERR_TLS);
            assert_string_equal(tls_error_text(p.c.stream), rows[i].error);
            turn_until(f, p.s.closed == 1);
            assert_int_equal(buf_len(&p.s.in), 0); /* nothing was said */
            assert_err(p.s.why, ERR_TLS);
        }
        pair_close(f, &p);

        /* Any certificate will do, and what it was worth is known. */
        to.verify = TLS_ANY;
        pair_open(f, &p, t, &to);
        turn_until(f, p.c.opened == 1);
        assert_int_equal(stream_tls(p.c.stream)->verified, rows[i].error == NULL);
        if (rows[i].error != NULL)
            assert_string_equal(stream_tls(p.c.stream)->why_not, rows[i].error);
        pair_close(f, &p);
        tls_server_unref(t);
    }
}

static void test_sni(void **state)
{
    static const struct {
        const char *asked;
        bool wild;
    } rows[] = {
        { "mx.test", false },      { "MAIL.test", false },  { "a.wild.test", true }, { "A.WILD.TEST", true },
        { "a.b.wild.test", false }, { "wild.test", false }, { "nobody.test", false },  { NULL, false },
        { "192.0.2.1", false },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        /* Only the certificate that was shown is good for this name. */
        struct tls_target to = { rows[i].asked, TLS_ANY, NULL };
        struct pair p;

        pair_open(f, &p, server, &to);
        turn_until(f, p.c.opened == 1);
        if (rows[i].asked != NULL)
            assert_int_equal(stream_tls(p.c.stream)->verified, rows[i].wild || i < 2);
        assert_true(stream_tls(p.c.stream)->peer_certified);
        pair_close(f, &p);
    }
}

static void test_pair_check(void **state)
{
    struct tls_pair_facts facts;
    struct buf why = { 0 }, chain = { 0 };
    const char *locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n";
    struct tls_pair p = cert_pair(&site);
    BIO *b = BIO_new(BIO_s_mem());

    (void)locked;
    assert_ok(tls_pair_check(&p, &facts, &why));
    assert_string_equal(facts.name, "mx.test");
    assert_false(facts.self_signed);
    assert_true(facts.begins_s < time(NULL) && facts.expires_s > time(NULL) + 80000);
    p = cert_pair(&self_signed);
    assert_ok(tls_pair_check(&p, &facts, &why));
    assert_true(facts.self_signed);
    p = cert_pair(&expired); /* the caller judges times */
    assert_ok(tls_pair_check(&p, &facts, &why));
    assert_true(facts.expires_s < time(NULL));

    p = (struct tls_pair){ buf_bytes(&site.pem), buf_bytes(&wild.key_pem) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "the key is not the certificate's");
    buf_clear(&why);
    p = (struct tls_pair){ buf_bytes(&site.key_pem), buf_bytes(&site.key_pem) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "no certificate in PEM found");
    buf_clear(&why);
    p = (struct tls_pair){ buf_bytes(&site.pem), SLICE_EMPTY };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "the key: it holds no private key in PEM form");
    buf_clear(&why);

    PEM_write_bio_PKCS8PrivateKey(b, site.key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    cert_take(b, &chain);
    p = (struct tls_pair){ buf_bytes(&site.pem), buf_bytes(&chain) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_non_null(strstr(buf_cstr(&why), "encrypted with a passphrase"));
    buf_clear(&why);
    buf_clear(&chain);

    buf_add(&chain, buf_bytes(&site.pem)); /* a chain that is cut short */
    buf_add(&chain, slice_head(buf_bytes(&ca.pem), buf_len(&ca.pem) / 2));
    p = (struct tls_pair){ buf_bytes(&chain), buf_bytes(&site.key_pem) };
    assert_err(tls_pair_check(&p, &facts, &why), ERR_SYNTAX);
    assert_slice_str(buf_bytes(&why), "a certificate of its chain is damaged");
    buf_clear(&why);
    buf_clear(&chain);

    buf_add(&chain, buf_bytes(&site.pem)); /* all in one file */
    buf_add(&chain, buf_bytes(&ca.pem));
    buf_add(&chain, buf_bytes(&site.key_pem));
    p = (struct tls_pair){ buf_bytes(&chain), buf_bytes(&chain) };
    assert_ok(tls_pair_check(&p, &facts, &why));
    buf_release(&chain);
    buf_release(&why);
}

static void test_self_signed(void **state)
{
    struct fixture *f = *state;
    struct buf cert = { 0 }, key = { 0 }, why = { 0 };
    struct tls_pair pair;
    struct tls_server_options opt = { &pair, 1, tickets, SLICE_EMPTY };
    struct tls_pair_facts facts;
    struct tls_server *t;
    struct tls_client *trusting, *before = client;
    struct pair p;

    assert_ok(tls_self_signed("mx.test", clock_wall_ms(&clock_system), &cert, &key));
    pair = (struct tls_pair){ buf_bytes(&cert), buf_bytes(&key) };
    assert_ok(tls_pair_check(&pair, &facts, &why));
    assert_true(facts.self_signed && facts.expires_s > time(NULL) + 9 * 365 * 86400);
    assert_ok(tls_server_new(&opt, &why, &t));
    trusting = client = cert_client(buf_bytes(&cert));
    pair_open(f, &p, t, &to_site);
    turn_until(f, p.c.opened == 1);
    pair_close(f, &p);
    client = before;
    tls_client_unref(trusting);
    tls_server_unref(t);
    buf_release(&cert);
    buf_wipe(&key);
    buf_release(&why);
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

/* ---- a peer that is plain OpenSSL, for what ours never does ---- */

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
        EACH(test_names_and_trust),
        EACH(test_sni),
        EACH(test_pair_check),
        EACH(test_self_signed),
        EACH(test_resumption),
        EACH(test_versions),
        EACH(test_no_binding_without_master_secret_extension),
        EACH(test_no_renegotiation),
        EACH(test_key_updates_without_end),
        EACH(test_client_certificates),
        EACH(test_peers_that_speak_otherwise),
        EACH(test_a_changed_byte_ends_it),
        EACH(test_starttls_over_sockets),
        EACH(test_connection_refused),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
