/* The resolver against a name server of our own on loopback, which lies, is
 * late, is silent, and sometimes answers. */
#include "tests/unit/check.h"
#include "tests/unit/dns_wire.h"

#include "base/mem.h"
#include "dns/inside.h"
#include "net/uvloop.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define TRY_MS 100
#define QUESTION_MS 500

struct server {
    struct fd_watch *watch;
    struct listener *listener;
    int udp;
    struct net_addr addr;
    unsigned asked, asked_tcp, asked_edns;
    struct buf held; /* an answer not given yet */
    struct sockaddr_storage held_for;
    bool no_tcp;
};

struct fixture {
    struct loop *loop;
    struct dns_cache *cache;
    struct resolver *resolver;
    struct server server;
    struct timer guard;
};

/* ---- the server ---- */

static void many_mx(struct buf *b, const char *name)
{
    char host[32];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(host, sizeof host, "mx%u.many.test", i);
        wire_mx(b, name, 60, i, host);
    }
}

/* What each name stands for; nothing is written for silence. */
static void answer(struct server *s, struct buf *b, unsigned id, const char *name, unsigned type,
                   bool tcp, bool edns)
{
    unsigned flags = WIRE_ANSWER | WIRE_AD;
    char next[64];
    unsigned n;

    if (strcmp(name, "silent.test") == 0)
        return;
    if (strcmp(name, "servfail.test") == 0)
        flags |= 2;
    if (strcmp(name, "refused.test") == 0)
        flags |= 5;
    if (strcmp(name, "gone.test") == 0 || strcmp(name, "bare.test") == 0)
        flags |= 3;
    if (strcmp(name, "old.test") == 0 && edns)
        flags |= 1;
    if (strcmp(name, "older.test") == 0 && edns)
        flags |= 4;
    if (strcmp(name, "broken.test") == 0)
        flags |= 1;
    if ((strcmp(name, "many.test") == 0 || strcmp(name, "cut.test") == 0) && !tcp)
        flags |= WIRE_TC;
    wire_begin(b, id, flags, name, type);
    if (strcmp(name, "ok.test") == 0 || ((flags & 0xf) == 0 && strncmp(name, "old", 3) == 0)) {
        wire_mx(b, name, 600, 10, "mx.ok.test");
    } else if (strcmp(name, "big.test") == 0) { /* over 512 bytes, within EDNS */
        for (unsigned i = 0; i < 25; i++)
            wire_mx(b, name, 60, i, "some-long-host-name.big.test");
    } else if (strcmp(name, "short.test") == 0) {
        wire_mx(b, name, 0, 10, "mx.ok.test");
    } else if (strcmp(name, "null.test") == 0) {
        wire_mx(b, name, 600, 0, "");
    } else if (strcmp(name, "many.test") == 0 && tcp) {
        many_mx(b, name);
    } else if (strcmp(name, "gone.test") == 0 || strcmp(name, "empty.test") == 0) {
        wire_soa(b, "test", 100, 50);
    } else if (sscanf(name, "c%u.test", &n) == 1) { /* one CNAME a question */
        snprintf(next, sizeof next, "c%u.test", n - 1);
        if (n == 0)
            wire_a(b, name, 60, 1);
        else
            wire_cname(b, name, n == 2 ? 20 : 60, next);
    } else if (strcmp(name, "loop1.test") == 0) {
        wire_cname(b, name, 60, "loop2.test");
    } else if (strcmp(name, "loop2.test") == 0) {
        wire_cname(b, name, 60, "loop1.test");
    } else if (strcmp(name, "pointers.test") == 0) {
        wire_rr(b, WIRE_ANSWERS, name, type, 60, SLICE("\0\1\xc0\x3c\xc0\x3a"));
    } else if (strcmp(name, "wrongid.test") == 0) {
        wire_mx(b, name, 600, 66, "evil.test");
        b->ptr[b->start] ^= 0x55;
    } else if (strcmp(name, "other.test") == 0) { /* another question's answer */
        buf_clear(b);
        wire_begin(b, id, flags, "else.test", type);
        wire_mx(b, "other.test", 600, 66, "evil.test");
    } else if (strcmp(name, "half.test") == 0) {
        wire_mx(b, name, 600, 1, "mx.test");
        b->end -= 3;
    }
    (void)s;
}

