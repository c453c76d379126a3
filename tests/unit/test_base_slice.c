/* Slices: comparing, splitting, numbers. */
#include "tests/unit/check.h"

static void test_compare(void **state)
{
    assert_true(slice_eq_nocase(SLICE("Example.COM"), SLICE("eXAMPLE.com")));
    assert_false(slice_eq_nocase(SLICE("a"), SLICE("ab")));
    assert_true(slice_starts_nocase(SLICE("MAIL FROM:"), SLICE("mail from")));
    assert_true(slice_ends_nocase(SLICE("a.Example.com"), SLICE(".example.COM")));
    assert_false(slice_ends_nocase(SLICE("com"), SLICE(".com")));
    assert_true(slice_eq(SLICE_EMPTY, SLICE("")));
    assert_false(slice_eq(SLICE("a\0b"), SLICE("a\0c")));
}

static void test_split(void **state)
{
    struct slice rest = SLICE("a,,b");
    struct slice part;

    assert_true(slice_split(&rest, ',', &part));
    assert_slice_str(part, "a");
    assert_true(slice_split(&rest, ',', &part));
    assert_slice_str(part, "");
    assert_true(slice_split(&rest, ',', &part));
    assert_slice_str(part, "b");
    assert_false(slice_split(&rest, ',', &part));
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t n;
    } rows[] = {
        { "0", true, 0 },
        { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "99999999999999999999", false, 0 },
        { "", false, 0 },
        { "-1", false, 0 },
        { "1 ", false, 0 },
        { "0x10", false, 0 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        uint64_t n = 0;

        assert_int_equal(slice_u64(slice_str(rows[i].text), &n), rows[i].ok);
        assert_true(n == rows[i].n);
    }
}

static void test_trim(void **state)
{
    assert_slice_str(slice_trim(SLICE(" \t a b \t")), "a b");
    assert_slice_str(slice_trim(SLICE("   ")), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_trim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
