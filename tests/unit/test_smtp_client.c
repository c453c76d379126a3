/* Dialogues in tests/transcripts/smtp_client are played against the client
 * engine, the server's bytes given line by line, byte by byte, and all that
 * it says between two of our commands at once.
 *
 *   S: R:   what the server sends
 *   C:      a line of the client; '*' is anything
 *   B:      bytes of the client, to the letter
 *   T: from=ADDRESS to=ADDRESS,ADDRESS [size=N] [8bit] [smtputf8]
 *      [ret=full|hdrs] [envid=XTEXT] [notify=A/B] [orcpt=A/B] (one a recipient)
 *           the owner sends a message; only when the engine is ready
 *   D:      a line of content, D*N: many of them; E: its end (text: the rest)
 *   X: lost TEXT, abort TEXT, quit, block (output is no longer drained),
 *           secured [BINDING] (the handshake is done)
 *   O: WORDS   what the handler saw, in order; see the functions on_*
 *   timeout MS   directive: the engine's time-out at the very end
 *   greeting NAME, offer WORDS   directives: what we know of the server then
 *   tls none|optional|required   directive: the policy; default none
 *   login WORDS   directive: user=U, password=P or token=T, clear (also without TLS)
 *   split no: REASON   not played byte by byte
 */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "smtp/client.h"
#include "tests/transcripts/transcript.h"

#include <stdio.h>

enum mode { BY_LINE, BY_BYTE, BURST, MODES };
static const char *const mode_names[] = { "by line", "byte by byte", "in bursts" };

static const struct smtp_client_options defaults = {
    .helo = "relay.test",
    .greeting_timeout_ms = 1,
    .command_timeout_ms = 2,
    .data_timeout_ms = 3,
    .final_timeout_ms = 4,
    .quit_timeout_ms = 5,
};

#define RECIPIENTS_MAX 8

struct play {
    const struct transcript *t;
    struct smtp_client_options options;
    struct smtp_client *client;
    enum mode mode;
    bool blocked;
    struct buf in;     /* what the server says at once */
    struct buf out;    /* not matched yet */
    struct buf events; /* one a line, not matched yet */
    struct buf message;
    struct slice recipients[RECIPIENTS_MAX];
    struct mail_wish wishes[RECIPIENTS_MAX];
    unsigned outcomes[RECIPIENTS_MAX];
    unsigned count;
};

__attribute__((format(printf, 3, 4), noreturn)) static void
fail_at(const struct play *p, const struct item *it, const char *fmt, ...)
{
    char text[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s:%u %s: %s", p->t->name, it != NULL ? it->line : 0, mode_names[p->mode], text);
    abort();
}

static void on_ready(void *ctx)
{
    struct play *p = ctx;

    assert_true(smtp_client_idle(p->client));
    buf_add_str(&p->events, "ready\n");
}

static void on_content(void *ctx)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "content\n");
}

static void add_outcome(struct play *p, const struct smtp_outcome *o)
{
    static const char *const verdicts[] = { "delivered", "deferred", "failed", "in doubt" };
    char status[16];

    buf_printf(&p->events, "%s at %s %u %s ", verdicts[o->verdict], smtp_stage_text(o->stage),
               o->code, mail_status_format(o->status, status));
    add_escaped(&p->events, o->text);
    buf_add_byte(&p->events, '\n');
}

static void on_recipient(void *ctx, unsigned n, const struct smtp_outcome *o)
{
    struct play *p = ctx;

    assert_true(n < p->count);
    p->outcomes[n]++;
    buf_printf(&p->events, "%u ", n);
    add_outcome(p, o);
}

static void on_done(void *ctx)
{
    struct play *p = ctx;

    for (unsigned i = 0; i < p->count; i++)
        assert_int_equal(p->outcomes[i], 1);
    p->count = 0;
    assert_false(smtp_client_idle(p->client)); /* not before ready() */
    buf_add_str(&p->events, "done\n");
}

static void on_failed(void *ctx, const struct smtp_outcome *o)
{
    struct play *p = ctx;

    assert_int_equal(p->count, 0);
    buf_add_str(&p->events, "session ");
    add_outcome(p, o);
}

