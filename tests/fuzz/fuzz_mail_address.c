/* Paths and patterns: what passes is canonical, and stays what it is. */
#include "mail/path.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct mail_path *p)
{
    struct mail_path again;
    unsigned all = MAIL_PATH_NULL_OK | MAIL_PATH_POSTMASTER_OK | MAIL_PATH_UTF8_OK;

    assert(p->len <= MAIL_ADDRESS_MAX && strlen(p->text) == p->len);
    for (size_t i = 0; i < p->len; i++)
        assert((unsigned char)p->text[i] >= ' ' && p->text[i] != 0x7f);
    if (mail_address_parse(mail_path_text(p), all, &again) != MAIL_PATH_OK)
        abort();
    assert(p->utf8 || !again.utf8);
    again.utf8 = p->utf8; /* a domain's other script is gone */
    if (memcmp(p, &again, sizeof again) != 0)
        abort();
    assert(slice_eq(mail_address_domain(mail_path_text(p)), mail_path_domain(p)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct mail_path p;
    size_t used;

    for (unsigned flags = 0; flags < 8; flags++) {
        if (mail_path_parse(in, flags, &p, &used) == MAIL_PATH_OK) {
            assert(used <= size);
            check(&p);
        }
        if (mail_address_parse(in, flags, &p) == MAIL_PATH_OK)
            check(&p);
    }
    if (mail_pattern_valid(in))
        mail_pattern_matches(in, SLICE("local@host.example"));
    mail_pattern_matches(SLICE(".host.example"), in);
    return 0;
}
