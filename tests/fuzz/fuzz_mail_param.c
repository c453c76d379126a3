/* Values of MAIL's and RCPT's parameters: what passes is harmless in a line of
 * SMTP and, decoded, in a header field, and is again itself when written. */
#include "mail/param.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_harmless(struct slice s, bool utf8)
{
    for (size_t i = 0; i < s.len; i++)
        assert((unsigned char)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f && (utf8 || (unsigned char)s.ptr[i] < 0x80));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct buf out = { 0 };
    char text[MAIL_NOTIFY_TEXT_MAX], date[MAIL_RFC3339_MAX];
    uint8_t notify, again;
    uint64_t at, back;

    if (mail_xtext_valid(in)) {
        check_harmless(in, false);
        mail_xtext_decode(in, &out);
        check_harmless(buf_bytes(&out), false);
    }
    buf_clear(&out);
    if (mail_orcpt_valid(in, true)) {
        check_harmless(in, true);
        mail_orcpt_add_ascii(&out, in);
        check_harmless(buf_bytes(&out), false);
        assert(buf_len(&out) > MAIL_ORCPT_MAX || mail_orcpt_valid(buf_bytes(&out), false));
    } else {
        assert(!mail_orcpt_valid(in, false));
    }
    if (mail_notify_parse(in, &notify))
        assert(mail_notify_parse(slice_str(mail_notify_format(notify, text)), &again) && again == notify);
    if (mail_rfc3339_parse(in, &at))
        assert(mail_rfc3339_parse(slice_str(mail_rfc3339_format(at, date)), &back) && back / SECOND_MS == at / SECOND_MS);
    buf_release(&out);
    return 0;
}
