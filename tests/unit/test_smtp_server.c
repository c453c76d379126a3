/* Dialogues in tests/transcripts/smtp_server are played against the server
 * engine: line by line, byte by byte and as one burst, with a handler that
 * answers at once and with one that answers late. The replies are the same.
 *
 *   option NAME VALUE   an option of the engine (default: see options_default)
 *   burst no: REASON    not played as one burst
 *   C: R:               what the client sends
 *   nogreeting          the owner has not greeted yet
 *   closes, stays       how the session stands at the end
 *   stage NAME          how far it came
 *   S:                  a line of the server; '*' is anything, "..." any lines
 *   X: tls              the handshake is done
 *   A: QUESTION CODE TEXT   how the handler answers the next such question
 *                       (sender, recipient, begin, end, auth, tls); it else accepts;
 *                       auth 334 TEXT is a challenge
 *   H: WORDS            what the handler sees, in order, if a file has any
 *   X: greet, eof, shutdown TEXT, hold, release, reject CODE TEXT    what the owner does
 */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "net/addr.h"
#include "smtp/server.h"
#include "tests/transcripts/transcript.h"

#include <stdio.h>

enum mode { BY_LINE, BY_BYTE, BURST, MODES };
static const char *const mode_names[] = { "by line", "byte by byte", "in one burst" };

/* 2026-11-27T02:34:19Z, always. */
static uint64_t still_ms(void *ctx)
{
    return 1795746859000;
}

static const struct clock clock_still = { .mono_ms = still_ms, .wall_ms = still_ms };

static const struct smtp_server_options options_default = {
    .hostname = "mx.test",
    .message_size_max = 1 * MIB,
    .recipients_max = 3,
    .errors_max = 20,
    .commands_idle_max = 20,
    .messages_max = 0,
    .received_max = 5,
    .command_timeout_ms = 300 * SECOND_MS,
    .data_timeout_ms = 180 * SECOND_MS,
};

struct play {
    const struct transcript *t;
    struct smtp_server_options opt;
    uint64_t release_max_ms;
    struct smtp_server_auth auth;
    bool has_auth;
    bool xclient;
    enum smtp_server_tls tls;
    struct smtp_server *server;
    enum mode mode;
    bool late;
    const char *question; /* asked and not answered; late only */
    bool *answer_used;    /* per item */
    struct buf content;
    struct buf events; /* lines the handler saw */
    struct buf in;     /* burst under way */
    struct buf out;    /* not matched yet */
    size_t event_at;
};

__attribute__((format(printf, 3, 4), noreturn)) static void
fail_at(const struct play *p, const struct item *it, const char *fmt, ...)
{
    char text[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s:%u %s%s: %s", p->t->name, it != NULL ? it->line : 0, mode_names[p->mode],
             p->late ? ", late answers" : "", text);
    abort();
}

/* Gives the answer that the transcript has for this question. */
static void answer(struct play *p, const char *question)
{
    char pattern[32], text[1024];
    unsigned code;

    snprintf(pattern, sizeof pattern, "%s %%u %%1023[^]]", question);
    for (size_t i = 0; i < p->t->count; i++) {
        struct item *it = &p->t->items[i];

        if (it->kind != 'A' || p->answer_used[i] ||
            sscanf(buf_cstr(&it->text), pattern, &code, text) != 2)
            continue;
        p->answer_used[i] = true;
        if (code == 334)
            smtp_server_challenge(p->server, slice_str(text));
        else
            smtp_server_answer(p->server, code, "%s", text);
        return;
    }
    if (strcmp(question, "auth") == 0)
        smtp_server_answer(p->server, 235, "2.7.0 auth ok");
    else if (strcmp(question, "xclient") == 0)
        smtp_server_answer(p->server, 220, "new");
    else if (strcmp(question, "tls") == 0)
        smtp_server_answer(p->server, 220, "2.0.0 go ahead");
    else if (strcmp(question, "begin") == 0)
        smtp_server_answer(p->server, 354, "go");
    else
        smtp_server_answer(p->server, 250, "2.0.0 %s ok", question);
}

static void ask(struct play *p, const char *question)
{
    assert_null(p->question);
    if (p->late)
        p->question = question;
    else
        answer(p, question);
}

