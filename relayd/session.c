/* relayd/session.c - one SMTP client: between its stream, the protocol engine
 * and the queue.
 *
 * Decides who may send to whom, collects the envelope, feeds the draft, and
 * answers 250 from the completion of the commit.
 */
#include "relayd/acceptor.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_MAX (64u * KIB) /* a client that does not read its replies is read no more */

struct commit { /* outlives a session that ends while its message is stored */
    struct session *session;
    char client[NET_ADDR_TEXT_MAX];
};

struct session {
    struct list link;
    struct acceptor *acceptor;
    struct acceptor_config *config;
    struct stream *stream;
    struct smtp_server *engine;
    bool trusted;
    bool counted;     /* among the clients */
    bool held;        /* the draft waits for the disk */
    bool flooded;     /* too much unread output */
    bool lost;        /* the client sends no more */
    struct net_addr client_addr;
    char client[NET_ADDR_TEXT_MAX];

    struct mail_path sender;
    struct buf recipient_text;
    uint32_t *recipient_ends; /* in recipient_text */
    bool *recipient_held;     /* by a route */
    uint32_t recipient_count, recipient_cap;
    struct queue_draft *draft;
    uint64_t message_begun_ms;
    struct commit *commit;    /* a message of ours is being stored */
};

static void session_free(struct session *s);

/* ---- config ------------------------------------------------------------------ */

static struct smtp_server_options server_options(const struct settings *st, bool repair)
{
    return (struct smtp_server_options){
        .hostname = st->hostname,
        .message_size_max = st->limits.message_size,
        .recipients_max = st->limits.recipients,
        .errors_max = st->limits.errors,
        .commands_idle_max = st->limits.idle_commands,
        .messages_max = st->limits.messages_per_connection,
        .received_max = st->limits.received,
        .command_timeout_ms = st->limits.command_timeout_ms,
        .data_timeout_ms = st->limits.data_timeout_ms,
        .repair_line_ends = repair,
    };
}

static struct relay_rules *rules_of(const struct settings *st)
{
    const char **domains = mem_zero(st->domain_count, sizeof *domains);
    struct relay_options opt = {
        .trusted = st->trusted,
        .trusted_count = st->trusted_count,
        .trust_loopback = st->trust_loopback,
        .domains = domains,
    };
    struct relay_rules *r;

    for (size_t i = 0; i < st->domain_count; i++)
        if (st->domains[i].relay)
            domains[opt.domain_count++] = st->domains[i].name;
    r = relay_rules_new(&opt);
    free(domains);
    return r;
}

struct acceptor_config *acceptor_config_new(const struct settings *settings, struct delivery_policy *policy)
{
    struct acceptor_config *c = mem_new(struct acceptor_config);

    atomic_init(&c->refs, 1);
    c->settings = settings_ref(settings);
    c->policy = policy_ref(policy);
    c->rules = rules_of(settings);
    c->strict = server_options(settings, false);
    c->repairing = server_options(settings, true);
    return c;
}

