/* What people see: tables stay straight, and foreign bytes stay bytes. */
#include "tests/unit/check.h"

#include "relayctl/render.h"

#include <time.h>

static void test_spans_and_sizes(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } spans[] = {
        { 0, "now" },           { 999, "now" },           { 1000, "1s" },           { 59999, "59s" },
        { 60000, "1m" },        { 3599999, "59m" },       { HOUR_MS, "1h" },        { HOUR_MS + MINUTE_MS, "1h1m" },
        { DAY_MS - 1, "23h59m" }, { DAY_MS, "1d" },       { 5 * DAY_MS + 2 * HOUR_MS, "5d2h" },
    };
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        { 0, "0" },           { 1023, "1023" },          { 1024, "1.0K" },           { 1536, "1.5K" },
        { 10239, "9.9K" },    { 10240, "10K" },          { 1048575, "1023K" },       { 1048576, "1.0M" },
        { 50u * MIB, "50M" }, { 1ull << 40, "1.0T" },    { UINT64_MAX, "1638P" },
    };

    for (unsigned i = 0; i < countof(spans); i++) {
        struct buf b = { 0 };

        text_span(&b, spans[i].ms);
        assert_slice_str(buf_bytes(&b), spans[i].text);
        buf_release(&b);
    }
    for (unsigned i = 0; i < countof(sizes); i++) {
        struct buf b = { 0 };

        text_size(&b, sizes[i].bytes);
        assert_slice_str(buf_bytes(&b), sizes[i].text);
        buf_release(&b);
    }
}

static void test_clean(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "", "" },
        { "plain", "plain" },
        { "two\nlines", "two lines" },
        { "\033[2Jgone\a", "\\x1b[2Jgone\\x07" },
        { "del\x7f", "del\\x7f" },
        { "c1\xc2\x9b", "c1\\x9b" },
        { "caf\xc3\xa9 \xc2\xa0", "caf\xc3\xa9 \xc2\xa0" },
        { "cut\xc2", "cut\xc2" },
    };

    for (unsigned i = 0; i < countof(rows); i++) {
        struct buf b = { 0 };

        text_clean(&b, rows[i].in);
        assert_slice_str(buf_bytes(&b), rows[i].out);
        buf_release(&b);
    }
}

static void test_table(void **state)
{
    static const struct table_column columns[] = {
        { "NAME", false, 0, 6 },
        { "N", true, 3, 0 },
        { "WHY", false, 0, 0 },
    };
    static const char *const first[] = { "a", "1", "because", "\xc3\xa9\xc3\xa9", "22", "" };
    static const char *const second[] = { "abcdefgh", "4444", "a long reason that does not fit", "b", "5", "x" };
    struct table t;
    struct buf out = { 0 };

    table_init(&t, columns, countof(columns), false, 30);
    for (unsigned i = 0; i < countof(first); i++)
        table_cell(&t, STYLE_BAD, first[i]);
    table_flush(&t, &out);
    assert_slice_str(buf_bytes(&out), "NAME    N  WHY\n"
                                      "a       1  because\n"
                                      "\xc3\xa9\xc3\xa9     22\n");
    buf_clear(&out);
    for (unsigned i = 0; i < countof(second); i++)
        table_cell(&t, STYLE_PLAIN, second[i]);
    table_flush(&t, &out);
    assert_slice_str(buf_bytes(&out), "abcde\xe2\x80\xa6  4444  a long reason t\xe2\x80\xa6\n"
                                      "b          5  x\n");
    table_release(&t);
    buf_release(&out);
}

static void test_colour_only_when_asked(void **state)
{
    static const struct table_column columns[] = { { "STATE", false, 0, 0 } };

    for (int color = 0; color < 2; color++) {
        struct table t;
        struct buf out = { 0 };

        table_init(&t, columns, 1, color, 0);
        table_cell(&t, STYLE_BAD, "broken");
        table_flush(&t, &out);
        assert_int_equal(memchr(buf_bytes(&out).ptr, '\033', buf_len(&out)) != NULL, color);
        table_release(&t);
        buf_release(&out);
    }
}

static json_t *load(const char *text)
{
    json_error_t e;
    json_t *doc = json_loads(text, 0, &e);

    if (doc == NULL)
        fail_msg("%s", e.text);
    return doc;
}

