/* delivery/conn.c - carries messages over one connection, one at a time. */
#include "delivery/conn_internal.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static void session_data(void *ctx, struct slice bytes);
static void session_closed(void *ctx, struct err why);

static const struct stream_events session_events = { NULL, session_data, conn_drained, session_closed };

/* ---- output ---------------------------------------------------------------- */

/* Moves what the engine wrote to the stream and sets the deadline for the
 * answer. */
void conn_send_out(struct conn *c)
{
    struct buf *from = smtp_client_out(c->client);
    struct buf *to;

    if (c->stream == NULL)
        return;
    to = stream_out(c->stream);
    if (buf_len(from) > 0) {
        if (buf_len(to) == 0) {
            struct buf swap = *to;

            *to = *from;
            *from = swap;
        } else {
            buf_add(to, buf_bytes(from));
        }
        buf_clear(from);
        stream_flush(c->stream);
    }
    stream_deadline(c->stream, smtp_client_timeout_ms(c->client));
}

/* ---- the end --------------------------------------------------------------- */

static void close_session(struct conn *c)
{
    conn_dial_stop(c);
    loop_disarm(c->opt.loop, &c->idle_timer);
    stream_finish(c->stream);
    c->stream = NULL;
}

static void gone_run(struct post *p)
{
    struct conn *c = container_of(p, struct conn, gone_post);

    c->opt.gone(c, c->opt.ctx);
}

static void leave_run(struct post *p)
{
    struct conn *c = container_of(p, struct conn, gone_post);

    c->gone_post.run = gone_run;
    loop_post(c->opt.home, &c->gone_post);
}

/* By way of our own loop: home frees the connection when it hears of it, and
 * here its engine or stream may still be on the stack. */
void conn_tell_gone(struct conn *c)
{
    c->gone_post.run = leave_run;
    loop_post(c->opt.loop, &c->gone_post);
}

/* Nothing of this connection runs on its loop after this, but jobs that were
 * already on their way are handed back. A read under way ends first. */
static void go(struct conn *c)
{
    if (c->state == CONN_GONE)
        return;
    close_session(c);
    c->state = CONN_GONE;
    if (!c->reading && !c->signing)
        conn_tell_gone(c);
}

/* ---- outcomes -------------------------------------------------------------- */

static void set_outcome(struct job *j, uint32_t n, const struct smtp_outcome *o)
{
    struct job_outcome *out = &j->outcomes[n];

    if (out->known)
        return;
    out->known = true;
    out->verdict = o->verdict;
    out->stage = o->stage;
    out->code = o->code;
    out->status = o->status;
    out->text = mem_dup(o->text.ptr, o->text.len);
}

void conn_set_all(struct job *j, const struct smtp_outcome *o)
{
    for (uint32_t i = 0; i < j->count; i++)
        set_outcome(j, i, o);
}

static void job_run_done(struct post *p)
{
    struct job *j = container_of(p, struct job, post);

    j->done(j);
}

void conn_return_job(struct conn *c, bool usable)
{
    struct job *j = c->job;

    c->job = NULL;
    free(c->paths);
    free(c->wishes);
    c->paths = NULL;
    c->wishes = NULL;
    if (!c->signing)
        conn_drop_variant(c);
    c->use_alt = false;
    c->want_content = false;
    c->jobs_done++;
    j->conn_usable = usable;
    j->ended_ms = c->opt.loop->now_ms;
    memcpy(j->tls, c->tls_text, sizeof j->tls);
    j->post.run = job_run_done;
    loop_post(c->opt.home, &j->post);
}

void conn_note_failure(struct conn *c, const struct smtp_outcome *o)
{
    c->last = *o;
    buf_clear(&c->last_text);
    buf_add(&c->last_text, o->text);
    c->last.text = buf_bytes(&c->last_text);
}

