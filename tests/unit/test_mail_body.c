/* Content on the wire: where it ends, which faults it has, what comes out.
 * Each dialogue is played whole, byte by byte and in random pieces, and each
 * result is held against a reader that goes byte for byte over the whole. */
#include "tests/unit/check.h"

#include "base/clock.h"
#include "mail/body.h"

struct result {
    struct buf out;
    size_t used;
    bool ended;
    unsigned faults;
    bool eight_bit;
    uint64_t size_bytes;
    unsigned calls;
};

static void sink(void *ctx, struct slice bytes)
{
    struct result *res = ctx;

    assert_true(bytes.len > 0);
    buf_add(&res->out, bytes);
    res->calls++;
}

/* Feeds `in` in pieces whose lengths come from `rng`; at most `most` bytes,
 * 0 = all at once. */
static struct result play(struct slice in, bool repair, bool chunked, struct rng *rng, size_t most)
{
    struct mail_data_reader r = { .repair_line_ends = repair, .chunked = chunked };
    struct result res = { 0 };

    while (res.used < in.len && !res.ended) {
        struct slice piece = slice_from(in, res.used);
        char *copy;
        size_t used;

        if (most > 0)
            piece = slice_head(piece, rng != NULL ? 1 + rng_below(rng, most) : most);
        copy = malloc(piece.len); /* so that a sanitizer sees a byte read too far */
        memcpy(copy, piece.ptr, piece.len);
        res.ended = mail_data_feed(&r, slice_make(copy, piece.len), &used, sink, &res);
        free(copy);
        assert_true(res.ended || used == piece.len);
        res.used += used;
    }
    if (chunked)
        mail_data_finish(&r, sink, &res);
    res.faults = r.faults;
    res.eight_bit = r.eight_bit;
    res.size_bytes = r.size_bytes;
    return res;
}

/* The same rules once more, written to be read rather than to be fast. */
static struct result reference(struct slice in, bool repair, bool chunked)
{
    struct result res = { 0 };
    size_t line = 0, i = 0;
    bool start = true;
    bool mended = false; /* the line's beginning was a repaired line end */

    while (i < in.len) {
        struct slice rest = slice_from(in, i);
        bool crlf = rest.len >= 2 && memcmp(rest.ptr, "\r\n", 2) == 0;
        size_t begin;

        if (start && rest.ptr[0] == '.' && !chunked) {
            struct slice dot = slice_from(rest, 1);
            bool mark = dot.len >= 2 && memcmp(dot.ptr, "\r\n", 2) == 0;

            if (mark && !mended) {
                res.used = i + 3;
                res.ended = true;
                break;
            }
            if (dot.len == 0 || (dot.len == 1 && dot.ptr[0] == '\r')) {
                res.used = in.len; /* undecided */
                break;
            }
            if (repair && (dot.ptr[0] == '\r' || dot.ptr[0] == '\n')) {
                buf_add(&res.out, SLICE(".\r\n"));
                i += mark ? 3 : 2;
                mended = !mark;
                res.used = i;
                continue;
            }
            i++;
            start = false;
            continue;
        }
        begin = buf_len(&res.out);
        if (crlf) {
            buf_add(&res.out, SLICE("\r\n"));
            i += 2;
            start = true;
            mended = false;
        } else if (repair && (rest.ptr[0] == '\r' || rest.ptr[0] == '\n')) {
            buf_add(&res.out, SLICE("\r\n"));
            i++;
            start = true;
            mended = true;
        } else {
            if (rest.ptr[0] == '\n')
                res.faults |= MAIL_FAULT_BARE_LF;
            /* the last byte is no fault yet: its LF may be on its way */
            if (rest.ptr[0] == '\r' && (rest.len > 1 || chunked))
                res.faults |= MAIL_FAULT_BARE_CR;
            if (rest.ptr[0] == '\0')
                res.faults |= MAIL_FAULT_NUL;
            if ((unsigned char)rest.ptr[0] > 127)
                res.eight_bit = true;
            buf_add_byte(&res.out, rest.ptr[0]);
            i++;
            start = false;
        }
        line = start ? 0 : line + buf_len(&res.out) - begin;
        if (line > MAIL_LINE_MAX + 1 ||
            (line > MAIL_LINE_MAX && i < in.len && in.ptr[i - 1] != '\r'))
            res.faults |= MAIL_FAULT_LONG_LINE;
        res.used = i;
    }
    res.size_bytes = buf_len(&res.out);
    return res;
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert_int_equal(a->ended, b->ended);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->faults, b->faults);
    assert_int_equal(a->eight_bit, b->eight_bit);
    assert_int_equal(a->size_bytes, b->size_bytes);
    assert_int_equal(buf_len(&a->out), buf_len(&b->out));
    if (buf_len(&a->out) > 0)
        assert_memory_equal(buf_bytes(&a->out).ptr, buf_bytes(&b->out).ptr, buf_len(&a->out));
}

