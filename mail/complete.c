/* mail/complete.c - a message on its way in from a program of ours: what it
 * left out of the header is filled in before anybody else sees it. */
#include "mail/complete.h"

#include "mail/address_list.h"
#include "mail/header.h"

#include <stdio.h>

enum {
    HAS_DATE = 1,
    HAS_MESSAGE_ID = 2,
    HAS_FROM = 4,
};

static bool is_field(const struct mail_field *f, const char *name)
{
    return slice_eq_nocase(f->name, slice_str(name));
}

/* A value of blanks alone says nothing. */
static bool has_value(const struct mail_field *f)
{
    for (size_t i = 0; i < f->value.len; i++)
        if ((unsigned char)f->value.ptr[i] > ' ')
            return true;
    return false;
}

/* Which of the fields that must be there this one is; 0 for all others. */
static unsigned needed(const struct mail_field *f)
{
    return is_field(f, "Date")         ? HAS_DATE
           : is_field(f, "Message-ID") ? HAS_MESSAGE_ID
           : is_field(f, "From")       ? HAS_FROM
                                       : 0;
}

static bool must_go(const struct mail_field *f)
{
    return is_field(f, "Bcc") || is_field(f, "Resent-Bcc") || is_field(f, "Return-Path");
}

static void add_missing(unsigned has, const struct mail_completion *c, struct buf *out)
{
    char date[MAIL_DATE_MAX];

    if ((has & HAS_FROM) == 0 && c->from.len > 0) {
        buf_add(out, SLICE("From: "));
        buf_add(out, c->from);
        buf_add(out, SLICE("\r\n"));
    }
    if ((has & HAS_DATE) == 0)
        buf_printf(out, "Date: %s\r\n", mail_date_format(c->wall_ms, date));
    if ((has & HAS_MESSAGE_ID) == 0)
        buf_printf(out, "Message-ID: <%s@%s>\r\n", c->id, c->hostname);
}

/* The field with other addresses where rewrite() has some, else as it is. */
static void add_rewritten(const struct mail_field *f, const struct mail_completion *c, struct buf *out)
{
    struct slice value = f->value, instead;
    struct buf address = { 0 };
    struct mail_mailbox m;
    size_t at = 0, done = 0;

    buf_add(out, slice_head(f->whole, (size_t)(f->value.ptr - f->whole.ptr)));
    while (mail_mailbox_next(value, &at, &m)) {
        buf_clear(&address);
        mail_mailbox_address(value, &m, c->hostname, &address);
        if (!c->rewrite(c->ctx, buf_bytes(&address), &instead))
            continue;
        buf_add(out, slice_make(value.ptr + done, m.begin - done));
        buf_add(out, instead);
        done = m.end;
    }
    buf_add(out, slice_from(value, done));
    buf_release(&address);
}

static void add_field(const struct mail_field *f, const struct mail_completion *c, unsigned *has, struct buf *out)
{
    unsigned bit = needed(f);

    if (must_go(f) || (bit != 0 && !has_value(f)))
        return;
    *has |= bit;
    if (c->rewrite != NULL && (bit == HAS_FROM || is_field(f, "Sender")))
        add_rewritten(f, c, out);
    else
        buf_add(out, f->whole);
}

void mail_complete_header(struct slice header, bool malformed, const struct mail_completion *c, struct buf *out)
{
    struct mail_field f;
    unsigned has = 0;
    size_t at = 0;

    buf_reserve(out, header.len + 256);
    while (mail_header_next(header, &at, &f))
        add_field(&f, c, &has, out);
    /* A last chunk may end without a line end, and the header with it. */
    if (buf_len(out) > 0 && buf_bytes(out).ptr[buf_len(out) - 1] != '\n')
        buf_add(out, SLICE("\r\n"));
    add_missing(has, c, out);
    /* What comes next must not look like a part of the last field. */
    if (malformed)
        buf_add(out, SLICE("\r\n"));
    else
        buf_add(out, slice_from(header, at));
}

static bool visit_field(const struct mail_field *f, const char *domain,
                        bool (*visit)(void *ctx, struct slice address), void *ctx)
{
    struct buf address = { 0 };
    struct mail_mailbox m;
    bool fine = true, any = false;
    size_t at = 0;

    while (fine && mail_mailbox_next(f->value, &at, &m)) {
        any = true;
        buf_clear(&address);
        mail_mailbox_address(f->value, &m, domain, &address);
        fine = visit(ctx, buf_bytes(&address));
    }
    buf_release(&address);
    return fine && any;
}

bool mail_from_addresses(struct slice header, const char *domain,
                         bool (*visit)(void *ctx, struct slice address), void *ctx)
{
    struct mail_field f;
    size_t at = 0;

    while (mail_header_next(header, &at, &f))
        if (is_field(&f, "From") && has_value(&f) && !visit_field(&f, domain, visit, ctx))
            return false;
    return true;
}