void conn_unreachable(struct conn *c)
{
    struct smtp_outcome o = c->last;
    char text[300];

    if (c->opt.literal_ok && !c->saw_temporary && o.code == 0) {
        /* A smart host that can't be found, or is ourselves, is the
         * configuration's mistake and not the message's; another may do. */
        o = (struct smtp_outcome){ .verdict = SMTP_DEFERRED, .status = { 4, 4, 4 } };
        if (c->saw_loop)
            o.status.detail = 6;
        snprintf(text, sizeof text, c->saw_loop ? "smart host %s is this server itself" : "smart host %s has no address",
                 c->host_name);
        o.text = slice_str(text);
        c->job->site_failed = true;
    } else if (!c->saw_temporary && o.code == 0) {
        /* Clean answers only, and none of them leads anywhere. */
        o.verdict = SMTP_FAILED;
        o.stage = SMTP_STAGE_CONNECT;
        if (c->saw_loop) {
            o.status = (struct mail_status){ 5, 4, 6 };
            o.text = SLICE("mail for this domain loops back to this server");
        } else if (c->opt.hosts->implicit) {
            o.status = (struct mail_status){ 5, 1, 2 };
            o.text = SLICE("the domain has no mail server: neither MX nor address records");
        } else {
            o.status = (struct mail_status){ 5, 4, 4 };
            o.text = SLICE("none of the domain's mail servers has an address");
        }
    } else {
        c->job->site_failed = o.verdict == SMTP_DEFERRED;
        c->job->names_failed = !c->met_server;
        c->job->login_failed = o.stage == SMTP_STAGE_AUTH && o.code / 100 == 5;
    }
    conn_set_all(c->job, &o);
    snprintf(c->job->relay, sizeof c->job->relay, "%s", o.code != 0 ? c->host_name : "none");
    conn_return_job(c, false);
    go(c);
}

/* ---- what the engine says ---------------------------------------------------- */

static void client_ready(void *ctx)
{
    struct conn *c = ctx;
    bool enough = c->opt.policy->messages_per_connection != 0 &&
                  c->jobs_done >= c->opt.policy->messages_per_connection;

    if (c->state == CONN_OPENING) {
        c->job->connected_ms = c->opt.loop->now_ms;
        conn_begin_job(c);
        return;
    }
    if (c->job != NULL && c->state == CONN_BUSY) {
        unsigned offered = smtp_client_offer(c->client)->messages_max;

        enough = enough || c->jobs_done + 1 == c->opt.policy->messages_per_connection ||
                 (offered != 0 && c->jobs_done + 1 >= offered);
        c->state = enough ? CONN_QUITTING : CONN_IDLE;
        conn_return_job(c, !enough);
        if (enough)
            smtp_client_quit(c->client);
        else
            loop_arm(c->opt.loop, &c->idle_timer, c->opt.policy->idle_timeout_ms);
    }
}

static void client_content(void *ctx)
{
    conn_feed_content(ctx);
}

static void client_recipient_done(void *ctx, unsigned n, const struct smtp_outcome *o)
{
    struct conn *c = ctx;

    set_outcome(c->job, n, o);
}

static void client_transaction_done(void *ctx)
{
    /* The job goes back when the session is ready again, or has failed: only
     * then is it known whether it can carry another. */
}

/* A connection that carried mail before may have been closed by the other
 * side while it was idle: that is no attempt. Silence until the time is up is
 * one, and so is a transaction in which anything was answered. */
static bool found_dead(const struct conn *c, const struct smtp_outcome *o)
{
    if (c->jobs_done == 0 || c->timed_out || o->code != 0 || o->stage > SMTP_STAGE_RCPT)
        return false;
    for (uint32_t i = 0; i < c->job->count; i++)
        if (c->job->outcomes[i].known && c->job->outcomes[i].code != 0)
            return false;
    return true;
}