static void check_all_splits(struct slice in, bool repair, bool chunked, struct rng *rng)
{
    struct result want = reference(in, repair, chunked);
    struct result got = play(in, repair, chunked, NULL, 0);

    assert_same(&got, &want);
    buf_release(&got.out);
    got = play(in, repair, chunked, NULL, 1);
    assert_same(&got, &want);
    buf_release(&got.out);
    for (int i = 0; i < 4; i++) {
        got = play(in, repair, chunked, rng, 1 + rng_below(rng, in.len + 2));
        assert_same(&got, &want);
        buf_release(&got.out);
    }
    buf_release(&want.out);
}

struct row {
    const char *in;
    const char *out;
    int left; /* bytes behind the end mark; -1: it never ends */
    unsigned faults;
};

#define CR MAIL_FAULT_BARE_CR
#define LF MAIL_FAULT_BARE_LF

static const struct row strict_rows[] = {
    { ".\r\n", "", 0, 0 },
    { "\r\n.\r\n", "\r\n", 0, 0 },
    { "a\r\n.\r\n", "a\r\n", 0, 0 },
    { "a\r\n.\r\nQUIT\r\n", "a\r\n", 6, 0 },
    { "a\r\n..\r\n.\r\n", "a\r\n.\r\n", 0, 0 },
    { "..a\r\n.b\r\n.\r\n", ".a\r\nb\r\n", 0, 0 },
    { "...\r\n.\r\n", "..\r\n", 0, 0 },
    { "a.\r\n.\r\n", "a.\r\n", 0, 0 },
    { "\xc3\xa9\r\n.\r\n", "\xc3\xa9\r\n", 0, 0 },
    { "a\r\n", "a\r\n", -1, 0 },
    { "a\r\n.", "a\r\n", -1, 0 },
    { "a\r\n.\r", "a\r\n", -1, 0 },
    { "a", "a", -1, 0 },
    { "a\r", "a\r", -1, 0 },
    /* every other spelling of an end mark is content with a fault */
    { "a\n.\n\r\n.\r\n", "a\n.\n\r\n", 0, LF },
    { "a\n.\r\n\r\n.\r\n", "a\n.\r\n\r\n", 0, LF },
    { "a\r\n.\n\r\n.\r\n", "a\r\n\n\r\n", 0, LF },
    { "a\r.\r\r\n.\r\n", "a\r.\r\r\n", 0, CR },
    { "a\r.\r\n\r\n.\r\n", "a\r.\r\n\r\n", 0, CR },
    { "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", 0, CR },
    { "a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", 0, CR },
    { "a\r\n.\r.\r\n.\r\n", "a\r\n\r.\r\n", 0, CR },
    { "a\n\r.\r\n.\r\n", "a\n\r.\r\n", 0, CR | LF },
    { "a\r\r\n.\r\n", "a\r\r\n", 0, CR },
    { "a\n\n.\r\n.\r\n", "a\n\n.\r\n", 0, LF },
    { "\n\r\n.\r\n", "\n\r\n", 0, LF },
    { "\r\r\r\n.\r\n", "\r\r\r\n", 0, CR },
    { "\n.\r\nMAIL FROM:<>\r\n.\r\n", "\n.\r\nMAIL FROM:<>\r\n", 0, LF },
};

