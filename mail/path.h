/* mail/path.h - addresses as SMTP writes them (RFC 5321 section 4.1.2). Pure.
 *
 * A parsed path is kept in one canonical spelling: local part unquoted where
 * it may be (else quoted minimally), domain in lower case as given (A- or
 * U-labels), address literals normalised, a source route dropped.
 */
#ifndef MAIL_PATH_H
#define MAIL_PATH_H

#include "base/buf.h"
#include "base/slice.h"

#define MAIL_LOCAL_MAX 64
#define MAIL_DOMAIN_MAX 255
#define MAIL_ADDRESS_MAX 320 /* local part, "@", domain */

enum mail_path_error {
    MAIL_PATH_OK,
    MAIL_PATH_SYNTAX,        /* not a path */
    MAIL_PATH_LOCAL_LONG,
    MAIL_PATH_DOMAIN_LONG,
    MAIL_PATH_DOMAIN_BAD,    /* label empty, too long, odd characters */
    MAIL_PATH_LITERAL_BAD,
    MAIL_PATH_NON_ASCII,     /* needs SMTPUTF8 and that was not given */
};

struct mail_path {
    char text[MAIL_ADDRESS_MAX + 1]; /* canonical "local@domain", without brackets; "" is the null path */
    uint16_t len;
    uint16_t local_len;   /* the domain begins at local_len + 1; equal to len when there is no domain */
    bool literal;         /* domain is an address literal "[…]" */
    bool utf8;            /* something over 127 was in it, in a domain too: it needs SMTPUTF8 to come */
};

enum {
    MAIL_PATH_NULL_OK = 1,       /* "<>" (MAIL FROM) */
    MAIL_PATH_POSTMASTER_OK = 2, /* "<postmaster>" without a domain (RCPT TO) */
    MAIL_PATH_UTF8_OK = 4,
};

/* Parses "<…>" at the front of text; *used is the number of bytes it took.
 * A missing pair of brackets is accepted as old clients send it, ending at
 * the first space. */
enum mail_path_error mail_path_parse(struct slice text, unsigned flags, struct mail_path *out, size_t *used);
/* A bare address "local@domain" that fills all of text (configuration, commands). */
enum mail_path_error mail_address_parse(struct slice text, unsigned flags, struct mail_path *out);
const char *mail_path_error_text(enum mail_path_error e); /* fit for a reply */

static inline struct slice mail_path_text(const struct mail_path *p)
{
    return slice_make(p->text, p->len);
}

static inline struct slice mail_path_local(const struct mail_path *p)
{
    return slice_make(p->text, p->local_len);
}

static inline struct slice mail_path_domain(const struct mail_path *p)
{
    return p->len > p->local_len ? slice_from(mail_path_text(p), p->local_len + 1u) : SLICE_EMPTY;
}

/* The parts of a canonical address text (what a record holds). */
struct slice mail_address_local(struct slice address);
struct slice mail_address_domain(struct slice address);

/* A host name or domain fit for DNS: letters, digits, hyphens (underscores
 * pass), labels 1–63, at most 253 bytes, not all digits at the end. */
bool mail_domain_valid(struct slice domain);
/* To A-labels in lower case (libidn2, non-transitional). False if it can't be. */
bool mail_domain_to_ascii(struct slice domain, char out[MAIL_DOMAIN_MAX + 1]);

/* Patterns of routes and rules: "user@example.com", "example.com" or
 * "@example.com" (that domain), ".example.com" (its subdomains), "*" (all),
 * "user@" (that local part anywhere), "<>" (the null path). Compares without
 * case. */
bool mail_pattern_valid(struct slice pattern);
bool mail_pattern_matches(struct slice pattern, struct slice address);

#endif
