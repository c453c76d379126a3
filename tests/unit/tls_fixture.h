/* tests/unit/tls_fixture.h - a CA, certificates of all sorts, and our client and
 * our server over a wire in memory, for the tests of TLS. */
#ifndef TESTS_UNIT_TLS_FIXTURE_H
#define TESTS_UNIT_TLS_FIXTURE_H

#include "tests/unit/net_fixture.h"

#include "tests/unit/fake_wire.h"
#include "tests/unit/tls_certs.h"

static struct cert ca, other_ca, site, wild, expired, other_name, self_signed, user, stranger;
static struct tls_tickets *tickets;
static struct tls_client *client;
static struct tls_server *server;

static inline struct tls_server *server_make(const struct cert *const *certs, size_t count, struct slice client_ca)
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

static inline int make_all(void **state)
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

static inline int free_all(void **state)
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

static inline void pair_accept(struct fixture *f, struct pair *p, struct tls_server *t)
{
    wire_pair(f->loop, &p->cw, &p->sw);
    assert_ok(tls_accept(&p->sw->stream, t, &p->s.stream));
    stream_set_events(p->s.stream, &events, &p->s);
}

static inline void pair_open(struct fixture *f, struct pair *p, struct tls_server *t, const struct tls_target *to)
{
    *p = (struct pair){ 0 };
    pair_accept(f, p, t);
    assert_ok(tls_connect(&p->cw->stream, client, to, &p->c.stream));
    stream_set_events(p->c.stream, &events, &p->c);
}

static inline void pair_close(struct fixture *f, struct pair *p)
{
    stream_close(p->c.stream);
    stream_close(p->s.stream);
    buf_release(&p->c.in);
    buf_release(&p->s.in);
    for (int i = 0; i < 4; i++)
        turn_nowait(f);
}

static inline void say(struct stream *s, const char *text)
{
    buf_add_str(stream_out(s), text);
    stream_flush(s);
}

#endif
