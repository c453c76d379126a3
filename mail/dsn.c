/* mail/dsn.c - the notice that a message's sender gets when a recipient's
 * journey ends badly, takes long, or was asked to be confirmed: a
 * multipart/report (RFC 6522) of words for a person, fields for programs
 * (RFC 3464) and the message, or its header, returned. */
#include "mail/dsn.h"

#include "mail/dsn_text.h"
#include "mail/header.h"
#include "mail/param.h"
#include "mail/text.h"

#include <stdio.h>

#define FIELD_COLUMNS        76
#define WORD_MAX_BYTES       200  /* a longer word in a field is cut in two */
#define DIAGNOSTIC_MAX_BYTES 2000 /* RFC 3464 section 2.3.6: it need not be complete */
#define ID_MAX_BYTES         40   /* a boundary has at most 70 */
#define REFERENCE_MAX_BYTES  500

static const char *const action_words[] = {
    [MAIL_DSN_FAILED] = "failed",       [MAIL_DSN_DELAYED] = "delayed",
    [MAIL_DSN_DELIVERED] = "delivered", [MAIL_DSN_RELAYED] = "relayed",
    [MAIL_DSN_EXPANDED] = "expanded",
};

/* "Name: value", folded at blanks; one line's worth of harmless ASCII. */
static void add_field(struct buf *out, const char *name, struct slice value)
{
    struct buf clean = { 0 };
    size_t column = strlen(name) + 1;
    struct slice rest, word;

    mail_add_clean(&clean, value, false);
    rest = buf_bytes(&clean);
    buf_printf(out, "%s:", name);
    while (slice_split(&rest, ' ', &word)) {
        while (word.len > 0) {
            struct slice part = slice_head(word, WORD_MAX_BYTES);

            if (column + 1 + part.len > FIELD_COLUMNS && column > strlen(name) + 1) {
                buf_add(out, SLICE("\r\n"));
                column = 0;
            }
            buf_add_byte(out, ' ');
            buf_add(out, part);
            column += 1 + part.len;
            word = slice_from(word, part.len);
        }
    }
    buf_add(out, SLICE("\r\n"));
    buf_release(&clean);
}

static void add_date(struct buf *out, const char *name, uint64_t wall_ms)
{
    char date[MAIL_DATE_MAX];

    if (wall_ms != 0)
        add_field(out, name, slice_str(mail_date_format(wall_ms, date)));
}

/* "type; text" */
static void add_typed(struct buf *out, const char *name, const char *type, struct slice text)
{
    struct buf value = { 0 };

    buf_printf(&value, "%s; ", type);
    buf_add(&value, text);
    add_field(out, name, buf_bytes(&value));
    buf_release(&value);
}

/* "rfc822; a@b", or "utf-8; …" in the seven-bit form \x{E4} (RFC 6533 section 3). */
static void add_address(struct buf *out, const char *name, struct slice address)
{
    struct buf text = { 0 };
    bool utf8 = mail_has_eight_bit(address);

    while (address.len > 0) {
        size_t len = (unsigned char)address.ptr[0] > 0x7f ? mail_utf8_len(address) : 0;

        if (len > 0)
            buf_printf(&text, "\\x{%X}", mail_utf8_code(slice_head(address, len)));
        else if (utf8 && address.ptr[0] == '\\')
            buf_add_str(&text, "\\x{5C}");
        else
            buf_add_byte(&text, address.ptr[0]);
        address = slice_from(address, len != 0 ? len : 1);
    }
    add_typed(out, name, utf8 ? "utf-8" : "rfc822", buf_bytes(&text));
    buf_release(&text);
}

/* ORCPT comes as xtext and is reported decoded (RFC 3461 section 4); of the
 * type utf-8 it has an encoding of its own, which stays (RFC 6533 section 3). */
static void add_original_recipient(struct buf *out, struct slice orcpt)
{
    struct slice type;
    struct buf value = { 0 };

    if (orcpt.len == 0)
        return;
    slice_split(&orcpt, ';', &type);
    buf_add(&value, type);
    buf_add_str(&value, "; ");
    if (slice_eq_nocase(type, SLICE("utf-8")))
        mail_orcpt_add_ascii(&value, orcpt);
    else
        mail_xtext_decode(orcpt, &value);
    add_field(out, "Original-Recipient", buf_bytes(&value));
    buf_release(&value);
}

