/* Durations, sizes, rates, numbers and typing mistakes. */
#include "tests/unit/check.h"

#include "conf/suggest.h"
#include "conf/value.h"

struct row {
    const char *text;
    bool ok;
    uint64_t n;
};

static void check_rows(const struct row *rows, size_t count,
                       bool (*parse)(struct slice, uint64_t *, const char **))
{
    for (size_t i = 0; i < count; i++) {
        const char *why = NULL;
        uint64_t n = 0;
        bool ok = parse(slice_str(rows[i].text), &n, &why);

        if (ok != rows[i].ok || (ok && n != rows[i].n))
            fail_msg("\"%s\" gave %d, %llu", rows[i].text, ok, (unsigned long long)n);
        if (!ok)
            assert_non_null(why);
    }
}

static void test_duration(void **state)
{
    static const struct row rows[] = {
        { "500ms", true, 500 },
        { "30s", true, 30000 },
        { "5m", true, 300000 },
        { "4h", true, 4 * HOUR_MS },
        { "5d", true, 5 * DAY_MS },
        { "0", true, 0 },
        { "0s", true, 0 },
        { "18446744073709551615ms", true, UINT64_MAX },
        { "5", false, 0 },
        { "", false, 0 },
        { "m", false, 0 },
        { "5M", false, 0 },
        { "5 m", false, 0 },
        { "1.5h", false, 0 },
        { "1h30m", false, 0 },
        { "-1s", false, 0 },
        { "+1s", false, 0 },
        { "5w", false, 0 },
        { "18446744073709551615s", false, 0 },
        { "99999999999999999999s", false, 0 },
    };

    check_rows(rows, countof(rows), conf_value_duration);
}

static void test_size(void **state)
{
    static const struct row rows[] = {
        { "0", true, 0 },
        { "1000", true, 1000 },
        { "64k", true, 65536 },
        { "64K", true, 65536 },
        { "64KiB", true, 65536 },
        { "20M", true, 20971520 },
        { "20MiB", true, 20971520 },
        { "1G", true, 1073741824 },
        { "1GiB", true, 1073741824 },
        { "1T", true, 1099511627776 },
        { "20m", false, 0 },
        { "20MB", false, 0 },
        { "20mib", false, 0 },
        { "M", false, 0 },
        { "", false, 0 },
        { "-1M", false, 0 },
        { "1.5G", false, 0 },
        { "1 G", false, 0 },
        { "17179869184G", false, 0 },
    };

    check_rows(rows, countof(rows), conf_value_size);
}

static void test_hundredths(void **state)
{
    static const struct row rows[] = {
        { "2", true, 200 },     { "1.5", true, 150 },   { "0.25", true, 25 },
        { "1.05", true, 105 },  { "2.", false, 0 },     { ".5", false, 0 },
        { "1.555", false, 0 },  { "1,5", false, 0 },    { "1.-5", false, 0 },
        { "x", false, 0 },      { "", false, 0 },       { "184467440737095517", false, 0 },
        { "184467440737095516.99", false, 0 },
    };

    check_rows(rows, countof(rows), conf_value_hundredths);
}

static void test_rate(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t count, per_ms;
    } rows[] = {
        { "30/min", true, 30, MINUTE_MS }, { "1/s", true, 1, SECOND_MS }, { "5/hour", true, 5, HOUR_MS },
        { "7/d", true, 7, DAY_MS },        { "30", false, 0, 0 },         { "30/", false, 0, 0 },
        { "/min", false, 0, 0 },           { "30/minute/", false, 0, 0 }, { "30 /min", false, 0, 0 },
        { "", false, 0, 0 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct conf_rate rate = { 0 };
        const char *why = NULL;

        assert_int_equal(conf_value_rate(slice_str(rows[i].text), &rate, &why), rows[i].ok);
        if (rows[i].ok) {
            assert_int_equal(rate.count, rows[i].count);
            assert_int_equal(rate.per_ms, rows[i].per_ms);
        } else {
            assert_non_null(why);
        }
    }
}

static void test_switch(void **state)
{
    static const char *const on[] = { "yes", "on", "true" };
    static const char *const off[] = { "no", "off", "false" };
    static const char *const bad[] = { "", "y", "YES", "1", "0", "yess", "none" };
    const char *why;
    bool value;

    for (size_t i = 0; i < countof(on); i++) {
        assert_true(conf_value_switch(slice_str(on[i]), &value, &why));
        assert_true(value);
        assert_true(conf_value_switch(slice_str(off[i]), &value, &why));
        assert_false(value);
    }
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(conf_value_switch(slice_str(bad[i]), &value, &why));
}

static void test_distance(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } rows[] = {
        { "hostname", "hostname", 0 }, { "hostnam", "hostname", 1 },  { "hsotname", "hostname", 1 },
        { "HostName", "hostname", 0 }, { "hustname", "hostname", 1 }, { "xhostname", "hostname", 1 },
        { "", "abc", 3 },              { "abc", "", 3 },              { "listen", "limits", 4 },
        { "abcd", "efgh", 4 },
    };

    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(suggest_distance(slice_str(rows[i].a), slice_str(rows[i].b), 3), rows[i].distance);
}

static void test_suggest(void **state)
{
    static const char *const known[] = { "listen", "limits", "log", "loops", "hostname" };
    static const struct {
        const char *word, *best;
    } rows[] = {
        { "lisen", "listen" }, { "limit", "limits" },       { "loop", "loops" },
        { "lgo", "log" },      { "hosname", "hostname" },   { "certificate", "" },
        { "x", "" },           { "lis ten", "listen" },     { "", "" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct suggest s = { .word = slice_str(rows[i].word) };

        for (size_t k = 0; k < countof(known); k++)
            suggest_offer(&s, slice_str(known[k]));
        assert_slice_str(s.best, rows[i].best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration), cmocka_unit_test(test_size),     cmocka_unit_test(test_hundredths),
        cmocka_unit_test(test_rate),     cmocka_unit_test(test_switch),   cmocka_unit_test(test_distance),
        cmocka_unit_test(test_suggest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
