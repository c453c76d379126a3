/* Completion of any header: what comes out ends where it should whatever
 * stands behind it, lacks nothing, keeps no blind copy, and a second time
 * changes nothing. */
#include "mail/complete.h"
#include "mail/header.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool rewrite(void *ctx, struct slice address, struct slice *instead)
{
    *instead = SLICE("web@new.example");
    assert(slice_find(address, '@') < address.len);
    return slice_starts_nocase(address, SLICE("r"));
}

static bool count(void *ctx, struct slice address)
{
    ++*(size_t *)ctx;
    return address.len > 0;
}

static void check_fields(struct slice header)
{
    struct mail_field f;
    size_t at = 0;

    assert(mail_header_find(header, "From", &f));
    assert(mail_header_find(header, "Date", &f));
    assert(mail_header_find(header, "Message-ID", &f));
    while (mail_header_next(header, &at, &f)) {
        assert(!slice_eq_nocase(f.name, SLICE("Bcc")));
        assert(!slice_eq_nocase(f.name, SLICE("resent-bcc")));
    }
    assert(header.len - at <= 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_completion c = {
        .hostname = "mx.test",
        .id = "0123456789ABCDEF",
        .wall_ms = 1700000000000,
        .from = SLICE("user@mx.test"),
        .rewrite = size % 2 == 0 ? rewrite : NULL,
    };
    struct slice in = slice_make(data, size), header;
    struct mail_header_scan scan = { 0 }, again = { 0 };
    struct buf out = { 0 }, twice = { 0 };
    size_t before = 0, after = 0, done;

    mail_header_scan(&scan, in, true);
    header = slice_head(in, scan.size);
    mail_complete_header(header, scan.malformed, &c, &out);
    done = buf_len(&out);
    check_fields(buf_bytes(&out));
    mail_from_addresses(header, c.hostname, count, &before);
    mail_from_addresses(buf_bytes(&out), c.hostname, count, &after);
    assert(before == after || before == 0);

    buf_add(&out, slice_from(in, scan.size));
    mail_header_scan(&again, buf_bytes(&out), true);
    assert(again.size == done && !again.malformed);
    mail_complete_header(slice_head(buf_bytes(&out), done), false, &c, &twice);
    assert(slice_eq(buf_bytes(&twice), slice_head(buf_bytes(&out), done)));
    buf_release(&out);
    buf_release(&twice);
    return 0;
}