static void test_queue(void **state)
{
    json_t *page = load(
        "{\"messages\": [{\"id\": \"68825d10a0800000\", \"age_ms\": 90000, \"size\": 2048, \"sender\": \"\","
        " \"recipient_count\": 4, \"recipients\": ["
        "  {\"address\": \"a@b.c\", \"state\": \"waiting\", \"next_in_ms\": 61000,"
        "   \"reply\": {\"code\": 451, \"status\": \"4.3.0\", \"text\": \"4.3.0 la\\u001bter\"}},"
        "  {\"address\": \"d@e.f\", \"state\": \"held\", \"site\": \"x\", \"site_down_for_ms\": 5},"
        "  {\"address\": \"g@h.i\", \"state\": \"ready\", \"site\": \"mx.h.i\"}]}]}");
    struct table t;
    struct buf out = { 0 };

    render_queue_table(&t, false, 0);
    render_queue_rows(&t, page);
    table_flush(&t, &out);
    assert_slice_str(buf_bytes(&out),
                     "ID                  AGE   SIZE  SENDER      RECIPIENT   STATE    NEXT ATTEMPT, OR WHY\n"
                     "68825d10a0800000     1m   2.0K  <>          a@b.c       waiting  in 1m: 451 4.3.0 la\\x1bter\n"
                     "                                            d@e.f       held\n"
                     "                                            g@h.i       ready    waits for mx.h.i\n"
                     "                                            and 1 more\n");
    table_release(&t);
    buf_release(&out);
    json_decref(page);
}

static void test_trace(void **state)
{
    json_t *doc = load(
        "{\"events\": ["
        " {\"id\": \"1\", \"time_ms\": 0, \"event\": \"received\", \"sender\": \"a@b.c\", \"recipient_count\": 2,"
        "  \"size\": 10, \"client\": \"192.0.2.1\", \"protocol\": \"ESMTP\", \"message_id\": \"x@y\"},"
        " {\"id\": \"1\", \"time_ms\": 1500, \"event\": \"deferred\", \"recipient\": \"d@e.f\","
        "  \"relay\": \"mx.e.f[192.0.2.2]:25\", \"attempts\": 2, \"reply\": {\"code\": 450, \"text\": \"later\"}},"
        " {\"id\": \"2\", \"time_ms\": 2000, \"event\": \"held\", \"recipient\": \"\"}]}");
    struct buf out = { 0 };

    setenv("TZ", "UTC0", 1);
    tzset();
    render_trace(&out, doc, false);
    assert_slice_str(buf_bytes(&out),
                     "1\n"
                     "  1970-01-01 00:00:00.000  received    from a@b.c to 2 recipients, 10 bytes, 192.0.2.1 by ESMTP, "
                     "Message-ID <x@y>\n"
                     "  1970-01-01 00:00:01.500  deferred    d@e.f  mx.e.f[192.0.2.2]:25  450 later  (attempt 2)\n"
                     "\n2\n"
                     "  1970-01-01 00:00:02.000  held\n");
    buf_release(&out);
    json_decref(doc);
}

/* Who signs is told of only where somebody does. */
static void test_signing(void **state)
{
    json_t *doc = load(
        "{\"running\": true, \"signing\": {\"signed\": 120, \"failed\": 1, \"recycled\": 3, \"lost\": 2,"
        " \"waiting\": 4, \"active\": 5, \"workers\": ["
        "  {\"worker\": 0, \"running\": true}, {\"worker\": 1, \"running\": false}]}}");
    struct buf out = { 0 };

    render_status(&out, doc, false);
    assert_non_null(strstr(buf_cstr(&out), "signing      120 signed, 1 failed, 4 waiting, 5 active\n"
                                           "             1 of 2 workers running, 3 recycled, 2 lost\n"));
    json_object_del(doc, "signing");
    buf_clear(&out);
    render_status(&out, doc, false);
    assert_null(strstr(buf_cstr(&out), "sign"));
    buf_release(&out);
    json_decref(doc);
}

static void test_memory(void **state)
{
    json_t *doc = load("{\"running\": true, \"memory\": {\"state\": \"ok\", \"used_bytes\": 52428800,"
                       " \"limit_bytes\": 134217728}}");
    struct buf out = { 0 };

    render_status(&out, doc, false);
    assert_non_null(strstr(buf_cstr(&out), "memory       ok: 50M of the 128M that its control group allows\n"));
    json_object_set_new(json_object_get(doc, "memory"), "state", json_string("full"));
    buf_clear(&out);
    render_status(&out, doc, false);
    assert_non_null(strstr(buf_cstr(&out), "allows; new mail is refused until some is free\n"));
    json_object_del(doc, "memory");
    buf_clear(&out);
    render_status(&out, doc, false);
    assert_null(strstr(buf_cstr(&out), "memory"));
    buf_release(&out);
    json_decref(doc);
}

/* Whatever an engine of another release leaves out. */
static void test_empty_documents(void **state)
{
    json_t *nothing = json_object();
    struct table t;
    struct buf out = { 0 };

    render_queue_table(&t, true, 80);
    render_queue_rows(&t, nothing);
    render_status(&out, nothing, true);
    render_message(&out, nothing, true);
    render_trace(&out, nothing, true);
    table_release(&t);
    buf_release(&out);
    json_decref(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans_and_sizes), cmocka_unit_test(test_clean),
        cmocka_unit_test(test_table),           cmocka_unit_test(test_colour_only_when_asked),
        cmocka_unit_test(test_queue),           cmocka_unit_test(test_trace),
        cmocka_unit_test(test_signing),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_empty_documents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