static struct acceptor_config *config_ref(struct acceptor_config *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void acceptor_config_unref(struct acceptor_config *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    relay_rules_free(c->rules);
    policy_unref(c->policy);
    settings_unref(c->settings);
    free(c);
}

/* ---- between engine and stream --------------------------------------------------- */

/* After anything happened: sends replies, reads on or not, sets the deadline,
 * ends the session when its engine is done. The session may be gone then. */
static void session_after(struct session *s)
{
    struct buf *from = smtp_server_out(s->engine);
    struct buf *to = stream_out(s->stream);
    uint64_t timeout = smtp_server_timeout_ms(s->engine);

    if (buf_len(from) > 0) {
        if (buf_len(to) == 0) {
            struct buf swap = *to;

            *to = *from;
            *from = swap;
        } else {
            buf_add(to, buf_bytes(from));
        }
        buf_clear(from);
        stream_flush(s->stream);
    }
    if (smtp_server_closing(s->engine)) {
        session_free(s);
        return;
    }
    s->flooded = buf_len(to) > OUTPUT_MAX;
    stream_pause(s->stream, s->flooded || !smtp_server_wants_input(s->engine));
    if (timeout == 0 && s->flooded)
        timeout = s->config->settings->limits.command_timeout_ms;
    stream_deadline(s->stream, timeout);
}

/* Also of a message whose bytes go nowhere yet: its header is not whole, or it
 * is refused already. */
static void check_message_time(struct session *s)
{
    uint64_t most = s->config->settings->limits.message_timeout_ms;

    if (s->draft != NULL && most != 0 && s->acceptor->loop->now_ms - s->message_begun_ms > most)
        smtp_server_shutdown(s->engine, "4.4.2 the message took too long, closing");
}

static void on_data(void *ctx, struct slice bytes)
{
    struct session *s = ctx;

    check_message_time(s);
    smtp_server_feed(s->engine, bytes);
    session_after(s);
}

static void on_drained(void *ctx)
{
    struct session *s = ctx;

    if (s->flooded)
        session_after(s);
}

static void on_closed(void *ctx, struct err why)
{
    struct session *s = ctx;

    if (why.kind == ERR_TIMEOUT) {
        log_info("smtpd", "timeout after %s from unknown[%s]", smtp_server_stage(s->engine), s->client);
        if (!s->flooded)
            smtp_server_shutdown(s->engine, "4.4.2 idle for too long, closing");
    } else {
        s->lost = true;
        smtp_server_eof(s->engine);
    }
    /* Who shut down only his own side still reads the replies under way. */
    if (why.sys == 0 && !s->flooded)
        session_after(s);
    else
        session_free(s);
}

static const struct stream_events session_events = { NULL, on_data, on_drained, on_closed };

/* ---- who may send to whom -------------------------------------------------------- */

/* True when the store takes no mail for now, and the client was told so. */
static bool store_refuses(struct session *s)
{
    switch (queue_space(s->acceptor->queue)) {
    case STORE_SPACE_OK:
        return false;
    case STORE_SPACE_LOW:
        smtp_server_answer(s->engine, 452, "4.3.1 not enough disk space, try again later");
        return true;
    case STORE_BROKEN:
        smtp_server_answer(s->engine, 451, "4.3.0 the mail queue can't be written, try again later");
        return true;
    }
    return false;
}

static void handle_sender(void *ctx, const struct smtp_sender *from)
{
    struct session *s = ctx;

    if (store_refuses(s))
        return;
    s->sender = from->path;
    smtp_server_answer(s->engine, 250, "2.1.0 Ok");
}

static void add_recipient(struct session *s, struct slice address, bool held)
{
    if (s->recipient_count == s->recipient_cap) {
        s->recipient_cap = s->recipient_cap != 0 ? s->recipient_cap * 2 : 4;
        s->recipient_ends = mem_grow(s->recipient_ends, s->recipient_cap, sizeof *s->recipient_ends);
        s->recipient_held = mem_grow(s->recipient_held, s->recipient_cap, sizeof *s->recipient_held);
    }
    buf_add(&s->recipient_text, address);
    s->recipient_held[s->recipient_count] = held;
    s->recipient_ends[s->recipient_count++] = (uint32_t)buf_len(&s->recipient_text);
}

static struct slice recipient_at(const struct session *s, uint32_t i)
{
    uint32_t begin = i != 0 ? s->recipient_ends[i - 1] : 0;

    return slice_make(buf_bytes(&s->recipient_text).ptr + begin, s->recipient_ends[i] - begin);
}

/* The same recipient twice gets the message once. */
static bool have_recipient(const struct session *s, struct slice address)
{
    for (uint32_t i = 0; i < s->recipient_count; i++)
        if (slice_eq(recipient_at(s, i), address))
            return true;
    return false;
}

/* RFC 5321 section 4.5.1: a server that takes mail has a postmaster. Without a
 * directive it is that of the first domain we take mail for. */
static bool find_postmaster(const struct settings *st, char out[MAIL_ADDRESS_MAX + 1])
{
    for (size_t i = 0; st->postmaster == NULL && i < st->domain_count; i++) {
        if (st->domains[i].relay) {
            snprintf(out, MAIL_ADDRESS_MAX + 1, "postmaster@%s", st->domains[i].name);
            return true;
        }
    }
    if (st->postmaster != NULL)
        snprintf(out, MAIL_ADDRESS_MAX + 1, "%s", st->postmaster);
    return st->postmaster != NULL;
}

static void handle_recipient(void *ctx, const struct smtp_recipient *to)
{
    struct session *s = ctx;
    const struct settings *st = s->config->settings;
    struct slice address = mail_path_text(&to->path);
    struct slice domain = mail_path_domain(&to->path);
    const struct route *route;
    char postmaster[MAIL_ADDRESS_MAX + 1];

    if (domain.len == 0) { /* only <postmaster> comes without one */
        if (!find_postmaster(st, postmaster)) {
            smtp_server_answer(s->engine, 550, "5.1.1 <postmaster> of this server has no address, name a domain");
            return;
        }
        address = slice_str(postmaster);
    } else {
        switch (relay_judge(s->config->rules, s->trusted, &to->path)) {
        case RELAY_OK:
            break;
        case RELAY_DENIED:
            smtp_server_answer(s->engine, 550, "5.7.1 <%.*s>: relay access denied", (int)address.len, address.ptr);
            return;
        case RELAY_ROUTED_LOCAL:
            smtp_server_answer(s->engine, 550, "5.7.1 <%.*s>: routing inside an address is not served",
                               (int)address.len, address.ptr);
            return;
        }
    }
    route = policy_route(s->config->policy, mail_path_text(&s->sender), address, false);
    if (route->action == ROUTE_REJECT) {
        smtp_server_answer(s->engine, 550, "5.7.1 %s", route->text);
        return;
    }
    if (!have_recipient(s, address))
        add_recipient(s, address, route->action == ROUTE_HOLD);
    smtp_server_answer(s->engine, 250, "2.1.5 Ok");
}

/* ---- content ----------------------------------------------------------------------- */

static void add_received(struct session *s)
{
    struct buf field = { 0 };
    char id[QUEUE_ID_TEXT_MAX], addr[NET_ADDR_TEXT_MAX + 8];
    char one[MAIL_ADDRESS_MAX + 1] = "";
    struct mail_received r = {
        .helo = smtp_server_helo(s->engine),
        .client_name = "",
        .client_addr = addr,
        .by = s->config->settings->hostname,
        .with = smtp_server_esmtp(s->engine) ? "ESMTP" : "SMTP",
        .tls = "",
        .id = queue_id_format(queue_draft_id(s->draft), id),
        .for_ = one,
        .wall_ms = queue_draft_wall_ms(s->draft),
    };

    snprintf(addr, sizeof addr, "%s%s", s->client_addr.family == AF_INET6 ? "IPv6:" : "", s->client);
    if (s->recipient_count == 1) {
        struct slice a = recipient_at(s, 0);

        snprintf(one, sizeof one, "%.*s", (int)a.len, a.ptr);
    }
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

static void handle_message_begin(void *ctx)
{
    struct session *s = ctx;

    if (store_refuses(s))
        return;
    s->draft = queue_draft_new(s->acceptor->queue, s->acceptor->loop);
    s->message_begun_ms = s->acceptor->loop->now_ms;
    queue_draft_on_room(s->draft, on_room, s);
    add_received(s);
    smtp_server_answer(s->engine, 354, "End data with <CR><LF>.<CR><LF>");
}

static void handle_message_bytes(void *ctx, struct slice bytes)
{
    struct session *s = ctx;

    if (!queue_draft_append(s->draft, bytes) && !s->held) {
        s->held = true;
        smtp_server_hold(s->engine, true);
    }
}

static void log_accepted(const struct message *m, const char *client)
{
    char id[QUEUE_ID_TEXT_MAX];

    queue_id_format(m->id, id);
    log_info("smtpd", "%s: client=unknown[%s]", id, client);
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
        log_accepted(m, c->client);
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

static void forget_envelope(struct session *s)
{
    buf_clear(&s->recipient_text);
    s->recipient_count = 0;
    s->sender.len = s->sender.local_len = 0;
}

static void handle_message_end(void *ctx, const struct smtp_content *content)
{
    struct session *s = ctx;
    struct slice *recipients = mem_alloc(s->recipient_count * sizeof *recipients);
    struct commit *c = mem_new(struct commit);
    struct queue_draft *d = s->draft;
    struct envelope env = {
        .reverse_path = mail_path_text(&s->sender),
        .recipients = recipients,
        .held = s->recipient_held,
        .recipient_count = s->recipient_count,
        .client_addr = slice_str(s->client),
        .helo = slice_str(smtp_server_helo(s->engine)),
        .protocol = smtp_server_esmtp(s->engine) ? SLICE("ESMTP") : SLICE("SMTP"),
        .flags = content->eight_bit ? MESSAGE_EIGHT_BIT : 0,
    };

    for (uint32_t i = 0; i < s->recipient_count; i++)
        recipients[i] = recipient_at(s, i);
    c->session = s;
    snprintf(c->client, sizeof c->client, "%s", s->client);
    s->commit = c;
    s->draft = NULL;
    s->held = false;
    queue_draft_commit(d, &env, commit_done, c);
    free(recipients);
    forget_envelope(s);
}

static void handle_transaction_reset(void *ctx)
{
    struct session *s = ctx;

    queue_draft_free(s->draft);
    s->draft = NULL;
    s->held = false;
    forget_envelope(s);
}

static void handle_refused(void *ctx, unsigned code, struct slice reply, struct slice command)
{
    struct session *s = ctx;
    const char *helo = smtp_server_helo(s->engine);

    log_info("smtpd", "NOQUEUE: reject: %.*s from unknown[%s]: %.*s; from=<%.*s> proto=%s helo=<%s>",
             (int)slice_find(slice_head(command, 64), ' '), command.ptr, s->client,
             (int)slice_find(reply, '\r'), reply.ptr, (int)s->sender.len, s->sender.text,
             smtp_server_esmtp(s->engine) ? "ESMTP" : "SMTP", helo);
}

static const struct smtp_server_handler session_handler = {
    .sender = handle_sender,
    .recipient = handle_recipient,
    .message_begin = handle_message_begin,
    .message_bytes = handle_message_bytes,
    .message_end = handle_message_end,
    .transaction_reset = handle_transaction_reset,
    .refused = handle_refused,
};

/* ---- life ---------------------------------------------------------------------------- */

static void session_free(struct session *s)
{
    struct acceptor *a = s->acceptor;
    const char *stage = smtp_server_stage(s->engine);

    if (s->lost && strcmp(stage, "QUIT") != 0)
        log_info("smtpd", "lost connection after %s from unknown[%s]", stage, s->client);
    if (s->commit != NULL)
        s->commit->session = NULL;
    smtp_server_free(s->engine);
    queue_draft_free(s->draft);
    /* Whoever sees the connection end finds its place free. */
    if (s->counted)
        clients_leave(a->clients, &s->client_addr);
    stream_finish(s->stream);
    list_remove(&s->link);
    a->session_count--;
    buf_release(&s->recipient_text);
    free(s->recipient_ends);
    free(s->recipient_held);
    acceptor_config_unref(s->config);
    free(s);
}

static void greet(struct session *s)
{
    const struct settings_limits *l = &s->config->settings->limits;

    if (s->acceptor->draining) {
        smtp_server_reject(s->engine, 421, "4.3.2 the server is going down, try again later");
        return;
    }
    switch (clients_enter(s->acceptor->clients, &s->client_addr, l->connections, l->connections_per_client)) {
    case CLIENTS_OK:
        s->counted = true;
        smtp_server_greet(s->engine);
        break;
    case CLIENTS_TOO_MANY:
        log_warning("smtpd", "too many connections (%u): unknown[%s] refused", l->connections, s->client);
        smtp_server_reject(s->engine, 421, "4.3.2 too many connections, try again later");
        break;
    case CLIENTS_TOO_MANY_OF_THIS:
        log_info("smtpd", "too many connections from unknown[%s]", s->client);
        smtp_server_reject(s->engine, 421, "4.7.0 too many connections from your address");
        break;
    }
}

void acceptor_accept(struct acceptor *a, const struct settings_listen *listen, struct stream *stream)
{
    struct session *s = mem_new(struct session);

    s->acceptor = a;
    s->config = config_ref(a->config);
    s->stream = stream;
    s->client_addr = stream->remote;
    net_addr_format(&s->client_addr, s->client);
    s->trusted = relay_trusts(s->config->rules, &s->client_addr, &listen->addr);
    s->engine = smtp_server_new(listen->repair_line_ends ? &s->config->repairing : &s->config->strict,
                                &session_handler, s);
    list_append(&a->sessions, &s->link);
    a->session_count++;
    stream_set_events(stream, &session_events, s);
    greet(s);
    session_after(s);
}

void acceptor_init(struct acceptor *a, struct loop *loop, struct queue *queue, struct clients *clients,
                   struct acceptor_config *config)
{
    *a = (struct acceptor){ .loop = loop, .queue = queue, .clients = clients, .config = config_ref(config) };
    list_init(&a->sessions);
}

void acceptor_reload(struct acceptor *a, struct acceptor_config *config)
{
    acceptor_config_unref(a->config);
    a->config = config_ref(config);
}

void acceptor_drain(struct acceptor *a)
{
    a->draining = true;
    list_foreach_safe (it, next, &a->sessions) {
        struct session *s = container_of(it, struct session, link);

        smtp_server_shutdown(s->engine, "4.3.2 the server is going down, try again later");
        session_after(s);
    }
}

void acceptor_release(struct acceptor *a)
{
    list_foreach_safe (it, next, &a->sessions)
        session_free(container_of(it, struct session, link));
    acceptor_config_unref(a->config);
}
