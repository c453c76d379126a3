/* smtp/server_verbs.c - the commands of SMTP: who may come when, and the short
 * ones themselves. MAIL and RCPT, DATA and BDAT, AUTH and STARTTLS have files of their own.
 */
#include "smtp/server_private.h"

#include "base/mem.h"

#include <stdlib.h>

enum verb_args { ARGS_NONE, ARGS_OPTIONAL, ARGS_NEEDED };

struct verb {
    const char *name;
    uint16_t phases; /* legal in */
    enum verb_args args;
    void (*run)(struct smtp_server *s, struct slice args);
    const char *refusal; /* 503, out of order; NULL when it never is */
};

static void do_ehlo(struct smtp_server *s, struct slice args);
static void do_helo(struct smtp_server *s, struct slice args);
static void do_rset(struct smtp_server *s, struct slice args);
static void do_noop(struct smtp_server *s, struct slice args);
static void do_vrfy(struct smtp_server *s, struct slice args);
static void do_help(struct smtp_server *s, struct slice args);
static void do_quit(struct smtp_server *s, struct slice args);

/* BDAT is legal always: out of order its chunk has still to be consumed. */
static const struct verb verbs[] = {
    { "MAIL", PH_READY, ARGS_NEEDED, server_mail, NULL },
    { "RCPT", PH_MAIL | PH_RCPT, ARGS_NEEDED, server_rcpt, "5.5.1 MAIL first" },
    { "DATA", PH_RCPT, ARGS_NONE, server_data, "5.5.1 MAIL and RCPT first" },
    { "BDAT", PH_COMMAND, ARGS_NEEDED, server_bdat, NULL },
    { "EHLO", PH_COMMAND, ARGS_NEEDED, do_ehlo, NULL },
    { "HELO", PH_COMMAND, ARGS_NEEDED, do_helo, NULL },
    { "AUTH", PH_READY, ARGS_NEEDED, server_auth, NULL },
    { "STARTTLS", PH_READY, ARGS_NONE, server_starttls, NULL },
    { "XCLIENT", PH_COMMAND, ARGS_NEEDED, server_xclient, NULL },
    { "RSET", PH_COMMAND, ARGS_NONE, do_rset, NULL },
    { "NOOP", PH_COMMAND, ARGS_OPTIONAL, do_noop, NULL },
    { "VRFY", PH_COMMAND, ARGS_NEEDED, do_vrfy, NULL },
    { "HELP", PH_COMMAND, ARGS_OPTIONAL, do_help, NULL },
    { "QUIT", PH_COMMAND, ARGS_NONE, do_quit, NULL },
};

/* A browser that was lured to a mail port sends these with somebody's form as
 * the body: not a line of it may be served. */
static const char *const http_methods[] = { "GET",    "POST",  "PUT",     "HEAD",  "OPTIONS",
                                            "DELETE", "TRACE", "CONNECT", "PATCH", "PRI" };

static struct slice take_word(struct slice *rest)
{
    size_t len = slice_find(*rest, ' ');
    struct slice word = slice_head(*rest, len);

    *rest = slice_trim(slice_from(*rest, len));
    return word;
}

static const struct verb *verb_find(struct slice name)
{
    for (size_t i = 0; i < countof(verbs); i++) {
        if (slice_eq_nocase(name, slice_str(verbs[i].name)))
            return &verbs[i];
    }
    return NULL;
}

bool server_verb_known(struct slice name)
{
    return verb_find(name) != NULL;
}

void server_verb_names(struct buf *out)
{
    for (size_t i = 0; i < countof(verbs); i++) {
        buf_add_byte(out, ' ');
        buf_add_str(out, verbs[i].name);
    }
}

static bool is_http(struct slice name)
{
    for (size_t i = 0; i < countof(http_methods); i++) {
        if (slice_eq(name, slice_str(http_methods[i])))
            return true;
    }
    return false;
}