static void client_failed(void *ctx, const struct smtp_outcome *o)
{
    struct conn *c = ctx;

    if (c->state == CONN_OPENING) {
        struct smtp_outcome soft = *o;

        /* One host's refusal in its greeting is not the domain's, unless it
         * says that it never takes mail (RFC 7504). */
        if (soft.verdict == SMTP_FAILED && (c->opt.literal_ok || (o->code != 521 && o->code != 556)))
            soft.verdict = SMTP_DEFERRED;
        if (soft.verdict != SMTP_FAILED)
            c->saw_temporary = true;
        conn_note_failure(c, &soft);
        stream_finish(c->stream);
        c->stream = NULL;
        c->state = CONN_DIALLING; /* continued by opening_failed(): not from inside the engine */
        return;
    }
    if (c->job != NULL) {
        c->job->unattempted = found_dead(c, o);
        conn_set_all(c->job, o);
        conn_return_job(c, false);
    }
    go(c);
}

static void client_quit_done(void *ctx)
{
    go(ctx);
}

static void client_start_tls(void *ctx)
{
    struct conn *c = ctx;

    c->tls_due = true; /* by after_engine(): not from inside the engine */
}

static const struct smtp_client_handler client_handler = {
    .ready = client_ready,
    .content = client_content,
    .recipient_done = client_recipient_done,
    .transaction_done = client_transaction_done,
    .failed = client_failed,
    .start_tls = client_start_tls,
    .quit_done = client_quit_done,
};

/* After the engine has run: the next host, if this one refused to talk. */
static void after_engine(struct conn *c)
{
    if (c->state == CONN_DIALLING) {
        smtp_client_free(c->client);
        c->client = NULL;
        conn_dial_next(c);
    } else if (c->tls_due) {
        conn_tls_begin(c);
    } else if (c->state != CONN_GONE) {
        conn_send_out(c);
    }
}

static void session_data(void *ctx, struct slice bytes)
{
    struct conn *c = ctx;

    smtp_client_feed(c->client, bytes);
    after_engine(c);
}

static void session_closed(void *ctx, struct err why)
{
    struct conn *c = ctx;
    char text[128];

    c->timed_out = why.kind == ERR_TIMEOUT;
    if (why.kind == ERR_TLS)
        snprintf(text, sizeof text, "TLS failed: %s", tls_error_text(c->stream));
    else if (why.kind == ERR_CLOSED)
        snprintf(text, sizeof text, "the connection was closed");
    else
        err_text((struct err){ why.kind, why.sys, NULL }, text, sizeof text);
    if (stream_backlog(c->stream) > 0)
        smtp_client_unsent(c->client); /* a final dot that never left leaves no doubt */
    stream_close(c->stream);
    c->stream = NULL;
    smtp_client_lost(c->client, text);
    after_engine(c);
}

void conn_opened(struct conn *c, struct stream *s)
{
    char addr[NET_ADDR_TEXT_MAX];

    c->state = CONN_OPENING;
    c->stream = s;
    c->tls_due = false;
    c->tls_text[0] = '\0';
    snprintf(c->job->relay, sizeof c->job->relay, "%s[%s]:%u", c->host_name, net_addr_format(&s->remote, addr),
             s->remote.port);
    c->client_opt = c->opt.policy->client;
    c->client_opt.tls = conn_tls_wish(c);
    c->client_opt.login = c->opt.login;
    c->client_opt.login_in_clear = c->opt.tls == HOP_TLS_NONE && net_addr_is_loopback(&s->remote);
    c->client = smtp_client_new(&c->client_opt, &client_handler, c);
    if (c->tls_first && c->opt.tls != HOP_TLS_NONE) {
        conn_tls_begin(c);
        return;
    }
    conn_speak(c);
    conn_send_out(c);
}

void conn_speak(struct conn *c)
{
    stream_set_events(c->stream, &session_events, c);
}

/* ---- from the dispatcher ----------------------------------------------------- */

