/* relayd/session.c - an SMTP session's life, from the connection to its end. */
#include "relayd/frontend.h"
#include "relayd/session_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define OUTPUT_MAX (64u * KIB) /* a client that does not read its replies is read no more */

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
        if (st->domains[i].relay || st->domains[i].aliased)
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

void acceptor_config_set_tls(struct acceptor_config *c, struct tls_server **servers)
{
    c->tls = servers;
}

struct acceptor_config *acceptor_config_ref(struct acceptor_config *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void acceptor_config_unref(struct acceptor_config *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; c->tls != NULL && i < c->settings->listen_count; i++)
        tls_server_unref(c->tls[i]);
    free(c->tls);
    relay_rules_free(c->rules);
    policy_unref(c->policy);
    settings_unref(c->settings);
    free(c);
}

/* ---- between engine and stream --------------------------------------------------- */

void session_after(struct session *s)
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
    if (smtp_server_tls_due(s->engine) && !s->shaking_hands && !session_tls_begin(s)) {
        session_free(s);
        return;
    }
    if (s->shaking_hands) /* it has a deadline of its own, and its own input */
        return;
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

    if (s->shaking_hands)
        session_tls_failed(s, why);
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

const struct stream_events session_events = { session_tls_opened, on_data, on_drained, on_closed };

/* ---- what the engine asks ------------------------------------------------------------- */

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
    .sender = session_sender,
    .recipient = session_recipient,
    .message_begin = session_message_begin,
    .message_bytes = session_message_bytes,
    .message_end = session_message_end,
    .transaction_reset = session_transaction_reset,
    .refused = handle_refused,
    .xclient = session_xclient,
    .auth_begin = session_auth_begin,
    .auth_continue = session_auth_continue,
    .auth_cancelled = session_auth_cancelled,
    .starttls = session_starttls,
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
    session_forget_login(s);
    queue_draft_free(s->draft);
    /* Whoever sees the connection end finds its place free. */
    if (s->counted)
        clients_leave(a->clients, &s->client_addr);
    stream_finish(s->stream);
    list_remove(&s->link);
    a->session_count--;
    recipients_release(&s->recipients);
    acceptor_config_unref(s->config);
    free(s);
}

const char *session_count_client(struct session *s)
{
    const struct settings_limits *l = &s->config->settings->limits;

    switch (clients_enter(s->acceptor->clients, &s->client_addr, l->connections, l->connections_per_client)) {
    case CLIENTS_OK:
        s->counted = true;
        break;
    case CLIENTS_TOO_MANY:
        log_warning("smtpd", "too many connections (%u): unknown[%s] refused", l->connections, s->client);
        return "4.3.2 too many connections, try again later";
    case CLIENTS_TOO_MANY_OF_THIS:
        log_info("smtpd", "too many connections from unknown[%s]", s->client);
        return "4.7.0 too many connections from your address";
    }
    return NULL;
}

/* NULL, or why this client is not wanted. */
static const char *unwanted(struct session *s)
{
    if (s->acceptor->draining)
        return "4.3.2 the server is going down, try again later";
    if (headroom_level(s->acceptor->headroom) == HEADROOM_NONE)
        return "4.3.2 not enough memory, try again later";
    return session_count_client(s);
}

/* Where TLS comes first a client that is not wanted is not worth a handshake. */
static void begin(struct session *s, const struct settings_listen *listen)
{
    const char *why = unwanted(s);

    if (listen->tls == SETTINGS_TLS_IMPLICIT) {
        if (why != NULL || s->tls == NULL || !session_tls_begin(s))
            session_free(s);
        return;
    }
    if (why != NULL)
        smtp_server_reject(s->engine, 421, why);
    else
        smtp_server_greet(s->engine);
    session_after(s);
}

void session_open(struct acceptor *a, struct acceptor_config *config, const struct settings_listen *listen,
                  struct stream *stream, enum session_way way)
{
    struct session *s = mem_new(struct session);

    s->acceptor = a;
    s->config = acceptor_config_ref(config);
    s->stream = stream;
    s->client_addr = stream->remote;
    net_addr_format(&s->client_addr, s->client);
    s->engine = smtp_server_new(listen->repair_line_ends ? &s->config->repairing : &s->config->strict,
                                &session_handler, s);
    s->submission = listen->role == SETTINGS_ROLE_SUBMISSION;
    s->login = (uint8_t)listen->login;
    s->login_in_clear = listen->tls == SETTINGS_TLS_NONE && net_addr_is_loopback(&listen->addr);
    session_set_way(s, listen, way);
    s->from_owned = listen->header_from_owned;
    s->hide_client = listen->hide_client;
    s->rewrites = listen->rewrites;
    session_offer_login(s);
    if (s->submission) /* RFC 4865 section 3: nowhere else */
        smtp_server_offer_release(s->engine, s->config->settings->limits.future_release_ms, a->loop->clock);
    session_tls_set_up(s, listen);
    list_append(&a->sessions, &s->link);
    a->session_count++;
    stream_set_events(stream, &session_events, s);
    begin(s, listen);
}

void acceptor_init(struct acceptor *a, struct loop *loop, struct queue *queue, struct clients *clients,
                   struct acceptor_config *config)
{
    *a = (struct acceptor){ .loop = loop, .queue = queue, .clients = clients, .config = acceptor_config_ref(config) };
    list_init(&a->frontends);
    list_init(&a->sessions);
}

void acceptor_reload(struct acceptor *a, struct acceptor_config *config)
{
    acceptor_config_unref(a->config);
    a->config = acceptor_config_ref(config);
}

void acceptor_drain(struct acceptor *a)
{
    a->draining = true;
    frontends_release(a);
    list_foreach_safe (it, next, &a->sessions) {
        struct session *s = container_of(it, struct session, link);

        smtp_server_shutdown(s->engine, "4.3.2 the server is going down, try again later");
        session_after(s);
    }
}

void acceptor_release(struct acceptor *a)
{
    frontends_release(a);
    list_foreach_safe (it, next, &a->sessions)
        session_free(container_of(it, struct session, link));
    acceptor_config_unref(a->config);
}