static void on_sender(void *ctx, const struct smtp_sender *from)
{
    struct play *p = ctx;
    static const char *const bodies[] = { "", " 7bit", " 8bit" };
    static const char *const returns[] = { "", " ret full", " ret header" };

    buf_add_str(&p->events, "sender <");
    add_escaped(&p->events, mail_path_text(&from->path));
    buf_add_byte(&p->events, '>');
    if (from->size != 0)
        buf_printf(&p->events, " size %llu", (unsigned long long)from->size);
    buf_printf(&p->events, "%s%s%s", bodies[from->body], from->smtputf8 ? " smtputf8" : "", returns[from->ret]);
    if (from->envelope_id.len > 0)
        buf_printf(&p->events, " envid %.*s", (int)from->envelope_id.len, from->envelope_id.ptr);
    if (from->release_wall_ms != 0)
        buf_printf(&p->events, " release %llu", (unsigned long long)from->release_wall_ms);
    buf_add_byte(&p->events, '\n');
    ask(p, "sender");
}

static void on_recipient(void *ctx, const struct smtp_recipient *to)
{
    struct play *p = ctx;

    char notify[MAIL_NOTIFY_TEXT_MAX];

    buf_add_str(&p->events, "recipient <");
    add_escaped(&p->events, mail_path_text(&to->path));
    buf_add_byte(&p->events, '>');
    if (to->wish.notify != 0)
        buf_printf(&p->events, " notify %s", mail_notify_format(to->wish.notify, notify));
    if (to->wish.original.len > 0) {
        buf_add_str(&p->events, " orcpt ");
        add_escaped(&p->events, to->wish.original);
    }
    buf_add_byte(&p->events, '\n');
    ask(p, "recipient");
}

static void on_begin(void *ctx)
{
    struct play *p = ctx;

    buf_clear(&p->content);
    buf_add_str(&p->events, "begin\n");
    ask(p, "begin");
}

static void on_bytes(void *ctx, struct slice bytes)
{
    struct play *p = ctx;

    assert_true(bytes.len > 0);
    buf_add(&p->content, bytes);
}

static void on_end(void *ctx, const struct smtp_content *content)
{
    struct play *p = ctx;

    assert_int_equal(content->size_bytes, buf_len(&p->content));
    buf_printf(&p->events, "message header %zu%s ", content->header_bytes,
               content->eight_bit ? " 8bit" : "");
    if (buf_len(&p->content) <= 400)
        add_escaped(&p->events, buf_bytes(&p->content));
    else
        buf_printf(&p->events, "%zu bytes", buf_len(&p->content));
    buf_add_byte(&p->events, '\n');
    ask(p, "end");
}

static void on_reset(void *ctx)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "reset\n");
}

static void on_refused(void *ctx, unsigned code, struct slice reply, struct slice command)
{
    struct play *p = ctx;
    char start[8];

    snprintf(start, sizeof start, "%u", code);
    assert_true(code >= 400 && slice_starts_nocase(reply, slice_str(start)));
    assert_true(reply.ptr[reply.len - 1] != '\n');
    buf_add_str(&p->events, "refused ");
    add_escaped(&p->events, command);
    buf_add_byte(&p->events, '\n');
}

static void on_xclient(void *ctx, const struct smtp_xclient *x)
{
    struct play *p = ctx;
    char addr[NET_ADDR_TEXT_MAX];

    buf_printf(&p->events, "xclient %s port %u helo <%s>\n", x->addr != NULL ? net_addr_format(x->addr, addr) : "-",
               x->port, x->helo);
    ask(p, "xclient");
}

static void on_auth_begin(void *ctx, const char *mechanism, struct slice initial, bool has_initial)
{
    struct play *p = ctx;

    buf_printf(&p->events, "auth %s", mechanism);
    if (has_initial) {
        buf_add_byte(&p->events, ' ');
        add_escaped(&p->events, initial);
    }
    buf_add_byte(&p->events, '\n');
    ask(p, "auth");
}

static void on_auth_continue(void *ctx, struct slice response)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "response ");
    if (response.len <= 400)
        add_escaped(&p->events, response);
    else
        buf_printf(&p->events, "%zu bytes", response.len);
    buf_add_byte(&p->events, '\n');
    ask(p, "auth");
}

static void on_auth_cancelled(void *ctx)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "cancelled\n");
    p->question = NULL;
}

static void on_starttls(void *ctx)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "starttls\n");
    ask(p, "tls");
}

static const struct smtp_server_handler handler = {
    .sender = on_sender,
    .recipient = on_recipient,
    .message_begin = on_begin,
    .message_bytes = on_bytes,
    .message_end = on_end,
    .transaction_reset = on_reset,
    .refused = on_refused,
    .auth_begin = on_auth_begin,
    .xclient = on_xclient,
    .auth_continue = on_auth_continue,
    .auth_cancelled = on_auth_cancelled,
    .starttls = on_starttls,
};

static void settle(struct play *p)
{
    struct buf *out;

    while (p->question != NULL) {
        const char *question = p->question;

        assert_true(smtp_server_parked(p->server));
        assert_int_equal(smtp_server_timeout_ms(p->server), 0);
        p->question = NULL;
        answer(p, question);
    }
    out = smtp_server_out(p->server);
    buf_add(&p->out, buf_bytes(out));
    smtp_server_sent(p->server, buf_len(out));
    assert_null(out->ptr);
}

