/* What a server's message means, sound or not. */
#include "tests/unit/check.h"
#include "tests/unit/dns_wire.h"

#include "base/mem.h"
#include "dns/inside.h"

#include <stdio.h>

static struct buf w; /* the message under test */

static struct dns_reading read_it(const char *name, enum dns_type type)
{
    struct dns_reading got;
    /* A copy of that very size: the sanitizer sees a byte read too far. */
    char *copy = malloc(buf_len(&w) != 0 ? buf_len(&w) : 1);

    memcpy(copy, buf_bytes(&w).ptr, buf_len(&w));
    dns_message_read(slice_make(copy, buf_len(&w)), name, type, 0, &got);
    free(copy);
    if (got.next == DNS_NEXT_DONE)
        assert_non_null(got.answer);
    else
        assert_null(got.answer);
    return got;
}

static int clean(void **state)
{
    buf_release(&w);
    return 0;
}

#define expect(got, want_status)                                                                   \
    do {                                                                                           \
        assert_int_equal((got).next, DNS_NEXT_DONE);                                               \
        if ((got).answer->status != (want_status))                                                 \
            fail_msg("status %d: %s", (int)(got).answer->status, (got).answer->detail);            \
    } while (0)

static void test_mx(void **state)
{
    struct dns_reading got;

    wire_begin(&w, 1, WIRE_ANSWER | WIRE_AD, "Example.TEST", DNS_MX);
    wire_mx(&w, "example.test", 300, 20, "b.example.test");
    wire_mx(&w, "EXAMPLE.test", 200, 10, "A.example.test");
    wire_mx(&w, "other.test", 1, 1, "evil.test"); /* not asked for */
    got = read_it("example.test", DNS_MX);
    expect(got, DNS_OK);
    assert_int_equal(got.answer->count, 2);
    assert_int_equal(got.answer->mx[1].preference, 10);
    assert_string_equal(got.answer->mx[1].host, "a.example.test");
    assert_int_equal(got.ttl_s, 200);
    assert_true(got.authentic);
    dns_answer_unref(got.answer);
}

static void test_null_mx(void **state)
{
    struct dns_reading got;

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
    wire_mx(&w, "a.test", 300, 0, "");
    got = read_it("a.test", DNS_MX);
    expect(got, DNS_OK);
    assert_int_equal(got.answer->count, 1);
    assert_string_equal(got.answer->mx[0].host, "");
    assert_false(got.authentic);
    dns_answer_unref(got.answer);
}

static void test_thousand_mx_keeps_the_best(void **state)
{
    struct dns_reading got;
    char host[32];

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(host, sizeof host, "mx%u.test", 1000 - i);
        wire_mx(&w, "a.test", 300, 1000 - i, host);
    }
    got = read_it("a.test", DNS_MX);
    expect(got, DNS_OK);
    assert_int_equal(got.answer->count, DNS_RECORDS_MAX);
    for (unsigned i = 0; i < got.answer->count; i++)
        assert_in_range(got.answer->mx[i].preference, 1, DNS_RECORDS_MAX);
    assert_true(dns_answer_cost(got.answer) < 8192);
    dns_answer_unref(got.answer);
}

static void test_other_types(void **state)
{
    static const char aaaa[16] = { 0x20, 0x01, 0x0d, (char)0xb8, [15] = 1 };
    struct dns_reading got;
    char text[NET_ADDR_TEXT_MAX];

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_A);
    wire_a(&w, "a.test", 60, 7);
    got = read_it("a.test", DNS_A);
    expect(got, DNS_OK);
    assert_string_equal(net_addr_format(&got.answer->addr[0], text), "192.0.2.7");
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_AAAA);
    wire_rr(&w, WIRE_ANSWERS, "a.test", DNS_AAAA, 60, slice_make(aaaa, 16));
    got = read_it("a.test", DNS_AAAA);
    expect(got, DNS_OK);
    assert_string_equal(net_addr_format(&got.answer->addr[0], text), "2001:db8::1");
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_TXT);
    wire_rr(&w, WIRE_ANSWERS, "a.test", DNS_TXT, 60, SLICE("\x06v=spf1\x05 -all"));
    wire_rr(&w, WIRE_ANSWERS, "a.test", DNS_TXT, 60, SLICE("\x03" "a\0b")); /* of no use */
    wire_rr(&w, WIRE_ANSWERS, "a.test", DNS_TXT, 60, SLICE("\0"));
    got = read_it("a.test", DNS_TXT);
    expect(got, DNS_OK);
    assert_int_equal(got.answer->count, 2);
    assert_string_equal(got.answer->text[0], "v=spf1 -all");
    assert_string_equal(got.answer->text[1], "");
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "1.2.0.192.in-addr.arpa", DNS_PTR);
    wire_pointer(&w, "1.2.0.192.in-addr.arpa", DNS_PTR, 60, "Host.\x1b[2J.test");
    got = read_it("1.2.0.192.in-addr.arpa", DNS_PTR);
    expect(got, DNS_OK);
    assert_string_equal(got.answer->text[0], "host.?[2j.test");
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "_25._tcp.a.test", DNS_TLSA);
    wire_rr(&w, WIRE_ANSWERS, "_25._tcp.a.test", DNS_TLSA, 60, SLICE("\x03\x01\x01" "hash"));
    got = read_it("_25._tcp.a.test", DNS_TLSA);
    expect(got, DNS_OK);
    assert_int_equal(got.answer->tlsa[0].usage, 3);
    assert_memory_equal(got.answer->tlsa[0].data, "hash", 4);
    assert_int_equal(got.answer->tlsa[0].len, 4);
    dns_answer_unref(got.answer);
}

