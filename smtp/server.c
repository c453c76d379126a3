/* smtp/server.c - a message's first stop: the pump that turns a client's bytes
 * into commands and content, and the points where it waits for an answer.
 *
 * One command at a time, in the order they came, so that pipelined replies
 * keep their order (RFC 2920 section 3.2).
 */
#include "smtp/server_private.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

#define INPUT_KEEP_MAX (8u * KIB)

struct smtp_server *smtp_server_new(const struct smtp_server_options *opt,
                                    const struct smtp_server_handler *handler, void *ctx)
{
    struct smtp_server *s = mem_new(struct smtp_server);

    s->opt = opt;
    s->handler = handler;
    s->ctx = ctx;
    s->phase = PH_NEW;
    s->stage = "CONNECT";
    return s;
}

void smtp_server_free(struct smtp_server *s)
{
    if (s == NULL)
        return;
    assert(!s->pumping);
    server_end_transaction(s);
    server_auth_abandon(s);
    buf_release(&s->out);
    server_drop_input(s);
    free(s->command_kept);
    free(s->helo);
    free(s->shutdown_text);
    free(s->chunk_refusal);
    free(s);
}

/* Phases change only here. What a phase needs is dropped when it ends. */
void server_enter(struct smtp_server *s, enum server_phase phase)
{
    s->phase = (uint16_t)phase;
    if (phase == PH_CLOSING) {
        server_end_transaction(s);
        server_auth_abandon(s);
        s->held = false;
        server_drop_input(s);
        s->view = SLICE_EMPTY;
    }
}

void server_end_transaction(struct smtp_server *s)
{
    server_content_free(s);
    s->recipients = 0;
    if (!s->transaction)
        return;
    s->transaction = false;
    s->handler->transaction_reset(s->ctx);
}

void server_ask(struct smtp_server *s, enum server_question question)
{
    s->question = (uint8_t)question;
    if (question == ASK_END)
        s->stage = "END-OF-MESSAGE";
}

/* The line lies in the caller's bytes or in a buffer about to change. */
static void keep_command(struct smtp_server *s)
{
    s->command = slice_head(s->command, SERVER_COMMAND_KEPT);
    s->command_kept = mem_dup(s->command.ptr, s->command.len);
    s->command.ptr = s->command_kept;
}

static void forget_command(struct smtp_server *s)
{
    s->command = SLICE_EMPTY;
    free(s->command_kept);
    s->command_kept = NULL;
}

static void take(struct smtp_server *s, size_t len)
{
    s->view = slice_from(s->view, len);
}

/* Drops the rest of a line. Only its true end counts: what stands behind a
 * bare LF in a refused line must not become a command. */
static void skip_step(struct smtp_server *s)
{
    size_t lf = slice_find(s->view, '\n');
    bool ends = false;

    if (lf < s->view.len) {
        bool cr = lf > 0 ? s->view.ptr[lf - 1] == '\r' : s->skip_cr;

        ends = cr || s->opt->repair_line_ends;
        s->skip_cr = false;
        take(s, lf + 1);
    } else {
        s->skip_cr = s->view.ptr[lf - 1] == '\r';
        take(s, lf);
    }
    if (!ends)
        return;
    if (s->skip == SKIP_THEN_REFUSE)
        server_line_refused(s, s->phase == PH_AUTH ? "5.5.6 line of the login too long"
                                                   : "5.5.2 line too long");
    s->skip = SKIP_NOTHING;
    forget_command(s);
}

static void skip_begin(struct smtp_server *s, enum server_skip skip, size_t line_len)
{
    s->skip = (uint8_t)skip;
    s->skip_cr = false;
    s->command = server_auth_hide(s, slice_head(s->view, line_len));
    keep_command(s);
}

static size_t line_max(const struct smtp_server *s)
{
    return s->phase == PH_AUTH ? SERVER_AUTH_LINE_MAX : SERVER_LINE_MAX;
}