static void on_quit(void *ctx)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "quit\n");
}

static void on_start_tls(void *ctx)
{
    struct play *p = ctx;

    buf_add_str(&p->events, "start TLS\n");
}

static const struct smtp_client_handler handler = {
    .ready = on_ready,
    .content = on_content,
    .recipient_done = on_recipient,
    .transaction_done = on_done,
    .failed = on_failed,
    .start_tls = on_start_tls,
    .quit_done = on_quit,
};

static void drain(struct play *p)
{
    struct buf *out = smtp_client_out(p->client);

    if (p->blocked)
        return;
    buf_add(&p->out, buf_bytes(out));
    buf_take(out, buf_len(out));
}

static void feed(struct play *p, struct slice bytes)
{
    size_t step = p->mode == BY_BYTE ? 1 : bytes.len;

    for (size_t at = 0; at < bytes.len; at += step) {
        char *copy = malloc(step);

        memcpy(copy, bytes.ptr + at, step);
        smtp_client_feed(p->client, slice_make(copy, step));
        free(copy);
        drain(p);
    }
}

static void flush(struct play *p)
{
    if (buf_len(&p->in) > 0)
        feed(p, buf_bytes(&p->in));
    buf_clear(&p->in);
}

/* Takes the next line of what the client sent or the handler saw. */
static bool take_line(struct buf *from, struct buf *line)
{
    struct slice bytes = buf_bytes(from);
    size_t lf = slice_find(bytes, '\n');

    buf_clear(line);
    if (lf == bytes.len)
        return false;
    buf_add(line, slice_head(bytes, lf));
    buf_take(from, lf + 1);
    return true;
}

static void expect(struct play *p, const struct item *it, struct buf *from)
{
    struct buf line = { 0 }, want = { 0 };

    for (unsigned i = 0; i < it->times; i++) {
        if (!take_line(from, &line))
            fail_at(p, it, "nothing where \"%s\" is expected", buf_cstr((struct buf *)&it->text));
        buf_clear(&want);
        if (it->kind == 'O') {
            add_escaped(&want, buf_bytes(&it->text)); /* events are kept escaped */
        } else {
            buf_add(&want, buf_bytes(&it->text));
            buf_add_byte(&want, '\r');
        }
        if (!text_fits(buf_bytes(&want), buf_bytes(&line)))
            fail_at(p, it, "got \"%s\" for \"%s\"", buf_cstr(&line), buf_cstr(&want));
    }
    buf_release(&line);
    buf_release(&want);
}

static void expect_bytes(struct play *p, const struct item *it)
{
    struct slice want = buf_bytes(&it->text), got = slice_head(buf_bytes(&p->out), want.len);

    if (!slice_eq(got, want))
        fail_at(p, it, "got \"%.*s\"", (int)got.len, got.ptr);
    buf_take(&p->out, want.len);
}

static void expect_quiet(struct play *p, const struct item *it)
{
    if (buf_len(&p->out) > 0)
        fail_at(p, it, "client also sent \"%s\"", buf_cstr(&p->out));
    if (buf_len(&p->events) > 0)
        fail_at(p, it, "handler also saw \"%s\"", buf_cstr(&p->events));
}

static void take_wishes(struct play *p, const struct item *it, struct slice list, bool notify)
{
    struct slice part;

    for (unsigned i = 0; slice_split(&list, '/', &part); i++) {
        if (i == RECIPIENTS_MAX)
            fail_at(p, it, "too many");
        if (!notify)
            p->wishes[i].original = part;
        else if (part.len > 0 && !mail_notify_parse(part, &p->wishes[i].notify))
            fail_at(p, it, "odd notify");
    }
}

