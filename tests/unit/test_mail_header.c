/* Headers: where they end however they arrive, what their fields say, and the
 * Received field we add. */
#include "tests/unit/check.h"

#include "mail/header.h"

static struct mail_header_scan scan(struct slice in, size_t step)
{
    struct mail_header_scan s = { 0 };
    size_t at = 0;

    for (;;) {
        bool is_end = at == in.len;
        char *copy = malloc(at + 1); /* a new place each time, of just that size */
        bool done;

        memcpy(copy, in.ptr, at);
        done = mail_header_scan(&s, slice_make(copy, at), is_end);
        free(copy);
        assert_int_equal(done, s.done);
        if (done || is_end)
            return s;
        at = at + step < in.len ? at + step : in.len;
    }
}

static void test_end_of_header(void **state)
{
    static const struct {
        const char *in;
        size_t size;
        bool malformed;
        unsigned received;
    } rows[] = {
        { "", 0, false, 0 },
        { "\r\n", 2, false, 0 },
        { "\r\nbody", 2, false, 0 },
        { "A: b\r\n\r\nbody\r\n", 8, false, 0 },
        { "A: b\r\n", 6, false, 0 },
        { "A: b", 4, false, 0 },
        { "A:", 2, false, 0 },
        { "A: b\r\n c\r\n\td\r\n\r\nReceived: x\r\n", 16, false, 0 },
        { "A : b\r\nB\t:\r\n\r\nx", 14, false, 0 },
        { "Received: a\r\nrEcEIved : b\r\n c\r\nReceivedX: d\r\n\r\n", 47, false, 2 },
        { "A: b\r\n \r\n\r\nx", 11, false, 0 }, /* a blank line of blanks is a fold */
        { "A: \x80\xff\r\n\r\nx", 9, false, 0 },
        { "!~: 1\r\n\r\n", 9, false, 0 },
        /* no header at all: everything is body */
        { "hello\r\n\r\n", 0, true, 0 },
        { "hello", 0, true, 0 },
        { "hello ", 0, true, 0 },
        { " A: b\r\n\r\n", 0, true, 0 },
        { ": b\r\n\r\n", 0, true, 0 },
        { "From me@example.com Mon Nov 23 10:00:00 2026\r\nA: b\r\n\r\n", 0, true, 0 },
        { "\rA: b\r\n\r\n", 0, true, 0 },
        { "\r", 0, true, 0 },
        { "A\x80: b\r\n\r\n", 0, true, 0 },
        { "A b: c\r\n\r\n", 0, true, 0 },
        /* the body begins without an empty line */
        { "A: b\r\nhello world\r\n\r\nC: d\r\n", 6, true, 0 },
        { "A: b\r\nhello", 6, true, 0 },
        { "A: b\r\n\r", 6, true, 0 },
        { "A: b\r\n\rx", 6, true, 0 },
        { "Received: b\r\nReceived c\r\n", 13, true, 1 },
        { "A: b\r\n--boundary\r\n", 6, true, 0 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        for (size_t step = 1; step < 60; step += step < 4 ? 1 : 55) {
            struct mail_header_scan s = scan(slice_str(rows[i].in), step);

            if (s.size != rows[i].size || s.malformed != rows[i].malformed ||
                s.received != rows[i].received || !s.done)
                fail_msg("row %zu in steps of %zu: size %zu malformed %d received %u", i, step,
                         s.size, s.malformed, s.received);
        }
    }
}

static void test_delivered_to(void **state)
{
    struct mail_header_scan s =
        scan(SLICE("Delivered-To: a\r\nX: y\r\nDELIVERED-to: b\r\n\r\nDelivered-To: c\r\n"), 1);

    assert_int_equal(s.delivered_to, 2);
    assert_int_equal(s.received, 0);
}

/* Decided as early as can be, and only once the bytes are there. */
static void test_decides_early(void **state)
{
    struct mail_header_scan s = { 0 };

    assert_false(mail_header_scan(&s, SLICE(""), false));
    assert_false(mail_header_scan(&s, SLICE("Subject"), false));
    assert_false(mail_header_scan(&s, SLICE("Subject: x\r\n\r"), false));
    assert_true(mail_header_scan(&s, SLICE("Subject: x\r\n\r\n"), false));
    assert_int_equal(s.size, 14);
    assert_true(mail_header_scan(&s, SLICE("Subject: x\r\n\r\nmore"), false));
    s = (struct mail_header_scan){ 0 };
    assert_true(mail_header_scan(&s, SLICE("not a field"), false));
    assert_true(s.malformed);
}

/* One huge line byte by byte is walked once, not once per byte. */
static void test_linear(void **state)
{
    size_t len = 4u * MIB;
    char *all = malloc(len);
    struct mail_header_scan s = { 0 };

    memset(all, 'x', len);
    all[1] = ':';
    for (size_t i = 0; i < len; i += 3)
        assert_false(mail_header_scan(&s, slice_make(all, i), false));
    assert_true(mail_header_scan(&s, slice_make(all, len), true));
    assert_int_equal(s.size, len);
    free(all);
}

static void test_walk(void **state)
{
    struct slice h = SLICE("A: 1\r\nLong-Name : two\r\n lines\r\nEmpty:\r\nX:y");
    struct mail_field f;
    size_t at = 0;

    assert_true(mail_header_next(h, &at, &f));
    assert_slice_str(f.name, "A");
    assert_slice_str(f.value, " 1\r\n");
    assert_slice_str(f.whole, "A: 1\r\n");
    assert_true(mail_header_next(h, &at, &f));
    assert_slice_str(f.name, "Long-Name");
    assert_slice_str(f.value, " two\r\n lines\r\n");
    assert_true(mail_header_next(h, &at, &f));
    assert_slice_str(f.name, "Empty");
    assert_slice_str(f.value, "\r\n");
    assert_true(mail_header_next(h, &at, &f));
    assert_slice_str(f.value, "y");
    assert_false(mail_header_next(h, &at, &f));
    assert_true(mail_header_find(h, "empty", &f));
    assert_false(mail_header_find(h, "none", &f));
    at = 0;
    assert_false(mail_header_next(SLICE("\r\nA: b\r\n"), &at, &f));
    assert_false(mail_header_next(SLICE("A b: c\r\n"), &at, &f));
    assert_false(mail_header_next(SLICE("A  "), &at, &f));
    assert_false(mail_header_next(SLICE("A"), &at, &f));
    assert_false(mail_header_next(SLICE(": x"), &at, &f));
}

static void test_unfold(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { " plain\r\n", "plain" },
        { "  two\r\n\twords \r\n", "two words" },
        { "\r\n  folded at once\r\n", "folded at once" },
        { " a \t  b\r\n", "a b" },
        { " evil\x1b[2J\x07\r\n", "evil[2J" },
        { " \xc3\xa4\x7f\r\n", "\xc3\xa4" },
        { "", "" },
        { " \r\n", "" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf out = { 0 };

        mail_field_unfold(slice_str(rows[i].in), &out);
        assert_slice_str(buf_bytes(&out), rows[i].out);
        buf_release(&out);
    }
}

static void test_message_id(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "Message-ID: <a@b>\r\n", "a@b" },
        { "message-id:<a@b>\r\n", "a@b" },
        { "X: y\r\nMessage-Id:\r\n <a@b>\r\n", "a@b" },
        { "Message-ID: (<no@comment>) <a@b> (tail)\r\n", "a@b" },
        { "Message-ID: (a (nested <x@y>) \\) <z@z>)\r\n\t<a@b>\r\n", "a@b" },
        { "Message-ID: \"<not@this>\" <a@b>\r\n", "a@b" },
        { "Message-ID: \"\\\"<not@this>\" <a@b>\r\n", "a@b" },
        { "Message-ID: < a@b >\r\n", "a@b" },
        { "Message-ID: <\"odd local\"@b>\r\n", "\"odd local\"@b" },
        { "Message-ID: <a@b> <c@d>\r\n", "a@b" },
        { "Message-ID: <>\r\n", "" },
        { "Message-ID: a@b\r\n", "" },
        { "Message-ID: <a@b\r\n", "" },
        { "Message-ID: <a\r\n @b>\r\n", "" },
        { "Message-ID: <a\x01@b>\r\n", "" },
        { "Message-ID: <<a@b>\r\n", "" },
        { "Message-ID: (never closed <a@b>\r\n", "" },
        { "Message-ID: (ends so \\", "" },
        { "Message-ID:", "" },
        { "X-Message-ID: <a@b>\r\n", "" },
        { "", "" },
    };

    for (size_t i = 0; i < countof(rows); i++)
        assert_slice_str(mail_header_message_id(slice_str(rows[i].in)), rows[i].out);
}

