/* delivery/conn_send.c - one message over an open connection: its envelope, its
 * content from memory or from its file, in 7 bits where the next hop wants it.
 */
#include "delivery/conn_internal.h"

#include "base/mem.h"
#include "mail/mime.h"
#include "mail/text.h"

#include <stdlib.h>

static void feed_file(struct conn *c);

/* Content the engine may send now. */
void conn_feed_content(struct conn *c)
{
    const struct message *m = c->job->message;

    c->want_content = false;
    if (c->use_alt) {
        if (buf_len(&c->sign_request.fields) > 0)
            smtp_client_content(c->client, buf_bytes(&c->sign_request.fields), false);
        smtp_client_content(c->client, buf_bytes(&c->alt_header), false);
        smtp_client_content(c->client, buf_bytes(&c->alt_body), true);
        return;
    }
    if (c->content_at == 0 && buf_len(&c->job->signatures) > 0)
        smtp_client_content(c->client, buf_bytes(&c->job->signatures), false);
    if (c->content_at == 0)
        smtp_client_content(c->client, m->header, m->body_loaded && m->body.len == 0);
    if (!m->body_loaded)
        feed_file(c);
    else if (m->body.len > 0)
        smtp_client_content(c->client, m->body, true);
}

static void file_read(struct blob_op *op, struct err e)
{
    struct conn *c = container_of(op, struct conn, read_op);
    const struct message *m;
    bool last;

    c->reading = false;
    if (c->state == CONN_GONE) {
        conn_tell_gone(c);
        return;
    }
    if (c->job == NULL || !c->want_content) {
        buf_clear(&op->bytes);
        return;
    }
    m = c->job->message;
    if (err_failed(e) || buf_len(&op->bytes) == 0) {
        smtp_client_abort(c->client, "the stored message can't be read");
        conn_send_out(c);
        return;
    }
    c->content_at += buf_len(&op->bytes);
    last = c->content_at >= m->body_bytes;
    c->want_content = !last;
    smtp_client_content(c->client, buf_bytes(&op->bytes), last);
    buf_clear(&op->bytes);
    conn_send_out(c);
}

static void feed_file(struct conn *c)
{
    const struct message *m = c->job->message;

    c->want_content = true;
    if (c->reading)
        return;
    c->reading = true;
    c->read_op.home = c->opt.loop;
    c->read_op.done = file_read;
    c->read_op.offset = c->content_at;
    c->read_op.want = CONN_PIECE;
    queue_read_body(c->opt.queue, m, &c->read_op);
}

void conn_drained(void *ctx)
{
    struct conn *c = ctx;

    if (c->want_content && !c->reading && c->job != NULL && !c->loading_for_downgrade)
        feed_file(c);
}

/* Whether its header alone asks SMTPUTF8 of the next hop. Bytes over 127 in
 * the header of a message that came without are passed on as they came. */
static bool needs_smtputf8(const struct message *m)
{
    return (m->flags & MESSAGE_SMTPUTF8) != 0 && mail_has_eight_bit(m->header);
}

static enum mail_return return_of(const struct message *m)
{
    if ((m->flags & MESSAGE_RETURN_FULL) != 0)
        return MAIL_RETURN_FULL;
    return (m->flags & MESSAGE_RETURN_HEADER) != 0 ? MAIL_RETURN_HEADER : MAIL_RETURN_UNSPECIFIED;
}

static uint64_t content_bytes(const struct conn *c)
{
    if (c->use_alt)
        return buf_len(&c->sign_request.fields) + buf_len(&c->alt_header) + buf_len(&c->alt_body);
    return buf_len(&c->job->signatures) + message_size(c->job->message);
}

static void send_transaction(struct conn *c)
{
    struct job *j = c->job;
    const struct message *m = j->message;
    struct smtp_transaction t = {
        .reverse_path = m->reverse_path,
        .recipient_count = j->count,
        .size_bytes = content_bytes(c),
        .eight_bit = !c->use_alt && (m->flags & MESSAGE_EIGHT_BIT) != 0,
        .smtputf8 = needs_smtputf8(m),
        .ret = return_of(m),
        .envelope_id = m->envelope_id,
    };

    c->paths = mem_alloc(j->count * sizeof *c->paths);
    c->wishes = mem_alloc(j->count * sizeof *c->wishes);
    for (uint32_t i = 0; i < j->count; i++) {
        c->paths[i] = j->recipients[i]->address;
        c->wishes[i] = j->recipients[i]->wish;
    }
    t.recipients = c->paths;
    t.wishes = c->wishes;
    j->dsn_passed_on = smtp_client_offer(c->client)->dsn;
    c->content_at = 0;
    smtp_client_send(c->client, &t);
    if (c->state != CONN_GONE)
        conn_send_out(c);
}

