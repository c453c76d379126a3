/* mail/pattern.c - which addresses a route or a rule means. */
#include "mail/domain.h"

static bool domain_or_literal_valid(struct slice domain)
{
    char out[MAIL_DOMAIN_MAX + 1];

    return mail_domain_to_ascii(domain, out) || mail_literal_normalise(domain, out);
}

/* The same domain, though perhaps one in A-labels and one in U-labels. */
static bool domain_eq(struct slice a, struct slice b)
{
    char ascii_a[MAIL_DOMAIN_MAX + 1], ascii_b[MAIL_DOMAIN_MAX + 1];

    if (slice_eq_nocase(a, b))
        return true;
    return mail_domain_to_ascii(a, ascii_a) && mail_domain_to_ascii(b, ascii_b) &&
           strcmp(ascii_a, ascii_b) == 0;
}

/* Whether domain lies below `parent`, which begins with its dot. */
static bool domain_below(struct slice parent, struct slice domain)
{
    struct slice tail;
    size_t dots = 0;

    for (size_t i = 0; i < parent.len; i++)
        dots += parent.ptr[i] == '.';
    /* the tail of domain with as many labels, if something stands before it */
    tail = domain;
    for (size_t i = domain.len; i > 0 && dots > 0; i--)
        if (domain.ptr[i - 1] == '.' && --dots == 0)
            tail = slice_from(domain, i);
    return tail.len < domain.len && domain_eq(slice_from(parent, 1), tail);
}

bool mail_pattern_valid(struct slice pattern)
{
    struct slice local = mail_address_local(pattern);
    struct slice domain = mail_address_domain(pattern);
    struct mail_path path;

    if (slice_eq(pattern, SLICE("*")) || slice_eq(pattern, SLICE("<>")))
        return true;
    if (pattern.len > 0 && pattern.ptr[0] == '*')
        return false; /* an atom in theory; whoever writes "*@domain" means something else */
    if (local.len == pattern.len) /* no "@": a domain or what is below one */
        return domain_or_literal_valid(
            pattern.len > 0 && pattern.ptr[0] == '.' ? slice_from(pattern, 1) : pattern);
    if (local.len == 0)
        return domain_or_literal_valid(domain);
    if (domain.len == 0) {
        struct buf probe = { 0 };
        bool ok;

        buf_add(&probe, pattern);
        buf_add_str(&probe, "x");
        ok = mail_address_parse(buf_bytes(&probe), MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK;
        buf_release(&probe);
        return ok;
    }
    return mail_address_parse(pattern, MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK;
}

bool mail_pattern_matches(struct slice pattern, struct slice address)
{
    struct slice local = mail_address_local(address);
    struct slice domain = mail_address_domain(address);
    struct slice want_local = mail_address_local(pattern);
    struct slice want_domain = mail_address_domain(pattern);

    if (slice_eq(pattern, SLICE("*")))
        return true;
    if (slice_eq(pattern, SLICE("<>")))
        return address.len == 0;
    if (address.len == 0 || pattern.len == 0)
        return false;
    if (pattern.ptr[0] == '.')
        return domain_below(pattern, domain);
    if (want_local.len == pattern.len)
        return domain_eq(pattern, domain);
    if (want_local.len > 0 && !slice_eq_nocase(want_local, local))
        return false;
    return want_domain.len == 0 ? want_local.len > 0 : domain_eq(want_domain, domain);
}
