/* mail/path.c - the addresses of an envelope, as MAIL and RCPT bring them.
 * Whoever relays must read an address exactly as the next hop will, so the
 * grammar is RFC 5321's and nothing more, and one canonical spelling goes on
 * to routing, storage and the next hop. "%" and "!" are bytes like any other
 * in a local part: nobody is routed through us by them. */
#include "mail/path.h"

#include "mail/domain.h"
#include "mail/text.h"

/* What is left of the text, and where its canonical spelling goes. */
struct parser {
    struct slice rest;
    unsigned flags;
    bool utf8; /* something over 127 was taken */
};

static bool peek(const struct parser *p, char c)
{
    return p->rest.len > 0 && p->rest.ptr[0] == c;
}

static bool take(struct parser *p, char c)
{
    if (!peek(p, c))
        return false;
    p->rest = slice_from(p->rest, 1);
    return true;
}

static bool is_atext(char c)
{
    return ascii_is_alnum(c) || (c > ' ' && c < 0x7f && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* The local part under construction: as the address means it, without quotes. */
struct local {
    char bytes[MAIL_LOCAL_MAX];
    size_t len; /* may pass the maximum; then the rest was not kept */
};

static void local_add(struct local *l, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++, l->len++)
        if (l->len < sizeof l->bytes)
            l->bytes[l->len] = bytes.ptr[i];
}

/* One character over 127 into the local part. */
static enum mail_path_error take_utf8(struct parser *p, struct local *l)
{
    size_t len = mail_utf8_len(p->rest);

    if ((p->flags & MAIL_PATH_UTF8_OK) == 0)
        return MAIL_PATH_NON_ASCII;
    if (len == 0)
        return MAIL_PATH_SYNTAX;
    local_add(l, slice_head(p->rest, len));
    p->rest = slice_from(p->rest, len);
    p->utf8 = true;
    return MAIL_PATH_OK;
}

static bool is_high(const struct parser *p)
{
    return p->rest.len > 0 && (unsigned char)p->rest.ptr[0] > 0x7f;
}

/* Dot-string = Atom *("." Atom) */
static enum mail_path_error parse_dot_string(struct parser *p, struct local *l)
{
    enum mail_path_error e;

    do {
        size_t begin = l->len;

        while (p->rest.len > 0 && (is_atext(p->rest.ptr[0]) || is_high(p))) {
            if (is_high(p)) {
                e = take_utf8(p, l);
                if (e != MAIL_PATH_OK)
                    return e;
                continue;
            }
            local_add(l, slice_head(p->rest, 1));
            p->rest = slice_from(p->rest, 1);
        }
        if (l->len == begin)
            return MAIL_PATH_SYNTAX;
        if (!peek(p, '.'))
            return MAIL_PATH_OK;
        local_add(l, SLICE("."));
    } while (take(p, '.'));
    return MAIL_PATH_OK;
}

/* Quoted-string = DQUOTE *( qtextSMTP / "\" %d32-126 ) DQUOTE */
static enum mail_path_error parse_quoted_string(struct parser *p, struct local *l)
{
    enum mail_path_error e;

    take(p, '"');
    while (!take(p, '"')) {
        bool escaped = take(p, '\\');

        if (!escaped && is_high(p)) {
            e = take_utf8(p, l);
            if (e != MAIL_PATH_OK)
                return e;
            continue;
        }
        if (p->rest.len == 0 || p->rest.ptr[0] < ' ' || p->rest.ptr[0] > '~')
            return MAIL_PATH_SYNTAX;
        local_add(l, slice_head(p->rest, 1));
        p->rest = slice_from(p->rest, 1);
    }
    return MAIL_PATH_OK;
}

/* Whether the local part may stand without quotes. */
static bool is_dot_string(const struct local *l)
{
    bool after_dot = true;

    for (size_t i = 0; i < l->len; i++) {
        bool dot = l->bytes[i] == '.';

        if (dot ? after_dot : !is_atext(l->bytes[i]) && (unsigned char)l->bytes[i] < 0x80)
            return false;
        after_dot = dot;
    }
    return !after_dot;
}

static void put(struct mail_path *out, char c)
{
    out->text[out->len++] = c;
}

/* Writes the canonical spelling; false when it is too long. */
static bool put_local(const struct local *l, struct mail_path *out)
{
    if (l->len > MAIL_LOCAL_MAX)
        return false;
    if (is_dot_string(l)) {
        memcpy(out->text, l->bytes, l->len);
        out->len = (uint16_t)l->len;
    } else {
        put(out, '"');
        for (size_t i = 0; i < l->len; i++) {
            if (l->bytes[i] == '"' || l->bytes[i] == '\\')
                put(out, '\\');
            put(out, l->bytes[i]);
        }
        put(out, '"');
    }
    out->local_len = out->len;
    return out->len <= MAIL_LOCAL_MAX;
}

static enum mail_path_error parse_local(struct parser *p, struct mail_path *out)
{
    struct local l = { .len = 0 };
    enum mail_path_error e = peek(p, '"') ? parse_quoted_string(p, &l) : parse_dot_string(p, &l);

    if (e != MAIL_PATH_OK)
        return e;
    return put_local(&l, out) ? MAIL_PATH_OK : MAIL_PATH_LOCAL_LONG;
}

/* The bytes a domain could have; what they make is judged afterwards. */
static struct slice take_domain(struct parser *p)
{
    size_t len = 0;
    struct slice domain;

    while (len < p->rest.len && (is_atext(p->rest.ptr[len]) || p->rest.ptr[len] == '.' ||
                                 (unsigned char)p->rest.ptr[len] > 0x7f))
        len++;
    domain = slice_head(p->rest, len);
    p->rest = slice_from(p->rest, len);
    return domain;
}

/* Fit for DNS, in A-labels and lower case. */
static enum mail_path_error judge_domain(struct slice domain, unsigned flags, bool *utf8,
                                         char ascii[MAIL_DOMAIN_MAX + 1])
{
    for (size_t i = 0; i < domain.len; i++)
        *utf8 |= (unsigned char)domain.ptr[i] > 0x7f;
    if (*utf8 && (flags & MAIL_PATH_UTF8_OK) == 0)
        return MAIL_PATH_NON_ASCII;
    if (domain.len > MAIL_DOMAIN_MAX)
        return MAIL_PATH_DOMAIN_LONG;
    if (!mail_domain_to_ascii(domain, ascii))
        return MAIL_PATH_DOMAIN_BAD;
    return MAIL_PATH_OK;
}

static enum mail_path_error parse_literal(struct parser *p, struct mail_path *out)
{
    size_t len = slice_find(p->rest, ']');

    if (len == p->rest.len)
        return MAIL_PATH_LITERAL_BAD;
    if (!mail_literal_normalise(slice_head(p->rest, len + 1), out->text + out->len))
        return MAIL_PATH_LITERAL_BAD;
    out->len = (uint16_t)(out->len + strlen(out->text + out->len));
    out->literal = true;
    p->rest = slice_from(p->rest, len + 1);
    return MAIL_PATH_OK;
}

/* The domain behind the "@" that was just taken. */
static enum mail_path_error parse_domain(struct parser *p, struct mail_path *out)
{
    enum mail_path_error e;
    struct slice domain;
    char ascii[MAIL_DOMAIN_MAX + 1];
    bool utf8 = false;

    put(out, '@');
    if (peek(p, '['))
        return parse_literal(p, out);
    domain = take_domain(p);
    if (domain.len == 0)
        return MAIL_PATH_SYNTAX;
    e = judge_domain(domain, p->flags, &utf8, ascii);
    if (e != MAIL_PATH_OK)
        return e;
    p->utf8 |= utf8;
    for (size_t i = 0; ascii[i] != '\0'; i++)
        put(out, ascii[i]);
    return MAIL_PATH_OK;
}

/* "postmaster" alone stands for ours (RFC 5321 section 4.1.1.3). */
static bool is_postmaster(const struct parser *p, struct mail_path *out)
{
    if ((p->flags & MAIL_PATH_POSTMASTER_OK) == 0 ||
        !slice_eq_nocase(mail_path_text(out), SLICE("postmaster")))
        return false;
    memcpy(out->text, "postmaster", out->len);
    return true;
}

static enum mail_path_error parse_mailbox(struct parser *p, struct mail_path *out)
{
    enum mail_path_error e = parse_local(p, out);

    if (e != MAIL_PATH_OK)
        return e;
    if (!take(p, '@'))
        return is_postmaster(p, out) ? MAIL_PATH_OK : MAIL_PATH_SYNTAX;
    e = parse_domain(p, out);
    out->text[out->len] = '\0';
    out->utf8 = p->utf8;
    return e;
}

/* "@a.example,@b.example:" is read and forgotten (RFC 5321 section 4.1.1.3,
 * appendix C). */
static enum mail_path_error skip_source_route(struct parser *p)
{
    char ascii[MAIL_DOMAIN_MAX + 1];
    bool utf8 = false;

    if (!peek(p, '@'))
        return MAIL_PATH_OK;
    do {
        enum mail_path_error e;

        if (!take(p, '@'))
            return MAIL_PATH_SYNTAX;
        e = judge_domain(take_domain(p), p->flags, &utf8, ascii);
        if (e != MAIL_PATH_OK)
            return e;
    } while (take(p, ','));
    return take(p, ':') ? MAIL_PATH_OK : MAIL_PATH_SYNTAX;
}

enum mail_path_error mail_path_parse(struct slice text, unsigned flags, struct mail_path *out,
                                     size_t *used)
{
    struct parser p = { .rest = text, .flags = flags };
    bool bracket = take(&p, '<');
    enum mail_path_error e = MAIL_PATH_OK;

    memset(out, 0, sizeof *out);
    *used = 0;
    if (!bracket || !peek(&p, '>') || (flags & MAIL_PATH_NULL_OK) == 0) {
        if (bracket)
            e = skip_source_route(&p);
        if (e == MAIL_PATH_OK)
            e = parse_mailbox(&p, out);
    }
    if (e == MAIL_PATH_OK && ((bracket && !take(&p, '>')) || (p.rest.len > 0 && !peek(&p, ' '))))
        e = MAIL_PATH_SYNTAX;
    if (e == MAIL_PATH_OK)
        *used = text.len - p.rest.len;
    else
        memset(out, 0, sizeof *out);
    return e;
}

enum mail_path_error mail_address_parse(struct slice text, unsigned flags, struct mail_path *out)
{
    struct parser p = { .rest = text, .flags = flags };
    enum mail_path_error e;

    memset(out, 0, sizeof *out);
    if ((flags & MAIL_PATH_NULL_OK) != 0 && (text.len == 0 || slice_eq(text, SLICE("<>"))))
        return MAIL_PATH_OK;
    e = parse_mailbox(&p, out);
    if (e == MAIL_PATH_OK && p.rest.len > 0)
        e = MAIL_PATH_SYNTAX;
    if (e != MAIL_PATH_OK)
        memset(out, 0, sizeof *out);
    return e;
}

const char *mail_path_error_text(enum mail_path_error e)
{
    static const char *const texts[] = {
        [MAIL_PATH_OK] = "address is fine",
        [MAIL_PATH_SYNTAX] = "address syntax error",
        [MAIL_PATH_LOCAL_LONG] = "local part of address is too long",
        [MAIL_PATH_DOMAIN_LONG] = "domain of address is too long",
        [MAIL_PATH_DOMAIN_BAD] = "domain of address is malformed",
        [MAIL_PATH_LITERAL_BAD] = "address literal is malformed",
        [MAIL_PATH_NON_ASCII] = "address with characters outside ASCII",
    };

    return texts[e];
}

struct slice mail_address_local(struct slice address)
{
    const char *at = address.len > 0 ? memrchr(address.ptr, '@', address.len) : NULL;

    return at != NULL ? slice_head(address, (size_t)(at - address.ptr)) : address;
}

struct slice mail_address_domain(struct slice address)
{
    struct slice local = mail_address_local(address);

    return local.len < address.len ? slice_from(address, local.len + 1) : SLICE_EMPTY;
}
