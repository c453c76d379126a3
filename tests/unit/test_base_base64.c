/* base64: the RFC's own vectors, all lengths there and back, and what is not base64. */
#include "tests/unit/check.h"

#include "base/base64.h"

static void test_vectors(void **state)
{
    /* RFC 4648 section 10 */
    static const struct {
        const char *plain, *coded;
    } rows[] = {
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf coded = { 0 }, plain = { 0 };

        base64_add(&coded, slice_str(rows[i].plain));
        assert_slice_str(buf_bytes(&coded), rows[i].coded);
        assert_true(base64_decode(slice_str(rows[i].coded), &plain));
        assert_slice_str(buf_bytes(&plain), rows[i].plain);
        buf_release(&coded);
        buf_release(&plain);
    }
}

static void test_all_bytes(void **state)
{
    char bytes[256];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        struct buf coded = { 0 }, plain = { 0 };

        base64_add(&coded, slice_make(bytes, len));
        assert_true(base64_decode(buf_bytes(&coded), &plain));
        assert_true(slice_eq(buf_bytes(&plain), slice_make(bytes, len)));
        buf_release(&coded);
        buf_release(&plain);
    }
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "Z",       "Zg",       "Zg=",      "=",        "==",       "===",      "====",     "Zg==Zg==",
        "Zm8=Zm8=", "Z===",     "Zh==",     "Zm9=",     "Zm9v\n",   " Zm9v",    "Zm 9",     "Zm-_",
        "Zm9v=",   "Zm9v====", "=Zg=",     "Z=g=",     "Zm9\xc3",  "Zm9.",     "Zm9v*",    "\1\2\3\4",
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf plain = { 0 };

        buf_add_str(&plain, "before");
        if (base64_decode(slice_str(rows[i]), &plain))
            fail_msg("\"%s\" was taken", rows[i]);
        assert_slice_str(buf_bytes(&plain), "before");
        buf_release(&plain);
    }
}

/* NUL is a byte like others on both sides. */
static void test_nul(void **state)
{
    struct buf plain = { 0 };

    assert_false(base64_decode(SLICE("AG\0="), &plain));
    assert_true(base64_decode(SLICE("AGEAYg=="), &plain));
    assert_true(slice_eq(buf_bytes(&plain), SLICE("\0a\0b")));
    buf_release(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_all_bytes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nul),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