static const struct row repair_rows[] = {
    { ".\r\n", "", 0, 0 },
    { "a\nb\rc\r\n.\r\nQUIT", "a\r\nb\r\nc\r\n", 4, 0 },
    /* only true CR LF on both sides of the dot ends the message */
    { ".\n", ".\r\n", -1, 0 },
    { ".\rx", ".\r\nx", -1, 0 },
    { ".\r\r\n", ".\r\n\r\n", -1, 0 },
    { "a\n.\n", "a\r\n.\r\n", -1, 0 },
    { "a\r\n.\n", "a\r\n.\r\n", -1, 0 },
    { "a\n.\r\n", "a\r\n.\r\n", -1, 0 },
    { "a\r.\r\n", "a\r\n.\r\n", -1, 0 },
    { "a\r.\rb", "a\r\n.\r\nb", -1, 0 },
    { "a\n.\r\n.\r\nQUIT", "a\r\n.\r\n", 4, 0 },
    { "a\r\n.\n.\r\n.\r\nQUIT", "a\r\n.\r\n.\r\n", 4, 0 },
    { "a\r\r\n.\n", "a\r\n\r\n.\r\n", -1, 0 },
    { "a\r\r\n.\r\n", "a\r\n\r\n", 0, 0 },
    { "a\n\r.\n", "a\r\n\r\n.\r\n", -1, 0 },
    { "a\n\n\nb\r\n.\r\n", "a\r\n\r\n\r\nb\r\n", 0, 0 },
    { "a\n..\n", "a\r\n.\r\n", -1, 0 },
    { "a\n.b\n", "a\r\nb\r\n", -1, 0 },
    { "\r", "\r\n", -1, 0 },
    { "a\r", "a\r\n", -1, 0 },
    { "a\n.", "a\r\n", -1, 0 },
    { "a\n.\r", "a\r\n", -1, 0 },
};

static const struct row chunk_rows[] = {
    { "", "", -1, 0 },
    { "a", "a", -1, 0 },
    { "a\r\n.\r\nb", "a\r\n.\r\nb", -1, 0 },
    { ".\r\n", ".\r\n", -1, 0 },
    { "..a\r\n", "..a\r\n", -1, 0 },
    { "a\r", "a\r", -1, CR },
    { "a\n", "a\n", -1, LF },
    { "a\rb\nc", "a\rb\nc", -1, CR | LF },
};

static void check_rows(const struct row *rows, size_t count, bool repair, bool chunked)
{
    struct rng rng;

    rng_seed(&rng, 1);
    for (size_t i = 0; i < count; i++) {
        struct slice in = slice_str(rows[i].in);
        struct result res = play(in, repair, chunked, NULL, 0);

        assert_slice_str(buf_bytes(&res.out), rows[i].out);
        assert_int_equal(res.faults, rows[i].faults);
        assert_int_equal(res.ended, rows[i].left >= 0);
        assert_int_equal(in.len - res.used, rows[i].left >= 0 ? rows[i].left : 0);
        buf_release(&res.out);
        check_all_splits(in, repair, chunked, &rng);
    }
}

static void test_strict(void **state)
{
    check_rows(strict_rows, countof(strict_rows), false, false);
}

static void test_repair(void **state)
{
    check_rows(repair_rows, countof(repair_rows), true, false);
}

static void test_chunks(void **state)
{
    struct result res;

    check_rows(chunk_rows, countof(chunk_rows), false, true);
    res = play(SLICE("a\n.\n\rb\r"), true, true, NULL, 1);
    assert_slice_str(buf_bytes(&res.out), "a\r\n.\r\n\r\nb\r\n");
    assert_int_equal(res.faults, 0);
    buf_release(&res.out);
}

/* All words over the five bytes that matter, up to seven of them. */
static void test_every_short_word(void **state)
{
    static const char alphabet[] = { '\r', '\n', '.', 'a', '\0' };
    struct rng rng;

    rng_seed(&rng, 2);
    for (size_t len = 0; len <= 6; len++) {
        size_t count = 1;

        for (size_t i = 0; i < len; i++)
            count *= countof(alphabet);
        for (size_t n = 0; n < count; n++) {
            char word[8];
            size_t k = n;

            for (size_t i = 0; i < len; i++, k /= countof(alphabet))
                word[i] = alphabet[k % countof(alphabet)];
            for (unsigned mode = 0; mode < 4; mode++)
                check_all_splits(slice_make(word, len), mode & 1, mode & 2, &rng);
        }
    }
}

static void random_content(struct rng *rng, struct buf *out, size_t len)
{
    static const char *const bits[] = {
        "\r\n", "\r\n",    "\r\n.", "\r\n..",  "\n",    "\r",
        ".",    "\r\n.\r", "\n.\n", "\r\n.\n", "text ", "a longer run of words, as in a letter ",
        "\x80", "\xc3\xa4"
    };

    while (buf_len(out) < len) {
        /* mostly sound, so that something long gets through */
        size_t n = rng_below(rng, 8) != 0 ? 0 : rng_below(rng, countof(bits));

        buf_add_str(out, n == 0 ? "line of text\r\n" : bits[n]);
        if (rng_below(rng, 60) == 0)
            buf_add_byte(out, '\0');
    }
}

