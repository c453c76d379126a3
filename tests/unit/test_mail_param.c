/* What stands in the parameters of MAIL and RCPT: to the letter, or not at all. */
#include "tests/unit/check.h"

#include "mail/param.h"

static void test_notify(void **state)
{
    static const struct {
        const char *in;
        int out; /* -1: refused */
        const char *text;
    } rows[] = {
        { "NEVER", MAIL_NOTIFY_NEVER, "NEVER" },
        { "never", MAIL_NOTIFY_NEVER, "NEVER" },
        { "SUCCESS", MAIL_NOTIFY_SUCCESS, "SUCCESS" },
        { "delay,Failure", MAIL_NOTIFY_DELAY | MAIL_NOTIFY_FAILURE, "FAILURE,DELAY" },
        { "DELAY,SUCCESS,FAILURE", MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY | MAIL_NOTIFY_FAILURE,
          "SUCCESS,FAILURE,DELAY" },
        { "", -1, NULL },
        { ",", -1, NULL },
        { "SUCCESS,", -1, NULL },
        { ",SUCCESS", -1, NULL },
        { "SUCCESS,,DELAY", -1, NULL },
        { "SUCCESS,SUCCESS", -1, NULL },
        { "NEVER,SUCCESS", -1, NULL },
        { "SUCCESS,NEVER", -1, NULL },
        { "SUCCESS DELAY", -1, NULL },
        { "SUCCESSES", -1, NULL },
        { "NEVE", -1, NULL },
        { "=NEVER", -1, NULL },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        char text[MAIL_NOTIFY_TEXT_MAX];
        uint8_t got = 99;

        if (mail_notify_parse(slice_str(rows[i].in), &got) != (rows[i].out >= 0))
            fail_msg("%s", rows[i].in);
        if (rows[i].out < 0)
            continue;
        assert_int_equal(got, rows[i].out);
        assert_string_equal(mail_notify_format(got, text), rows[i].text);
    }
    {
        char text[MAIL_NOTIFY_TEXT_MAX];

        assert_string_equal(mail_notify_format(0, text), "");
    }
}

static void test_notify_wants(void **state)
{
    static const uint8_t what[] = { MAIL_NOTIFY_SUCCESS, MAIL_NOTIFY_FAILURE, MAIL_NOTIFY_DELAY };

    for (size_t i = 0; i < countof(what); i++) {
        assert_int_equal(mail_notify_wants(0, what[i]), what[i] != MAIL_NOTIFY_SUCCESS);
        assert_false(mail_notify_wants(MAIL_NOTIFY_NEVER, what[i]));
        for (size_t k = 0; k < countof(what); k++)
            assert_int_equal(mail_notify_wants(what[k], what[i]), i == k);
    }
}

static void test_xtext(void **state)
{
    static const struct {
        const char *in;
        const char *out; /* NULL: refused */
    } rows[] = {
        { "abc", "abc" },
        { "!~", "!~" },
        { "a+2Bb+3Dc", "a+b=c" },
        { "+20", " " },
        { "+7E", "~" },
        { "", NULL },
        { "a b", NULL },
        { "a+b", NULL },
        { "a=b", NULL },
        { "a+", NULL },
        { "a+2", NULL },
        { "a+2b", NULL }, /* upper case only */
        { "a+g0", NULL },
        { "a+0D+0Ab", NULL }, /* a line end by another name */
        { "a+00b", NULL },
        { "a+1B[m", NULL },
        { "a+7F", NULL },
        { "a+FF", NULL },
        { "a\tb", NULL },
        { "a\x7f", NULL },
        { "a\xc3\xa9", NULL },
        { "++2B", NULL },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf out = { 0 };

        if (mail_xtext_valid(slice_str(rows[i].in)) != (rows[i].out != NULL))
            fail_msg("%s", rows[i].in);
        if (rows[i].out == NULL)
            continue;
        mail_xtext_decode(slice_str(rows[i].in), &out);
        assert_slice_str(buf_bytes(&out), rows[i].out);
        buf_release(&out);
    }
    assert_false(mail_xtext_valid(slice_make("a\0b", 3)));
}

