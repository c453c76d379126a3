/* Replies of servers, kind and hostile, and enhanced status codes. */
#include "tests/unit/check.h"

#include "mail/reply.h"

static enum mail_reply_result feed(struct mail_reply_reader *r, struct slice in, size_t step,
                                   size_t *used)
{
    enum mail_reply_result result = MAIL_REPLY_MORE;

    *used = 0;
    while (result == MAIL_REPLY_MORE && *used < in.len) {
        struct slice piece = slice_head(slice_from(in, *used), step);
        char *copy = malloc(piece.len);
        size_t n;

        memcpy(copy, piece.ptr, piece.len);
        result = mail_reply_feed(r, slice_make(copy, piece.len), &n);
        free(copy);
        assert_true(n == piece.len || result != MAIL_REPLY_MORE);
        *used += n;
    }
    return result;
}

struct row {
    const char *in;
    enum mail_reply_result result;
    unsigned code;
    const char *status;
    const char *text;
    size_t left;
};

static const struct row rows[] = {
    { "250 OK\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "OK", 0 },
    { "250\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "", 0 },
    { "250 \r\n", MAIL_REPLY_DONE, 250, "2.0.0", "", 0 },
    { "250 OK\n", MAIL_REPLY_DONE, 250, "2.0.0", "OK", 0 },
    { "250\n250 next\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "", 10 },
    { "354 go ahead\r\n", MAIL_REPLY_DONE, 354, "0.0.0", "go ahead", 0 },
    { "250-a\r\n250-\r\n250 c\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "a\n\nc", 0 },
    { "250-a\n250-b\n250\n", MAIL_REPLY_DONE, 250, "2.0.0", "a\nb\n", 0 },
    { "550-5.1.1 no such\r\n550 5.1.1 user\r\n", MAIL_REPLY_DONE, 550, "5.1.1",
      "5.1.1 no such\n5.1.1 user", 0 },
    { "550 5.7.26 no\r\n", MAIL_REPLY_DONE, 550, "5.7.26", "5.7.26 no", 0 },
    { "450 5.1.1 odd class\r\n", MAIL_REPLY_DONE, 450, "4.0.0", "5.1.1 odd class", 0 },
    { "451 try later\r\n", MAIL_REPLY_DONE, 451, "4.0.0", "try later", 0 },
    { "599 x\r\n", MAIL_REPLY_DONE, 599, "5.0.0", "x", 0 },
    { "250 a\x1b[31m\x07\tb\x7f\x01\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "a[31m b", 0 },
    { "250 a\rb\r\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "ab", 0 },
    { "250 gr\xc3\xbc\xc3\x9f\r\n", MAIL_REPLY_DONE, 250, "2.0.0", "gr\xc3\xbc\xc3\x9f", 0 },
    { "", MAIL_REPLY_MORE, 0, NULL, NULL, 0 },
    { "2", MAIL_REPLY_MORE, 0, NULL, NULL, 0 },
    { "250 OK", MAIL_REPLY_MORE, 0, NULL, NULL, 0 },
    { "250 OK\r", MAIL_REPLY_MORE, 0, NULL, NULL, 0 },
    { "250-OK\r\n", MAIL_REPLY_MORE, 0, NULL, NULL, 0 },
    { "250-OK\r\n250", MAIL_REPLY_MORE, 0, NULL, NULL, 0 },
    { "250-a\r\n550 b\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "250-a\r\n251 b\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "250-a\r\nhello\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "25\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "2500 a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "250_a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "150 a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "600 a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "2x0 a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "25x a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { " 250 a\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
    { "HTTP/1.1 400 Bad Request\r\n", MAIL_REPLY_BAD, 0, NULL, NULL, 0 },
};

static void test_rows(void **state)
{
    struct mail_reply_reader r = { 0 };

    for (size_t i = 0; i < countof(rows); i++) {
        for (size_t step = 1; step < 100; step += step < 5 ? 1 : 90) {
            struct slice in = slice_str(rows[i].in);
            char status[16];
            size_t used;

            mail_reply_reader_next(&r);
            if (feed(&r, in, step, &used) != rows[i].result)
                fail_msg("row %zu, step %zu", i, step);
            if (rows[i].result != MAIL_REPLY_DONE)
                continue;
            assert_int_equal(in.len - used, rows[i].left);
            assert_int_equal(r.reply.code, rows[i].code);
            assert_string_equal(mail_status_format(r.reply.status, status), rows[i].status);
            assert_slice_str(buf_bytes(&r.reply.text), rows[i].text);
        }
    }
    mail_reply_reader_release(&r);
}

/* Pipelined replies come one at a time; a finished one waits for _next. */
static void test_several(void **state)
{
    struct mail_reply_reader r = { 0 };
    struct slice in = SLICE("250 one\r\n550-two\r\n550 three\r\n354 four\r\n");
    size_t used;

    assert_int_equal(mail_reply_feed(&r, in, &used), MAIL_REPLY_DONE);
    assert_int_equal(used, 9);
    in = slice_from(in, used);
    assert_int_equal(mail_reply_feed(&r, in, &used), MAIL_REPLY_DONE);
    assert_int_equal(used, 0);
    assert_int_equal(r.reply.code, 250);
    mail_reply_reader_next(&r);
    assert_int_equal(mail_reply_feed(&r, in, &used), MAIL_REPLY_DONE);
    assert_slice_str(buf_bytes(&r.reply.text), "two\nthree");
    in = slice_from(in, used);
    mail_reply_reader_next(&r);
    assert_int_equal(mail_reply_feed(&r, in, &used), MAIL_REPLY_DONE);
    assert_int_equal(used, in.len);
    assert_int_equal(r.reply.code, 354);
    mail_reply_reader_release(&r);
}

static void add_line(struct buf *b, const char *begin, size_t len, const char *end)
{
    buf_add_str(b, begin);
    memset(buf_reserve(b, len), 'x', len);
    buf_extend(b, len);
    buf_add_str(b, end);
}

static void test_limits(void **state)
{
    static const struct {
        size_t len;
        const char *end;
        enum mail_reply_result result;
    } lines[] = {
        { MAIL_REPLY_LINE_MAX - 4, "\r\n", MAIL_REPLY_DONE },
        { MAIL_REPLY_LINE_MAX - 4, "\n", MAIL_REPLY_DONE },
        { MAIL_REPLY_LINE_MAX - 3, "\r\n", MAIL_REPLY_BAD },
        { MAIL_REPLY_LINE_MAX - 3, "\n", MAIL_REPLY_BAD },
        { MAIL_REPLY_LINE_MAX - 2, "", MAIL_REPLY_BAD },
        { 100000, "", MAIL_REPLY_BAD },
        { 100000, "\r\n", MAIL_REPLY_BAD },
    };
    size_t used;

    for (size_t i = 0; i < countof(lines); i++) {
        for (size_t step = 1; step <= 200000; step *= 20) {
            struct mail_reply_reader r = { 0 };
            struct buf in = { 0 };

            add_line(&in, "250 ", lines[i].len, lines[i].end);
            assert_int_equal(feed(&r, buf_bytes(&in), step, &used), lines[i].result);
            mail_reply_reader_release(&r);
            buf_release(&in);
        }
    }
    for (unsigned count = MAIL_REPLY_LINES_MAX - 1; count <= MAIL_REPLY_LINES_MAX + 1; count++) {
        struct mail_reply_reader r = { 0 };
        struct buf in = { 0 };

        for (unsigned i = 1; i < count; i++)
            buf_add_str(&in, "250-x\r\n");
        buf_add_str(&in, "250 x\r\n");
        assert_int_equal(feed(&r, buf_bytes(&in), 999, &used),
                         count <= MAIL_REPLY_LINES_MAX ? MAIL_REPLY_DONE : MAIL_REPLY_BAD);
        mail_reply_reader_release(&r);
        buf_release(&in);
    }
}

/* A reply of a megabyte is read to its end, and 4 KiB of it are kept. */
static void test_megabyte(void **state)
{
    struct mail_reply_reader r = { 0 };
    struct buf in = { 0 };
    size_t used;

    for (unsigned i = 0; i < 400; i++)
        add_line(&in, "554-", 2800, "\r\n");
    buf_add_str(&in, "554 end\r\n");
    assert_true(buf_len(&in) > MIB);
    assert_int_equal(feed(&r, buf_bytes(&in), 16384, &used), MAIL_REPLY_DONE);
    assert_int_equal(used, buf_len(&in));
    assert_int_equal(buf_len(&r.reply.text), MAIL_REPLY_TEXT_MAX);
    assert_true(r.reply.text.cap <= 4 * MAIL_REPLY_TEXT_MAX);
    assert_true(r.line.cap <= 4 * MAIL_REPLY_LINE_MAX);
    mail_reply_reader_release(&r);
    buf_release(&in);
}

static void test_take_over(void **state)
{
    struct mail_reply_reader r = { 0 };
    struct mail_reply mine;
    size_t used;

    assert_int_equal(mail_reply_feed(&r, SLICE("250 kept\r\n"), &used), MAIL_REPLY_DONE);
    mine = r.reply;
    r.reply = (struct mail_reply){ 0 };
    mail_reply_reader_next(&r);
    assert_int_equal(mail_reply_feed(&r, SLICE("250 other\r\n"), &used), MAIL_REPLY_DONE);
    assert_slice_str(buf_bytes(&mine.text), "kept");
    mail_reply_release(&mine);
    mail_reply_reader_release(&r);
}

static void test_status_parse(void **state)
{
    static const struct {
        const char *in;
        const char *out; /* NULL: none */
        size_t used;
    } codes[] = {
        { "5.1.1", "5.1.1", 5 },
        { "2.0.0 OK", "2.0.0", 5 },
        { "4.7.100 x", "4.7.100", 7 },
        { "5.1.10:", "5.1.10", 6 },
        { "5.1.1. so", "5.1.1", 5 },
        { "5.999.999", "5.999.999", 9 },
        { "", NULL, 0 },
        { "5", NULL, 0 },
        { "5.", NULL, 0 },
        { "5.1", NULL, 0 },
        { "5.1.", NULL, 0 },
        { "5.1.x", NULL, 0 },
        { "5..1", NULL, 0 },
        { "3.1.1", NULL, 0 },
        { "1.1.1", NULL, 0 },
        { "6.1.1", NULL, 0 },
        { "5.1.1000", NULL, 0 },
        { "5.1000.1", NULL, 0 },
        { "5.01.1", NULL, 0 },
        { "5.1.01", NULL, 0 },
        { "4.4.4.4 is listed", NULL, 0 },
        { "55.1.1", NULL, 0 },
        { " 5.1.1", NULL, 0 },
        { "#5.1.1", NULL, 0 },
    };

    for (size_t i = 0; i < countof(codes); i++) {
        struct mail_status st = { 9, 9, 9 };
        size_t used = 0;
        char out[16];

        if (mail_status_parse(slice_str(codes[i].in), &st, &used) != (codes[i].out != NULL))
            fail_msg("\"%s\"", codes[i].in);
        if (codes[i].out != NULL)
            assert_string_equal(mail_status_format(st, out), codes[i].out);
        assert_int_equal(used, codes[i].used);
    }
}

static void test_status_of_code(void **state)
{
    char out[16];

    assert_string_equal(mail_status_format(mail_status_of_code(250), out), "2.0.0");
    assert_string_equal(mail_status_format(mail_status_of_code(421), out), "4.0.0");
    assert_string_equal(mail_status_format(mail_status_of_code(554), out), "5.0.0");
    assert_string_equal(mail_status_format(mail_status_of_code(354), out), "0.0.0");
    assert_string_equal(mail_status_format(mail_status_of_code(0), out), "0.0.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_several),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_megabyte),
        cmocka_unit_test(test_take_over),      cmocka_unit_test(test_status_parse),
        cmocka_unit_test(test_status_of_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
