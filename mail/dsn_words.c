/* mail/dsn_words.c - the first part of a delivery status notification, for a
 * person: what happened to which address, why, and what to do. */
#include "mail/dsn_text.h"

#include "mail/header.h"
#include "mail/text.h"

#include <stdio.h>

#define COLUMNS           72
#define SUBJECT_MAX_BYTES 300

/* Text set in lines, each with an indent. */
struct setter {
    struct buf *out;
    unsigned indent;
    size_t column; /* 0: nothing on this line yet */
};

static void set_word(struct setter *s, struct slice word)
{
    if (s->column > 0 && s->column + 1 + word.len > COLUMNS) {
        buf_add(s->out, SLICE("\r\n"));
        s->column = 0;
    }
    if (s->column == 0) {
        for (; s->column < s->indent; s->column++)
            buf_add_byte(s->out, ' ');
    } else {
        buf_add_byte(s->out, ' ');
        s->column++;
    }
    buf_add(s->out, word);
    s->column += word.len;
}

static void set_text(struct setter *s, struct slice text)
{
    struct slice word;

    while (slice_split(&text, ' ', &word))
        if (word.len > 0)
            set_word(s, word);
}

static void set_str(struct setter *s, const char *text)
{
    set_text(s, slice_str(text));
}

static void set_strange(struct setter *s, struct slice text)
{
    struct buf clean = { 0 };

    mail_add_clean(&clean, text, true);
    set_text(s, buf_bytes(&clean));
    buf_release(&clean);
}

static void end_line(struct setter *s)
{
    buf_add(s->out, SLICE("\r\n"));
    s->column = 0;
}

static void paragraph(struct setter *s, unsigned indent, const char *text)
{
    s->indent = indent;
    set_str(s, text);
    end_line(s);
    end_line(s);
}

static bool is_trouble(enum mail_dsn_action action)
{
    return action == MAIL_DSN_FAILED || action == MAIL_DSN_DELAYED;
}

const char *mail_dsn_subject(enum mail_dsn_action action)
{
    switch (action) {
    case MAIL_DSN_FAILED:
        return "Your message could not be delivered";
    case MAIL_DSN_DELAYED:
        return "Your message has not been delivered yet";
    case MAIL_DSN_DELIVERED:
        return "Your message was delivered";
    case MAIL_DSN_RELAYED:
        return "Your message was passed on";
    default:
        return "Your message was passed on to a list of recipients";
    }
}

static const char *opening(const struct mail_dsn *d)
{
    bool one = d->recipient_count == 1;

    switch (d->action) {
    case MAIL_DSN_FAILED:
        return one ? "Your message could not be delivered to this recipient:"
                   : "Your message could not be delivered to these recipients:";
    case MAIL_DSN_DELAYED:
        return one ? "Your message has not yet been delivered to this recipient:"
                   : "Your message has not yet been delivered to these recipients:";
    case MAIL_DSN_DELIVERED:
        return one ? "Your message was delivered to this recipient:"
                   : "Your message was delivered to these recipients:";
    case MAIL_DSN_RELAYED:
        return "Your message was passed on to another mail system, which will not confirm its "
               "delivery:";
    default:
        return "Your message was passed on to all members of a list, which will not confirm its "
               "delivery:";
    }
}

static const char *closing(enum mail_dsn_action action)
{
    switch (action) {
    case MAIL_DSN_FAILED:
        return "No further attempt will be made. Technical details, and your message or its "
               "header, are attached.";
    case MAIL_DSN_DELAYED:
        return "You need not do anything now: this is a warning only, and do not send the message "
               "again. You will be told if it can't be delivered in the end.";
    default:
        return "You get this notice because it was asked for when the message was sent.";
    }
}

/* Date and subject, so that the sender knows which message this is about. */
static void which_message(struct setter *s, const struct mail_dsn *d)
{
    struct buf subject = { 0 };
    struct mail_field f;
    char date[MAIL_DATE_MAX];

    s->indent = 4;
    set_str(s, "Sent:");
    set_str(s, mail_date_format(d->arrival_wall_ms, date));
    end_line(s);
    if (mail_header_find(d->original_header, "Subject", &f)) {
        mail_field_unfold(f.value, &subject);
        /* encoded words would mean nothing to a reader */
        if (buf_len(&subject) > 0 &&
            memmem(buf_bytes(&subject).ptr, buf_len(&subject), "=?", 2) == NULL) {
            set_str(s, "Subject:");
            set_strange(s, slice_head(buf_bytes(&subject), SUBJECT_MAX_BYTES));
            end_line(s);
        }
        buf_release(&subject);
    }
    end_line(s);
}

/* What the other side said, or what went wrong here, word for word. */
static void quote(struct setter *s, const struct mail_dsn_recipient *r)
{
    struct slice text = r->reply_text, line;

    if (text.len == 0 && r->code == 0)
        return;
    s->indent = 4;
    if (r->code == 0) {
        set_str(s, "In the words of the mail system:");
    } else if (r->remote_mta.len > 0) {
        set_str(s, "The mail server");
        set_strange(s, r->remote_mta);
        set_str(s, "said:");
    } else {
        set_str(s, "The mail server said:");
    }
    end_line(s);
    s->indent = 8;
    if (r->code != 0) {
        char code[16];

        snprintf(code, sizeof code, "%u", r->code);
        set_str(s, code);
    }
    while (slice_split(&text, '\n', &line)) {
        set_strange(s, line);
        end_line(s);
    }
    if (s->column > 0)
        end_line(s); /* a code without words */
    end_line(s);
}

static void about_recipient(struct setter *s, const struct mail_dsn *d,
                            const struct mail_dsn_recipient *r)
{
    struct mail_dsn_meaning meaning = mail_dsn_explain(r->status);
    char date[MAIL_DATE_MAX];

    s->indent = 0;
    set_strange(s, r->final_recipient);
    end_line(s);
    end_line(s);
    if (!is_trouble(d->action))
        return;
    paragraph(s, 4, meaning.what);
    quote(s, r);
    if (d->action == MAIL_DSN_FAILED) {
        s->indent = 4;
        set_str(s, "What you can do:");
        paragraph(s, 4, meaning.advice);
    } else if (r->retry_until_wall_ms != 0) {
        s->indent = 4;
        set_str(s, "Delivery will be tried again until");
        paragraph(s, 4, mail_date_format(r->retry_until_wall_ms, date));
    }
}

void mail_dsn_words(const struct mail_dsn *d, struct buf *out)
{
    struct setter s = { .out = out };

    set_str(&s, "This is the mail system at");
    set_str(&s, d->reporting_mta);
    paragraph(&s, 0, "writing to you automatically.");
    which_message(&s, d);
    paragraph(&s, 0, opening(d));
    for (size_t i = 0; i < d->recipient_count; i++)
        about_recipient(&s, d, &d->recipients[i]);
    s.indent = 0;
    set_str(&s, closing(d->action));
    end_line(&s);
}
