/* DKIM key records: their forms on paper, and whether DNS has the right one. */
#include "tests/unit/check.h"

#include "mail/dkim_record.h"

static void test_compare(void **state)
{
    static const char ours[] = "v=DKIM1; k=rsa; p=MIIBabc+/=";
    static const struct {
        const char *found;
        enum mail_dkim_match match;
    } rows[] = {
        { "v=DKIM1; k=rsa; p=MIIBabc+/=", MAIL_DKIM_SAME },
        { "k=rsa;p=MIIBabc+/=;", MAIL_DKIM_SAME },
        { "p=MIIBabc+/=", MAIL_DKIM_SAME },
        { "v=DKIM1; p=MI IB\tabc+/=; t=s; n=a note", MAIL_DKIM_SAME },
        { "v=DKIM1; h=sha1:sha256; s=*; p=MIIBabc+/=", MAIL_DKIM_SAME },
        { "v=DKIM1; h=sha1; p=MIIBabc+/=", MAIL_DKIM_RESTRICTED },
        { "v=DKIM1; s=tlsrpt; p=MIIBabc+/=", MAIL_DKIM_RESTRICTED },
        { "v=DKIM1; k=rsa; p=MIIBabcX/=", MAIL_DKIM_OTHER_KEY },
        { "v=DKIM1; k=rsa; p=MIIBabc", MAIL_DKIM_OTHER_KEY },
        { "v=DKIM1; k=ed25519; p=MIIBabc+/=", MAIL_DKIM_OTHER_KEY },
        { "v=DKIM1; k=rsa; p=", MAIL_DKIM_REVOKED },
        { "v=DKIM1; p= ;", MAIL_DKIM_REVOKED },
        { "v=DKIM2; k=rsa; p=MIIBabc+/=", MAIL_DKIM_NO_RECORD },
        { "v=spf1 -all", MAIL_DKIM_NO_RECORD },
        { "", MAIL_DKIM_NO_RECORD },
        { ";;;", MAIL_DKIM_NO_RECORD },
        { "P=MIIBabc+/=", MAIL_DKIM_NO_RECORD },
    };

    for (size_t i = 0; i < countof(rows); i++)
        if (mail_dkim_compare(slice_str(ours), slice_str(rows[i].found)) != rows[i].match)
            fail_msg("%s: %s", rows[i].found,
                     mail_dkim_match_text(mail_dkim_compare(slice_str(ours), slice_str(rows[i].found))));
}

static void test_written(void **state)
{
    struct buf record = { 0 }, out = { 0 }, base64 = { 0 };

    mail_dkim_record_format(MAIL_DKIM_ED25519, SLICE("c2hvcnQ="), &record);
    assert_slice_str(buf_bytes(&record), "v=DKIM1; k=ed25519; p=c2hvcnQ=");
    assert_int_equal(mail_dkim_record_kind(buf_bytes(&record)), MAIL_DKIM_ED25519);
    mail_dkim_zone_line("e1._domainkey.example.com", buf_bytes(&record), &out);
    assert_slice_str(buf_bytes(&out), "e1._domainkey.example.com. IN TXT \"v=DKIM1; k=ed25519; p=c2hvcnQ=\"\n");
    buf_clear(&record);
    buf_clear(&out);
    for (size_t i = 0; i < 300; i++)
        buf_add_byte(&base64, 'A');
    mail_dkim_record_format(MAIL_DKIM_RSA, buf_bytes(&base64), &record);
    assert_int_equal(mail_dkim_record_kind(buf_bytes(&record)), MAIL_DKIM_RSA);
    mail_dkim_zone_line("r1._domainkey.example.com", buf_bytes(&record), &out);
    buf_clear(&base64);
    buf_add_str(&base64, "r1._domainkey.example.com. IN TXT (\n    \"v=DKIM1; k=rsa; p=");
    for (size_t i = 0; i < 300; i++) {
        if (i == 255 - 18)
            buf_add_str(&base64, "\"\n    \"");
        buf_add_byte(&base64, 'A');
    }
    buf_add_str(&base64, "\" )\n");
    assert_slice_str(buf_bytes(&out), buf_cstr(&base64));
    buf_clear(&out);
    mail_dkim_strings(buf_bytes(&record), &out);
    assert_int_equal(buf_len(&out), 18 + 300 + 4 + 2);
    assert_int_equal(slice_find(buf_bytes(&out), '\n'), 257);
    buf_release(&record);
    buf_release(&out);
    buf_release(&base64);
}

static void test_kind_of_others(void **state)
{
    assert_int_equal(mail_dkim_record_kind(SLICE("v=DKIM1; k=dsa; p=x")), 0);
    assert_int_equal(mail_dkim_record_kind(SLICE("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_kind_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
