/* Any bytes as an SMTP client. The first 8 choose options, the owner's answers
 * and how the rest is cut; the rest is played whole with answers at once, and
 * again in random pieces with late answers and holds. At a byte 0x16, as the
 * first of a handshake, the client waits for what was asked; when the answer
 * was 220 to STARTTLS, the session goes on encrypted.
 *
 * Both plays must say and store the same; replies are well-formed, and there
 * are as many as a simple model of SMTP counts commands; nothing stored has a
 * bare CR or LF.
 */
#include "base/clock.h"
#include "smtp/server.h"
#include "tests/fuzz/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TLS_MARK '\x16'
#define NOW_MS 1795746859000ull

static uint64_t still_ms(void *ctx)
{
    return NOW_MS;
}

static const struct clock still = { .mono_ms = still_ms, .wall_ms = still_ms };

struct play {
    struct smtp_server *server;
    struct rng answers; /* the same in both plays */
    struct rng chance;
    bool late, asked, in_transaction, in_login, login_asked;
    bool release; /* FUTURERELEASE is offered */
    bool utf8;    /* in this transaction */
    bool tls_asked, turned; /* STARTTLS was answered 220: nothing may be served any more */
    struct buf content;
    struct buf stored;
    struct buf out;
};

static void answer(struct play *p)
{
    static const unsigned codes[] = { 250, 250, 250, 250, 250, 250, 250, 450, 550, 421 };
    uint64_t n = rng_below(&p->answers, 41);

    p->asked = false;
    if (p->tls_asked) {
        p->tls_asked = false;
        p->turned = true;
        smtp_server_answer(p->server, 220, "2.0.0 go ahead");
        return;
    }
    if (p->login_asked) {
        static const unsigned login_codes[] = { 334, 334, 334, 235, 535, 454, 334, 235, 535, 421 };

        p->login_asked = false;
        if (login_codes[n / 4 % 10] == 334) {
            smtp_server_challenge(p->server, slice_head(SLICE("\x80\0question"), n % 8));
            return;
        }
        p->in_login = false;
        smtp_server_answer(p->server, login_codes[n / 4 % 10], "5.7.8 two\nlines");
        return;
    }
    smtp_server_answer(p->server, codes[n / 4 % 10],
                       n % 4 == 0 ? "5.1.1 two\nlines\r\x80" : "2.0.0 ok");
}

static void ask(struct play *p)
{
    CHECK(!p->asked);
    p->asked = true;
    if (!p->late)
        answer(p);
}

/* What goes on to the next hop in a line of its own. */
static void check_line(struct slice s, bool utf8)
{
    for (size_t i = 0; i < s.len; i++)
        CHECK((unsigned char)s.ptr[i] > ' ' && s.ptr[i] != 0x7f && (utf8 || (unsigned char)s.ptr[i] < 0x80));
}

static void on_sender(void *ctx, const struct smtp_sender *from)
{
    struct play *p = ctx;

    CHECK(!p->turned);
    CHECK(!p->in_transaction && strlen(from->path.text) == from->path.len);
    CHECK(from->smtputf8 || !from->path.utf8);
    check_line(from->envelope_id, false);
    CHECK(from->envelope_id.len <= MAIL_ENVID_MAX);
    CHECK(from->release_wall_ms == 0 || (p->release && from->release_wall_ms - NOW_MS <= HOUR_MS));
    p->utf8 = from->smtputf8;
    p->in_transaction = true;
    ask(p);
}

static void on_recipient(void *ctx, const struct smtp_recipient *to)
{
    struct play *p = ctx;

    CHECK(p->in_transaction && to->path.len > 0);
    CHECK(p->utf8 || !to->path.utf8);
    check_line(to->wish.original, p->utf8);
    CHECK(to->wish.original.len <= MAIL_ORCPT_MAX);
    CHECK((to->wish.notify & MAIL_NOTIFY_NEVER) == 0 || to->wish.notify == MAIL_NOTIFY_NEVER);
    ask(p);
}