static void idle_fire(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, idle_timer);

    if (c->state != CONN_IDLE)
        return;
    c->state = CONN_QUITTING;
    smtp_client_quit(c->client);
    if (c->state != CONN_GONE)
        conn_send_out(c);
}

struct conn *conn_new(const struct conn_options *opt)
{
    struct conn *c = mem_new(struct conn);

    atomic_init(&c->refs, 1);
    c->opt = *opt;
    c->opt.policy = policy_ref(opt->policy);
    c->opt.hosts = host_list_ref(opt->hosts);
    if (opt->login != NULL)
        sasl_login_ref(opt->login);
    if (opt->refusal != NULL)
        c->opt.refusal = mem_str(opt->refusal);
    c->idle_timer.fire = idle_fire;
    c->last = (struct smtp_outcome){ .verdict = SMTP_DEFERRED, .status = { 4, 4, 1 } };
    return c;
}

/* There is no way to log in, so nobody is called. */
static void refuse(struct conn *c)
{
    struct smtp_outcome o = {
        .verdict = SMTP_DEFERRED,
        .stage = SMTP_STAGE_AUTH,
        .status = { 4, 7, 0 },
        .text = slice_str(c->opt.refusal),
    };

    c->saw_temporary = c->met_server = true;
    conn_note_failure(c, &o);
    conn_unreachable(c);
}

static void give_run(struct post *p)
{
    struct job *j = container_of(p, struct job, post);
    struct conn *c = j->conn;

    if (c->state != CONN_NEW && c->state != CONN_IDLE) {
        /* It went while the job was on its way. */
        j->unattempted = true;
        j->conn_usable = false;
        j->ended_ms = c->opt.loop->now_ms;
        j->post.run = job_run_done;
        loop_post(c->opt.home, &j->post);
        return;
    }
    c->job = j;
    if (c->state == CONN_NEW && c->opt.refusal != NULL) {
        refuse(c);
        return;
    }
    if (c->state == CONN_NEW) {
        conn_dial_begin(c);
        return;
    }
    {
        char addr[NET_ADDR_TEXT_MAX];

        snprintf(j->relay, sizeof j->relay, "%s[%s]:%u", c->host_name,
                 net_addr_format(&c->stream->remote, addr), c->stream->remote.port);
    }
    conn_begin_job(c);
}

void conn_give(struct conn *c, struct job *j)
{
    j->conn = c;
    j->given_ms = c->opt.home->now_ms;
    j->post.run = give_run;
    loop_post(c->opt.loop, &j->post);
}

static void conn_unref(struct conn *c);

static void quit_run(struct post *p)
{
    struct conn *c = container_of(p, struct conn, quit_post);

    if (c->state == CONN_IDLE)
        idle_fire(&c->idle_timer);
    conn_unref(c);
}

void conn_quit(struct conn *c)
{
    if (c->quit_asked)
        return;
    c->quit_asked = true;
    atomic_fetch_add(&c->refs, 1); /* the post's */
    c->quit_post.run = quit_run;
    loop_post(c->opt.loop, &c->quit_post);
}

void conn_free(struct conn *c)
{
    conn_unref(c);
}

static void conn_unref(struct conn *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    smtp_client_free(c->client);
    policy_unref(c->opt.policy);
    host_list_unref(c->opt.hosts);
    sasl_login_unref(c->opt.login);
    free((char *)(uintptr_t)c->opt.refusal);
    buf_release(&c->last_text);
    conn_drop_variant(c);
    policy_unref(c->sign_policy);
    buf_release(&c->read_op.bytes);
    free(c->order);
    free(c->paths);
    free(c->wishes);
    free(c);
}

void job_free(struct job *j)
{
    if (j == NULL)
        return;
    for (uint32_t i = 0; i < j->count; i++)
        free(j->outcomes[i].text);
    free(j->outcomes);
    free(j->recipients);
    buf_release(&j->signatures);
    policy_unref(j->policy);
    message_unref(j->message);
    free(j);
}