static void test_negative(void **state)
{
    struct dns_reading got;

    wire_begin(&w, 1, WIRE_ANSWER | 3, "no.test", DNS_MX);
    wire_soa(&w, "test", 900, 30);
    got = read_it("no.test", DNS_MX);
    expect(got, DNS_NO_NAME);
    assert_int_equal(got.ttl_s, 30);
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "no.test", DNS_MX);
    wire_soa(&w, "test", 20, 3000);
    got = read_it("no.test", DNS_MX);
    expect(got, DNS_NO_DATA);
    assert_int_equal(got.ttl_s, 20);
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER | 3, "no.test", DNS_MX);
    got = read_it("no.test", DNS_MX);
    expect(got, DNS_NO_NAME);
    assert_int_equal(got.ttl_s, 0);
    dns_answer_unref(got.answer);
}

static void test_response_codes(void **state)
{
    static const struct {
        unsigned flags;
        enum dns_next next;
    } rows[] = {
        { WIRE_ANSWER | 1, DNS_NEXT_PLAIN_DNS },  { WIRE_ANSWER | 2, DNS_NEXT_DONE },
        { WIRE_ANSWER | 4, DNS_NEXT_PLAIN_DNS },  { WIRE_ANSWER | 5, DNS_NEXT_DONE },
        { WIRE_ANSWER | 6, DNS_NEXT_DONE },       { WIRE_ANSWER | 15, DNS_NEXT_DONE },
        { WIRE_ANSWER | WIRE_TC, DNS_NEXT_TCP },  { WIRE_ANSWER | WIRE_TC | 3, DNS_NEXT_TCP },
        { WIRE_ANSWER & ~0x8000u, DNS_NEXT_DONE }, { WIRE_ANSWER | 0x2800, DNS_NEXT_DONE },
        { WIRE_ANSWER & ~WIRE_RA, DNS_NEXT_DONE },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct dns_reading got;

        buf_clear(&w);
        wire_begin(&w, 1, rows[i].flags, "a.test", DNS_MX);
        got = read_it("a.test", DNS_MX);
        assert_int_equal(got.next, rows[i].next);
        if (got.next == DNS_NEXT_DONE)
            assert_int_equal(got.answer->status, DNS_TEMPFAIL);
        dns_answer_unref(got.answer);
    }
}

static void test_bad_version_of_edns(void **state)
{
    struct dns_reading got;

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
    wire_rr(&w, WIRE_ADDITIONALS, "", 41, 1u << 24, SLICE("")); /* BADVERS */
    got = read_it("a.test", DNS_MX);
    assert_int_equal(got.next, DNS_NEXT_PLAIN_DNS);
    /* A header alone is how old servers say FORMERR. */
    buf_clear(&w);
    buf_add(&w, slice_make("\0\1\x81\x81\0\0\0\0\0\0\0\0", 12));
    got = read_it("a.test", DNS_MX);
    assert_int_equal(got.next, DNS_NEXT_PLAIN_DNS);
}