static void on_begin(void *ctx)
{
    struct play *p = ctx;

    CHECK(p->in_transaction && smtp_server_recipient_count(p->server) > 0);
    buf_clear(&p->content);
    ask(p);
}

static void on_bytes(void *ctx, struct slice bytes)
{
    struct play *p = ctx;

    CHECK(p->in_transaction && !p->asked && bytes.len > 0);
    buf_add(&p->content, bytes);
    if (p->late && rng_below(&p->chance, 8) == 0)
        smtp_server_hold(p->server, true);
}

static void on_end(void *ctx, const struct smtp_content *content)
{
    struct play *p = ctx;
    struct slice s = buf_bytes(&p->content);

    CHECK(p->in_transaction && content->size_bytes == s.len && content->header_bytes <= s.len);
    for (size_t i = 0; i < s.len; i++) {
        CHECK(s.ptr[i] != '\r' || (i + 1 < s.len && s.ptr[i + 1] == '\n'));
        CHECK(s.ptr[i] != '\n' || (i > 0 && s.ptr[i - 1] == '\r'));
    }
    buf_printf(&p->stored, "[%zu]", s.len);
    buf_add(&p->stored, s);
    p->in_transaction = false; /* until told otherwise */
    ask(p);
}

static void on_reset(void *ctx)
{
    struct play *p = ctx;

    p->in_transaction = false;
}

static void on_refused(void *ctx, unsigned code, struct slice reply, struct slice command)
{
    CHECK(code >= 400 && reply.len >= 3 && command.len <= 2048);
}

static void on_auth_continue(void *ctx, struct slice response)
{
    struct play *p = ctx;

    CHECK(p->in_login && response.len <= 9216);
    buf_printf(&p->stored, "{%zu}", response.len);
    buf_add(&p->stored, response);
    p->login_asked = true;
    ask(p);
}

static void on_auth_begin(void *ctx, const char *mechanism, struct slice initial, bool has_initial)
{
    struct play *p = ctx;

    CHECK(!p->in_transaction && !p->in_login && (has_initial || initial.len == 0));
    CHECK(strcmp(mechanism, "PLAIN") == 0 || strcmp(mechanism, "LOGIN") == 0);
    p->in_login = true;
    on_auth_continue(ctx, initial);
}

static void on_auth_cancelled(void *ctx)
{
    struct play *p = ctx;

    CHECK(p->in_login);
    p->in_login = p->asked = p->login_asked = false;
}

/* One front end in two is believed. */
static void on_xclient(void *ctx, const struct smtp_xclient *x)
{
    struct play *p = ctx;

    CHECK(strlen(x->helo) < sizeof x->helo && !smtp_server_in_transaction(p->server));
    if (x->helo[0] == 'x')
        smtp_server_answer(p->server, 421, "4.7.0 too many");
    else
        smtp_server_answer(p->server, 220, "go on");
}

static void on_starttls(void *ctx)
{
    struct play *p = ctx;

    CHECK(!p->turned && !p->in_transaction);
    p->tls_asked = true;
    ask(p);
}

static const struct smtp_server_handler handler = {
    .sender = on_sender,
    .recipient = on_recipient,
    .message_begin = on_begin,
    .message_bytes = on_bytes,
    .message_end = on_end,
    .transaction_reset = on_reset,
    .refused = on_refused,
    .xclient = on_xclient,
    .auth_begin = on_auth_begin,
    .auth_continue = on_auth_continue,
    .auth_cancelled = on_auth_cancelled,
    .starttls = on_starttls,
};

static void drain(struct play *p)
{
    struct buf *out = smtp_server_out(p->server);

    buf_add(&p->out, buf_bytes(out));
    smtp_server_sent(p->server, buf_len(out));
}

static void settle(struct play *p)
{
    while (p->asked ||
           (p->late && !smtp_server_wants_input(p->server) && !smtp_server_closing(p->server))) {
        if (p->asked)
            answer(p);
        smtp_server_hold(p->server, false);
    }
    drain(p);
}