static void test_date(void **state)
{
    char out[MAIL_DATE_MAX];

    assert_string_equal(mail_date_format(1795449912000, out), "Mon, 23 Nov 2026 16:05:12 +0000");
    assert_string_equal(mail_date_format(0, out), "Thu, 1 Jan 1970 00:00:00 +0000");
    assert_string_equal(mail_date_format(1709251199999, out), "Thu, 29 Feb 2024 23:59:59 +0000");
    assert_true(strlen(mail_date_format(UINT64_MAX, out)) < MAIL_DATE_MAX);
}

static const struct mail_received plain = { .helo = "client.example",
                                            .client_name = "host.example.net",
                                            .client_addr = "192.0.2.1",
                                            .by = "mx.example.com",
                                            .with = "ESMTP",
                                            .tls = "",
                                            .id = "0194abcd01234567",
                                            .for_ = "",
                                            .wall_ms = 1795449912000 };

static void test_received(void **state)
{
    struct mail_received r = plain;
    struct buf out = { 0 };

    mail_received_format(&r, &out);
    assert_string_equal(buf_cstr(&out),
                        "Received: from client.example (host.example.net [192.0.2.1])\r\n"
                        "\tby mx.example.com with ESMTP id 0194abcd01234567;\r\n"
                        "\tMon, 23 Nov 2026 16:05:12 +0000\r\n");
    buf_clear(&out);
    r.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384";
    r.with = "ESMTPS";
    r.for_ = "user@example.org";
    r.client_name = "";
    r.client_addr = "IPv6:2001:db8::1";
    mail_received_format(&r, &out);
    assert_string_equal(buf_cstr(&out),
                        "Received: from client.example ([IPv6:2001:db8::1])\r\n"
                        "\tby mx.example.com with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384) id\r\n"
                        "\t0194abcd01234567\r\n"
                        "\tfor <user@example.org>; Mon, 23 Nov 2026 16:05:12 +0000\r\n");
    buf_clear(&out);
    r.helo = "";
    r.tls = "TLSv1.3";
    r.for_ = "gr\xc3\xbc\xc3\x9f@example.org"; /* left out of a plain header */
    mail_received_format(&r, &out);
    assert_string_equal(buf_cstr(&out),
                        "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"
                        "\tby mx.example.com with ESMTPS (TLSv1.3) id 0194abcd01234567;\r\n"
                        "\tMon, 23 Nov 2026 16:05:12 +0000\r\n");
    buf_clear(&out);
    r = plain;
    r.client_addr = "";
    r.with = "local";
    mail_received_format(&r, &out);
    assert_string_equal(buf_cstr(&out),
                        "Received: by mx.example.com with local id 0194abcd01234567;\r\n"
                        "\tMon, 23 Nov 2026 16:05:12 +0000\r\n");
    buf_release(&out);
}