/* Reads a question; the answer is in *out, which stays empty for silence. */
static void serve(struct server *s, const uint8_t *q, size_t len, bool tcp, struct buf *out)
{
    char name[DNS_NAME_SIZE];
    size_t at = 12, n = 0;
    bool edns;

    assert_true(len > 17);
    assert_true((q[2] & 1) != 0); /* recursion desired */
    assert_true((q[3] & 0x20) != 0);
    while (q[at] != 0) {
        memcpy(name + n, q + at + 1, q[at]);
        n += q[at];
        name[n++] = '.';
        at += q[at] + 1u;
    }
    name[n - 1] = '\0';
    edns = q[11] != 0;
    s->asked++;
    s->asked_tcp += tcp;
    s->asked_edns += edns;
    answer(s, out, (unsigned)q[0] << 8 | q[1], name, (unsigned)q[at + 1] << 8 | q[at + 2], tcp,
           edns);
}

static void on_udp(void *ctx, unsigned events)
{
    struct server *s = ctx;
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    uint8_t q[1500];
    struct buf out = { 0 };
    ssize_t len = recvfrom(s->udp, q, sizeof q, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);

    if (len <= 0)
        return;
    serve(s, q, (size_t)len, false, &out);
    if (memmem(q, (size_t)len, "late", 4) != NULL && s->asked == 1) { /* kept for later */
        s->held = out;
        s->held_for = from;
        return;
    }
    if (buf_len(&out) != 0)
        sendto(s->udp, buf_bytes(&out).ptr, buf_len(&out), 0, (struct sockaddr *)&from, from_len);
    buf_release(&out);
}

struct tcp_peer {
    struct stream *stream;
    struct server *server;
    struct buf in;
};

static void on_tcp_data(void *ctx, struct slice bytes)
{
    struct tcp_peer *p = ctx;
    const uint8_t *in;
    struct buf out = { 0 };
    size_t len;

    buf_add(&p->in, bytes);
    in = (const uint8_t *)buf_bytes(&p->in).ptr;
    if (buf_len(&p->in) < 2 || buf_len(&p->in) < (len = (size_t)in[0] << 8 | in[1]) + 2)
        return;
    serve(p->server, in + 2, len, true, &out);
    buf_take(&p->in, len + 2);
    wire_u16(stream_out(p->stream), (unsigned)buf_len(&out));
    buf_add(stream_out(p->stream), buf_bytes(&out));
    buf_release(&out);
    stream_flush(p->stream);
}

static void on_tcp_closed(void *ctx, struct err why)
{
    struct tcp_peer *p = ctx;

    stream_close(p->stream);
    buf_release(&p->in);
    free(p);
}

static const struct stream_events tcp_events = { NULL, on_tcp_data, NULL, on_tcp_closed };

static void on_tcp(void *ctx, struct stream *st)
{
    struct tcp_peer *p;

    if (((struct server *)ctx)->no_tcp) {
        stream_close(st);
        return;
    }
    p = mem_new(struct tcp_peer);
    p->stream = st;
    p->server = ctx;
    stream_set_events(st, &tcp_events, p);
}

static void start_server(struct fixture *f)
{
    struct server *s = &f->server;
    struct sockaddr_storage sa;
    socklen_t len;
    int tcp = -1;

    /* A port free for both. */
    for (unsigned i = 0; i < 50 && tcp < 0; i++) {
        assert_true(net_addr_parse_port(SLICE("127.0.0.1:0"), &s->addr));
        len = net_addr_to_sockaddr(&s->addr, &sa);
        s->udp = socket(AF_INET, SOCK_DGRAM, 0);
        assert_int_equal(bind(s->udp, (struct sockaddr *)&sa, len), 0);
        getsockname(s->udp, (struct sockaddr *)&sa, &len);
        net_addr_from_sockaddr((struct sockaddr *)&sa, &s->addr);
        tcp = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(tcp, (struct sockaddr *)&sa, len) != 0 || listen(tcp, 8) != 0) {
            close(s->udp);
            close(tcp);
            tcp = -1;
        }
    }
    assert_true(tcp >= 0);
    assert_ok(fd_watch_new(f->loop, s->udp, FD_READABLE, on_udp, s, &s->watch));
    assert_ok(listener_new(f->loop, tcp, on_tcp, s, &s->listener));
}

