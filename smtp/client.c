/* smtp/client.c - a message's last stop with us: the session with its next
 * hop, step by step. Each step waits for one reply; bytes that answer nothing
 * end the session, for from then on no reply could be told from another.
 */
#include "smtp/client_private.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

static void greeting_replied(struct smtp_client *c, const struct mail_reply *reply);
static void ehlo_replied(struct smtp_client *c, const struct mail_reply *reply);
static void helo_replied(struct smtp_client *c, const struct mail_reply *reply);
static void unasked_replied(struct smtp_client *c, const struct mail_reply *reply);
static void quit_replied(struct smtp_client *c, const struct mail_reply *reply);

#define TIMEOUT(name) offsetof(struct smtp_client_options, name##_timeout_ms)

static const struct step {
    enum smtp_stage stage;
    void (*replied)(struct smtp_client *c, const struct mail_reply *reply);
    size_t timeout; /* where in the options */
} steps[] = {
    [WAIT_GREETING] = { SMTP_STAGE_GREETING, greeting_replied, TIMEOUT(greeting) },
    [WAIT_EHLO] = { SMTP_STAGE_EHLO, ehlo_replied, TIMEOUT(command) },
    [WAIT_HELO] = { SMTP_STAGE_EHLO, helo_replied, TIMEOUT(command) },
    [WAIT_STARTTLS] = { SMTP_STAGE_TLS, client_starttls_replied, TIMEOUT(command) },
    [WAIT_TLS] = { SMTP_STAGE_TLS, unasked_replied, TIMEOUT(command) },
    [WAIT_AUTH] = { SMTP_STAGE_AUTH, client_auth_replied, TIMEOUT(command) },
    [WAIT_RSET] = { SMTP_STAGE_MAIL, client_rset_replied, TIMEOUT(command) },
    [WAIT_MAIL] = { SMTP_STAGE_MAIL, client_mail_replied, TIMEOUT(command) },
    [WAIT_RCPT] = { SMTP_STAGE_RCPT, client_rcpt_replied, TIMEOUT(command) },
    [WAIT_DATA] = { SMTP_STAGE_DATA, client_data_replied, TIMEOUT(data) },
    [WAIT_CONTENT] = { SMTP_STAGE_CONTENT, client_content_replied, TIMEOUT(data) },
    [WAIT_END] = { SMTP_STAGE_END, client_end_replied, TIMEOUT(final) },
    [WAIT_NOTHING] = { SMTP_STAGE_IDLE, unasked_replied, TIMEOUT(quit) },
    [WAIT_QUIT] = { SMTP_STAGE_IDLE, quit_replied, TIMEOUT(quit) },
    [WAIT_CLOSED] = { SMTP_STAGE_IDLE, unasked_replied, TIMEOUT(quit) },
};

const char *smtp_stage_text(enum smtp_stage st)
{
    static const char *const texts[] = {
        [SMTP_STAGE_CONNECT] = "connect", [SMTP_STAGE_GREETING] = "greeting",
        [SMTP_STAGE_EHLO] = "EHLO",       [SMTP_STAGE_MAIL] = "MAIL FROM",
        [SMTP_STAGE_TLS] = "STARTTLS",    [SMTP_STAGE_AUTH] = "AUTH",
        [SMTP_STAGE_RCPT] = "RCPT TO",    [SMTP_STAGE_DATA] = "DATA",
        [SMTP_STAGE_CONTENT] = "content", [SMTP_STAGE_END] = "end of DATA",
        [SMTP_STAGE_IDLE] = "idle",
    };

    return texts[st];
}

struct smtp_client *smtp_client_new(const struct smtp_client_options *opt,
                                    const struct smtp_client_handler *handler, void *ctx)
{
    struct smtp_client *c = mem_new(struct smtp_client);

    c->opt = opt;
    c->handler = handler;
    c->ctx = ctx;
    c->wait = WAIT_GREETING;
    return c;
}

void smtp_client_free(struct smtp_client *c)
{
    if (c == NULL)
        return;
    assert(!c->feeding && !c->turning);
    client_auth_release(c);
    buf_release(&c->out);
    buf_release(&c->refusal_text);
    mail_reply_reader_release(&c->reader);
    free(c->greeting);
    free(c->recipients);
    free(c);
}

enum smtp_stage client_stage(const struct smtp_client *c)
{
    return steps[c->wait].stage;
}