static void send_message(struct play *p, const struct item *it)
{
    struct smtp_transaction t = { 0 };
    struct slice rest, word;

    if (!smtp_client_idle(p->client))
        fail_at(p, it, "not idle");
    buf_clear(&p->message);
    buf_add(&p->message, buf_bytes(&it->text));
    rest = buf_bytes(&p->message);
    memset(p->outcomes, 0, sizeof p->outcomes);
    memset(p->wishes, 0, sizeof p->wishes);
    while (slice_split(&rest, ' ', &word)) {
        uint64_t n;

        if (slice_starts_nocase(word, SLICE("from=")))
            t.reverse_path = slice_from(word, 5);
        else if (slice_starts_nocase(word, SLICE("size=")) && slice_u64(slice_from(word, 5), &n))
            t.size_bytes = n;
        else if (slice_eq(word, SLICE("8bit")))
            t.eight_bit = true;
        else if (slice_eq(word, SLICE("smtputf8")))
            t.smtputf8 = true;
        else if (slice_eq(word, SLICE("ret=full")))
            t.ret = MAIL_RETURN_FULL;
        else if (slice_eq(word, SLICE("ret=hdrs")))
            t.ret = MAIL_RETURN_HEADER;
        else if (slice_starts_nocase(word, SLICE("envid=")))
            t.envelope_id = slice_from(word, 6);
        else if (slice_starts_nocase(word, SLICE("notify=")))
            take_wishes(p, it, slice_from(word, 7), true);
        else if (slice_starts_nocase(word, SLICE("orcpt=")))
            take_wishes(p, it, slice_from(word, 6), false);
        else if (slice_starts_nocase(word, SLICE("to="))) {
            struct slice list = slice_from(word, 3);

            while (slice_split(&list, ',', &p->recipients[p->count]))
                p->count++;
        } else
            fail_at(p, it, "unknown word in T:");
    }
    t.recipients = p->recipients;
    t.recipient_count = p->count;
    t.wishes = p->wishes;
    smtp_client_send(p->client, &t);
}

static void give_content(struct play *p, const struct item *it)
{
    struct buf bytes = { 0 };

    if (it->kind == 'D')
        item_bytes(it, &bytes);
    else
        buf_add(&bytes, buf_bytes(&it->text));
    smtp_client_content(p->client, buf_bytes(&bytes), it->kind == 'E');
    buf_release(&bytes);
}

static void act(struct play *p, const struct item *it)
{
    const char *text = buf_cstr((struct buf *)&it->text);

    if (strncmp(text, "lost ", 5) == 0)
        smtp_client_lost(p->client, text + 5);
    else if (strncmp(text, "abort ", 6) == 0)
        smtp_client_abort(p->client, text + 6);
    else if (strcmp(text, "quit") == 0)
        smtp_client_quit(p->client);
    else if (strcmp(text, "block") == 0)
        p->blocked = true;
    else if (strncmp(text, "secured", 7) == 0)
        smtp_client_secured(p->client, slice_str(text + 7 + (text[7] == ' ')));
    else
        fail_at(p, it, "unknown action");
}

static void play_item(struct play *p, const struct item *it, const struct item *before)
{
    bool server = it->kind == 'S' || it->kind == 'R';

    if (server && p->mode != BURST && before != NULL && before->kind != 'S' && before->kind != 'R')
        expect_quiet(p, it);
    if (server) {
        item_bytes(it, &p->in);
        if (p->mode != BURST)
            flush(p);
        return;
    }
    flush(p);
    if (it->kind == 'C')
        expect(p, it, &p->out);
    else if (it->kind == 'B')
        expect_bytes(p, it);
    else if (it->kind == 'O')
        expect(p, it, &p->events);
    else if (it->kind == 'T')
        send_message(p, it);
    else if (it->kind == 'D' || it->kind == 'E')
        give_content(p, it);
    else if (it->kind == 'X')
        act(p, it);
    drain(p);
}

