/* smtp/client_transaction.c - one message to one next hop: MAIL, RCPT, DATA
 * and the content, in one burst where PIPELINING is offered (RFC 2920), else
 * step by step. A large message goes by BDAT instead of DATA. Each recipient
 * gets exactly one outcome.
 */
#include "smtp/client_private.h"

#include "base/mem.h"

#include <assert.h>

#define STATUS(a, b, c) ((struct mail_status){ a, b, c })

static void tell(struct smtp_client *c, unsigned n, const struct smtp_outcome *o)
{
    c->recipients[n] |= RECIPIENT_DONE;
    c->handler->recipient_done(c->ctx, n, o);
}

void client_settle(struct smtp_client *c, const struct smtp_outcome *o)
{
    for (unsigned i = 0; i < c->t.recipient_count; i++) {
        if ((c->recipients[i] & RECIPIENT_DONE) == 0)
            tell(c, i, o);
    }
}

static void settle_by_reply(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o = client_outcome_of(c, reply);

    client_settle(c, &o);
}

void client_transaction_over(struct smtp_client *c)
{
    c->in_transaction = false;
    c->burst = false;
    if (c->wait != WAIT_CLOSED)
        client_idle(c);
    c->handler->transaction_done(c->ctx);
}

/* Whoever refuses a sender and hangs up has meant it, on a connection that has
 * said nothing wrong so far. */
void client_transaction_cut(struct smtp_client *c, const struct smtp_outcome *o)
{
    if (c->mail_refused && c->transactions == 1)
        client_settle(c, &c->refusal);
    client_settle(c, o);
    client_transaction_over(c);
}