static void test_cnames(void **state)
{
    struct dns_reading got;
    char from[16], to[16];

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_A);
    wire_a(&w, "c.test", 60, 1); /* in any order */
    wire_cname(&w, "b.test", 10, "C.test");
    wire_cname(&w, "a.test", 30, "b.test");
    got = read_it("a.test", DNS_A);
    expect(got, DNS_OK);
    assert_int_equal(got.ttl_s, 10);
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_A);
    wire_cname(&w, "a.test", 30, "away.example");
    got = read_it("a.test", DNS_A);
    assert_int_equal(got.next, DNS_NEXT_FOLLOW);
    assert_string_equal(got.target, "away.example");
    assert_int_equal(got.hops, 1);

    wire_soa(&w, "example", 60, 60); /* the same with proof of absence */
    got = read_it("a.test", DNS_A);
    expect(got, DNS_NO_DATA);
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER | 3, "a.test", DNS_A); /* RFC 6604: of the target */
    wire_cname(&w, "a.test", 30, "gone.test");
    got = read_it("a.test", DNS_A);
    expect(got, DNS_NO_NAME);
    dns_answer_unref(got.answer);

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_A);
    wire_cname(&w, "a.test", 30, "b.test");
    wire_cname(&w, "b.test", 30, "a.test");
    got = read_it("a.test", DNS_A);
    expect(got, DNS_TEMPFAIL);
    dns_answer_unref(got.answer);

    for (unsigned length = 8; length <= 9; length++) {
        buf_clear(&w);
        wire_begin(&w, 1, WIRE_ANSWER, "n0.test", DNS_A);
        for (unsigned i = 0; i < length; i++) {
            snprintf(from, sizeof from, "n%u.test", i);
            snprintf(to, sizeof to, "n%u.test", i + 1);
            wire_cname(&w, from, 30, to);
        }
        wire_a(&w, to, 30, 1);
        got = read_it("n0.test", DNS_A);
        expect(got, length == 8 ? DNS_OK : DNS_TEMPFAIL);
        dns_answer_unref(got.answer);
    }
}

static void test_lame_servers(void **state)
{
    struct dns_reading got;
    struct buf ns = { 0 };

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
    wire_name(&ns, "a.root-servers.net");
    wire_rr(&w, WIRE_AUTHORITIES, "", 2, 60, buf_bytes(&ns));
    buf_release(&ns);
    got = read_it("a.test", DNS_MX);
    expect(got, DNS_TEMPFAIL);
    dns_answer_unref(got.answer);

    for (unsigned rcode = 0; rcode <= 3; rcode += 3) { /* no authority, and nobody asked others */
        buf_clear(&w);
        wire_begin(&w, 1, (WIRE_ANSWER & ~WIRE_RA) | rcode, "a.test", DNS_MX);
        got = read_it("a.test", DNS_MX);
        expect(got, DNS_TEMPFAIL);
        dns_answer_unref(got.answer);
    }

    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER | 3, "a.test", DNS_MX);
    wire_mx(&w, "a.test", 60, 1, "b.test"); /* there, and not there */
    got = read_it("a.test", DNS_MX);
    expect(got, DNS_TEMPFAIL);
    dns_answer_unref(got.answer);
}

static void test_wrong_question(void **state)
{
    struct dns_reading got;

    wire_begin(&w, 1, WIRE_ANSWER | 3, "b.test", DNS_MX);
    got = read_it("a.test", DNS_MX);
    expect(got, DNS_TEMPFAIL);
    dns_answer_unref(got.answer);
    buf_clear(&w);
    wire_begin(&w, 1, WIRE_ANSWER | 3, "a.test", DNS_A);
    got = read_it("a.test", DNS_MX);
    expect(got, DNS_TEMPFAIL);
    dns_answer_unref(got.answer);
}