static void test_random_dialogues(void **state)
{
    struct rng rng;
    struct buf in = { 0 };

    rng_seed(&rng, 3);
    for (int i = 0; i < 400; i++) {
        buf_clear(&in);
        random_content(&rng, &in, rng_below(&rng, 2000));
        buf_add_str(&in, "\r\n.\r\nRSET\r\n");
        for (unsigned mode = 0; mode < 4; mode++)
            check_all_splits(buf_bytes(&in), mode & 1, mode & 2, &rng);
    }
    buf_release(&in);
}

static void test_long_lines(void **state)
{
    static const struct {
        size_t len;
        unsigned faults;
    } rows[] = { { MAIL_LINE_MAX - 1, 0 },
                 { MAIL_LINE_MAX, 0 },
                 { MAIL_LINE_MAX + 1, MAIL_FAULT_LONG_LINE },
                 { MAIL_LINE_MAX + 2, MAIL_FAULT_LONG_LINE },
                 { 1000000, MAIL_FAULT_LONG_LINE } };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf in = { 0 };
        struct rng rng;

        rng_seed(&rng, 4);
        memset(buf_reserve(&in, rows[i].len), 'x', rows[i].len);
        buf_extend(&in, rows[i].len);
        buf_add_str(&in, "\r\nshort\r\n.\r\n");
        for (unsigned mode = 0; mode < 4; mode++) {
            size_t most = mode == 0 ? 0 : 1 + rng_below(&rng, 100000);
            struct result res = play(buf_bytes(&in), mode & 1, false, &rng, most);

            assert_int_equal(res.faults, rows[i].faults);
            assert_true(res.ended);
            assert_int_equal(res.size_bytes, rows[i].len + 9);
            buf_release(&res.out);
        }
        /* the same without its end, in chunks */
        struct result res = play(slice_head(buf_bytes(&in), rows[i].len), false, true, &rng, 5000);
        assert_int_equal(res.faults, rows[i].faults);
        buf_release(&res.out);
        buf_release(&in);
    }
}

/* Sound content passes in one piece however many lines it has. */
static void test_few_calls(void **state)
{
    struct buf in = { 0 };
    struct result res;

    for (int i = 0; i < 1000; i++)
        buf_add_str(&in, "a line like any other\r\n");
    buf_add_str(&in, ".\r\n");
    res = play(buf_bytes(&in), false, false, NULL, 0);
    assert_int_equal(res.calls, 1);
    buf_release(&res.out);
    res = play(buf_bytes(&in), true, false, NULL, 0);
    assert_int_equal(res.calls, 1);
    buf_release(&res.out);
    buf_release(&in);
}

/* Bytes behind the end mark are not this message's. */
static void test_flags_stop_at_the_end(void **state)
{
    struct result res = play(slice_make("a\r\n.\r\n\xff\0", 8), false, false, NULL, 0);

    assert_false(res.eight_bit);
    assert_int_equal(res.faults, 0);
    buf_release(&res.out);
    res = play(slice_make("123456789\xff\0\r\n.\r\n", 16), false, false, NULL, 0);
    assert_true(res.eight_bit);
    assert_int_equal(res.faults, MAIL_FAULT_NUL);
    buf_release(&res.out);
}

/* A flood of lone CRs or LFs must not take more than linear time. */
static void test_floods(void **state)
{
    static const char bytes[] = { '\r', '\n', '.' };
    size_t len = 4u * MIB;
    char *flood = malloc(len);

    for (size_t b = 0; b < countof(bytes); b++) {
        memset(flood, bytes[b], len);
        for (unsigned repair = 0; repair < 2; repair++) {
            struct result res = play(slice_make(flood, len), repair != 0, false, NULL, 0);
            struct buf out = { 0 };
            bool start = true;

            assert_false(res.ended);
            buf_release(&res.out);
            mail_data_stuff(&out, slice_make(flood, len), &start);
            assert_true(buf_len(&out) <= 2 * len + 1);
            buf_release(&out);
        }
    }
    free(flood);
}

