/* relayd/session_content.c - a message's content: trace field, draft, commit,
 * and the reply that the commit's completion gives. */
#include "relayd/session_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECEIVED_ROOM 512u /* enough for most */
#define READ_SHORT    (8u * KIB)

/* What a client sends is read in small pieces when memory is short: each piece
 * is held until the disk has it. */
static void read_by_memory(struct session *s)
{
    s->acceptor->loop->read_max = queue_memory(s->acceptor->queue) == QUEUE_MEMORY_OK ? 0 : READ_SHORT;
}

bool session_memory_refuses(struct session *s)
{
    if (!queue_crowded(s->acceptor->queue))
        return false;
    smtp_server_answer(s->engine, 452, "4.3.1 too many messages arrive at once, try again later");
    return true;
}

static void add_received(struct session *s)
{
    struct buf field = { 0 };
    char id[QUEUE_ID_TEXT_MAX], addr[NET_ADDR_TEXT_MAX + 8], tls[128];
    char one[MAIL_ADDRESS_MAX + 1] = "";
    struct mail_received r = {
        .helo = smtp_server_helo(s->engine),
        .client_name = "",
        .client_addr = addr,
        .by = s->config->settings->hostname,
        .with = session_protocol(s),
        .tls = session_tls_words(s, tls),
        .id = queue_id_format(queue_draft_id(s->draft), id),
        .for_ = one,
        .wall_ms = queue_draft_wall_ms(s->draft),
    };

    if (s->hide_client)
        addr[0] = '\0';
    else
        snprintf(addr, sizeof addr, "%s%s", s->client_addr.family == AF_INET6 ? "IPv6:" : "", s->client);
    if (smtp_server_recipient_count(s->engine) == 1) { /* the one that was named, whatever it stands for */
        struct slice original = recipients_original(&s->recipients, 0);
        struct slice a = original.len != 0 ? original : recipients_at(&s->recipients, 0);

        snprintf(one, sizeof one, "%.*s", (int)a.len, a.ptr);
    }
    buf_reserve(&field, RECEIVED_ROOM);
    mail_received_format(&r, &field);
    queue_draft_append(s->draft, buf_bytes(&field));
    buf_release(&field);
}

static void on_room(void *ctx)
{
    struct session *s = ctx;

    s->held = false;
    smtp_server_hold(s->engine, false);
    session_after(s);
}

static void begin(struct session *s)
{
    s->draft = queue_draft_new(s->acceptor->queue, s->acceptor->loop);
    s->message_begun_ms = s->acceptor->loop->now_ms;
    queue_draft_on_room(s->draft, on_room, s);
    add_received(s);
    s->header_due = session_is_submission(s);
    s->from_foreign = s->from_refused = false;
    smtp_server_answer(s->engine, 354, "End data with <CR><LF>.<CR><LF>");
}

void session_message_begin(void *ctx)
{
    struct session *s = ctx;

    read_by_memory(s);
    if (!session_store_refuses(s) && !session_memory_refuses(s) && !session_charge_user(s, begin))
        begin(s);
}

/* The first piece of content has the whole header (smtp/server.h): the one
 * that takes its place is written to the draft, and what is left returned. */
static struct slice take_header(struct session *s, struct slice bytes)
{
    struct mail_header_scan scan = { 0 };
    struct buf header = { 0 }, foreign = { 0 };

    if (!mail_header_scan(&scan, bytes, false))
        mail_header_scan(&scan, bytes, true); /* there is nothing else */
    session_complete_header(s, slice_head(bytes, scan.size), scan.malformed, &header);
    s->header_due = false;
    s->from_foreign = !session_owns_from(s, buf_bytes(&header), &foreign);
    s->from_refused = s->from_foreign && s->from_owned;
    if (s->from_foreign)
        session_note_signer(s, buf_bytes(&header), buf_bytes(&foreign));
    queue_draft_append(s->draft, buf_bytes(&header));
    buf_release(&header);
    buf_release(&foreign);
    return slice_from(bytes, scan.size);
}

void session_message_bytes(void *ctx, struct slice bytes)
{
    struct session *s = ctx;

    if (s->header_due)
        bytes = take_header(s, bytes);
    read_by_memory(s);
    if (!queue_draft_append(s->draft, bytes) && !s->held) {
        s->held = true;
        smtp_server_hold(s->engine, true);
    }
}

