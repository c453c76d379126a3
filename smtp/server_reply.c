/* smtp/server_reply.c - what the client is told, written straight into the
 * outgoing bytes: well-formed whatever words the reply was made of.
 */
#include "smtp/server_private.h"

/* RFC 5321 section 4.5.3.1.5 allows 512 with code and CR LF. */
#define REPLY_TEXT_MAX 480u

/* Words may hold parts of what a client sent, in any charset. */
static void add_clean(struct buf *out, struct slice text)
{
    char *to = buf_reserve(out, text.len);

    for (size_t i = 0; i < text.len; i++)
        to[i] = text.ptr[i] >= ' ' && text.ptr[i] < 0x7f ? text.ptr[i] : '?';
    buf_extend(out, text.len);
}

/* Takes one line off *rest: up to a '\n', or to a blank when it is too long. */
static struct slice take_line(struct slice *rest)
{
    struct slice line = slice_head(*rest, slice_find(*rest, '\n'));
    size_t cut = REPLY_TEXT_MAX;

    if (line.len <= REPLY_TEXT_MAX) {
        *rest = slice_from(*rest, line.len + 1);
        return line;
    }
    while (cut > REPLY_TEXT_MAX / 2 && line.ptr[cut - 1] != ' ')
        cut--;
    if (line.ptr[cut - 1] != ' ')
        cut = REPLY_TEXT_MAX;
    *rest = slice_from(*rest, cut);
    return slice_head(line, cut);
}

/* The enhanced code stands on every line (RFC 2034 section 4). */
static void add_reply(struct buf *out, unsigned code, const char *text)
{
    struct slice rest = slice_str(text);
    struct slice status = SLICE_EMPTY;
    struct mail_status parsed;
    size_t used;

    if (mail_status_parse(rest, &parsed, &used)) {
        status = slice_head(rest, used);
        rest = slice_from(rest, used);
        if (rest.len > 0 && rest.ptr[0] == ' ')
            rest = slice_from(rest, 1);
    }
    do {
        struct slice line = take_line(&rest);

        buf_add_u64(out, code);
        buf_add_byte(out, rest.len > 0 ? '-' : ' ');
        buf_add(out, status);
        if (status.len > 0 && line.len > 0)
            buf_add_byte(out, ' ');
        add_clean(out, line);
        buf_add(out, SLICE("\r\n"));
    } while (rest.len > 0);
}

void server_reply(struct smtp_server *s, unsigned code, const char *text)
{
    size_t before = buf_len(&s->out);
    struct slice reply;

    add_reply(&s->out, code, text);
    if (code < 400)
        return;
    if (code >= 500)
        s->errors++;
    reply = slice_from(buf_bytes(&s->out), before);
    if (s->handler->refused != NULL)
        s->handler->refused(s->ctx, code, slice_head(reply, reply.len - 2), s->command);
}

void server_reply_close(struct smtp_server *s, unsigned code, const char *text)
{
    server_reply(s, code, text);
    server_enter(s, PH_CLOSING);
}

/* A keyword is offered when its row's function says so; a row of its own is
 * all that a new extension needs here. */
static bool offer_size(struct smtp_server *s)
{
    buf_add(&s->out, SLICE("SIZE "));
    buf_add_u64(&s->out, s->opt->message_size_max);
    return true;
}

/* RFC 9422. A limit of 0 is none, and then there is nothing to tell. */
static bool offer_limits(struct smtp_server *s)
{
    if (s->opt->recipients_max == 0 && s->opt->messages_max == 0)
        return false;
    buf_add(&s->out, SLICE("LIMITS"));
    if (s->opt->messages_max != 0) {
        buf_add(&s->out, SLICE(" MAILMAX="));
        buf_add_u64(&s->out, s->opt->messages_max);
    }
    if (s->opt->recipients_max != 0) {
        buf_add(&s->out, SLICE(" RCPTMAX="));
        buf_add_u64(&s->out, s->opt->recipients_max);
    }
    return true;
}

static bool offer_auth(struct smtp_server *s)
{
    if (s->auth == NULL || s->auth->mechanisms[0] == '\0' || s->authenticated)
        return false;
    buf_add(&s->out, SLICE("AUTH "));
    buf_add_str(&s->out, s->auth->mechanisms);
    return true;
}

/* RFC 4865 section 3: how long at most, in seconds, and until when. */
static bool offer_future_release(struct smtp_server *s)
{
    char until[MAIL_RFC3339_MAX];

    if (s->release_max_ms == 0)
        return false;
    buf_add(&s->out, SLICE("FUTURERELEASE "));
    buf_add_u64(&s->out, s->release_max_ms / SECOND_MS);
    buf_add_byte(&s->out, ' ');
    buf_add_str(&s->out, mail_rfc3339_format(clock_wall_ms(s->clock) + s->release_max_ms, until));
    return true;
}

static bool offer_starttls(struct smtp_server *s)
{
    if (s->tls != SMTP_SERVER_TLS_OFFERED && s->tls != SMTP_SERVER_TLS_REQUIRED)
        return false;
    buf_add(&s->out, SLICE("STARTTLS"));
    return true;
}

static const struct offer {
    const char *keyword;
    bool (*write)(struct smtp_server *s); /* false, and nothing written: not offered */
} offers[] = {
    { "PIPELINING", NULL },          { NULL, offer_size }, { "8BITMIME", NULL },
    { "ENHANCEDSTATUSCODES", NULL }, { "CHUNKING", NULL }, { "DSN", NULL },
    { "SMTPUTF8", NULL },            { NULL, offer_limits }, { NULL, offer_future_release },
    { NULL, offer_starttls },        { NULL, offer_auth }, { NULL, server_offer_xclient },
};

void server_reply_ehlo(struct smtp_server *s)
{
    struct buf *out = &s->out;

    buf_add(out, SLICE("250-"));
    buf_add_str(out, s->opt->hostname);
    buf_add(out, SLICE("\r\n"));
    for (size_t i = 0; i < countof(offers); i++) {
        size_t before = buf_len(out);

        buf_add(out, SLICE("250-"));
        if (offers[i].write == NULL)
            buf_add_str(out, offers[i].keyword);
        else if (!offers[i].write(s)) {
            out->end -= buf_len(out) - before;
            continue;
        }
        buf_add(out, SLICE("\r\n"));
    }
    buf_add(out, SLICE("250 HELP\r\n"));
}

/* Greetings carry no enhanced code of necessity: RFC 2034 section 4 exempts them. */
void smtp_server_greet(struct smtp_server *s)
{
    if (s->phase != PH_NEW)
        return; /* shut down before it was greeted */
    buf_printf(&s->out, "220 %s ESMTP\r\n", s->opt->hostname);
    server_enter(s, PH_GREETED);
    smtp_server_hold(s, s->held); /* what an early talker sent */
}

void smtp_server_reject(struct smtp_server *s, unsigned code, const char *text)
{
    if (s->phase == PH_NEW)
        server_reply_close(s, code, text);
}