/* Serves one line. False when the view holds none whole. */
static bool line_step(struct smtp_server *s)
{
    size_t lf = slice_find(s->view, '\n');
    struct slice line = slice_head(s->view, lf);

    if (lf >= line_max(s)) {
        skip_begin(s, SKIP_THEN_REFUSE, lf);
        return true;
    }
    if (lf == s->view.len)
        return false;
    if (lf > 0 && line.ptr[lf - 1] == '\r') {
        line.len--;
    } else if (!s->opt->repair_line_ends) {
        /* RFC 5321 section 2.3.8: only CR LF ends a line. An old client gets
         * its answer now and not never; the line itself ends later. */
        skip_begin(s, SKIP_SILENTLY, lf);
        take(s, lf + 1);
        server_line_refused(s, "5.5.2 lines end in CR LF, not in LF alone");
        return true;
    }
    take(s, lf + 1);
    s->command = server_auth_hide(s, line);
    if (s->phase == PH_AUTH)
        server_auth_response(s, line);
    else
        server_command(s, line);
    if (s->question != ASK_NOTHING || s->phase == PH_CHUNK)
        keep_command(s);
    else
        s->command = SLICE_EMPTY;
    return true;
}

/* True when bytes may be looked at: greeted, not waiting, not closing. */
static bool may_step(const struct smtp_server *s)
{
    return s->question == ASK_NOTHING && !s->held && (s->phase & (PH_COMMAND | PH_AUTH | PH_CONTENT)) != 0;
}

static bool pump_step(struct smtp_server *s)
{
    if (s->phase == PH_CHUNK && s->chunk_left == 0) {
        server_content_step(s); /* BDAT 0 ends without a byte */
        return true;
    }
    if (s->view.len == 0)
        return false;
    if ((s->phase & PH_CONTENT) != 0)
        server_content_step(s);
    else if (s->skip != SKIP_NOTHING)
        skip_step(s);
    else
        return line_step(s);
    return true;
}

static void forget_answered(struct smtp_server *s)
{
    if (s->question == ASK_NOTHING && s->command_kept != NULL && s->skip == SKIP_NOTHING &&
        s->phase != PH_CHUNK)
        forget_command(s);
}

/* Serves s->view as far as it goes. */
static void run_steps(struct smtp_server *s)
{
    s->pumping = true;
    do {
        forget_answered(s);
        if (s->shutdown_text != NULL && s->question == ASK_NOTHING && s->phase != PH_CLOSING)
            server_reply_close(s, 421, s->shutdown_text);
    } while (may_step(s) && pump_step(s));
    if (s->eof && (may_step(s) || s->phase == PH_TLS))
        server_enter(s, PH_CLOSING);
    s->pumping = false;
}

/* Content leaves an unfinished line behind piece after piece: it is not to keep
 * the room of a whole one in each session. */
static void shrink_input(struct smtp_server *s)
{
    struct buf rest = { 0 };

    if ((s->phase & PH_CONTENT) == 0 || s->in.cap < INPUT_KEEP_MAX || buf_len(&s->in) > INPUT_KEEP_MAX / 4)
        return;
    buf_add(&rest, buf_bytes(&s->in));
    server_drop_input(s);
    s->in = rest;
}

void server_pump(struct smtp_server *s)
{
    if (s->pumping)
        return;
    s->view = buf_bytes(&s->in);
    run_steps(s);
    if (s->phase == PH_CLOSING)
        return;
    buf_take(&s->in, buf_len(&s->in) - s->view.len);
    if (buf_len(&s->in) == 0)
        server_drop_input(s);
    else
        shrink_input(s);
    s->view = SLICE_EMPTY;
}

void smtp_server_feed(struct smtp_server *s, struct slice in)
{
    assert(!s->pumping);
    if (s->phase == PH_CLOSING || s->eof || in.len == 0)
        return;
    if (s->phase == PH_TLS) {
        server_tls_injected(s);
        return;
    }
    if (buf_len(&s->in) > 0) {
        server_wait_input(s, in);
        server_pump(s);
        return;
    }
    /* The usual case: nothing waits, and the caller's bytes serve as they are. */
    s->view = in;
    run_steps(s);
    if (s->phase != PH_CLOSING)
        server_wait_input(s, s->view);
    s->view = SLICE_EMPTY;
}