static void check_offer(struct play *p)
{
    const struct smtp_client_offer *o = smtp_client_offer(p->client);
    const struct item *it = transcript_directive(p->t, "offer");
    struct buf have = { 0 };

    if (it == NULL)
        return;
    buf_printf(&have, "%s%s%s%s%s%s%s%s%s", o->esmtp ? " ESMTP" : "",
               o->pipelining ? " PIPELINING" : "", o->eightbitmime ? " 8BITMIME" : "",
               o->chunking ? " CHUNKING" : "", o->starttls ? " STARTTLS" : "",
               o->enhanced ? " ENHANCEDSTATUSCODES" : "", o->dsn ? " DSN" : "",
               o->smtputf8 ? " SMTPUTF8" : "", o->size ? " SIZE" : "");
    buf_printf(&have, " %llu %u %u", (unsigned long long)o->size_max, o->recipients_max,
               o->messages_max);
    assert_string_equal(buf_cstr(&have) + 1, buf_cstr((struct buf *)&it->text));
    buf_release(&have);
}

static void set_tls(struct play *p)
{
    const struct item *it = transcript_directive(p->t, "tls");
    struct slice text;

    if (it == NULL)
        return;
    text = buf_bytes(&it->text);
    if (slice_eq(text, SLICE("optional")))
        p->options.tls = SMTP_CLIENT_TLS_OPTIONAL;
    else if (slice_eq(text, SLICE("required")))
        p->options.tls = SMTP_CLIENT_TLS_REQUIRED;
    else if (!slice_eq(text, SLICE("none")))
        fail_at(p, it, "unknown TLS policy");
}

static void set_login(struct play *p)
{
    const struct item *it = transcript_directive(p->t, "login");
    struct sasl_login_options opt = { 0 };
    struct buf token = { 0 };
    char *text, *word, *rest;

    if (it == NULL)
        return;
    text = strdup(buf_cstr((struct buf *)&it->text));
    for (word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (strncmp(word, "user=", 5) == 0)
            opt.user = word + 5;
        else if (strncmp(word, "password=", 9) == 0)
            opt.password = word + 9;
        else if (strncmp(word, "token=", 6) == 0)
            opt.token = word + 6;
        else if (strncmp(word, "longtoken=", 10) == 0) {
            for (long n = strtol(word + 10, NULL, 10); n > 0; n--)
                buf_add_byte(&token, 't');
            opt.token = buf_cstr(&token);
        } else if (strcmp(word, "clear") == 0)
            p->options.login_in_clear = true;
        else
            fail_at(p, it, "unknown word in login");
    }
    p->options.login = sasl_login_new(&opt);
    buf_release(&token);
    free(text);
}

static void play(const struct transcript *t, enum mode mode)
{
    const struct item *greeting = transcript_directive(t, "greeting");
    const struct item *timeout = transcript_directive(t, "timeout");
    struct play p = { .t = t, .mode = mode, .options = defaults };

    set_tls(&p);
    set_login(&p);
    p.client = smtp_client_new(&p.options, &handler, &p);
    for (size_t i = 0; i < t->count; i++)
        play_item(&p, &t->items[i], i > 0 ? &t->items[i - 1] : NULL);
    flush(&p);
    expect_quiet(&p, NULL);
    if (timeout != NULL)
        assert_int_equal(smtp_client_timeout_ms(p.client),
                         strtoull(buf_cstr((struct buf *)&timeout->text), NULL, 10));
    if (greeting != NULL)
        assert_string_equal(smtp_client_greeting(p.client),
                            buf_cstr((struct buf *)&greeting->text));
    check_offer(&p);
    smtp_client_free(p.client);
    sasl_login_unref(p.options.login);
    buf_release(&p.in);
    buf_release(&p.out);
    buf_release(&p.events);
    buf_release(&p.message);
}

static void test_transcript(void **state)
{
    const struct transcript *t = *state;

    for (int mode = BY_LINE; mode < MODES; mode++) {
        if (mode != BY_BYTE || transcript_directive(t, "split") == NULL)
            play(t, (enum mode)mode);
    }
}

int main(void)
{
    struct transcript **all;
    size_t n = transcript_read_all(TRANSCRIPTS "/smtp_client", &all);
    struct CMUnitTest *tests = mem_zero(n, sizeof *tests);
    int failed;

    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){ all[i]->name, test_transcript, NULL, NULL, all[i] };
    failed = _cmocka_run_group_tests("smtp client", tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        transcript_free(all[i]);
    free(all);
    free(tests);
    smtp_client_free(NULL);
    return failed;
}
