/* Any header: no domain but one fit for DNS comes out. */
#include "mail/author.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char domain[MAIL_DOMAIN_MAX + 1];

    if (mail_author_domain(slice_make((const char *)data, size), domain) && !mail_domain_valid(slice_str(domain)))
        abort();
    return 0;
}