static void test_orcpt(void **state)
{
    static const struct {
        const char *in;
        bool plain, utf8; /* passes without and with SMTPUTF8 */
        const char *ascii;
    } rows[] = {
        { "rfc822;a@b.example", true, true, "rfc822;a@b.example" },
        { "RFC822;a+2Bb@c.example", true, true, "RFC822;a+2Bb@c.example" },
        { "x400;/c=us", false, false, NULL },
        { "x400;/c+3Dus", true, true, "x400;/c+3Dus" },
        { "utf-8;a@b.example", true, true, "utf-8;a@b.example" },
        { "utf-8;gr\\x{FC}n@b.example", true, true, "utf-8;gr\\x{FC}n@b.example" },
        { "utf-8;\\x{1F4E7}@b.example", true, true, "utf-8;\\x{1F4E7}@b.example" },
        { "utf-8;gr\xc3\xbcn@b.example", false, true, "utf-8;gr\\x{FC}n@b.example" },
        { "UTF-8;\xf0\x9f\x93\xa7@b.example", false, true, "UTF-8;\\x{1F4E7}@b.example" },
        { "utf-8;a\\x{2B}b", true, true, "utf-8;a\\x{2B}b" },
        { "", false, false, NULL },
        { ";", false, false, NULL },
        { "rfc822", false, false, NULL },
        { "rfc822;", false, false, NULL },
        { "utf-8;", false, false, NULL },
        { ";a@b", false, false, NULL },
        { "rf c;a@b", false, false, NULL },
        { "rfc(822);a@b", false, false, NULL },
        { "rfc822;a b", false, false, NULL },
        { "rfc822;a+0Ab", false, false, NULL },
        { "rfc822;gr\xc3\xbcn@b", false, false, NULL },
        { "utf-8;a\xff", false, false, NULL },
        { "utf-8;a\xc3", false, false, NULL },
        { "utf-8;a+b", false, false, NULL },
        { "utf-8;a=b", false, false, NULL },
        { "utf-8;a\\b", false, false, NULL },
        { "utf-8;\\x{}", false, false, NULL },
        { "utf-8;\\x{A}", false, false, NULL },
        { "utf-8;\\x{0A}", false, false, NULL },
        { "utf-8;\\x{7F}", false, false, NULL },
        { "utf-8;\\x{85}", false, false, NULL },
        { "utf-8;\\x{D800}", false, false, NULL },
        { "utf-8;\\x{110000}", false, false, NULL },
        { "utf-8;\\x{0000041}", false, false, NULL },
        { "utf-8;\\x{fc}", false, false, NULL },
        { "utf-8;\\X{FC}", false, false, NULL },
        { "utf-8;\\x{FC", false, false, NULL },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;a", false, false, NULL },
    };
    struct buf longest = { 0 };

    for (size_t i = 0; i < countof(rows); i++) {
        size_t len = strlen(rows[i].in);
        char *copy = malloc(len + 1); /* of exact size, so that a sanitizer sees a byte too far */
        struct buf ascii = { 0 };

        memcpy(copy, rows[i].in, len);
        if (mail_orcpt_valid(slice_make(copy, len), false) != rows[i].plain ||
            mail_orcpt_valid(slice_make(copy, len), true) != rows[i].utf8)
            fail_msg("%s", rows[i].in);
        if (rows[i].ascii != NULL) {
            mail_orcpt_add_ascii(&ascii, slice_make(copy, len));
            assert_slice_str(buf_bytes(&ascii), rows[i].ascii);
        }
        buf_release(&ascii);
        free(copy);
    }
    buf_add_str(&longest, "rfc822;");
    while (buf_len(&longest) < MAIL_ORCPT_MAX)
        buf_add_byte(&longest, 'a');
    assert_true(mail_orcpt_valid(buf_bytes(&longest), false));
    buf_add_byte(&longest, 'a');
    assert_false(mail_orcpt_valid(buf_bytes(&longest), false));
    buf_release(&longest);
}

static void test_rfc3339(void **state)
{
    static const struct {
        const char *in;
        int64_t ms; /* -1: refused */
        const char *out;
    } rows[] = {
        { "1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z" },
        { "2026-11-27T02:34:19Z", 1795746859000, "2026-11-27T02:34:19Z" },
        { "2026-11-27t02:34:19z", 1795746859000, NULL },
        { "2026-11-27T02:34:19.5Z", 1795746859500, NULL },
        { "2026-11-27T02:34:19.123456789Z", 1795746859123, NULL },
        { "2026-11-27T03:34:19+01:00", 1795746859000, NULL },
        { "2026-11-26T19:04:19-07:30", 1795746859000, NULL },
        { "2024-02-29T00:00:00Z", 1709164800000, "2024-02-29T00:00:00Z" },
        { "2016-12-31T23:59:60Z", 1483228799000, NULL },
        { "1969-12-31T23:59:59Z", 0, NULL },
        { "9999-12-31T23:59:59Z", 253402300799000, "9999-12-31T23:59:59Z" },
        { "9999-12-31T23:59:59-00:01", -1, NULL },
        { "", -1, NULL },
        { "2026-11-27", -1, NULL },
        { "2026-11-27T02:34:19", -1, NULL },
        { "2026-11-27 02:34:19Z", -1, NULL },
        { "2026-11-27T02:34Z", -1, NULL },
        { "2026-11-27T02:34:19.Z", -1, NULL },
        { "2026-11-27T02:34:19ZZ", -1, NULL },
        { "2026-11-27T02:34:19+0100", -1, NULL },
        { "2026-11-27T02:34:19+24:00", -1, NULL },
        { "2026-11-27T02:34:19+01:60", -1, NULL },
        { "2026-11-27T24:00:00Z", -1, NULL },
        { "2026-11-27T02:60:00Z", -1, NULL },
        { "2026-11-27T02:34:61Z", -1, NULL },
        { "2026-13-01T00:00:00Z", -1, NULL },
        { "2026-00-01T00:00:00Z", -1, NULL },
        { "2026-02-30T00:00:00Z", -1, NULL },
        { "2025-02-29T00:00:00Z", -1, NULL },
        { "2026-01-00T00:00:00Z", -1, NULL },
        { "26-11-27T02:34:19Z", -1, NULL },
        { "+026-11-27T02:34:19Z", -1, NULL },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        char text[MAIL_RFC3339_MAX];
        uint64_t got = 0;

        if (mail_rfc3339_parse(slice_str(rows[i].in), &got) != (rows[i].ms >= 0))
            fail_msg("%s", rows[i].in);
        if (rows[i].ms < 0)
            continue;
        assert_true(got == (uint64_t)rows[i].ms);
        if (rows[i].out != NULL)
            assert_string_equal(mail_rfc3339_format(got, text), rows[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notify), cmocka_unit_test(test_notify_wants), cmocka_unit_test(test_xtext),
        cmocka_unit_test(test_orcpt),  cmocka_unit_test(test_rfc3339),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
