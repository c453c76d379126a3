/* Headers: the same end however they arrive; a walk covers them without gap. */
#include "mail/header.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size), header;
    struct mail_header_scan whole = { 0 }, bytes = { 0 };
    struct mail_field f;
    struct buf text = { 0 };
    unsigned received = 0;
    size_t at = 0;

    mail_header_scan(&whole, in, true);
    assert(whole.done && whole.size <= size);
    for (size_t i = 0; i <= size; i++)
        if (mail_header_scan(&bytes, slice_head(in, i), i == size))
            break;
    assert(bytes.size == whole.size && bytes.malformed == whole.malformed);
    assert(bytes.received == whole.received && bytes.delivered_to == whole.delivered_to);

    header = slice_head(in, whole.size);
    while (mail_header_next(header, &at, &f)) {
        assert(f.whole.ptr + f.whole.len == header.ptr + at);
        received += slice_eq_nocase(f.name, SLICE("Received"));
        buf_clear(&text);
        mail_field_unfold(f.value, &text);
        for (size_t i = 0; i < buf_len(&text); i++)
            assert((unsigned char)buf_bytes(&text).ptr[i] >= ' ');
    }
    assert(received == whole.received);
    /* what is left is the empty line, if there is one */
    assert(header.len - at <= 2);
    mail_header_message_id(header);
    buf_release(&text);
    return 0;
}