/* A permanent refusal needs a 5xx; whatever else is no success is tried again. */
struct smtp_outcome client_outcome_of(const struct smtp_client *c, const struct mail_reply *reply)
{
    bool odd = reply->code / 100 == 3; /* has no status of its own */

    return (struct smtp_outcome){
        .verdict = reply->code >= 500 ? SMTP_FAILED : SMTP_DEFERRED,
        .stage = client_stage(c),
        .code = reply->code,
        .status = odd ? (struct mail_status){ 4, 5, 0 } : reply->status,
        .text = buf_bytes(&reply->text),
    };
}

/* Tells the handler what is due. Not from inside a handler function, so that
 * an owner who sends from ready() does not nest deeper with each message. */
void client_turn(struct smtp_client *c)
{
    if (c->turning || c->feeding)
        return;
    c->turning = true;
    if (c->tls_due && c->wait == WAIT_TLS) {
        c->tls_due = false;
        c->handler->start_tls(c->ctx);
    }
    while (c->ready_due && !c->unasked && c->wait == WAIT_NOTHING) {
        c->ready_due = false;
        if (c->quit_wanted ||
            (c->offer.messages_max != 0 && c->transactions >= c->offer.messages_max)) {
            buf_add(&c->out, SLICE("QUIT\r\n"));
            c->wait = WAIT_QUIT;
        } else {
            c->handler->ready(c->ctx);
        }
    }
    c->turning = false;
}

void client_idle(struct smtp_client *c)
{
    c->wait = WAIT_NOTHING;
    c->ready_due = true;
}

void client_fail(struct smtp_client *c, const struct smtp_outcome *o)
{
    struct smtp_outcome kept = *o;

    c->wait = WAIT_CLOSED;
    buf_clear(&c->out); /* half a message must not get its end */
    if (c->in_transaction) {
        client_transaction_cut(c, &kept);
    }
    if (kept.verdict == SMTP_IN_DOUBT)
        kept.verdict = SMTP_DEFERRED; /* that was the message's; the session is over for sure */
    c->handler->failed(c->ctx, &kept);
}

/* Something other than a reply ends the session. Once the whole end mark may
 * have reached the server, nobody knows whether it took the message. */
static void fail_with(struct smtp_client *c, struct mail_status status, const char *text)
{
    bool doubt = c->wait == WAIT_END && buf_len(&c->out) == 0 && !c->unsent;
    struct smtp_outcome o = {
        .verdict = doubt ? SMTP_IN_DOUBT : SMTP_DEFERRED,
        .stage = client_stage(c),
        .status = status,
        .text = slice_str(text),
    };

    client_fail(c, &o);
}

void client_fail_protocol(struct smtp_client *c, const char *text)
{
    fail_with(c, (struct mail_status){ 4, 5, 0 }, text);
}

static void quit_done(struct smtp_client *c)
{
    c->wait = WAIT_CLOSED;
    c->handler->quit_done(c->ctx);
}

void client_say_ehlo(struct smtp_client *c)
{
    buf_printf(&c->out, "EHLO %s\r\n", c->opt->helo);
    c->wait = WAIT_EHLO;
}

void client_after_tls(struct smtp_client *c)
{
    if (!client_auth_begin(c))
        client_idle(c);
}

static void greeting_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct slice name = buf_bytes(&reply->text);

    if (reply->code / 100 == 2) {
        name = slice_head(name, slice_find(name, '\n'));
        name = slice_head(name, slice_find(name, ' '));
        c->greeting = mem_dup(name.ptr, name.len);
        client_say_ehlo(c);
    } else if (reply->code / 100 == 3) {
        client_fail_protocol(c, "greeted with a reply that is no greeting");
    } else {
        struct smtp_outcome o = client_outcome_of(c, reply);

        client_fail(c, &o);
    }
}

static void ehlo_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o;

    if (reply->code / 100 == 2) {
        client_offer_read(&c->offer, buf_bytes(&reply->text));
        if (!client_tls_begin(c))
            client_after_tls(c);
        return;
    }
    if (reply->code >= 500) { /* RFC 5321 section 3.2: it may know HELO */
        buf_printf(&c->out, "HELO %s\r\n", c->opt->helo);
        c->wait = WAIT_HELO;
        return;
    }
    o = client_outcome_of(c, reply);
    client_fail(c, &o);
}

