/* Any header: no domain but one fit for DNS comes out, and none that the sender
 * rule does not see, too. */
#include "mail/author.h"
#include "mail/complete.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    const char *domain;
    bool found;
};

static bool look(void *ctx, struct slice address)
{
    struct seen *seen = ctx;
    struct mail_path path;

    seen->found |= mail_address_parse(address, MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK &&
                   slice_eq(mail_path_domain(&path), slice_str(seen->domain));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice header = slice_make((const char *)data, size);
    char domain[MAIL_DOMAIN_MAX + 1];
    struct seen seen = { domain, false };

    if (!mail_author_domain(header, domain))
        return 0;
    if (!mail_domain_valid(slice_str(domain)))
        abort();
    mail_from_addresses(header, "mx.test", look, &seen);
    if (!seen.found)
        abort();
    return 0;
}
