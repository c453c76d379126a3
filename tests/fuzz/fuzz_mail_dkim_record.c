/* Any TXT record beside one of ours; and what we write is split and whole. */
#include "mail/dkim_record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data, size);
    struct buf out = { 0 };

    if (mail_dkim_compare(SLICE("v=DKIM1; k=rsa; p=AAAA"), in) == MAIL_DKIM_SAME && size < 6)
        abort();
    mail_dkim_record_kind(in);
    mail_dkim_zone_line("s._domainkey.example.com", in, &out);
    mail_dkim_strings(in, &out);
    buf_release(&out);
    return 0;
}
