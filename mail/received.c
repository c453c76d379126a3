/* mail/received.c - the trace that each message gets on its way in: the date
 * and our Received field (RFC 5321 section 4.4). What the client calls itself
 * is a stranger's word and is made harmless here. */
#include "mail/header.h"

#include <stdio.h>
#include <time.h>

#define LINE_MAX_COLUMNS 77  /* RFC 5322 section 2.1.1 wants at most 78 */
#define NAME_MAX_BYTES   255 /* of a name that a stranger gives */

const char *mail_date_format(uint64_t wall_ms, char out[MAIL_DATE_MAX])
{
    static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t seconds = (time_t)(wall_ms / SECOND_MS);
    struct tm tm = { 0 };

    gmtime_r(&seconds, &tm);
    snprintf(out, MAIL_DATE_MAX, "%s, %d %s %04ld %02d:%02d:%02d +0000", days[tm.tm_wday],
             tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900L, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return out;
}

const char *mail_protocol_name(bool esmtp, bool tls, bool login, bool smtputf8)
{
    static const char *const names[2][4] = {
        { "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA" },
        { "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA" },
    };

    return esmtp ? names[smtputf8][(login ? 2 : 0) + (tls ? 1 : 0)] : "SMTP";
}

/* A field under construction: words are set apart by a blank, or by a fold
 * when the line would grow too long. */
struct folder {
    struct buf *out;
    size_t column;
};

static void fold(struct folder *f)
{
    buf_add(f->out, SLICE("\r\n\t"));
    f->column = 8;
}

/* Room on this line for a word of so many bytes, or on the next. */
static void begin_word(struct folder *f, size_t len)
{
    if (f->column > 8 && f->column + 1 + len > LINE_MAX_COLUMNS) {
        fold(f);
    } else if (f->column != 8) {
        buf_add_byte(f->out, ' ');
        f->column++;
    }
    f->column += len;
}

static void add_word(struct folder *f, struct slice word)
{
    begin_word(f, word.len);
    buf_add(f->out, word);
}

/* before + text + after as one word; bytes of text that could not stand in a
 * domain, an address literal or a protocol's name become "?". */
static void add_name(struct folder *f, const char *before, struct slice text, const char *after)
{
    char *to;

    text = slice_head(text, NAME_MAX_BYTES);
    begin_word(f, strlen(before) + text.len + strlen(after));
    buf_add_str(f->out, before);
    to = buf_reserve(f->out, text.len + 1); /* of no text, too */
    for (size_t i = 0; i < text.len; i++) {
        bool fine = ascii_is_alnum(text.ptr[i]) || memchr(".-_:[]", text.ptr[i], 6) != NULL;

        to[i] = fine ? text.ptr[i] : '?';
    }
    buf_extend(f->out, text.len);
    buf_add_str(f->out, after);
}

static void add_client(struct folder *f, const struct mail_received *r)
{
    struct slice addr = slice_str(r->client_addr);

    add_word(f, SLICE("from"));
    if (r->helo[0] == '\0')
        add_name(f, "[", addr, "]");
    else
        add_name(f, "", slice_str(r->helo), "");
    if (r->client_name[0] == '\0') {
        add_name(f, "([", addr, "])");
    } else {
        add_name(f, "(", slice_str(r->client_name), "");
        add_name(f, "[", addr, "])");
    }
    fold(f);
}

/* "(TLSv1.3 TLS_AES_256_GCM_SHA384)" */
static void add_tls(struct folder *f, struct slice tls)
{
    struct slice version;

    if (!slice_split(&tls, ' ', &version))
        return;
    add_name(f, "(", version, tls.len == 0 ? ")" : "");
    if (tls.len != 0)
        add_name(f, "", tls, ")");
}

/* The recipient, when it can be told in a header of plain ASCII. */
static void add_for(struct folder *f, struct slice address)
{
    for (size_t i = 0; i < address.len; i++)
        if (address.ptr[i] < ' ' || address.ptr[i] > '~')
            return;
    if (address.len == 0)
        return;
    fold(f);
    add_word(f, SLICE("for"));
    begin_word(f, address.len + 2);
    buf_add_byte(f->out, '<');
    buf_add(f->out, address);
    buf_add_byte(f->out, '>');
}

void mail_received_format(const struct mail_received *r, struct buf *out)
{
    struct folder f = { .out = out, .column = sizeof "Received:" - 1 };
    char date[MAIL_DATE_MAX];

    buf_add_str(out, "Received:");
    if (r->client_addr[0] != '\0')
        add_client(&f, r);
    add_word(&f, SLICE("by"));
    add_name(&f, "", slice_str(r->by), "");
    add_word(&f, SLICE("with"));
    add_name(&f, "", slice_str(r->with), "");
    add_tls(&f, slice_str(r->tls));
    add_word(&f, SLICE("id"));
    add_name(&f, "", slice_str(r->id), "");
    add_for(&f, slice_str(r->for_));
    buf_add_byte(out, ';');
    f.column++;
    add_word(&f, slice_str(mail_date_format(r->wall_ms, date)));
    buf_add_str(out, "\r\n");
}
