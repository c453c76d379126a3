/* mail/mime.c - a message with bytes over 127 meets a next hop without
 * 8BITMIME: its parts are walked, and the leaves that need it are written
 * again as quoted-printable (RFC 6152 section 3). What needs no change stays
 * byte for byte as it is. */
#include "mail/mime.h"

#include "mail/mime_field.h"
#include "mail/text.h"

/* What to do with an entity's body. */
enum plan {
    KEEP,    /* nothing */
    RELABEL, /* nothing, but it claims to be 8-bit and is not */
    WALK,    /* multipart */
    ENTER,   /* message/rfc822 */
    QUOTE,   /* to quoted-printable */
    MEND,    /* stray bytes in what is quoted-printable or base64 already */
    MASK,    /* fields that can't be encoded: "?" */
    IMPOSSIBLE,
};

struct entity {
    struct slice header, body;
    struct mail_content content;
    bool in_digest; /* message/rfc822 by default (RFC 2046 section 5.1.5) */
    unsigned depth;
};

static bool is(const struct buf *b, const char *text)
{
    return slice_eq(buf_bytes(b), slice_str(text));
}

static bool starts(const struct buf *b, const char *text)
{
    return slice_starts_nocase(buf_bytes(b), slice_str(text));
}

static bool is_identity(const struct buf *encoding)
{
    return buf_len(encoding) == 0 || is(encoding, "7bit") || is(encoding, "8bit") ||
           is(encoding, "binary");
}

static enum plan choose_plan(const struct entity *e)
{
    const struct mail_content *c = &e->content;
    bool message = is(&c->type, "message/rfc822") || (e->in_digest && buf_len(&c->type) == 0);
    bool eight_bit = mail_has_eight_bit(e->body);
    bool identity = is_identity(&c->encoding);

    if (!eight_bit && !mail_has_long_line(e->body))
        return is(&c->encoding, "8bit") || is(&c->encoding, "binary") ? RELABEL : KEEP;
    if (e->depth > MAIL_MIME_DEPTH_MAX)
        return IMPOSSIBLE;
    if (starts(&c->type, "multipart/"))
        return WALK;
    if (!identity) {
        if (!eight_bit)
            return KEEP;
        return is(&c->encoding, "base64") || is(&c->encoding, "quoted-printable") ? MEND
                                                                                  : IMPOSSIBLE;
    }
    if (message || is(&c->type, "message/global"))
        return ENTER;
    if (is(&c->type, "message/delivery-status") || is(&c->type, "message/disposition-notification"))
        return MASK;
    if (is(&c->type, "message/partial") || is(&c->type, "message/external-body"))
        return IMPOSSIBLE; /* RFC 2046 sections 5.2.2 and 5.2.3: 7bit only */
    return QUOTE;
}

static const char *new_encoding(enum plan plan)
{
    switch (plan) {
    case RELABEL:
    case WALK:
    case ENTER:
    case MASK:
        return "7bit";
    case QUOTE:
        return "quoted-printable";
    default:
        return NULL;
    }
}

/* The fields in seven bits, with those that the plan needs, and the empty line. */
static void write_header(const struct entity *e, enum plan plan, struct buf *out)
{
    const char *encoding = new_encoding(plan);
    bool told = false;
    struct mail_field f;
    size_t at = 0;

    while (mail_header_next(e->header, &at, &f)) {
        if (encoding == NULL || !slice_eq_nocase(f.name, SLICE("Content-Transfer-Encoding"))) {
            mail_field_to_seven_bit(&f, out);
        } else if (!told) {
            buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
            told = true;
        }
        if (f.whole.ptr[f.whole.len - 1] != '\n')
            buf_add_str(out, "\r\n");
    }
    if (plan == QUOTE && !told) {
        if (e->depth == 0 && !e->content.mime_version)
            buf_add_str(out, "MIME-Version: 1.0\r\n");
        if (buf_len(&e->content.type) == 0) /* RFC 1428 section 3 */
            buf_printf(out, "Content-Type: text/plain; charset=%s\r\n",
                       mail_is_utf8(e->body) ? "utf-8" : "unknown-8bit");
        buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
    }
    buf_add_str(out, "\r\n");
}

static struct err downgrade(struct entity *e, struct buf *out_header, struct buf *out_body);

/* A part or an enclosed message: header, empty line and body in one. */
static struct err downgrade_whole(struct slice whole, bool in_digest, unsigned depth,
                                  struct buf *out)
{
    struct mail_header_scan scan = { 0 };
    struct entity e = { .in_digest = in_digest, .depth = depth };