static void feed(struct play *p, struct slice bytes)
{
    /* heap copies of exact size, so that a sanitizer sees a byte too far */
    size_t step = p->mode == BY_BYTE ? 1 : bytes.len;

    for (size_t at = 0; at < bytes.len; at += step) {
        char *copy = malloc(step);

        memcpy(copy, bytes.ptr + at, step);
        smtp_server_feed(p->server, slice_make(copy, step));
        free(copy);
        settle(p);
    }
}

static void flush_burst(struct play *p)
{
    if (buf_len(&p->in) > 0)
        feed(p, buf_bytes(&p->in));
    buf_clear(&p->in);
}

static bool next_out_line(struct play *p, struct slice *line)
{
    struct slice out = buf_bytes(&p->out);
    size_t lf = slice_find(out, '\n');

    if (lf == out.len)
        return false;
    assert_true(lf > 0 && out.ptr[lf - 1] == '\r');
    *line = slice_head(out, lf - 1);
    return true;
}

static void expect_line(struct play *p, const struct item *it, const struct item *next)
{
    bool skipping = slice_eq(buf_bytes(&it->text), SLICE("..."));
    struct slice line;

    if (skipping) {
        while (next_out_line(p, &line) &&
               !(next != NULL && next->kind == 'S' && text_fits(buf_bytes(&next->text), line)))
            buf_take(&p->out, line.len + 2);
        return;
    }
    if (!next_out_line(p, &line))
        fail_at(p, it, "no reply where \"%s\" is expected", buf_cstr((struct buf *)&it->text));
    if (!text_fits(buf_bytes(&it->text), line))
        fail_at(p, it, "got \"%.*s\" for \"%s\"", (int)line.len, line.ptr,
                buf_cstr((struct buf *)&it->text));
    buf_take(&p->out, line.len + 2);
}

static void expect_event(struct play *p, const struct item *it)
{
    struct slice rest = slice_from(buf_bytes(&p->events), p->event_at);
    struct slice line = slice_head(rest, slice_find(rest, '\n'));
    struct buf want = { 0 };

    /* events are kept escaped */
    add_escaped(&want, buf_bytes(&it->text));
    if (rest.len == 0 || !text_fits(buf_bytes(&want), line))
        fail_at(p, it, "handler saw \"%.*s\" for \"%s\"", (int)line.len, line.ptr, buf_cstr(&want));
    p->event_at += line.len + 1;
    buf_release(&want);
}

static void act(struct play *p, const struct item *it)
{
    struct slice text = buf_bytes(&it->text);
    char words[256];
    unsigned code;

    buf_cstr((struct buf *)&it->text);
    if (slice_eq(text, SLICE("eof")))
        smtp_server_eof(p->server);
    else if (slice_starts_nocase(text, SLICE("shutdown ")))
        smtp_server_shutdown(p->server, text.ptr + 9);
    else if (slice_eq(text, SLICE("greet")))
        smtp_server_greet(p->server);
    else if (slice_eq(text, SLICE("tls"))) {
        assert_true(smtp_server_tls_due(p->server));
        smtp_server_tls_begun(p->server);
    } else if (slice_eq(text, SLICE("hold")))
        smtp_server_hold(p->server, true);
    else if (slice_eq(text, SLICE("release")))
        smtp_server_hold(p->server, false);
    else if (sscanf(text.ptr, "reject %u %255[^]]", &code, words) == 2)
        smtp_server_reject(p->server, code, words);
    else
        fail_at(p, it, "unknown action");
    settle(p);
}

static void set_option(struct play *p, const struct item *it)
{
    struct smtp_server_options *o = &p->opt;
    char name[64];
    unsigned long long n;

    if (sscanf(buf_cstr((struct buf *)&it->text), "%63s %llu", name, &n) != 2)
        fail_at(p, it, "option NAME NUMBER");
    if (strcmp(name, "message_size_max") == 0)
        o->message_size_max = n;
    else if (strcmp(name, "recipients_max") == 0)
        o->recipients_max = (unsigned)n;
    else if (strcmp(name, "errors_max") == 0)
        o->errors_max = (unsigned)n;
    else if (strcmp(name, "commands_idle_max") == 0)
        o->commands_idle_max = (unsigned)n;
    else if (strcmp(name, "messages_max") == 0)
        o->messages_max = (unsigned)n;
    else if (strcmp(name, "received_max") == 0)
        o->received_max = (unsigned)n;
    else if (strcmp(name, "auth") == 0)
        p->has_auth = true, p->auth.mechanisms = n != 0 ? "SCRAM-SHA-256 PLAIN LOGIN" : "";
    else if (strcmp(name, "auth_under_tls") == 0)
        p->has_auth = true, p->auth.under_tls = n != 0 ? "PLAIN LOGIN" : "";
    else if (strcmp(name, "auth_required") == 0)
        p->has_auth = true, p->auth.required = n != 0;
    else if (strcmp(name, "xclient") == 0)
        p->xclient = n != 0;
    else if (strcmp(name, "release_max_ms") == 0)
        p->release_max_ms = n;
    else if (strcmp(name, "tls") == 0)
        p->tls = (enum smtp_server_tls)n;
    else if (strcmp(name, "repair_line_ends") == 0)
        o->repair_line_ends = n != 0;
    else
        fail_at(p, it, "unknown option");
}