/* Owners and hosts that are no names: each row replaces the MX host. */
static void test_bad_names(void **state)
{
    static const struct {
        const char *data;
        size_t len;
    } rows[] = {
        { "\0\1", 2 },                     /* no host at all */
        { "\0", 1 },                       /* not even a preference */
        { "\0\1\3abc", 6 },                /* no end */
        { "\0\1\5abc\0", 7 },              /* label past the end */
        { "\0\1\xc0\x27", 4 },             /* points at itself */
        { "\0\1\xc0\x29", 4 },             /* points ahead */
        { "\0\1\x01x\xc0\x27", 6 },        /* points at its own front */
        { "\0\1\xff\xff", 4 },             /* points past the end */
        { "\0\1\xc0", 3 },                 /* half a pointer */
        { "\0\1\x80x\0", 5 },              /* reserved label type */
        { "\0\1\x40x\0", 5 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct dns_reading got;

        buf_clear(&w);
        wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
        wire_rr(&w, WIRE_ANSWERS, "a.test", DNS_MX, 60, slice_make(rows[i].data, rows[i].len));
        got = read_it("a.test", DNS_MX);
        if (got.next != DNS_NEXT_DONE || got.answer->status != DNS_TEMPFAIL)
            fail_msg("row %zu was believed", i);
        dns_answer_unref(got.answer);
    }
}

static void test_long_names(void **state)
{
    static const char label[] = "\x3f" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct buf d = { 0 };

    for (unsigned last = 61; last <= 62; last++) { /* 3 x 64 + 61 is the most: 253 as text */
        struct dns_reading got;

        buf_clear(&w);
        buf_clear(&d);
        wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
        wire_u16(&d, 1);
        for (unsigned i = 0; i < 3; i++)
            buf_add(&d, slice_make(label, 64));
        buf_add_byte(&d, (char)last);
        buf_add(&d, slice_make(label + 1, last));
        buf_add_byte(&d, 0);
        wire_rr(&w, WIRE_ANSWERS, "a.test", DNS_MX, 60, buf_bytes(&d));
        got = read_it("a.test", DNS_MX);
        assert_int_equal(got.answer->status, last == 61 ? DNS_OK : DNS_TEMPFAIL);
        dns_answer_unref(got.answer);
    }
    buf_release(&d);
}

static void test_cut_anywhere(void **state)
{
    struct buf whole = { 0 };

    wire_begin(&w, 1, WIRE_ANSWER, "a.test", DNS_MX);
    wire_mx(&w, "a.test", 60, 1, "mx.test");
    wire_soa(&w, "test", 60, 60);
    buf_add(&whole, buf_bytes(&w));
    for (size_t len = 0; len < buf_len(&whole); len++) {
        struct dns_reading got;

        buf_clear(&w);
        buf_add(&w, slice_head(buf_bytes(&whole), len));
        buf_reserve(&w, 1);
        got = read_it("a.test", DNS_MX);
        if (got.next != DNS_NEXT_DONE || got.answer->status != DNS_TEMPFAIL)
            fail_msg("believed with %zu bytes", len);
        dns_answer_unref(got.answer);
    }
    buf_release(&whole);
}

static void test_bad_records(void **state)
{
    static const struct {
        enum dns_type type;
        const char *data;
        size_t len;
    } rows[] = {
        { DNS_A, "\1\2\3", 3 },          { DNS_A, "\1\2\3\4\5", 5 }, { DNS_A, "", 0 },
        { DNS_AAAA, "\1\2\3\4", 4 },     { DNS_TXT, "", 0 },         { DNS_TXT, "\5abc", 4 },
        { DNS_TXT, "\xff", 1 },          { DNS_PTR, "", 0 },         { DNS_TLSA, "\1\2", 2 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct dns_reading got;

        buf_clear(&w);
        wire_begin(&w, 1, WIRE_ANSWER, "a.test", rows[i].type);
        wire_rr(&w, WIRE_ANSWERS, "a.test", rows[i].type, 60,
                slice_make(rows[i].data, rows[i].len));
        got = read_it("a.test", rows[i].type);
        if (got.answer->status != DNS_TEMPFAIL)
            fail_msg("row %zu was believed", i);
        dns_answer_unref(got.answer);
    }
}

static void test_names_to_ask(void **state)
{
    static const struct {
        const char *name, *want; /* NULL: refused */
    } rows[] = {
        { "Example.COM", "example.com" }, { "example.com.", "example.com" },
        { "_dmarc.example.com", "_dmarc.example.com" }, { "com", "com" },
        { "x+y=z.example.com", "x+y=z.example.com" }, { "1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa" },
        { "", NULL }, { ".", NULL }, { "..", NULL }, { ".com", NULL }, { "a..b", NULL },
        { "a.b..", NULL }, { "192.0.2.1", NULL }, { "1", NULL }, { "a b.com", NULL },
        { "a\\046b.com", NULL }, { "a\nb.com", NULL }, { "b\xc3\xbc" "cher.example", NULL },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com", NULL },
    };
    char out[DNS_NAME_SIZE], big[300];
    struct net_addr a;

    for (size_t i = 0; i < countof(rows); i++) {
        bool ok = dns_name_normalise(rows[i].name, out);

        if (ok != (rows[i].want != NULL))
            fail_msg("%s: wrongly %s", rows[i].name, ok ? "taken" : "refused");
        if (ok)
            assert_string_equal(out, rows[i].want);
    }
    for (size_t i = 0; i < 253; i++)
        big[i] = i % 2 == 0 ? 'a' : '.';
    big[253] = '\0';
    assert_true(dns_name_normalise(big, out));
    memcpy(big + 253, ".a", 3);
    assert_false(dns_name_normalise(big, out));

    assert_true(net_addr_parse(SLICE("192.0.2.1"), &a));
    dns_reverse_name(&a, out);
    assert_string_equal(out, "1.2.0.192.in-addr.arpa");
    assert_true(net_addr_parse(SLICE("2001:db8::1"), &a));
    dns_reverse_name(&a, out);
    assert_string_equal(
        out, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    dns_reverse_name(&(struct net_addr){ .family = AF_UNIX }, out);
    assert_string_equal(out, "");
}

#define EACH(test) cmocka_unit_test_teardown(test, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_mx),
        EACH(test_null_mx),
        EACH(test_thousand_mx_keeps_the_best),
        EACH(test_other_types),
        EACH(test_negative),
        EACH(test_response_codes),
        EACH(test_bad_version_of_edns),
        EACH(test_cnames),
        EACH(test_lame_servers),
        EACH(test_wrong_question),
        EACH(test_bad_names),
        EACH(test_long_names),
        EACH(test_cut_anywhere),
        EACH(test_bad_records),
        EACH(test_names_to_ask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
