/* Any bytes as an SMTP server. The first 8 choose how the rest is cut, how
 * much of our output has left, when the connection is lost and what the owner
 * does; he sends messages as long as he may.
 *
 * Each recipient gets exactly one outcome, and before transaction_done; none
 * is delivered unless the end mark had left; failed() or quit_done() is the
 * last word, and what we sent is made of whole lines without a stray CR or LF.
 * A login goes only through TLS, or where the clear is allowed; and where TLS
 * is required there is no ready() without it.
 */
#include "base/clock.h"
#include "smtp/client.h"
#include "tests/fuzz/check.h"

#define RECIPIENTS_MAX 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct owner {
    struct smtp_client *client;
    struct rng chance;
    struct smtp_client_options options;
    bool over, in_transaction, wants_content;
    bool secured, handshake;
    unsigned count;
    struct slice recipients[RECIPIENTS_MAX];
    unsigned outcomes[RECIPIENTS_MAX];
    bool end_left; /* the end mark was sent, as far as we know */
    bool end_given;
    bool chunks;   /* content goes out as it is: it is given as it should be */
    struct buf sent;
};

static const char *const addresses[RECIPIENTS_MAX] = {
    "a@example.net",        "\"b c\"@example.net", "d\r\nRSET@example.net",
    "\xc3\xa9@example.net", "e@example.net",
};

static void start(struct owner *o)
{
    struct smtp_transaction t = { .reverse_path = SLICE("s@example.com"),
                                  .recipients = o->recipients };

    t.recipient_count = o->count = 1 + (unsigned)rng_below(&o->chance, RECIPIENTS_MAX);
    for (unsigned i = 0; i < o->count; i++)
        o->recipients[i] = slice_str(addresses[i]);
    o->chunks = rng_below(&o->chance, 2) == 0; /* if they are offered */
    t.size_bytes = rng_below(&o->chance, 2000) + (o->chunks ? 100 * KIB : 0);
    t.eight_bit = rng_below(&o->chance, 2) == 0;
    memset(o->outcomes, 0, sizeof o->outcomes);
    o->in_transaction = true;
    o->wants_content = o->end_given = o->end_left = false;
    smtp_client_send(o->client, &t);
}

static void on_ready(void *ctx)
{
    struct owner *o = ctx;

    CHECK(!o->over && !o->in_transaction && smtp_client_idle(o->client));
    CHECK(o->secured || o->options.tls != SMTP_CLIENT_TLS_REQUIRED);
    if (rng_below(&o->chance, 8) == 0)
        smtp_client_quit(o->client);
}

static void on_content(void *ctx)
{
    struct owner *o = ctx;

    CHECK(o->in_transaction && !o->wants_content && !o->end_given);
    o->wants_content = true;
}

static void on_recipient(void *ctx, unsigned n, const struct smtp_outcome *out)
{
    struct owner *o = ctx;

    CHECK(o->in_transaction && n < o->count && o->outcomes[n] == 0);
    o->outcomes[n]++;
    if (out->verdict == SMTP_DELIVERED)
        CHECK(o->end_left && out->code / 100 == 2 && out->stage == SMTP_STAGE_END);
    if (out->verdict == SMTP_IN_DOUBT)
        CHECK(o->end_left && out->stage == SMTP_STAGE_END);
    if (out->verdict == SMTP_FAILED)
        CHECK(out->status.class_ == 5 && (out->code == 0 || out->code / 100 == 5));
    if (out->verdict == SMTP_DEFERRED)
        CHECK(out->status.class_ == 4 || out->code == 552 || out->code / 100 == 3);
    CHECK(n != 2 || (out->verdict != SMTP_DELIVERED && out->verdict != SMTP_IN_DOUBT));
}

static void on_done(void *ctx)
{
    struct owner *o = ctx;

    CHECK(o->in_transaction);
    for (unsigned i = 0; i < o->count; i++)
        CHECK(o->outcomes[i] == 1);
    o->in_transaction = o->wants_content = false;
}

static void on_failed(void *ctx, const struct smtp_outcome *out)
{
    struct owner *o = ctx;

    CHECK(!o->over && !o->in_transaction && out->verdict != SMTP_DELIVERED);
    o->over = true;
}

static void on_quit(void *ctx)
{
    struct owner *o = ctx;

    CHECK(!o->over && !o->in_transaction);
    o->over = true;
}

