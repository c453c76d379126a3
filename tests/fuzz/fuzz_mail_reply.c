/* Replies: the same in one piece and byte by byte, bounded and clean. */
#include "mail/reply.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum mail_reply_result feed(struct mail_reply_reader *r, struct slice in, size_t step,
                                   size_t *total)
{
    enum mail_reply_result result = MAIL_REPLY_MORE;

    for (*total = 0; result == MAIL_REPLY_MORE && *total < in.len;) {
        size_t used;

        result = mail_reply_feed(r, slice_head(slice_from(in, *total), step), &used);
        *total += used;
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct mail_reply_reader whole = { 0 }, bytes = { 0 };
    size_t used, used_bytes;
    enum mail_reply_result result = feed(&whole, in, size, &used);

    assert(feed(&bytes, in, 1, &used_bytes) == result);
    if (result == MAIL_REPLY_DONE) {
        struct slice text = buf_bytes(&whole.reply.text);

        assert(used == used_bytes);
        assert(whole.reply.code >= 200 && whole.reply.code <= 599);
        assert(slice_eq(text, buf_bytes(&bytes.reply.text)));
        assert(text.len <= MAIL_REPLY_TEXT_MAX);
        for (size_t i = 0; i < text.len; i++)
            assert(text.ptr[i] == '\n' ||
                   ((unsigned char)text.ptr[i] >= ' ' && text.ptr[i] != 0x7f));
    }
    mail_reply_reader_release(&whole);
    mail_reply_reader_release(&bytes);
    return 0;
}