/* Whatever a client calls itself: one field, no control bytes, short lines. */
static void test_hostile_helo(void **state)
{
    char helo[1001];
    struct buf out = { 0 };

    for (unsigned c = 1; c < 256; c++) {
        struct mail_received r = plain;
        struct mail_field f;
        size_t at = 0;

        memset(helo, (char)c, 1000);
        memcpy(helo, "a\r\nX: y(", 8);
        helo[1000] = '\0';
        r.helo = r.client_name = r.for_ = helo;
        buf_clear(&out);
        mail_received_format(&r, &out);
        assert_true(mail_header_next(buf_bytes(&out), &at, &f));
        assert_int_equal(at, buf_len(&out));
        assert_slice_str(f.name, "Received");
        for (size_t i = 0; i < f.value.len; i++) {
            unsigned char b = (unsigned char)f.value.ptr[i];

            assert_true(b < 127);
            assert_true(b >= ' ' || b == '\r' || b == '\n' || b == '\t');
        }
        assert_null(memmem(f.value.ptr, f.value.len, "y(", 2));
        assert_true(f.value.len < 1000);
    }
    buf_release(&out);
}

static void test_lines_are_short(void **state)
{
    for (size_t n = 1; n <= 64; n++) {
        char name[65];
        struct mail_received r = plain;
        struct buf out = { 0 };
        struct slice rest, line;

        memset(name, 'n', n);
        name[n] = '\0';
        r.helo = r.client_name = r.for_ = r.by = name;
        r.tls = "TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384";
        mail_received_format(&r, &out);
        rest = buf_bytes(&out);
        while (slice_split(&rest, '\n', &line))
            assert_true(line.len - 1 <= 78);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_of_header),
        cmocka_unit_test(test_delivered_to),
        cmocka_unit_test(test_decides_early),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_unfold),
        cmocka_unit_test(test_message_id),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_received),
        cmocka_unit_test(test_hostile_helo),
        cmocka_unit_test(test_lines_are_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