static void expect_quiet(struct play *p, const struct item *it)
{
    if (buf_len(&p->out) > 0)
        fail_at(p, it, "a reply too many: \"%s\"", buf_cstr(&p->out));
}

static bool has_events(const struct transcript *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->items[i].kind == 'H')
            return true;
    }
    return false;
}

/* In a burst all that the client says up to the next act of the owner goes in
 * first; only then are the replies looked at. */
static void play_items(struct play *p, char kinds)
{
    const struct transcript *t = p->t;

    for (size_t i = 0; i < t->count; i++) {
        const struct item *it = &t->items[i];

        if (it->kind == 'w' && strcmp(it->word, "option") == 0 && kinds == 'w')
            set_option(p, it);
        else if (it->kind == 'X' && kinds == 'C') {
            flush_burst(p);
            act(p, it);
        } else if ((it->kind == 'C' || it->kind == 'R') && kinds == 'C') {
            if (p->mode != BURST)
                expect_quiet(p, it);
            item_bytes(it, &p->in);
            if (p->mode != BURST)
                flush_burst(p);
        } else if (it->kind == 'S' && (kinds == 'S' || (kinds == 'C' && p->mode != BURST)))
            expect_line(p, it, i + 1 < t->count ? it + 1 : NULL);
        else if (it->kind == 'H' && kinds == 'H')
            expect_event(p, it);
    }
    if (kinds == 'C')
        flush_burst(p);
}

static void play(const struct transcript *t, enum mode mode, bool late)
{
    struct play p = {
        .t = t, .opt = options_default, .auth = { "", "", false }, .mode = mode, .late = late,
    };
    const struct item *stage = transcript_directive(t, "stage");

    p.answer_used = mem_zero(t->count, sizeof *p.answer_used);
    play_items(&p, 'w');
    p.server = smtp_server_new(&p.opt, &handler, &p);
    smtp_server_offer_release(p.server, p.release_max_ms, &clock_still);
    smtp_server_offer_xclient(p.server, p.xclient);
    smtp_server_set_tls(p.server, p.tls);
    if (p.has_auth)
        smtp_server_set_auth(p.server, &p.auth);
    if (transcript_directive(t, "nogreeting") == NULL)
        smtp_server_greet(p.server);
    settle(&p);
    play_items(&p, 'C');
    if (mode == BURST)
        play_items(&p, 'S');
    expect_quiet(&p, NULL);
    if (transcript_directive(t, "closes") != NULL)
        assert_true(smtp_server_closing(p.server));
    if (transcript_directive(t, "stays") != NULL)
        assert_false(smtp_server_closing(p.server));
    if (stage != NULL)
        assert_string_equal(smtp_server_stage(p.server), buf_cstr((struct buf *)&stage->text));
    smtp_server_free(p.server);
    if (has_events(t)) {
        play_items(&p, 'H');
        if (p.event_at != buf_len(&p.events))
            fail_at(&p, NULL, "the handler also saw \"%s\"", buf_cstr(&p.events) + p.event_at);
    }
    free(p.answer_used);
    buf_release(&p.content);
    buf_release(&p.events);
    buf_release(&p.in);
    buf_release(&p.out);
}

static void test_transcript(void **state)
{
    const struct transcript *t = *state;

    for (int mode = BY_LINE; mode < MODES; mode++) {
        if (mode == BURST && transcript_directive(t, "burst") != NULL)
            continue;
        play(t, (enum mode)mode, false);
        play(t, (enum mode)mode, true);
    }
}

int main(void)
{
    struct transcript **all;
    size_t n = transcript_read_all(TRANSCRIPTS "/smtp_server", &all);
    struct CMUnitTest *tests = mem_zero(n, sizeof *tests);
    int failed;

    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){ all[i]->name, test_transcript, NULL, NULL, all[i] };
    failed = _cmocka_run_group_tests("smtp server", tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        transcript_free(all[i]);
    free(all);
    free(tests);
    return failed;
}
