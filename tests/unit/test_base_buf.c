/* The growing buffer keeps its bytes in order however it is fed and drained. */
#include "tests/unit/check.h"

#include "base/clock.h"

static void test_add_and_take(void **state)
{
    struct buf b = { 0 };

    buf_add_str(&b, "hello ");
    buf_printf(&b, "%s %d", "world", 42);
    assert_slice_str(buf_bytes(&b), "hello world 42");
    buf_take(&b, 6);
    assert_slice_str(buf_bytes(&b), "world 42");
    buf_add_u64(&b, UINT64_MAX);
    assert_slice_str(buf_bytes(&b), "world 4218446744073709551615");
    assert_string_equal(buf_cstr(&b), "world 4218446744073709551615");
    buf_release(&b);
}

static void test_long_printf(void **state)
{
    struct buf b = { 0 };
    char *text = malloc(10000);

    memset(text, 'x', 9999);
    text[9999] = '\0';
    buf_add_str(&b, "y");
    buf_printf(&b, "<%s>", text);
    assert_int_equal(buf_len(&b), 10002);
    assert_int_equal(buf_bytes(&b).ptr[10001], '>');
    free(text);
    buf_release(&b);
}

/* A stream of numbered bytes goes through in random pieces. */
static void test_random_pieces(void **state)
{
    struct buf b = { 0 };
    struct rng rng;
    unsigned char in = 0, out = 0;

    rng_seed(&rng, 7);
    for (int i = 0; i < 20000; i++) {
        size_t n = rng_below(&rng, 300);

        for (size_t k = 0; k < n; k++)
            buf_add_byte(&b, (char)in++);
        n = rng_below(&rng, 310);
        if (n > buf_len(&b))
            n = buf_len(&b);
        for (size_t k = 0; k < n; k++)
            assert_int_equal((unsigned char)buf_bytes(&b).ptr[k], out++);
        buf_take(&b, n);
    }
    assert_true(b.cap < 1024 * 1024);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_take),
        cmocka_unit_test(test_long_printf),
        cmocka_unit_test(test_random_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