static void helo_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o;

    if (reply->code / 100 == 2) { /* HELO offers nothing */
        if (!client_tls_begin(c))
            client_after_tls(c);
        return;
    }
    o = client_outcome_of(c, reply);
    client_fail(c, &o);
}

/* A reply that nobody asked for. 421 is how a server takes its leave
 * (RFC 5321 section 3.8); anything else is a dialogue out of step. */
static void unasked_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o;

    if (reply->code != 421) {
        client_fail_protocol(c, "server sent a reply that nobody asked for");
        return;
    }
    o = client_outcome_of(c, reply);
    client_fail(c, &o);
}

static void quit_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    quit_done(c);
}

static void reply_came(struct smtp_client *c)
{
    const struct mail_reply *reply = &c->reader.reply;
    bool takes_421 = c->wait == WAIT_END || c->wait == WAIT_QUIT; /* as a plain answer */
    struct smtp_outcome o;

    if (c->unasked && c->wait != WAIT_QUIT) {
        unasked_replied(c, reply);
    } else if (reply->code == 421 && !takes_421) {
        o = client_outcome_of(c, reply);
        client_fail(c, &o);
    } else {
        steps[c->wait].replied(c, reply);
    }
}

static void feed_replies(struct smtp_client *c, struct slice in)
{
    while (in.len > 0 && c->wait != WAIT_CLOSED) {
        enum mail_reply_result result;
        bool last = client_last_awaited(c);
        size_t used = 0;

        if (c->wait == WAIT_TLS) { /* an injection, or a server that can't do TLS: RFC 3207 has no such bytes */
            client_fail_protocol(c, "server sent bytes in the clear behind its answer to STARTTLS");
            return;
        }
        if (c->wait == WAIT_NOTHING)
            c->unasked = true;
        result = mail_reply_feed(&c->reader, in, &used);
        in = slice_from(in, used);
        if (result == MAIL_REPLY_MORE)
            return;
        if (result == MAIL_REPLY_BAD) {
            if (c->wait == WAIT_QUIT)
                quit_done(c);
            else
                client_fail_protocol(c, "server sent something that is no reply");
            return;
        }
        reply_came(c);
        mail_reply_reader_next(&c->reader);
        if (last && in.len > 0 && (c->wait != WAIT_CONTENT || c->chunked))
            c->unasked = true;
    }
}

void smtp_client_feed(struct smtp_client *c, struct slice in)
{
    assert(!c->feeding);
    c->feeding = true;
    feed_replies(c, in);
    c->feeding = false;
    client_turn(c);
}

void smtp_client_lost(struct smtp_client *c, const char *text)
{
    if (c->wait == WAIT_CLOSED)
        return;
    if (c->wait == WAIT_QUIT)
        quit_done(c);
    else
        fail_with(c, (struct mail_status){ 4, 4, 2 }, text);
}

void smtp_client_abort(struct smtp_client *c, const char *text)
{
    if (c->wait == WAIT_CLOSED)
        return;
    fail_with(c, (struct mail_status){ 4, 3, 0 }, text);
}

void smtp_client_quit(struct smtp_client *c)
{
    if (c->wait == WAIT_CLOSED)
        return;
    c->quit_wanted = true;
    if (c->wait == WAIT_NOTHING)
        c->ready_due = true;
    client_turn(c);
}

struct buf *smtp_client_out(struct smtp_client *c)
{
    return &c->out;
}

void smtp_client_unsent(struct smtp_client *c)
{
    c->unsent = true;
}

uint64_t smtp_client_timeout_ms(const struct smtp_client *c)
{
    uint64_t ms;

    if (c->wait == WAIT_CLOSED || (c->wait == WAIT_NOTHING && !c->unasked))
        return 0;
    memcpy(&ms, (const char *)c->opt + steps[c->wait].timeout, sizeof ms);
    return ms;
}

const struct smtp_client_offer *smtp_client_offer(const struct smtp_client *c)
{
    return &c->offer;
}

const char *smtp_client_greeting(const struct smtp_client *c)
{
    return c->greeting != NULL ? c->greeting : "";
}

bool smtp_client_idle(const struct smtp_client *c)
{
    return c->wait == WAIT_NOTHING && !c->ready_due && !c->unasked && !c->quit_wanted;
}