static void stuff_in_pieces(struct buf *out, struct slice in, struct rng *rng, size_t most)
{
    bool start = true;

    while (in.len > 0) {
        size_t n = most == 0 ? in.len : 1 + rng_below(rng, most);

        n = n < in.len ? n : in.len;
        mail_data_stuff(out, slice_head(in, n), &start);
        in = slice_from(in, n);
    }
    mail_data_stuff(out, SLICE_EMPTY, &start); /* no pointer at all */
    mail_data_end(out, start);
}

static void test_stuffing(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "", ".\r\n" },
        { "a\r\n", "a\r\n.\r\n" },
        { "a", "a\r\n.\r\n" },
        { ".", "..\r\n.\r\n" },
        { ".\r\n", "..\r\n.\r\n" },
        { "..a\r\n.b\r\n", "...a\r\n..b\r\n.\r\n" },
        { "a.b\r\n\r\n.\r\n", "a.b\r\n\r\n..\r\n.\r\n" },
        /* what no canonical content holds */
        { "a\n.\nb", "a\r\n..\r\nb\r\n.\r\n" },
        { "a\r.\rb\r", "a\r\n..\r\nb\r\n.\r\n" },
        { "a\r\r\n.", "a\r\n\r\n..\r\n.\r\n" },
        { "a\n.\r\nRCPT", "a\r\n..\r\nRCPT\r\n.\r\n" },
        { "a\n\n.", "a\r\n..\r\n.\r\n" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        for (size_t most = 0; most < 3; most++) {
            struct buf out = { 0 };
            struct rng rng;

            rng_seed(&rng, i);
            stuff_in_pieces(&out, slice_str(rows[i].in), &rng, most);
            assert_slice_str(buf_bytes(&out), rows[i].out);
            buf_release(&out);
        }
    }
}

/* What goes out comes in again as it was, for a strict reader and for one
 * that takes every CR and LF as a line's end. */
static void test_out_and_in_again(void **state)
{
    struct rng rng;
    struct buf raw = { 0 }, wire = { 0 };

    rng_seed(&rng, 5);
    for (int i = 0; i < 600; i++) {
        struct result canon, strict, lax;

        buf_clear(&raw);
        buf_clear(&wire);
        random_content(&rng, &raw, rng_below(&rng, 1500));
        canon = play(buf_bytes(&raw), true, true, NULL, 0);
        stuff_in_pieces(&wire, buf_bytes(&canon.out), &rng, rng_below(&rng, 40));
        buf_add_str(&wire, "QUIT\r\n");
        strict = play(buf_bytes(&wire), false, false, NULL, 0);
        lax = play(buf_bytes(&wire), true, false, NULL, 0);
        assert_true(strict.ended);
        assert_int_equal(strict.faults & (CR | LF), 0);
        assert_int_equal(strict.used, buf_len(&wire) - 6);
        assert_same(&strict, &lax);
        if (!slice_ends_nocase(buf_bytes(&canon.out), SLICE("\r\n")) && buf_len(&canon.out) > 0)
            buf_add_str(&canon.out, "\r\n");
        assert_int_equal(buf_len(&strict.out), buf_len(&canon.out));
        if (buf_len(&canon.out) > 0)
            assert_memory_equal(buf_bytes(&strict.out).ptr, buf_bytes(&canon.out).ptr,
                                buf_len(&canon.out));
        buf_release(&canon.out);
        buf_release(&strict.out);
        buf_release(&lax.out);
        /* and no bytes at all get an end mark or a lone CR or LF through */
        buf_clear(&wire);
        stuff_in_pieces(&wire, buf_bytes(&raw), &rng, rng_below(&rng, 9));
        lax = play(buf_bytes(&wire), true, false, NULL, 0);
        strict = play(buf_bytes(&wire), false, false, NULL, 0);
        assert_same(&strict, &lax);
        assert_int_equal(lax.used, buf_len(&wire));
        buf_release(&strict.out);
        buf_release(&lax.out);
    }
    buf_release(&raw);
    buf_release(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strict),           cmocka_unit_test(test_repair),
        cmocka_unit_test(test_chunks),           cmocka_unit_test(test_every_short_word),
        cmocka_unit_test(test_random_dialogues), cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_few_calls),        cmocka_unit_test(test_flags_stop_at_the_end),
        cmocka_unit_test(test_floods),           cmocka_unit_test(test_stuffing),
        cmocka_unit_test(test_out_and_in_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
