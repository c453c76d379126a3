/* mail/dkim_record.c - key records, written and compared. */
#include "mail/dkim_record.h"

#define STRING_MAX 255u

void mail_dkim_record_format(enum mail_dkim_kind kind, struct slice base64, struct buf *out)
{
    buf_printf(out, "v=DKIM1; k=%s; p=", kind == MAIL_DKIM_RSA ? "rsa" : "ed25519");
    buf_add(out, base64);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The value of a tag with all blanks taken out; false when it is not there. */
static bool find_tag(struct slice record, const char *name, struct buf *out)
{
    struct slice rest = record, part;

    buf_clear(out);
    while (slice_split(&rest, ';', &part)) {
        size_t equals = slice_find(part, '=');
        struct slice value;

        if (equals == part.len || !slice_eq(slice_trim(slice_head(part, equals)), slice_str(name)))
            continue;
        value = slice_from(part, equals + 1);
        for (size_t i = 0; i < value.len; i++)
            if (!is_blank(value.ptr[i]))
                buf_add_byte(out, value.ptr[i]);
        return true;
    }
    return false;
}

/* One of the words between colons, or "*". */
static bool list_has(struct slice list, const char *word)
{
    struct slice item;

    while (slice_split(&list, ':', &item)) {
        if (slice_eq(item, SLICE("*")) || slice_eq_nocase(item, slice_str(word)))
            return true;
    }
    return false;
}

static bool same_tag(struct slice a, struct slice b, const char *name, const char *missing)
{
    struct buf x = { 0 }, y = { 0 };
    bool same;

    if (!find_tag(a, name, &x))
        buf_add_str(&x, missing);
    if (!find_tag(b, name, &y))
        buf_add_str(&y, missing);
    same = slice_eq(buf_bytes(&x), buf_bytes(&y));
    buf_release(&x);
    buf_release(&y);
    return same;
}

static bool tag_is(struct slice record, const char *name, const char *value)
{
    struct buf b = { 0 };
    bool is = find_tag(record, name, &b) && slice_eq(buf_bytes(&b), slice_str(value));

    buf_release(&b);
    return is;
}

/* A list tag that is missing allows everything (RFC 6376 section 3.6.1). */
static bool allows(struct slice record, const char *name, const char *word)
{
    struct buf b = { 0 };
    bool ok = !find_tag(record, name, &b) || list_has(buf_bytes(&b), word);

    buf_release(&b);
    return ok;
}

enum mail_dkim_kind mail_dkim_record_kind(struct slice record)
{
    if (tag_is(record, "k", "rsa"))
        return MAIL_DKIM_RSA;
    return tag_is(record, "k", "ed25519") ? MAIL_DKIM_ED25519 : 0;
}

enum mail_dkim_match mail_dkim_compare(struct slice ours, struct slice found)
{
    struct buf p = { 0 };
    bool has_p = find_tag(found, "p", &p), empty = buf_len(&p) == 0;

    buf_release(&p);
    if (!has_p || !same_tag(ours, found, "v", "DKIM1"))
        return MAIL_DKIM_NO_RECORD;
    if (empty)
        return MAIL_DKIM_REVOKED;
    if (!same_tag(ours, found, "k", "rsa") || !same_tag(ours, found, "p", ""))
        return MAIL_DKIM_OTHER_KEY;
    if (!allows(found, "h", "sha256") || !allows(found, "s", "email"))
        return MAIL_DKIM_RESTRICTED;
    return MAIL_DKIM_SAME;
}

const char *mail_dkim_match_text(enum mail_dkim_match m)
{
    switch (m) {
    case MAIL_DKIM_SAME:
        return "the key in use";
    case MAIL_DKIM_NO_RECORD:
        return "a TXT record that is no DKIM key";
    case MAIL_DKIM_OTHER_KEY:
        return "another key than the one in use";
    case MAIL_DKIM_REVOKED:
        return "a revoked key (p= is empty)";
    case MAIL_DKIM_RESTRICTED:
        return "the key in use, but its h= or s= does not allow sha256 for mail";
    }
    return "?";
}

/* ---- written ------------------------------------------------------------------- */

static void add_string(struct slice part, struct buf *out)
{
    buf_add_byte(out, '"');
    for (size_t i = 0; i < part.len; i++) {
        if (part.ptr[i] == '"' || part.ptr[i] == '\\')
            buf_add_byte(out, '\\');
        buf_add_byte(out, part.ptr[i]);
    }
    buf_add_byte(out, '"');
}

void mail_dkim_strings(struct slice record, struct buf *out)
{
    while (record.len > 0) {
        struct slice part = slice_head(record, STRING_MAX);

        add_string(part, out);
        buf_add_byte(out, '\n');
        record = slice_from(record, part.len);
    }
}

void mail_dkim_zone_line(const char *name, struct slice record, struct buf *out)
{
    bool several = record.len > STRING_MAX;

    buf_printf(out, "%s. IN TXT %s", name, several ? "(" : "");
    while (record.len > 0) {
        struct slice part = slice_head(record, STRING_MAX);

        buf_add_str(out, several ? "\n    " : "");
        add_string(part, out);
        record = slice_from(record, part.len);
    }
    buf_add_str(out, several ? " )\n" : "\n");
}
