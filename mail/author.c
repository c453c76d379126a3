/* mail/author.c - the domain of the first address in a From field. */
#include "mail/author.h"

#include "mail/address_list.h"
#include "mail/header.h"

static bool domain_of(struct slice address, char out[MAIL_DOMAIN_MAX + 1])
{
    struct mail_path path;

    return mail_address_parse(address, MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK && !path.literal &&
           mail_domain_to_ascii(mail_path_domain(&path), out);
}

/* What has no domain is mostly the first half of a name whose comma should have
 * been quoted ("Doe, John <john@example.com>"): the next one is asked. */
static bool first_address(struct slice value, struct buf *out)
{
    struct mail_mailbox m;
    size_t at = 0;

    while (mail_mailbox_next(value, &at, &m)) {
        buf_clear(out);
        mail_mailbox_address(value, &m, "", out);
        if (slice_find(buf_bytes(out), '@') + 1 < buf_len(out))
            return true;
    }
    return false;
}

bool mail_author_domain(struct slice header, char out[MAIL_DOMAIN_MAX + 1])
{
    struct buf address = { 0 };
    struct mail_field from;
    bool ok = mail_header_find(header, "From", &from) && first_address(from.value, &address) &&
              domain_of(buf_bytes(&address), out);

    buf_release(&address);
    return ok;
}
