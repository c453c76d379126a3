/* smtp/server_envelope.c - MAIL and RCPT: the envelope's paths and the
 * parameters behind them, checked to the letter before anybody is asked.
 */
#include "smtp/server_private.h"

#include "base/mem.h"

#include <stdlib.h>

/* One keyword of MAIL or RCPT (RFC 5321 section 4.1.2, esmtp-param). */
struct param {
    const char *keyword;
    /* NULL, or why not: code and text of the reply. */
    const char *(*take)(struct smtp_server *s, struct slice value, struct smtp_sender *from);
};

static const char *take_size(struct smtp_server *s, struct slice value, struct smtp_sender *from)
{
    if (value.len == 0 || value.len > 20 || !slice_u64(value, &from->size))
        return "501 5.5.4 SIZE needs a number";
    return NULL;
}

static const char *take_body(struct smtp_server *s, struct slice value, struct smtp_sender *from)
{
    if (slice_eq_nocase(value, SLICE("8BITMIME")))
        from->body = SMTP_BODY_8BITMIME;
    else if (slice_eq_nocase(value, SLICE("7BIT")))
        from->body = SMTP_BODY_7BIT;
    else if (slice_eq_nocase(value, SLICE("BINARYMIME")))
        return "555 5.5.4 BINARYMIME is not offered";
    else
        return "501 5.5.4 BODY is 7BIT or 8BITMIME";
    return NULL;
}

static const char *take_auth(struct smtp_server *s, struct slice value, struct smtp_sender *from)
{
    return s->auth != NULL ? server_auth_param(value) : "555 5.5.4 parameter not supported";
}

static const struct param mail_params[] = {
    { "SIZE", take_size },
    { "BODY", take_body },
    { "AUTH", take_auth },
};

static bool keyword_valid(struct slice keyword)
{
    for (size_t i = 0; i < keyword.len; i++) {
        char c = keyword.ptr[i];

        if (!ascii_is_alnum(c) && (c != '-' || i == 0))
            return false;
    }
    return keyword.len > 0;
}

/* Each keyword once, each known, each with a good value. */
static const char *take_params(struct smtp_server *s, struct slice rest, const struct param *params,
                               size_t count, struct smtp_sender *from)
{
    unsigned seen = 0;
    struct slice part;

    while (slice_split(&rest, ' ', &part)) {
        size_t equals = slice_find(part, '=');
        struct slice keyword = slice_head(part, equals);
        const char *why;
        size_t i = 0;

        if (part.len == 0)
            continue;
        if (!keyword_valid(keyword))
            return "501 5.5.4 malformed parameter";
        while (i < count && !slice_eq_nocase(keyword, slice_str(params[i].keyword)))
            i++;
        if (i == count)
            return "555 5.5.4 parameter not supported";
        if ((seen & (1u << i)) != 0)
            return "501 5.5.4 parameter given twice";
        seen |= 1u << i;
        why = params[i].take(s, slice_from(part, equals + 1), from);
        if (why != NULL)
            return why;
    }
    return NULL;
}

/* A reply kept as one string: "501 5.5.4 …". */
static void reply_text(struct smtp_server *s, const char *reply)
{
    server_reply(s, (unsigned)strtoul(reply, NULL, 10), reply + 4);
}

/* RFC 3463: X.1.7 for a sender's address, X.1.3 for a recipient's. */
static void reply_bad_path(struct smtp_server *s, enum mail_path_error e, bool sender)
{
    const char *status = sender ? "5.1.7" : "5.1.3";
    struct buf text = { 0 };

    if (e == MAIL_PATH_NON_ASCII)
        status = "5.6.7"; /* RFC 6531 section 3.2 */
    buf_printf(&text, "%s %s", status, mail_path_error_text(e));
    server_reply(s, e == MAIL_PATH_NON_ASCII ? 553 : 501, buf_cstr(&text));
    buf_release(&text);
}

/* Reads "FROM:<path>" and leaves the parameters in *rest. Blanks around the
 * colon are not in the standard but in old clients. */
static bool take_path(struct smtp_server *s, const char *word, unsigned flags, struct slice *rest,
                      struct mail_path *path)
{
    struct slice args = *rest, name = slice_str(word);
    bool sender = (flags & MAIL_PATH_NULL_OK) != 0;
    enum mail_path_error e;
    size_t used = 0;

    if (!slice_starts_nocase(args, name) || args.len == name.len || args.ptr[name.len] != ':') {
        server_reply(s, 501,
                     sender ? "5.5.4 MAIL FROM:<address> is what is needed"
                            : "5.5.4 RCPT TO:<address> is what is needed");
        return false;
    }
    args = slice_trim(slice_from(args, name.len + 1));
    e = mail_path_parse(args, flags, path, &used);
    if (e != MAIL_PATH_OK) {
        reply_bad_path(s, e, sender);
        return false;
    }
    *rest = slice_from(args, used);
    return true;
}

void server_mail(struct smtp_server *s, struct slice args)
{
    uint64_t max = s->opt->message_size_max;
    struct smtp_sender from = { 0 };
    const char *why;

    if (server_auth_refuses_mail(s))
        return;
    if (!take_path(s, "FROM", MAIL_PATH_NULL_OK, &args, &from.path))
        return;
    /* Without EHLO no parameter was offered. */
    why = take_params(s, args, mail_params, s->esmtp ? countof(mail_params) : 0, &from);
    if (why != NULL) {
        reply_text(s, why);
        return;
    }
    if (max != 0 && from.size > max) {
        server_reply(s, 552, "5.3.4 message is larger than this server takes");
        return;
    }
    if (s->opt->messages_max != 0 && s->transactions == s->opt->messages_max) {
        server_reply_close(s, 421, "4.7.0 enough messages for one session");
        return;
    }
    s->transactions++;
    s->transaction = true;
    server_ask(s, ASK_SENDER);
    s->handler->sender(s->ctx, &from);
}

void server_rcpt(struct smtp_server *s, struct slice args)
{
    struct smtp_recipient to = { 0 };
    const char *why;

    if (!take_path(s, "TO", MAIL_PATH_POSTMASTER_OK, &args, &to.path))
        return;
    why = take_params(s, args, NULL, 0, NULL);
    if (why != NULL) {
        reply_text(s, why);
        return;
    }
    if (s->opt->recipients_max != 0 && s->recipients >= s->opt->recipients_max) {
        server_reply(s, 452, "4.5.3 too many recipients");
        return;
    }
    server_ask(s, ASK_RECIPIENT);
    s->handler->recipient(s->ctx, &to);
}