static void stop_server(struct fixture *f)
{
    struct server *s = &f->server;

    if (s->watch == NULL)
        return;
    fd_watch_free(s->watch);
    listener_free(s->listener);
    close(s->udp);
    buf_release(&s->held);
    s->watch = NULL;
}

/* ---- asking ---- */

static void guard_fire(struct timer *t)
{
    fail_msg("no answer within 20 s");
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);

    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    f->cache = dns_cache_new(1000);
    start_server(f);
    assert_ok(ares_resolver_new_timed(f->loop, f->cache, &f->server.addr, 1, TRY_MS, QUESTION_MS,
                                      &f->resolver));
    f->guard.fire = guard_fire;
    loop_arm(f->loop, &f->guard, 20 * SECOND_MS);
    *state = f;
    return 0;
}

static void turn(struct fixture *f)
{
    struct pollfd p = { .fd = uv_backend_fd(uvloop_uv(f->loop)), .events = POLLIN };

    poll(&p, 1, 2);
    uv_run(uvloop_uv(f->loop), UV_RUN_NOWAIT);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    ares_resolver_free(f->resolver);
    stop_server(f);
    for (unsigned i = 0; i < 5; i++)
        turn(f); /* the server's streams hear of it */
    uvloop_free(f->loop);
    dns_cache_free(f->cache);
    free(f);
    return 0;
}

struct asked {
    const struct dns_answer *answer;
    unsigned calls;
    struct dns_query *query;
};

static void on_answer(void *ctx, const struct dns_answer *a)
{
    struct asked *q = ctx;

    q->calls++;
    dns_answer_unref(q->answer);
    q->answer = dns_answer_ref(a);
}

static void ask(struct fixture *f, struct asked *q, const char *name, enum dns_type type)
{
    *q = (struct asked){ 0 };
    q->query = dns_ask(f->resolver, name, type, on_answer, q);
    assert_int_equal(q->calls, 0); /* never from inside dns_ask */
}

static void wait_for(struct fixture *f, struct asked *q)
{
    while (q->calls == 0)
        turn(f);
    assert_int_equal(q->calls, 1);
}

static const struct dns_answer *resolve(struct fixture *f, struct asked *q, const char *name,
                                        enum dns_type type)
{
    ask(f, q, name, type);
    wait_for(f, q);
    return q->answer;
}