static bool has_control(struct slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if ((unsigned char)line.ptr[i] < ' ' || line.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

/* Errors beyond the limit are no longer answered one by one. */
static bool patience_ends(struct smtp_server *s)
{
    if (s->opt->errors_max == 0 || s->errors < s->opt->errors_max)
        return false;
    server_reply_close(s, 421, "4.7.0 too many errors");
    return true;
}

/* Behind an unreadable BDAT stands content of unknown length, and all that
 * follows might be read as commands: the session ends. */
void server_line_refused(struct smtp_server *s, const char *text)
{
    s->spoken = true;
    server_auth_abandon(s);
    if (patience_ends(s))
        return;
    if (slice_starts_nocase(s->command, SLICE("BDAT")))
        server_reply_close(s, 521, text);
    else
        server_reply(s, 500, text);
}

static void refuse_order(struct smtp_server *s, const struct verb *v)
{
    if (s->phase == PH_GREETED)
        server_reply(s, 503, "5.5.1 EHLO first");
    else if (s->phase == PH_BDAT)
        server_reply(s, 503, "5.5.1 the message that BDAT began is not complete");
    else if (v->refusal == NULL)
        server_reply(s, 503, "5.5.1 a transaction is open; RSET ends it");
    else if (s->phase == PH_MAIL)
        server_reply(s, 554, "5.5.1 no valid recipients");
    else
        server_reply(s, 503, v->refusal);
}

void server_command(struct smtp_server *s, struct slice line)
{
    bool first = !s->spoken;
    struct slice args = line;
    struct slice name = take_word(&args);
    const struct verb *v = verb_find(name);

    s->stage = v != NULL ? v->name : "UNKNOWN";
    if (has_control(line)) {
        server_line_refused(s, "5.5.2 control character in a command");
        return;
    }
    s->spoken = true;
    if (v != NULL && v->run == do_quit && args.len == 0) {
        do_quit(s, args);
        return;
    }
    if (patience_ends(s))
        return;
    if (first && is_http(name))
        server_reply_close(s, 421, "4.7.0 this is SMTP, not HTTP");
    else if (v == NULL)
        server_reply(s, 500, "5.5.1 unknown command");
    else if ((v->phases & s->phase) == 0)
        refuse_order(s, v);
    else if (v->args == ARGS_NONE && args.len > 0)
        server_reply(s, 501, "5.5.4 this command takes no argument");
    else if (v->args == ARGS_NEEDED && args.len == 0 && v->run != server_bdat)
        server_reply(s, 501, "5.5.4 this command needs an argument");
    else
        v->run(s, args);
}

/* Commands that bring no mail are free for a while only. */
static bool idles_too_long(struct smtp_server *s)
{
    if (s->opt->commands_idle_max == 0 || ++s->idle_commands <= s->opt->commands_idle_max)
        return false;
    server_reply_close(s, 421, "4.7.0 too many commands without mail");
    return true;
}

/* Clients call themselves all sorts of things; a name is for the log and the
 * Received field, nothing is decided by it. It stays one printable word. */
static bool hello(struct smtp_server *s, struct slice args, bool esmtp)
{
    struct slice name = take_word(&args);

    if (idles_too_long(s))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.ptr[i] >= 0x7f) {
            server_reply(s, 501, "5.5.4 not a host name");
            return false;
        }
    }
    if (name.len > SERVER_HELO_MAX) {
        server_reply(s, 501, "5.5.4 host name too long");
        return false;
    }
    server_end_transaction(s); /* RFC 5321 section 4.1.4 */
    free(s->helo);
    s->helo = mem_dup(name.ptr, name.len);
    s->esmtp = esmtp;
    server_enter(s, PH_READY);
    return true;
}

static void do_ehlo(struct smtp_server *s, struct slice args)
{
    if (hello(s, args, true))
        server_reply_ehlo(s);
}

static void do_helo(struct smtp_server *s, struct slice args)
{
    if (hello(s, args, false))
        server_reply(s, 250, s->opt->hostname);
}

static void do_rset(struct smtp_server *s, struct slice args)
{
    if (idles_too_long(s))
        return;
    server_end_transaction(s);
    if (s->phase != PH_GREETED)
        server_enter(s, PH_READY);
    server_reply(s, 250, "2.0.0 ok");
}

static void do_noop(struct smtp_server *s, struct slice args)
{
    if (!idles_too_long(s))
        server_reply(s, 250, "2.0.0 ok");
}

/* RFC 5321 section 7.3: who has a mailbox here is not told to strangers. */
static void do_vrfy(struct smtp_server *s, struct slice args)
{
    if (!idles_too_long(s))
        server_reply(s, 252, "2.0.0 send mail to it and see");
}

static void do_help(struct smtp_server *s, struct slice args)
{
    struct buf text = { 0 };

    if (idles_too_long(s))
        return;
    buf_add_str(&text, "2.0.0 commands:");
    server_verb_names(&text);
    server_reply(s, 214, buf_cstr(&text));
    buf_release(&text);
}

static void do_quit(struct smtp_server *s, struct slice args)
{
    server_reply_close(s, 221, "2.0.0 bye");
}