static struct mail_status status_or_default(enum mail_dsn_action action, struct mail_status st)
{
    if (st.class_ != 0)
        return st;
    return mail_status_of_code(action == MAIL_DSN_FAILED    ? 500
                               : action == MAIL_DSN_DELAYED ? 400
                                                            : 200);
}

static void add_diagnostic(struct buf *out, const struct mail_dsn_recipient *r)
{
    struct buf text = { 0 };

    if (r->code == 0 && r->reply_text.len == 0)
        return;
    if (r->code != 0)
        buf_printf(&text, "%u ", r->code);
    buf_add(&text, slice_head(r->reply_text, DIAGNOSTIC_MAX_BYTES));
    add_typed(out, "Diagnostic-Code", r->code != 0 ? "smtp" : "x-relayd", buf_bytes(&text));
    buf_release(&text);
}

/* The second part: fields about the message, then about each recipient. */
static void add_status_fields(struct buf *out, const struct mail_dsn *d)
{
    char code[16];

    add_typed(out, "Reporting-MTA", "dns", slice_str(d->reporting_mta));
    add_field(out, "X-Relayd-Queue-ID", slice_str(d->queue_id));
    if (d->envelope_id.len > 0) {
        struct buf id = { 0 };

        mail_xtext_decode(d->envelope_id, &id);
        add_field(out, "Original-Envelope-Id", buf_bytes(&id));
        buf_release(&id);
    }
    add_date(out, "Arrival-Date", d->arrival_wall_ms);
    for (size_t i = 0; i < d->recipient_count; i++) {
        const struct mail_dsn_recipient *r = &d->recipients[i];

        buf_add(out, SLICE("\r\n"));
        add_original_recipient(out, r->original_recipient);
        add_address(out, "Final-Recipient", r->final_recipient);
        add_field(out, "Action", slice_str(action_words[d->action]));
        add_field(out, "Status",
                  slice_str(mail_status_format(status_or_default(d->action, r->status), code)));
        if (r->remote_mta.len > 0)
            add_typed(out, "Remote-MTA", "dns", r->remote_mta);
        add_diagnostic(out, r);
        add_date(out, "Last-Attempt-Date", r->last_attempt_wall_ms);
        if (d->action == MAIL_DSN_DELAYED)
            add_date(out, "Will-Retry-Until", r->retry_until_wall_ms);
    }
}

/* Letters, digits and a few more: for a message id and a boundary. */
static void add_id(struct buf *out, const char *id)
{
    for (size_t i = 0; id[i] != '\0' && i < ID_MAX_BYTES; i++)
        buf_add_byte(out, ascii_is_alnum(id[i]) || id[i] == '.' || id[i] == '-' ? id[i] : '_');
}

static bool holds(struct slice text, struct slice what)
{
    return text.len > 0 && memmem(text.ptr, text.len, what.ptr, what.len) != NULL;
}

/* A boundary that no part holds. */
static void choose_boundary(struct buf *out, const char *id, const struct slice *parts,
                            size_t count)
{
    unsigned n = 0;
    bool taken;

    do {
        buf_clear(out);
        buf_add_str(out, "=_");
        add_id(out, id);
        if (n > 0)
            buf_printf(out, "_%u", n);
        n++;
        taken = false;
        for (size_t i = 0; i < count; i++)
            taken = taken || holds(parts[i], buf_bytes(out));
    } while (taken);
}

static void begin_part(struct buf *out, struct slice boundary, const char *type,
                       const char *encoding)
{
    buf_add(out, SLICE("--"));
    buf_add(out, boundary);
    buf_printf(out, "\r\nContent-Type: %s\r\n", type);
    if (encoding != NULL)
        buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
    buf_add(out, SLICE("\r\n"));
}