static void test_statuses(void **state)
{
    static const struct {
        const char *name;
        enum dns_type type;
        enum dns_status status;
        unsigned count;
    } rows[] = {
        { "ok.test", DNS_MX, DNS_OK, 1 },
        { "OK.Test.", DNS_MX, DNS_OK, 1 },
        { "big.test", DNS_MX, DNS_OK, 25 },
        { "null.test", DNS_MX, DNS_OK, 1 },
        { "many.test", DNS_MX, DNS_OK, DNS_RECORDS_MAX },
        { "old.test", DNS_MX, DNS_OK, 1 },
        { "older.test", DNS_MX, DNS_OK, 1 },
        { "c8.test", DNS_A, DNS_OK, 1 },
        { "empty.test", DNS_MX, DNS_NO_DATA, 0 },
        { "gone.test", DNS_MX, DNS_NO_NAME, 0 },
        { "bare.test", DNS_MX, DNS_NO_NAME, 0 },
        { "192.0.2.1", DNS_A, DNS_NO_NAME, 0 },
        { "no..name", DNS_A, DNS_NO_NAME, 0 },
        { "servfail.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "refused.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "broken.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "half.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "pointers.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "loop1.test", DNS_A, DNS_TEMPFAIL, 0 },
        { "c9.test", DNS_A, DNS_TEMPFAIL, 0 },
        { "wrongid.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "other.test", DNS_MX, DNS_TEMPFAIL, 0 },
        { "silent.test", DNS_MX, DNS_TEMPFAIL, 0 },
    };
    struct fixture *f = *state;
    struct asked asked[countof(rows)];

    for (size_t i = 0; i < countof(rows); i++)
        ask(f, &asked[i], rows[i].name, rows[i].type);
    for (size_t i = 0; i < countof(rows); i++) {
        wait_for(f, &asked[i]);
        if (asked[i].answer->status != rows[i].status)
            fail_msg("%s: status %d (%s)", rows[i].name, (int)asked[i].answer->status,
                     asked[i].answer->detail);
        if (asked[i].answer->count != rows[i].count)
            fail_msg("%s: %u records", rows[i].name, asked[i].answer->count);
        dns_answer_unref(asked[i].answer);
    }
}

static void test_times(void **state)
{
    static const struct {
        const char *name;
        enum dns_type type;
        uint64_t good_for_ms;
    } rows[] = {
        { "ok.test", DNS_MX, 600000 },   { "short.test", DNS_MX, 5000 },
        { "gone.test", DNS_MX, 50000 },  { "empty.test", DNS_MX, 50000 },
        { "bare.test", DNS_MX, 5000 },   { "servfail.test", DNS_MX, 5000 },
        { "c3.test", DNS_A, 20000 },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        uint64_t before = f->loop->now_ms;
        struct asked q;
        const struct dns_answer *a = resolve(f, &q, rows[i].name, rows[i].type);

        assert_in_range(a->good_until_ms, before + rows[i].good_for_ms,
                        f->loop->now_ms + rows[i].good_for_ms);
        dns_answer_unref(a);
    }
}

static void test_cache_and_merging(void **state)
{
    struct fixture *f = *state;
    struct asked q[3];

    for (size_t i = 0; i < countof(q); i++)
        ask(f, &q[i], i == 1 ? "OK.test" : "ok.test", DNS_MX);
    for (size_t i = 0; i < countof(q); i++)
        wait_for(f, &q[i]);
    assert_int_equal(f->server.asked, 1);
    assert_ptr_equal(q[0].answer, q[2].answer);
    for (size_t i = 0; i < countof(q); i++)
        dns_answer_unref(q[i].answer);
    dns_answer_unref(resolve(f, &q[0], "ok.test.", DNS_MX));
    assert_int_equal(f->server.asked, 1); /* from the cache */
    dns_cache_clear(f->cache);
    dns_answer_unref(resolve(f, &q[0], "ok.test", DNS_MX));
    assert_int_equal(f->server.asked, 2);
    /* Trouble is remembered for a moment too: a dead server is not hammered. */
    dns_answer_unref(resolve(f, &q[0], "half.test", DNS_MX));
    f->server.asked = 0;
    dns_answer_unref(resolve(f, &q[0], "half.test", DNS_MX));
    assert_int_equal(f->server.asked, 0);
}

static void test_edns_and_tcp(void **state)
{
    struct fixture *f = *state;
    struct asked q;

    dns_answer_unref(resolve(f, &q, "big.test", DNS_MX));
    assert_int_equal(f->server.asked_edns, 1);
    assert_int_equal(f->server.asked_tcp, 0); /* 512 bytes is no limit with EDNS */
    dns_answer_unref(resolve(f, &q, "older.test", DNS_MX));
    assert_int_equal(f->server.asked_edns, 2);
    assert_int_equal(resolve(f, &q, "old.test", DNS_MX)->status, DNS_OK);
    dns_answer_unref(q.answer);
    assert_int_equal(f->server.asked_edns, 3); /* and once more, without */
    dns_answer_unref(resolve(f, &q, "ok.test", DNS_MX));
    assert_int_equal(f->server.asked_edns, 4); /* others keep it */
    dns_answer_unref(resolve(f, &q, "many.test", DNS_MX));
    assert_int_equal(f->server.asked_tcp, 1);
    /* c-ares has stopped taking more than 512 bytes after "old.test". */
    dns_cache_clear(f->cache);
    assert_int_equal(resolve(f, &q, "big.test", DNS_MX)->count, 25);
    dns_answer_unref(q.answer);
}

static void test_truncated_without_tcp(void **state)
{
    struct fixture *f = *state;
    struct asked q;

    f->server.no_tcp = true;
    assert_int_equal(resolve(f, &q, "cut.test", DNS_MX)->status, DNS_TEMPFAIL);
    dns_answer_unref(q.answer);
}

static void test_another_server_may_know(void **state)
{
    struct fixture *f = *state;
    struct resolver *r;
    struct net_addr servers[2] = { f->server.addr, f->server.addr };
    struct asked q = { 0 };

    assert_ok(ares_resolver_new_timed(f->loop, NULL, servers, 2, TRY_MS, QUESTION_MS, &r));
    q.query = dns_ask(r, "servfail.test", DNS_MX, on_answer, &q);
    wait_for(f, &q);
    assert_int_equal(q.answer->status, DNS_TEMPFAIL);
    assert_string_equal(q.answer->detail, "SERVFAIL");
    assert_int_equal(f->server.asked, 2);
    dns_answer_unref(q.answer);
    ares_resolver_free(r);
}

static void test_authentic(void **state)
{
    struct fixture *f = *state;
    struct asked q;

    assert_true(resolve(f, &q, "ok.test", DNS_MX)->authentic);
    dns_answer_unref(q.answer);
    assert_true(resolve(f, &q, "gone.test", DNS_MX)->authentic);
    dns_answer_unref(q.answer);
}

static void test_late_answer(void **state)
{
    struct fixture *f = *state;
    struct server *s = &f->server;
    struct asked q, again;

    /* The first try's answer comes when a second try is under way, again and
     * again; then after all is over. */
    ask(f, &q, "late.silent.test", DNS_MX);
    wait_for(f, &q);
    dns_answer_unref(q.answer);
    for (unsigned i = 0; i < 3 && buf_len(&s->held) != 0; i++)
        sendto(s->udp, buf_bytes(&s->held).ptr, buf_len(&s->held), 0,
               (struct sockaddr *)&s->held_for, sizeof(struct sockaddr_in));
    assert_int_equal(resolve(f, &again, "ok.test", DNS_MX)->status, DNS_OK);
    dns_answer_unref(again.answer);
}

static void test_dead_server(void **state)
{
    struct fixture *f = *state;
    struct asked q;
    uint64_t before = clock_mono_ms(&clock_system);

    stop_server(f);
    assert_int_equal(resolve(f, &q, "ok.test", DNS_MX)->status, DNS_TEMPFAIL);
    dns_answer_unref(q.answer);
    assert_true(clock_mono_ms(&clock_system) - before < QUESTION_MS + 500);
}

static void test_silence_has_an_end(void **state)
{
    struct fixture *f = *state;
    struct asked q;
    uint64_t before = clock_mono_ms(&clock_system), took;

    assert_int_equal(resolve(f, &q, "silent.test", DNS_MX)->status, DNS_TEMPFAIL);
    took = clock_mono_ms(&clock_system) - before;
    assert_in_range(took, TRY_MS, QUESTION_MS + 400);
    assert_in_range(f->server.asked, 2, 3);
    dns_answer_unref(q.answer);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    struct asked q[4];

    ask(f, &q[0], "ok.test", DNS_MX);
    ask(f, &q[1], "ok.test", DNS_MX);
    dns_cancel(f->resolver, q[0].query);
    wait_for(f, &q[1]);
    dns_answer_unref(q[1].answer);
    ask(f, &q[2], "ok.test", DNS_MX); /* its answer stands already */
    dns_cancel(f->resolver, q[2].query);
    ask(f, &q[3], "silent.test", DNS_MX);
    dns_cancel(f->resolver, q[3].query);
    dns_cancel(f->resolver, NULL);
    for (unsigned i = 0; i < 5; i++)
        turn(f);
    assert_int_equal(q[0].calls + q[2].calls + q[3].calls, 0);
}

struct chain {
    struct fixture *f;
    struct asked *victim;
    unsigned answers;
};

static void ask_again(void *ctx, const struct dns_answer *a)
{
    struct chain *c = ctx;

    c->answers++;
    if (c->victim->query != NULL)
        dns_cancel(c->f->resolver, c->victim->query); /* delivered in the same turn */
    c->victim->query = NULL;
    if (c->answers < 4)
        dns_ask(c->f->resolver, "ok.test", DNS_MX, ask_again, c);
}

static void test_asking_and_cancelling_inside_done(void **state)
{
    struct fixture *f = *state;
    struct asked victim;
    struct chain c = { f, &victim, 0 };

    dns_ask(f->resolver, "ok.test", DNS_MX, ask_again, &c);
    ask(f, &victim, "ok.test", DNS_MX);
    while (c.answers < 4)
        turn(f);
    assert_int_equal(victim.calls, 0);
}

static void test_more_than_fit(void **state)
{
    struct fixture *f = *state;
    static struct asked q[1500];
    char name[32];

    for (size_t i = 0; i < countof(q); i++) {
        snprintf(name, sizeof name, "x%zu.test", i);
        ask(f, &q[i], name, DNS_MX);
    }
    for (size_t i = 0; i < countof(q); i++) {
        wait_for(f, &q[i]);
        assert_int_equal(q[i].answer->status, DNS_NO_DATA);
        dns_answer_unref(q[i].answer);
    }
}

static void test_free_with_questions_under_way(void **state)
{
    struct fixture *f = *state;
    static struct asked q[600];
    struct asked bad[2];
    char name[40];

    for (size_t i = 0; i < countof(q); i++) {
        snprintf(name, sizeof name, "%s", i == 0 ? "ok.test" : "silent.test");
        if (i > 1)
            snprintf(name, sizeof name, "x%zu.test", i);
        ask(f, &q[i], name, DNS_MX);
    }
    ask(f, &bad[0], "not a name", DNS_MX);
    turn(f);
    ask(f, &bad[1], "not a name", DNS_MX);
    ares_resolver_free(f->resolver);
    f->resolver = NULL;
    for (size_t i = 0; i < countof(q); i++)
        dns_answer_unref(q[i].answer);
    assert_int_equal(bad[0].calls, 1);
    assert_int_equal(bad[1].calls, 0);
    dns_answer_unref(bad[0].answer);
}

static void test_untrusted_servers_prove_nothing(void **state)
{
    struct fixture *f = *state;
    struct resolver *r;
    struct net_addr servers[2] = { f->server.addr };
    struct asked q = { 0 };

    assert_true(net_addr_parse_port(SLICE("192.0.2.1:53"), &servers[1]));
    assert_ok(ares_resolver_new_timed(f->loop, NULL, servers, 2, TRY_MS, QUESTION_MS, &r));
    q.query = dns_ask(r, "ok.test", DNS_MX, on_answer, &q);
    wait_for(f, &q);
    assert_false(q.answer->authentic);
    dns_answer_unref(q.answer);
    ares_resolver_free(r);
}

/* A reload names other servers while a question waits for one that is silent. */
static void test_other_servers_take_over(void **state)
{
    struct fixture *f = *state;
    struct net_addr nobody[1], out_of_reach;
    struct asked waiting, cancelled, after;
    struct resolver *r;

    assert_true(net_addr_parse_port(SLICE("192.0.2.1:53"), &out_of_reach));
    nobody[0] = out_of_reach;
    assert_ok(ares_resolver_new_timed(f->loop, NULL, nobody, 1, 60000, 60000, &r));
    ares_resolver_free(f->resolver);
    f->resolver = r;
    ask(f, &waiting, "ok.test", DNS_MX);
    ask(f, &cancelled, "gone.test", DNS_MX);
    dns_cancel(f->resolver, cancelled.query);
    turn(f);
    assert_ok(ares_resolver_set_servers(f->resolver, nobody, 1)); /* the same: nothing happens */
    assert_int_equal(f->server.asked, 0);
    assert_ok(ares_resolver_set_servers(f->resolver, &f->server.addr, 1));
    wait_for(f, &waiting);
    assert_int_equal(waiting.answer->status, DNS_OK);
    assert_true(waiting.answer->authentic); /* all of the new ones are on loopback */
    dns_answer_unref(waiting.answer);
    resolve(f, &after, "big.test", DNS_MX);
    assert_int_equal(after.answer->status, DNS_OK);
    dns_answer_unref(after.answer);
    assert_int_equal(cancelled.calls, 0);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_statuses),
        EACH(test_times),
        EACH(test_cache_and_merging),
        EACH(test_edns_and_tcp),
        EACH(test_truncated_without_tcp),
        EACH(test_another_server_may_know),
        EACH(test_authentic),
        EACH(test_late_answer),
        EACH(test_dead_server),
        EACH(test_silence_has_an_end),
        EACH(test_cancel),
        EACH(test_asking_and_cancelling_inside_done),
        EACH(test_more_than_fit),
        EACH(test_free_with_questions_under_way),
        EACH(test_untrusted_servers_prove_nothing),
        EACH(test_other_servers_take_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
