/* smtp/server_envelope.c - MAIL and RCPT: the envelope's paths and the
 * parameters behind them (server_params.c), checked to the letter before
 * anybody is asked.
 */
#include "smtp/server_private.h"

#include <stdlib.h>

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

    if (server_tls_refuses(s) || server_auth_refuses_mail(s))
        return;
    /* Whether the path may be in UTF-8 is said behind it. */
    if (!take_path(s, "FROM", MAIL_PATH_NULL_OK | MAIL_PATH_UTF8_OK, &args, &from.path))
        return;
    why = server_mail_params(s, args, &from);
    if (why != NULL) {
        reply_text(s, why);
        return;
    }
    if (from.path.utf8 && !from.smtputf8) {
        reply_bad_path(s, MAIL_PATH_NON_ASCII, true);
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
    s->utf8 = from.smtputf8;
    server_ask(s, ASK_SENDER);
    s->handler->sender(s->ctx, &from);
}

void server_rcpt(struct smtp_server *s, struct slice args)
{
    struct smtp_recipient to = { 0 };
    const char *why;

    if (!take_path(s, "TO", MAIL_PATH_POSTMASTER_OK | (s->utf8 ? MAIL_PATH_UTF8_OK : 0), &args, &to.path))
        return;
    why = server_rcpt_params(s, args, &to);
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
