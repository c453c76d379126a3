/* Records of the queue and the history as a disk gives them back. The first
 * byte chooses the kind and whether a good checksum is put behind the rest, so
 * that what is inside is looked at too. What is understood is written again,
 * and is then understood as the same. */
#include "queue/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Appends what was understood; false: nothing was. */
typedef bool rewrite(struct slice record, struct buf *out);

static bool rewrite_message(struct slice record, struct buf *out)
{
    struct message m = { 0 };
    bool header_inline, again;
    size_t added = record.len > 0 && record.ptr[0] == 1 ? 4 : 0; /* by the newer version */

    if (err_failed(record_message_get(record, &m, &header_inline)))
        return false;
    /* Its reader compares them (queue/load.c); one too large is stored apart. */
    m.header_bytes = m.header.len;
    if (!header_inline || record.len + added > RECORD_LEAF_MAX - 7)
        m.header_bytes = RECORD_LEAF_MAX;
    record_message_put(out, &m, &again);
    return true;
}

static bool rewrite_recipient(struct slice record, struct buf *out)
{
    struct recipient r = { 0 };

    if (err_failed(record_recipient_get(record, &r)))
        return false;
    if (r.state != RECIPIENT_QUEUED && r.state != RECIPIENT_HELD)
        abort();
    record_recipient_put(out, &r);
    return true;
}

static bool rewrite_event(struct slice record, struct buf *out)
{
    struct event e = { 0 };

    if (err_failed(record_event_get(record, &e)))
        return false;
    if (event_type_text(e.type) == NULL)
        abort();
    record_event_put(out, &e);
    return true;
}

static bool rewrite_signature(struct slice record, struct buf *out)
{
    struct slice fields;
    unsigned parts;

    if (err_failed(record_signature_get(record, &parts, &fields)))
        return false;
    if (parts == 0)
        abort();
    record_signature_put(out, parts, fields);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rewrite *const kinds[] = { rewrite_message, rewrite_recipient, rewrite_event, rewrite_signature };
    struct buf record = { 0 }, once = { 0 }, twice = { 0 };
    rewrite *kind;

    if (size == 0)
        return 0;
    kind = kinds[data[0] % countof(kinds)];
    buf_add(&record, slice_make(data + 1, size - 1));
    if ((data[0] & 128) == 0)
        codec_seal(&record, 0);
    if (kind(buf_bytes(&record), &once)) {
        if (!kind(buf_bytes(&once), &twice) || !slice_eq(buf_bytes(&once), buf_bytes(&twice)))
            abort();
    }
    buf_release(&record);
    buf_release(&once);
    buf_release(&twice);
    return 0;
}