/* Of what was said in the clear nothing is left (RFC 3207 section 4.2). */
static void turn_to_tls(struct play *p)
{
    smtp_server_tls_begun(p->server);
    CHECK(smtp_server_closing(p->server) ||
          (smtp_server_helo(p->server)[0] == '\0' && !smtp_server_authenticated(p->server) &&
           !smtp_server_in_transaction(p->server)));
    p->turned = false;
}

static void say(struct play *p, struct slice in)
{
    while (in.len > 0) {
        size_t n = p->late ? 1 + rng_below(&p->chance, rng_below(&p->chance, 4) == 0 ? 300 : 6) : in.len;
        char *copy;

        n = n < in.len ? n : in.len;
        copy = malloc(n);
        memcpy(copy, in.ptr, n);
        smtp_server_feed(p->server, slice_make(copy, n));
        free(copy);
        in = slice_from(in, n);
        if (!smtp_server_wants_input(p->server) || rng_below(&p->chance, 2) == 0)
            settle(p);
    }
}

static void play(struct play *p, const struct smtp_server_options *opt, uint64_t seed, bool late,
                 struct slice in)
{
    static const struct smtp_server_auth offered = { "PLAIN LOGIN", "", false };
    static const struct smtp_server_auth demanded = { "PLAIN", "LOGIN", true };
    struct slice part;

    *p = (struct play){ .late = late };
    rng_seed(&p->answers, seed);
    rng_seed(&p->chance, ~seed);
    p->server = smtp_server_new(opt, &handler, p);
    smtp_server_offer_xclient(p->server, (seed & 32) != 0);
    if ((seed & 64) != 0)
        smtp_server_set_auth(p->server, (seed & 128) != 0 ? &demanded : &offered);
    p->release = (seed & 256) != 0;
    if (p->release)
        smtp_server_offer_release(p->server, HOUR_MS, &still);
    smtp_server_set_tls(p->server, (enum smtp_server_tls)((seed >> 8) % 4));
    smtp_server_greet(p->server);
    while (slice_split(&in, TLS_MARK, &part)) {
        say(p, part);
        settle(p);
        if (smtp_server_tls_due(p->server) && in.len > 0)
            turn_to_tls(p);
    }
    smtp_server_eof(p->server);
    settle(p);
    CHECK(smtp_server_closing(p->server));
    smtp_server_free(p->server);
    CHECK(!p->in_transaction && !p->in_login);
}

/* Takes a reply off the front; its code, 0 when there is none. */
static unsigned take_reply(struct slice *out)
{
    unsigned code = 0;

    while (out->len > 0) {
        size_t lf = slice_find(*out, '\n');
        unsigned line_code = 0;
        bool more;

        CHECK(lf < out->len && lf >= 5 && lf < 512 && out->ptr[lf - 1] == '\r');
        for (size_t i = 0; i < lf - 1; i++)
            CHECK(out->ptr[i] >= ' ' && out->ptr[i] < 0x7f);
        for (size_t i = 0; i < 3; i++) {
            CHECK(ascii_is_digit(out->ptr[i]));
            line_code = line_code * 10 + (unsigned)(out->ptr[i] - '0');
        }
        CHECK(out->ptr[3] == ' ' || out->ptr[3] == '-');
        CHECK(code == 0 || code == line_code);
        code = line_code;
        more = out->ptr[3] == '-';
        *out = slice_from(*out, lf + 1);
        if (!more)
            break;
    }
    return code;
}

static size_t find_crlf(struct slice s)
{
    const char *at = s.ptr != NULL ? memmem(s.ptr, s.len, "\r\n", 2) : NULL;

    return at != NULL ? (size_t)(at - s.ptr) + 2 : 0;
}