/* Addresses come checked; this is the last door before the wire. */
static bool has_control(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        if ((unsigned char)path.ptr[i] < ' ' || path.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

static bool is_ascii(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        if ((unsigned char)path.ptr[i] >= 0x80)
            return false;
    }
    return true;
}

static struct smtp_outcome own_words(enum smtp_verdict verdict, struct mail_status status,
                                     const char *text)
{
    return (struct smtp_outcome){
        .verdict = verdict, .stage = SMTP_STAGE_MAIL, .status = status, .text = slice_str(text)
    };
}

/* What must not be sent at all; true when there is such a reason. */
static bool refuse_message(struct smtp_client *c)
{
    const struct smtp_transaction *t = &c->t;
    struct smtp_outcome o;

    if (c->offer.size_max != 0 && t->size_bytes > c->offer.size_max)
        o = own_words(SMTP_FAILED, STATUS(5, 3, 4), "message is larger than the next hop takes");
    else if (has_control(t->reverse_path))
        o = own_words(SMTP_FAILED, STATUS(5, 1, 7), "sender's address can't be sent");
    else if (!is_ascii(t->reverse_path) && !c->offer.smtputf8)
        o = own_words(SMTP_FAILED, STATUS(5, 6, 7), "next hop takes no non-ASCII address");
    else if (t->smtputf8 && !c->offer.smtputf8)
        o = own_words(SMTP_FAILED, STATUS(5, 6, 7), "next hop takes no header with non-ASCII characters");
    else
        return false;
    client_settle(c, &o);
    return true;
}

/* Marks the recipients that get their RCPT and tells the others; their number. */
static unsigned choose_recipients(struct smtp_client *c)
{
    unsigned max = c->offer.recipients_max, wanted = 0;
    struct smtp_outcome o;

    c->utf8 = c->t.smtputf8 || !is_ascii(c->t.reverse_path);
    for (unsigned i = 0; i < c->t.recipient_count; i++) {
        struct slice path = c->t.recipients[i];

        if (has_control(path)) {
            o = own_words(SMTP_FAILED, STATUS(5, 1, 3), "address can't be sent");
        } else if (!is_ascii(path) && !c->offer.smtputf8) {
            o = own_words(SMTP_FAILED, STATUS(5, 6, 7), "next hop takes no non-ASCII address");
        } else if (max != 0 && wanted == max) {
            o = own_words(SMTP_DEFERRED, STATUS(4, 5, 3),
                          "more recipients than the next hop takes");
        } else {
            c->utf8 = c->utf8 || !is_ascii(path);
            c->recipients[i] |= RECIPIENT_WANTED;
            wanted++;
            continue;
        }
        o.stage = SMTP_STAGE_RCPT;
        tell(c, i, &o);
    }
    return wanted;
}

static void write_mail(struct smtp_client *c)
{
    const struct smtp_transaction *t = &c->t;

    buf_add(&c->out, SLICE("MAIL FROM:<"));
    buf_add(&c->out, t->reverse_path);
    buf_add_byte(&c->out, '>');
    if (c->offer.size && t->size_bytes != 0) {
        buf_add(&c->out, SLICE(" SIZE="));
        buf_add_u64(&c->out, t->size_bytes);
    }
    if ((t->eight_bit || c->utf8) && c->offer.eightbitmime)
        buf_add(&c->out, SLICE(" BODY=8BITMIME"));
    if (c->utf8)
        buf_add(&c->out, SLICE(" SMTPUTF8"));
    if (c->offer.dsn && t->ret != MAIL_RETURN_UNSPECIFIED)
        buf_add_str(&c->out, t->ret == MAIL_RETURN_FULL ? " RET=FULL" : " RET=HDRS");
    if (c->offer.dsn && t->envelope_id.len > 0 && !has_control(t->envelope_id)) {
        buf_add(&c->out, SLICE(" ENVID="));
        buf_add(&c->out, t->envelope_id);
    }
    buf_add(&c->out, SLICE("\r\n"));
}

static void write_wish(struct smtp_client *c, const struct mail_wish *w)
{
    char notify[MAIL_NOTIFY_TEXT_MAX];

    if (w->notify != 0) {
        buf_add(&c->out, SLICE(" NOTIFY="));
        buf_add_str(&c->out, mail_notify_format(w->notify, notify));
    }
    if (w->original.len > 0 && !has_control(w->original)) {
        buf_add(&c->out, SLICE(" ORCPT="));
        mail_orcpt_add_ascii(&c->out, w->original);
    }
}

static void write_rcpt(struct smtp_client *c, unsigned n)
{
    buf_add(&c->out, SLICE("RCPT TO:<"));
    buf_add(&c->out, c->t.recipients[n]);
    buf_add_byte(&c->out, '>');
    if (c->offer.dsn && c->t.wishes != NULL)
        write_wish(c, &c->t.wishes[n]);
    buf_add(&c->out, SLICE("\r\n"));
}

/* The steps of a transaction: in a burst the command is out already. */
static void to_mail(struct smtp_client *c)
{
    if (!c->burst)
        write_mail(c);
    c->wait = WAIT_MAIL;
}

static void to_content(struct smtp_client *c)
{
    c->at_line_start = true;
    c->wait = WAIT_CONTENT;
    c->handler->content(c->ctx);
}

static void to_data(struct smtp_client *c)
{
    if (c->mail_refused)
        client_settle(c, &c->refusal);
    c->mail_refused = false;
    if ((!c->burst || c->chunked) && c->accepted == 0) {
        client_transaction_over(c);
        return;
    }
    if (c->chunked) {
        to_content(c);
        return;
    }
    if (!c->burst)
        buf_add(&c->out, SLICE("DATA\r\n"));
    c->wait = WAIT_DATA;
}

static unsigned next_wanted(const struct smtp_client *c, unsigned n)
{
    while (n < c->t.recipient_count && (c->recipients[n] & RECIPIENT_WANTED) == 0)
        n++;
    return n;
}

static void to_rcpt(struct smtp_client *c, unsigned from)
{
    unsigned n = next_wanted(c, from);

    if (n == c->t.recipient_count) {
        to_data(c);
        return;
    }
    c->at = n;
    if (!c->burst)
        write_rcpt(c, n);
    c->wait = WAIT_RCPT;
}

bool client_last_awaited(const struct smtp_client *c)
{
    if (c->chunked && (c->wait == WAIT_CONTENT || c->wait == WAIT_END))
        return c->chunks_open <= 1;
    if (c->chunked && c->wait == WAIT_RCPT)
        return next_wanted(c, c->at + 1) == c->t.recipient_count;
    return !c->burst || c->wait < WAIT_RSET || c->wait >= WAIT_DATA;
}

static void write_burst(struct smtp_client *c)
{
    write_mail(c);
    for (unsigned i = 0; i < c->t.recipient_count; i++) {
        if ((c->recipients[i] & RECIPIENT_WANTED) != 0)
            write_rcpt(c, i);
    }
    if (!c->chunked) /* chunks are not sent in the hope of a recipient */
        buf_add(&c->out, SLICE("DATA\r\n"));
}

static void start(struct smtp_client *c)
{
    c->transactions++;
    c->burst = c->offer.pipelining;
    c->chunked = c->burst && c->offer.chunking && c->t.size_bytes >= CLIENT_BDAT_MIN;
    c->chunks_open = 0;
    if (c->mail_accepted)
        buf_add(&c->out, SLICE("RSET\r\n"));
    if (c->burst)
        write_burst(c);
    if (c->mail_accepted)
        c->wait = WAIT_RSET;
    else
        to_mail(c);
}

void smtp_client_send(struct smtp_client *c, const struct smtp_transaction *t)
{
    assert(smtp_client_idle(c) && t->recipient_count > 0);
    c->t = *t;
    if (t->recipient_count > c->recipients_cap) {
        c->recipients = mem_grow(c->recipients, t->recipient_count, sizeof *c->recipients);
        c->recipients_cap = t->recipient_count;
    }
    memset(c->recipients, 0, t->recipient_count);
    c->accepted = 0;
    c->mail_refused = false;
    c->in_transaction = true;
    if (refuse_message(c) || choose_recipients(c) == 0) {
        client_transaction_over(c);
        client_turn(c);
        return;
    }
    start(c);
}

/* 1xx can't come; 3xx is an answer to DATA alone. */
static bool is_odd(struct smtp_client *c, const struct mail_reply *reply)
{
    if (reply->code / 100 != 3)
        return false;
    client_fail_protocol(c, "server asked for content out of order");
    return true;
}

void client_rset_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o = client_outcome_of(c, reply);

    if (is_odd(c, reply))
        return;
    if (reply->code >= 400) { /* a server that can't forget is no use for another message */
        o.verdict = SMTP_DEFERRED;
        if (reply->code >= 500)
            o.status = STATUS(4, 5, 0);
        client_fail(c, &o);
        return;
    }
    c->mail_accepted = false;
    to_mail(c);
}

