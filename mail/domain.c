/* mail/domain.c - the part of an address that says where mail goes: names fit
 * for DNS, names of other scripts, and address literals. */
#include "mail/domain.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdio.h>

#define NAME_MAX_BYTES  253 /* of a name in DNS, as text without the final dot */
#define LABEL_MAX_BYTES 63

/* sub-domain of RFC 5321, and underscores, which real hosts have. */
static bool label_valid(struct slice label)
{
    if (label.len == 0 || label.len > LABEL_MAX_BYTES || label.ptr[0] == '-' ||
        label.ptr[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++)
        if (!ascii_is_alnum(label.ptr[i]) && label.ptr[i] != '-' && label.ptr[i] != '_')
            return false;
    return true;
}

static bool all_digits(struct slice label)
{
    for (size_t i = 0; i < label.len; i++)
        if (!ascii_is_digit(label.ptr[i]))
            return false;
    return true;
}

bool mail_domain_valid(struct slice domain)
{
    struct slice rest = domain, label = SLICE_EMPTY;

    if (domain.len == 0 || domain.len > NAME_MAX_BYTES || domain.ptr[domain.len - 1] == '.')
        return false;
    while (slice_split(&rest, '.', &label))
        if (!label_valid(label))
            return false;
    return !all_digits(label);
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] > 0x7f)
            return false;
    return true;
}

static bool copy_lower(struct slice domain, char out[MAIL_DOMAIN_MAX + 1])
{
    if (!mail_domain_valid(domain))
        return false;
    for (size_t i = 0; i < domain.len; i++)
        out[i] = ascii_lower(domain.ptr[i]);
    out[domain.len] = '\0';
    return true;
}

bool mail_domain_to_ascii(struct slice domain, char out[MAIL_DOMAIN_MAX + 1])
{
    char text[MAIL_DOMAIN_MAX + 1];
    char *ascii = NULL;
    bool ok;
    int rc;

    if (domain.len > MAIL_DOMAIN_MAX)
        return false;
    if (is_ascii(domain))
        return copy_lower(domain, out);
    if (memchr(domain.ptr, '\0', domain.len) != NULL)
        return false;
    memcpy(text, domain.ptr, domain.len);
    text[domain.len] = '\0';
    rc = idn2_to_ascii_8z(text, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    if (rc == IDN2_MALLOC)
        mem_out(); /* no verdict on the domain: "no" would turn mail away for good */
    if (rc != IDN2_OK)
        return false;
    ok = copy_lower(slice_str(ascii), out);
    idn2_free(ascii);
    return ok;
}

bool mail_literal_normalise(struct slice literal, char out[MAIL_LITERAL_MAX])
{
    static const struct slice tag = SLICE("IPv6:");
    char text[INET6_ADDRSTRLEN + 1] = "";
    unsigned char bytes[sizeof(struct in6_addr)];
    struct slice inner;
    int family = AF_INET;

    if (literal.len < 2 || literal.ptr[0] != '[' || literal.ptr[literal.len - 1] != ']')
        return false;
    inner = slice_make(literal.ptr + 1, literal.len - 2);
    if (slice_starts_nocase(inner, tag)) {
        family = AF_INET6;
        inner = slice_from(inner, tag.len);
    }
    if (inner.len >= sizeof text || memchr(inner.ptr, '\0', inner.len) != NULL)
        return false;
    memcpy(text, inner.ptr, inner.len);
    if (inet_pton(family, text, bytes) != 1)
        return false;
    inet_ntop(family, bytes, text, sizeof text);
    snprintf(out, MAIL_LITERAL_MAX, "[%s%s]", family == AF_INET6 ? "IPv6:" : "", text);
    return true;
}