static void on_start_tls(void *ctx)
{
    struct owner *o = ctx;

    CHECK(!o->over && !o->secured && !o->handshake && !o->in_transaction);
    CHECK(o->options.tls != SMTP_CLIENT_TLS_NONE);
    o->handshake = true;
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

static const struct smtp_client_options defaults = {
    .helo = "relay.test",
    .greeting_timeout_ms = 1,
    .command_timeout_ms = 1,
    .data_timeout_ms = 1,
    .final_timeout_ms = 1,
    .quit_timeout_ms = 1,
};

static void drain(struct owner *o, bool all)
{
    struct buf *out = smtp_client_out(o->client);
    size_t n = all ? buf_len(out) : (size_t)rng_below(&o->chance, buf_len(out) + 1);

    if (buf_bytes(out).ptr != NULL && !o->secured && !o->options.login_in_clear)
        CHECK(memmem(buf_bytes(out).ptr, n, "AUTH", 4) == NULL);
    buf_add(&o->sent, slice_head(buf_bytes(out), n));
    buf_take(out, n);
    if (o->end_given && buf_len(out) == 0)
        o->end_left = true;
}

/* The handshake mostly works; then nothing sent before counts any more. */
static void shake_hands(struct owner *o)
{
    if (!o->handshake || o->over)
        return;
    if (rng_below(&o->chance, 8) == 0)
        return; /* bytes come meanwhile */
    o->handshake = false;
    if (rng_below(&o->chance, 8) == 0) {
        smtp_client_lost(o->client, "handshake failed");
        return;
    }
    drain(o, true);
    o->secured = true;
    smtp_client_secured(o->client, rng_below(&o->chance, 2) == 0 ? SLICE("0123456789abcdef") : SLICE_EMPTY);
}

/* Tokens and passwords, so that every mechanism is walked. */
static void choose_options(struct owner *o)
{
    struct sasl_login_options login = { .user = "user" };

    o->options = defaults;
    o->options.tls = (enum smtp_client_tls)rng_below(&o->chance, 3);
    o->options.login_in_clear = rng_below(&o->chance, 2) == 0;
    if (rng_below(&o->chance, 3) == 0)
        return;
    if (rng_below(&o->chance, 2) == 0)
        login.password = "password";
    else
        login.token = "token";
    o->options.login = sasl_login_new(&login);
}

/* What the owner does between two reads. */
static void act(struct owner *o)
{
    static const char *const pieces[] = { "x",     ".",        "\r\n", "\r\n.\r\n",
                                          ".\r\n", "line\r\n", "\n",   "\r" };

    drain(o, rng_below(&o->chance, 4) != 0);
    shake_hands(o);
    if (o->over)
        return;
    if (smtp_client_idle(o->client))
        start(o);
    while (o->wants_content && rng_below(&o->chance, 3) != 0) {
        bool last = rng_below(&o->chance, 4) == 0;

        if (last) {
            o->wants_content = false;
            o->end_given = true;
        }
        smtp_client_content(o->client, slice_str(pieces[rng_below(&o->chance, countof(pieces) - (o->chunks ? 2 : 0))]),
                            last);
    }
    drain(o, rng_below(&o->chance, 4) != 0);
    if (rng_below(&o->chance, 400) == 0)
        smtp_client_abort(o->client, "abort");
}

static void check_sent(struct slice sent)
{
    for (size_t i = 0; i < sent.len; i++) {
        CHECK(sent.ptr[i] != '\n' || (i > 0 && sent.ptr[i - 1] == '\r'));
        CHECK(sent.ptr[i] != '\r' || i + 1 == sent.len || sent.ptr[i + 1] == '\n');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct owner o = { 0 };
    struct slice in;
    uint64_t seed;

    if (size < sizeof seed)
        return 0;
    memcpy(&seed, data, sizeof seed);
    rng_seed(&o.chance, seed);
    in = slice_make((const char *)data + sizeof seed, size - sizeof seed);
    choose_options(&o);
    o.client = smtp_client_new(&o.options, &handler, &o);
    while (in.len > 0) {
        /* mostly a line, as a server that answers would send */
        size_t n = slice_find(in, '\n') + 1;
        char *copy;

        if (rng_below(&o.chance, 4) == 0)
            n = 1 + (size_t)rng_below(&o.chance, 200);
        n = n < in.len ? n : in.len;
        copy = malloc(n);
        memcpy(copy, in.ptr, n);
        smtp_client_feed(o.client, slice_make(copy, n));
        free(copy);
        in = slice_from(in, n);
        CHECK(o.over || smtp_client_idle(o.client) || smtp_client_timeout_ms(o.client) == 1);
        act(&o);
    }
    smtp_client_lost(o.client, "connection lost");
    CHECK(o.over && !o.in_transaction && !smtp_client_idle(o.client));
    CHECK(smtp_client_timeout_ms(o.client) == 0);
    smtp_client_free(o.client);
    sasl_login_unref(o.options.login);
    check_sent(buf_bytes(&o.sent));
    buf_release(&o.sent);
    return 0;
}