/* Nothing was sent yet, and the connection is as good as before. */
static void end_unsent(struct conn *c, const struct smtp_outcome *o)
{
    conn_set_all(c->job, o);
    conn_return_job(c, true);
    c->state = CONN_IDLE;
    loop_arm(c->opt.loop, &c->idle_timer, c->opt.policy->idle_timeout_ms);
}

static void fail_conversion(struct conn *c)
{
    struct smtp_outcome o = {
        .verdict = SMTP_FAILED,
        .stage = SMTP_STAGE_MAIL,
        .status = { 5, 6, 3 },
        .text = SLICE("the next server takes 7-bit mail only and this message can't be converted safely"),
    };

    end_unsent(c, &o);
}

void conn_drop_variant(struct conn *c)
{
    buf_release(&c->alt_header);
    buf_release(&c->alt_body);
    buf_release(&c->sign_request.fields);
}

static void variant_unsigned(struct conn *c)
{
    struct buf text = { 0 };
    struct smtp_outcome o = {
        .verdict = SMTP_DEFERRED,
        .stage = SMTP_STAGE_MAIL,
        .status = { 4, 7, 5 },
    };

    buf_printf(&text, "can't be signed: %s", c->sign_request.why);
    o.text = buf_bytes(&text);
    end_unsent(c, &o);
    buf_release(&text);
}

static void variant_signed(struct sign_request *r)
{
    struct conn *c = container_of(r, struct conn, sign_request);

    c->signing = false;
    policy_unref(c->sign_policy);
    c->sign_policy = NULL;
    if (c->state == CONN_GONE || c->job == NULL) {
        conn_drop_variant(c);
        if (c->state == CONN_GONE)
            conn_tell_gone(c);
        return;
    }
    if (!r->ok) {
        variant_unsigned(c);
        return;
    }
    c->use_alt = true;
    send_transaction(c);
}

/* The message's signatures don't fit what was made of it. */
static void sign_variant(struct conn *c)
{
    c->sign_request = (struct sign_request){
        .home = c->opt.loop,
        .done = variant_signed,
        .identities = c->job->signing->keys,
        .identity_count = c->job->signing->key_count,
        .wall_ms = clock_wall_ms(c->opt.loop->clock),
        .header = buf_bytes(&c->alt_header),
        .body = buf_bytes(&c->alt_body),
        .file = -1,
    };
    c->sign_policy = policy_ref(c->job->policy);
    c->signing = true;
    sign_submit(c->opt.sign, &c->sign_request);
}

static void send_downgraded(struct conn *c, struct slice body)
{
    if (err_failed(mail_downgrade(c->job->message->header, body, &c->alt_header, &c->alt_body))) {
        fail_conversion(c);
        return;
    }
    if (c->job->signing != NULL) {
        sign_variant(c);
        return;
    }
    c->use_alt = true;
    send_transaction(c);
}

/* A body file is read whole for the conversion; it is rare, and bounded by
 * the size limit of messages. */
static void downgrade_read(struct blob_op *op, struct err e)
{
    struct conn *c = container_of(op, struct conn, read_op);
    struct buf body;

    c->reading = false;
    c->loading_for_downgrade = false;
    if (c->state == CONN_GONE) {
        conn_tell_gone(c);
        return;
    }
    if (c->job == NULL)
        return;
    if (err_failed(e) || buf_len(&op->bytes) != c->job->message->body_bytes) {
        smtp_client_abort(c->client, "the stored message can't be read");
        return;
    }
    body = op->bytes;
    op->bytes = (struct buf){ 0 };
    send_downgraded(c, buf_bytes(&body));
    buf_release(&body);
}

void conn_begin_job(struct conn *c)
{
    struct job *j = c->job;
    const struct message *m = j->message;

    c->state = CONN_BUSY;
    loop_disarm(c->opt.loop, &c->idle_timer);
    if (c->jobs_done > 0)
        j->connected_ms = c->opt.loop->now_ms;
    /* A header in UTF-8 is not made seven bits: what needs SMTPUTF8 is refused
     * by the engine where that is not offered (RFC 6531 section 3.2). */
    if ((m->flags & MESSAGE_EIGHT_BIT) == 0 || smtp_client_offer(c->client)->eightbitmime || needs_smtputf8(m)) {
        send_transaction(c);
        return;
    }
    if (m->body_loaded) {
        send_downgraded(c, m->body);
        return;
    }
    c->reading = c->loading_for_downgrade = true;
    c->read_op.home = c->opt.loop;
    c->read_op.done = downgrade_read;
    c->read_op.offset = 0;
    c->read_op.want = m->body_bytes;
    queue_read_body(c->opt.queue, m, &c->read_op);
}