    if (!mail_has_eight_bit(whole) && !mail_has_long_line(whole)) {
        buf_add(out, whole); /* an inner label that says "8bit" of it does no harm */
        return ERR_OK;
    }
    mail_header_scan(&scan, whole, true);
    e.header = slice_head(whole, scan.size);
    e.body = slice_from(whole, scan.size);
    return downgrade(&e, out, out);
}

/* In base64 bytes over 127 mean nothing and are left out; in quoted-printable
 * they stand for themselves and are encoded. */
static void mend(struct slice text, bool base64, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] < 0x80)
            buf_add_byte(out, text.ptr[i]);
        else if (!base64)
            mail_add_hex(out, text.ptr[i]);
    }
}

enum delimiter { NO_DELIMITER, NEXT_PART, LAST_PART };

/* Whether the line is "--boundary", "--" behind it for the last, and blanks. */
static enum delimiter delimiter_kind(struct slice line, struct slice boundary)
{
    enum delimiter kind = NEXT_PART;

    if (line.len < boundary.len + 2 || line.ptr[0] != '-' || line.ptr[1] != '-' ||
        memcmp(line.ptr + 2, boundary.ptr, boundary.len) != 0)
        return NO_DELIMITER;
    line = slice_from(line, boundary.len + 2);
    if (slice_starts_nocase(line, SLICE("--"))) {
        kind = LAST_PART;
        line = slice_from(line, 2);
    }
    for (size_t i = 0; i < line.len; i++)
        if (memchr(" \t\r\n", line.ptr[i], 4) == NULL)
            return NO_DELIMITER;
    return kind;
}

/* Preamble, parts and epilogue of a multipart. */
static struct err walk_parts(const struct entity *e, struct buf *out)
{
    struct slice boundary = buf_bytes(&e->content.boundary);
    struct slice body = e->body;
    bool digest = is(&e->content.type, "multipart/digest");
    size_t begin = 0, at = 0;
    unsigned delimiters = 0;
    bool ended = false;

    if (boundary.len == 0 || mail_has_eight_bit(boundary))
        return err_make(ERR_SYNTAX, "multipart without a sound boundary");
    while (at < body.len && !ended) {
        size_t len = slice_find(slice_from(body, at), '\n') + 1;
        struct slice line = slice_head(slice_from(body, at), len);
        enum delimiter kind = delimiter_kind(line, boundary);
        struct slice before = slice_make(body.ptr + begin, at - begin);
        struct err err = ERR_OK;

        at += line.len;
        if (kind == NO_DELIMITER)
            continue;
        if (slice_ends_nocase(before, SLICE("\r\n")))
            before.len -= 2; /* it belongs to the delimiter */
        if (delimiters == 0)
            mail_add_masked(out, before);
        else
            err = downgrade_whole(before, digest, e->depth + 1, out);
        if (err_failed(err))
            return err;
        buf_add(out, slice_make(before.ptr + before.len,
                                (size_t)(body.ptr + at - (before.ptr + before.len))));
        begin = at;
        delimiters++;
        ended = kind == LAST_PART;
    }
    if (delimiters == 0)
        return err_make(ERR_SYNTAX, "multipart without parts");
    if (ended) {
        mail_add_masked(out, slice_from(body, begin));
        return ERR_OK;
    }
    return downgrade_whole(slice_from(body, begin), digest, e->depth + 1, out);
}

static struct err write_body(const struct entity *e, enum plan plan, struct buf *out)
{
    switch (plan) {
    case WALK:
        return walk_parts(e, out);
    case ENTER:
        return downgrade_whole(e->body, false, e->depth + 1, out);
    case QUOTE:
        mail_add_quoted_printable(out, e->body);
        break;
    case MEND:
        mend(e->body, is(&e->content.encoding, "base64"), out);
        break;
    case MASK:
        mail_add_masked(out, e->body);
        break;
    default:
        buf_add(out, e->body);
        break;
    }
    return ERR_OK;
}

static struct err downgrade(struct entity *e, struct buf *out_header, struct buf *out_body)
{
    struct err err = ERR_OK;
    enum plan plan;

    mail_content_read(e->header, &e->content);
    plan = choose_plan(e);
    if (plan == IMPOSSIBLE) {
        err = err_make(ERR_SYNTAX, "8-bit content that can't be encoded");
    } else if (plan == KEEP && !mail_has_eight_bit(e->header)) {
        buf_add(out_header, e->header);
        buf_add(out_body, e->body);
    } else {
        write_header(e, plan, out_header);
        err = write_body(e, plan, out_body);
    }
    mail_content_release(&e->content);
    return err;
}

struct err mail_downgrade(struct slice header, struct slice body, struct buf *out_header,
                          struct buf *out_body)
{
    struct entity e = { .header = header, .body = body };

    return downgrade(&e, out_header, out_body);
}