/* Some servers say 5xx unasked, between two messages (too many, too long), and
 * it would be MAIL's answer if our MAIL is on its way. No sender bounces for that:
 * in a burst the next replies tell, otherwise a new connection does. */
static bool refusal_waits(struct smtp_client *c, const struct mail_reply *reply)
{
    if (reply->code < 500)
        return false;
    if (c->burst) {
        c->mail_refused = true;
        c->refusal = client_outcome_of(c, reply);
        buf_clear(&c->refusal_text);
        buf_add(&c->refusal_text, c->refusal.text);
        c->refusal.text = buf_bytes(&c->refusal_text);
        to_rcpt(c, 0);
        return true;
    }
    if (c->transactions == 1)
        return false;
    client_fail_protocol(c, "server refused the sender on a connection used before, perhaps unasked");
    return true;
}

void client_mail_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    if (is_odd(c, reply))
        return;
    if (reply->code < 300) {
        c->mail_accepted = true;
        to_rcpt(c, 0);
        return;
    }
    if (refusal_waits(c, reply))
        return;
    settle_by_reply(c, reply);
    if (c->burst)
        to_rcpt(c, 0); /* the replies to RCPT and DATA come all the same */
    else
        client_transaction_over(c);
}

/* 552 for "too many recipients" stems from RFC 821 and means 452 (RFC 5321
 * section 4.5.3.1.10); with a status of its own it means what it says. */
static bool is_too_many(const struct smtp_client *c, const struct mail_reply *reply)
{
    const struct mail_status *st = &reply->status;

    return reply->code == 552 && c->accepted > 0 &&
           ((st->subject == 0 && st->detail == 0) || (st->subject == 5 && st->detail == 3));
}

