/* Notices about hostile mail: lines of the input become what strangers said. */
#include "mail/dsn.h"
#include "mail/header.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* NUL-separated, so that line ends can be among the bytes. */
static struct slice take(struct slice *rest)
{
    struct slice part = SLICE_EMPTY;

    slice_split(rest, '\0', &part);
    return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_make(data, size);
    struct mail_dsn_recipient r = { .code = size % 2 ? 550 : 0,
                                    .status = { 5, (uint16_t)(size % 9), 1 } };
    struct mail_dsn d = { .action = (enum mail_dsn_action)(size % 5),
                          .reporting_mta = "mx.example.com",
                          .queue_id = "0194abcd01234567",
                          .dsn_id = "0194abcd89",
                          .recipients = &r,
                          .recipient_count = 1 };
    struct buf header = { 0 }, body = { 0 };
    struct mail_header_scan scan = { 0 };

    r.final_recipient = take(&rest);
    r.original_recipient = take(&rest);
    r.reply_text = take(&rest);
    r.remote_mta = take(&rest);
    d.sender = take(&rest);
    d.envelope_id = take(&rest);
    mail_dsn_format(&d, &header, &body);
    mail_header_scan(&scan, buf_bytes(&header), true);
    assert(scan.done && !scan.malformed && scan.size == buf_len(&header));
    for (size_t i = 0; i < buf_len(&body); i++)
        assert((unsigned char)buf_bytes(&body).ptr[i] < 0x80);
    buf_clear(&header);
    buf_clear(&body);
    d.original_header = SLICE("Subject: x\r\n\r\n");
    d.original_body = rest.len > 0 ? rest : SLICE("x");
    d.smtputf8 = true;
    mail_dsn_format(&d, &header, &body);
    buf_release(&header);
    buf_release(&body);
    return 0;
}