static size_t find_end(struct slice s)
{
    const char *at = s.ptr != NULL ? memmem(s.ptr, s.len, "\r\n.\r\n", 5) : NULL;

    if (s.len >= 3 && memcmp(s.ptr, ".\r\n", 3) == 0)
        return 3;
    return at != NULL ? (size_t)(at - s.ptr) + 5 : 0;
}

/* The number of bytes of the command at the front of *in, 0 when it is not
 * whole. With bare LF it is answered before its end has come. */
static size_t command_len(struct slice in, size_t most, bool *answered)
{
    size_t lf = slice_find(in, '\n');

    if (lf < most && lf < in.len && (lf == 0 || in.ptr[lf - 1] != '\r')) {
        size_t rest = find_crlf(slice_from(in, lf + 1));

        *answered = true;
        return rest != 0 ? lf + 1 + rest : 0;
    }
    *answered = find_crlf(in) != 0;
    return find_crlf(in);
}

static void check_replies(struct slice in, struct slice out)
{
    unsigned code = take_reply(&out);

    CHECK(code == 220);
    while (in.len > 0) {
        struct slice command = in;
        bool bdat = code != 334 && slice_starts_nocase(in, SLICE("BDAT ")), answered = false;
        size_t len = code == 354 ? find_end(in) : command_len(in, code == 334 ? 12288 : 2048, &answered);

        if (code == 354 && len == 0)
            break;
        if (code == 354)
            answered = true, bdat = false;
        in = len != 0 ? slice_from(in, len) : SLICE_EMPTY;
        if (bdat && len != 0 && (out.len < 3 || memcmp(out.ptr, "521", 3) != 0) &&
            (out.len < 3 || memcmp(out.ptr, "421", 3) != 0)) {
            unsigned long long n = strtoull(command.ptr + 5, NULL, 10);

            if (n > in.len)
                break;
            in = slice_from(in, (size_t)n);
        }
        if (!answered)
            break;
        code = take_reply(&out);
        CHECK(code != 0);
        if (code == 221 || code == 421 || code == 521)
            break;
    }
    CHECK(out.len == 0);
}

static bool ends_at_starttls(struct slice out)
{
    return out.ptr != NULL && memmem(out.ptr, out.len, "behind STARTTLS", 15) != NULL;
}

static void strip_marks(struct slice in, struct buf *out)
{
    struct slice part;

    while (slice_split(&in, TLS_MARK, &part))
        buf_add(out, part);
}

static void release(struct play *p)
{
    buf_release(&p->content);
    buf_release(&p->stored);
    buf_release(&p->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_server_options opt = { .hostname = "mx.test", .received_max = 2 };
    struct play a, b;
    struct buf said = { 0 };
    struct slice in;
    bool injected;
    uint64_t seed;

    if (size < sizeof seed)
        return 0;
    memcpy(&seed, data, sizeof seed);
    in = slice_make((const char *)data + sizeof seed, size - sizeof seed);
    opt.message_size_max = data[0] & 1 ? 300 : 0;
    opt.recipients_max = data[0] & 2 ? 2 : 0;
    opt.errors_max = data[0] & 4 ? 3 : 0;
    opt.commands_idle_max = data[0] & 8 ? 3 : 0;
    opt.messages_max = data[0] & 16 ? 2 : 0;
    opt.repair_line_ends = (data[0] & 32) != 0;

    play(&a, &opt, seed, false, in);
    play(&b, &opt, seed, true, in);
    CHECK(slice_eq(buf_bytes(&a.stored), buf_bytes(&b.stored)));
    /* Bytes behind STARTTLS are refused instead of its 220, or behind it. */
    injected = ends_at_starttls(buf_bytes(&a.out)) || ends_at_starttls(buf_bytes(&b.out));
    CHECK(injected || slice_eq(buf_bytes(&a.out), buf_bytes(&b.out)));
    if (!opt.repair_line_ends && !injected) {
        strip_marks(in, &said);
        check_replies(buf_bytes(&said), buf_bytes(&a.out));
        buf_release(&said);
    }
    release(&a);
    release(&b);
    return 0;
}