void client_rcpt_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o = client_outcome_of(c, reply);
    unsigned n = c->at;

    if (is_odd(c, reply))
        return;
    /* Without a sender no recipient is taken, nor put off by a server that has
     * said nothing odd yet: there 4xx may be its word for "no sender". */
    if (c->mail_refused && (reply->code < 300 || (reply->code < 500 && c->transactions > 1))) {
        c->mail_refused = false;
        client_fail_protocol(c, "server refused the sender before it was asked");
        return;
    }
    if (is_too_many(c, reply)) {
        o.verdict = SMTP_DEFERRED;
        o.status = STATUS(4, 5, 3);
    }
    if (!c->mail_refused && (c->recipients[n] & RECIPIENT_DONE) == 0) {
        if (reply->code < 300)
            c->accepted++;
        else
            tell(c, n, &o);
    }
    to_rcpt(c, n + 1);
}

void client_data_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    if (reply->code < 300) {
        client_fail_protocol(c, "server took DATA for a message");
        return;
    }
    if (reply->code >= 400) {
        settle_by_reply(c, reply);
        client_transaction_over(c);
        return;
    }
    c->mail_accepted = false;
    if (c->accepted == 0) { /* RFC 2920 section 3.1: a server may still say 354 */
        buf_add(&c->out, SLICE(".\r\n"));
        c->wait = WAIT_END;
        return;
    }
    to_content(c);
}

/* A server that refuses before it has seen the end does not want the rest,
 * and the connection with the message half sent is of no use. */
void client_content_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o = client_outcome_of(c, reply);

    if (c->wait == WAIT_CONTENT && reply->code < 300 && c->chunks_open > 0) {
        c->chunks_open--; /* a chunk was taken */
        return;
    }
    if (reply->code < 400) {
        client_fail_protocol(c, "server answered before the message was complete");
        return;
    }
    o.stage = SMTP_STAGE_CONTENT;
    client_fail(c, &o);
}

/* A chunk before the last, and all is sent already. A refusal is the message's
 * (RFC 3030 section 2); the replies to the other chunks come all the same. */
static void chunk_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o = client_outcome_of(c, reply);

    if (reply->code == 421) {
        client_fail(c, &o);
        return;
    }
    if (is_odd(c, reply))
        return;
    c->chunks_open--;
    o.stage = SMTP_STAGE_CONTENT;
    if (reply->code >= 400)
        client_settle(c, &o);
}

void client_end_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    struct smtp_outcome o = client_outcome_of(c, reply);

    if (c->chunks_open > 1) {
        chunk_replied(c, reply);
        return;
    }
    if (buf_len(&c->out) > 0) { /* the end mark is not sent: this can't be its reply */
        client_content_replied(c, reply);
        return;
    }
    if (reply->code == 421) {
        client_fail(c, &o);
        return;
    }
    if (is_odd(c, reply))
        return;
    if (reply->code < 300)
        o.verdict = SMTP_DELIVERED;
    else if (c->chunked)
        c->mail_accepted = true; /* how much of a transaction is left after a refused chunk is not said: RSET */
    client_settle(c, &o);
    client_transaction_over(c);
}

static void write_chunk(struct smtp_client *c, struct slice bytes, bool last)
{
    if (bytes.len == 0 && !last)
        return;
    buf_add(&c->out, SLICE("BDAT "));
    buf_add_u64(&c->out, bytes.len);
    buf_add_str(&c->out, last ? " LAST\r\n" : "\r\n");
    buf_add(&c->out, bytes);
    c->chunks_open++;
    if (last) {
        c->mail_accepted = false;
        c->wait = WAIT_END;
    }
}

void smtp_client_content(struct smtp_client *c, struct slice bytes, bool last)
{
    if (c->wait != WAIT_CONTENT)
        return; /* the session ended meanwhile; all outcomes were told */
    if (c->chunked) {
        write_chunk(c, bytes, last);
        return;
    }
    mail_data_stuff(&c->out, bytes, &c->at_line_start);
    if (!last)
        return;
    mail_data_end(&c->out, c->at_line_start);
    c->wait = WAIT_END;
}