static void log_accepted(const struct message *m, const struct commit *c)
{
    char id[QUEUE_ID_TEXT_MAX];

    queue_id_format(m->id, id);
    log_info("smtpd", "%s: client=unknown[%s]%s", id, c->client, c->login);
    log_info("cleanup", "%s: message-id=<%.*s>", id, (int)m->message_id.len, m->message_id.ptr);
    log_info("qmgr", "%s: from=<%.*s>, size=%llu, nrcpt=%u (queue active)", id, (int)m->reverse_path.len,
             m->reverse_path.ptr, (unsigned long long)message_size(m), m->recipient_total);
}

static void answer_failure(struct session *s, struct err e)
{
    if (e.kind == ERR_NO_SPACE)
        smtp_server_answer(s->engine, 452, "4.3.1 not enough disk space, try again later");
    else
        smtp_server_answer(s->engine, 451, "4.3.0 the message could not be stored, try again later");
}

static void commit_done(void *ctx, struct err e, struct message *m)
{
    struct commit *c = ctx;
    struct session *s = c->session;
    char id[QUEUE_ID_TEXT_MAX], text[160];

    if (err_failed(e))
        log_error("smtpd", "message from unknown[%s] not stored: %s", c->client, err_text(e, text, sizeof text));
    else
        log_accepted(m, c);
    free(c->login);
    free(c);
    if (s == NULL)
        return; /* the client did not wait; the message is accepted all the same */
    s->commit = NULL;
    if (err_failed(e))
        answer_failure(s, e);
    else
        smtp_server_answer(s->engine, 250, "2.0.0 queued as %s", queue_id_format(m->id, id));
    session_after(s);
}

/* What the From field has against the message: the client was told so. */
static bool content_refused(struct session *s)
{
    if (s->header_due) /* content without a byte: the header is all ours */
        take_header(s, SLICE_EMPTY);
    if (!s->from_refused)
        return false;
    smtp_server_answer(s->engine, 553, "5.7.1 From: Sender address rejected: not owned by user %s",
                       s->user->name);
    return true;
}

/* In whose name it may leave. */
static uint32_t whose(const struct session *s)
{
    if (!s->trusted)
        return 0;
    return s->from_foreign ? MESSAGE_OURS_BY_SENDER : MESSAGE_OURS;
}

static void commit(struct session *s, const struct smtp_content *content)
{
    uint32_t count = s->recipients.count;
    struct slice *recipients = mem_alloc(count * sizeof *recipients);
    struct slice *originals = mem_alloc(count * sizeof *originals);
    struct mail_wish *wishes = mem_alloc(count * sizeof *wishes);
    bool *held = mem_alloc(count * sizeof *held);
    struct commit *c = mem_new(struct commit);
    struct queue_draft *d = s->draft;
    struct envelope env = {
        .reverse_path = mail_path_text(&s->sender),
        .recipients = recipients,
        .originals = originals,
        .held = held,
        .recipient_count = count,
        .client_addr = slice_str(s->client),
        .helo = slice_str(smtp_server_helo(s->engine)),
        .protocol = slice_str(session_protocol(s)),
        .wishes = wishes,
        .envelope_id = buf_bytes(&s->envelope_id),
        .release_wall_ms = s->release_wall_ms,
        .signer = buf_bytes(&s->signer),
        .flags = s->message_flags | (content->eight_bit ? MESSAGE_EIGHT_BIT : 0) | whose(s),
    };

    for (uint32_t i = 0; i < count; i++) {
        recipients[i] = recipients_at(&s->recipients, i);
        originals[i] = recipients_original(&s->recipients, i);
        wishes[i] = recipients_wish(&s->recipients, i);
        held[i] = s->recipients.items[i].held;
    }
    c->session = s;
    c->login = session_login_text(s);
    snprintf(c->client, sizeof c->client, "%s", s->client);
    s->commit = c;
    s->draft = NULL;
    s->held = false;
    queue_draft_commit(d, &env, commit_done, c);
    free(recipients);
    free(originals);
    free(wishes);
    free(held);
    session_forget_envelope(s);
}

void session_message_end(void *ctx, const struct smtp_content *content)
{
    struct session *s = ctx;

    if (!content_refused(s))
        commit(s, content);
}

void session_transaction_reset(void *ctx)
{
    struct session *s = ctx;

    queue_draft_free(s->draft);
    s->draft = NULL;
    s->held = false;
    session_forget_envelope(s);
}
