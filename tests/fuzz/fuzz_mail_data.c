/* Content: the first byte chooses the mode and the size of the pieces. Held
 * against the rules written byte for byte; then out again, and in again. */
#include "mail/body.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sink(void *ctx, struct slice bytes)
{
    assert(bytes.len > 0);
    buf_add(ctx, bytes);
}

struct result {
    struct buf out;
    size_t used;
    bool ended;
    unsigned faults;
};

static struct result play(struct slice in, bool repair, bool chunked, size_t step)
{
    struct mail_data_reader r = { .repair_line_ends = repair, .chunked = chunked };
    struct result res = { 0 };

    while (!res.ended && res.used < in.len) {
        size_t used;

        res.ended =
            mail_data_feed(&r, slice_head(slice_from(in, res.used), step), &used, sink, &res.out);
        res.used += used;
    }
    if (chunked)
        mail_data_finish(&r, sink, &res.out);
    assert(r.size_bytes == buf_len(&res.out));
    res.faults = r.faults;
    return res;
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert(a->ended == b->ended && a->used == b->used && a->faults == b->faults);
    assert(slice_eq(buf_bytes(&a->out), buf_bytes(&b->out)));
}

static size_t find(struct slice s, struct slice what)
{
    const char *p = s.len >= what.len ? memmem(s.ptr, s.len, what.ptr, what.len) : NULL;

    return p != NULL ? (size_t)(p - s.ptr) : SIZE_MAX;
}

/* Without repair the end is known before a byte is looked at. */
static void check_end(struct slice in, const struct result *res)
{
    size_t at = find(in, SLICE("\r\n.\r\n"));

    if (slice_eq(slice_head(in, 3), SLICE(".\r\n")))
        assert(res->ended && res->used == 3);
    else if (at != SIZE_MAX)
        assert(res->ended && res->used == at + 5);
    else
        assert(!res->ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool repair, chunked, start = true;
    struct result whole, pieces, again;
    struct slice in;
    struct buf wire = { 0 };

    if (size == 0)
        return 0;
    repair = data[0] & 1;
    chunked = data[0] & 2;
    in = slice_make(data + 1, size - 1);
    whole = play(in, repair, chunked, size);
    pieces = play(in, repair, chunked, 1);
    assert_same(&whole, &pieces);
    buf_release(&pieces.out);
    pieces = play(in, repair, chunked, 1 + (data[0] >> 2));
    assert_same(&whole, &pieces);
    buf_release(&pieces.out);
    if (!repair && !chunked)
        check_end(in, &whole);
    if (repair)
        assert((whole.faults & (MAIL_FAULT_BARE_CR | MAIL_FAULT_BARE_LF)) == 0);

    for (size_t at = 0; at < buf_len(&whole.out); at += 1 + (data[0] >> 2))
        mail_data_stuff(
            &wire, slice_head(slice_from(buf_bytes(&whole.out), at), 1 + (data[0] >> 2)), &start);
    mail_data_end(&wire, start);
    again = play(buf_bytes(&wire), true, false, size * 4 + 8); /* as a lax next hop reads it */
    pieces = play(buf_bytes(&wire), false, false, size * 4 + 8);
    assert_same(&again, &pieces);
    assert(again.ended && again.used == buf_len(&wire));
    if (repair || (whole.faults & (MAIL_FAULT_BARE_CR | MAIL_FAULT_BARE_LF)) == 0)
        assert(slice_eq(slice_head(buf_bytes(&again.out), buf_len(&whole.out)),
                        buf_bytes(&whole.out)));
    buf_release(&again.out);
    buf_release(&pieces.out);
    buf_release(&whole.out);
    buf_release(&wire);
    return 0;
}