/* Seven bits and short lines, whatever strangers wrote. Returns the encoding. */
static const char *encode_words(struct buf *words)
{
    struct buf encoded = { 0 };

    if (!mail_has_eight_bit(buf_bytes(words)) && !mail_has_long_line(buf_bytes(words)))
        return "7bit";
    mail_add_quoted_printable(&encoded, buf_bytes(words));
    buf_release(words);
    *words = encoded;
    return "quoted-printable";
}

/* The returned header without its empty line. */
static struct slice header_fields(struct slice header)
{
    if (slice_eq(header, SLICE("\r\n")) || slice_ends_nocase(header, SLICE("\r\n\r\n")))
        header.len -= 2;
    return header;
}

static void add_header(const struct mail_dsn *d, struct slice boundary, const char *encoding,
                       struct buf *out)
{
    struct slice id = mail_header_message_id(d->original_header);
    char date[MAIL_DATE_MAX];

    buf_printf(out, "Date: %s\r\n", mail_date_format(d->now_wall_ms, date));
    buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <", d->reporting_mta);
    mail_add_clean(out, d->sender, d->smtputf8);
    buf_printf(out, ">\r\nSubject: %s\r\nMessage-ID: <", mail_dsn_subject(d->action));
    add_id(out, d->dsn_id);
    buf_printf(out, "@%s>\r\n", d->reporting_mta);
    if (id.len > 0 && id.len < REFERENCE_MAX_BYTES && !mail_has_eight_bit(id)) {
        buf_add_str(out, "References: <");
        buf_add(out, id);
        buf_add_str(out, ">\r\n");
    }
    buf_add_str(out,
                "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
    buf_add(out, boundary);
    buf_printf(out, "\"\r\nContent-Transfer-Encoding: %s\r\n\r\n", encoding);
}

/* A header in UTF-8 is no rfc822 (RFC 6533 section 4). */
static const char *returned_type(bool full, bool global)
{
    if (global)
        return full ? "message/global" : "message/global-headers";
    return full ? "message/rfc822" : "text/rfc822-headers";
}

void mail_dsn_format(const struct mail_dsn *d, struct buf *header, struct buf *body)
{
    struct slice fields = header_fields(d->original_header);
    bool full = d->original_body.ptr != NULL;
    bool eight_bit = mail_has_eight_bit(fields) || (full && mail_has_eight_bit(d->original_body));
    const char *encoding = eight_bit ? "8bit" : "7bit";
    struct buf words = { 0 }, status = { 0 }, boundary = { 0 };
    const char *words_encoding, *words_type;

    mail_dsn_words(d, &words);
    words_type = mail_has_eight_bit(buf_bytes(&words)) ? "text/plain; charset=utf-8"
                                                       : "text/plain; charset=us-ascii";
    words_encoding = encode_words(&words);
    add_status_fields(&status, d);
    {
        const struct slice parts[] = { buf_bytes(&words), buf_bytes(&status), fields,
                                       d->original_body };

        choose_boundary(&boundary, d->dsn_id, parts, full ? 4 : 3);
    }
    add_header(d, buf_bytes(&boundary), encoding, header);

    begin_part(body, buf_bytes(&boundary), words_type, words_encoding);
    buf_add(body, buf_bytes(&words));
    buf_add(body, SLICE("\r\n"));
    begin_part(body, buf_bytes(&boundary), "message/delivery-status", NULL);
    buf_add(body, buf_bytes(&status));
    buf_add(body, SLICE("\r\n"));
    begin_part(body, buf_bytes(&boundary), returned_type(full, d->smtputf8 && mail_has_eight_bit(fields)),
               encoding);
    buf_add(body, fields);
    if (fields.len > 0 && fields.ptr[fields.len - 1] != '\n')
        buf_add(body, SLICE("\r\n")); /* the message ended within its header */
    if (full) {
        buf_add(body, SLICE("\r\n"));
        buf_add(body, d->original_body);
    }
    buf_add(body, SLICE("\r\n--"));
    buf_add(body, buf_bytes(&boundary));
    buf_add(body, SLICE("--\r\n"));
    buf_release(&words);
    buf_release(&status);
    buf_release(&boundary);
}