void smtp_server_eof(struct smtp_server *s)
{
    s->eof = true;
    if (s->phase == PH_NEW)
        server_enter(s, PH_CLOSING);
    server_pump(s);
}

struct buf *smtp_server_out(struct smtp_server *s)
{
    return &s->out;
}

void smtp_server_sent(struct smtp_server *s, size_t len)
{
    buf_take(&s->out, len);
    if (buf_len(&s->out) == 0)
        buf_release(&s->out);
}

bool smtp_server_wants_input(const struct smtp_server *s)
{
    size_t most = s->phase == PH_AUTH ? SERVER_AUTH_LINE_MAX : SERVER_WAITING_MAX;

    return s->phase != PH_CLOSING && !s->eof && !s->held && buf_len(&s->in) < most;
}

bool smtp_server_closing(const struct smtp_server *s)
{
    return s->phase == PH_CLOSING;
}

bool smtp_server_parked(const struct smtp_server *s)
{
    return s->question != ASK_NOTHING;
}

uint64_t smtp_server_timeout_ms(const struct smtp_server *s)
{
    if (s->question != ASK_NOTHING || s->held || s->phase == PH_CLOSING)
        return 0;
    return (s->phase & PH_CONTENT) != 0 ? s->opt->data_timeout_ms : s->opt->command_timeout_ms;
}

void smtp_server_hold(struct smtp_server *s, bool on)
{
    if (s->phase == PH_CLOSING)
        return;
    s->held = on;
    if (!on)
        server_pump(s);
}

static void sender_answered(struct smtp_server *s, unsigned code, const char *text)
{
    server_reply(s, code, text);
    if (code / 100 == 2)
        server_enter(s, PH_MAIL);
    else
        server_end_transaction(s);
}

static void recipient_answered(struct smtp_server *s, unsigned code, const char *text)
{
    server_reply(s, code, text);
    if (code / 100 != 2)
        return;
    s->recipients++;
    server_enter(s, PH_RCPT);
}

static void end_answered(struct smtp_server *s, unsigned code, const char *text)
{
    server_reply(s, code, text);
    if (code / 100 == 2) {
        /* A client that brings mail has its slips forgiven. */
        s->errors = s->idle_commands = 0;
        s->transaction = false;
    }
    server_end_transaction(s);
    server_enter(s, PH_READY);
}

void smtp_server_answer(struct smtp_server *s, unsigned code, const char *fmt, ...)
{
    enum server_question question = s->question;
    struct buf text = { 0 };
    va_list ap;

    assert(question != ASK_NOTHING && code >= 200 && code <= 599);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);

    s->question = ASK_NOTHING;
    s->auth_open = false;
    if (code == 421)
        server_reply_close(s, code, buf_cstr(&text));
    else if (question == ASK_SENDER)
        sender_answered(s, code, buf_cstr(&text));
    else if (question == ASK_RECIPIENT)
        recipient_answered(s, code, buf_cstr(&text));
    else if (question == ASK_BEGIN)
        server_content_begun(s, code, buf_cstr(&text));
    else if (question == ASK_XCLIENT)
        server_xclient_answered(s, code, buf_cstr(&text));
    else if (question == ASK_TLS)
        server_tls_answered(s, code, buf_cstr(&text));
    else if (question == ASK_AUTH)
        server_auth_answered(s, code, buf_cstr(&text));
    else
        end_answered(s, code, buf_cstr(&text));
    buf_release(&text);
    server_pump(s);
}

void smtp_server_shutdown(struct smtp_server *s, const char *text)
{
    if (s->phase == PH_CLOSING || s->shutdown_text != NULL)
        return;
    s->shutdown_text = mem_str(text);
    server_pump(s);
}

const char *smtp_server_helo(const struct smtp_server *s)
{
    return s->helo != NULL ? s->helo : "";
}

bool smtp_server_esmtp(const struct smtp_server *s)
{
    return s->esmtp;
}

const char *smtp_server_stage(const struct smtp_server *s)
{
    return s->stage;
}

unsigned smtp_server_recipient_count(const struct smtp_server *s)
{
    return s->recipients;
}

bool smtp_server_in_transaction(const struct smtp_server *s)
{
    return s->transaction;
}
