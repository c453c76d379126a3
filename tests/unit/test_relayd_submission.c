/* Sessions of listeners for submission, from greeting to the stored message,
 * with an accounts process that is told what to answer. */
#include "tests/unit/queue_fixture.h"

#include "auth/accounts.h"
#include "conf/bundle.h"
#include "queue/history.h"
#include "relayd/acceptor.h"
#include "relayd/delivery_settings.h"

#include <stdio.h>

/* ---- the accounts process ---------------------------------------------------- */

struct accounts { /* one, for all that ask */
    uint64_t generation;
    struct accounts_answer next;   /* to each step */
    bool silent;                   /* no answer comes */
    unsigned logins, freed, steps;
    char asked[256];               /* the last step */
    char client[128];
    struct accounts_login *open;
    bool charge_ok, charge_later;
    unsigned charges, recipients;
    void (*charge_done)(void *ctx, bool ok, const char *why);
    void *charge_ctx;
};

struct accounts_login {
    struct accounts *a;
    struct post post;
    struct loop *home;
    bool posted, gone; /* posted: also while done() runs */
    void (*done)(void *ctx, const struct accounts_answer *answer);
    void *ctx;
};

static void login_run(struct post *p)
{
    struct accounts_login *l = container_of(p, struct accounts_login, post);

    if (!l->gone)
        l->done(l->ctx, &l->a->next);
    l->posted = false;
    if (l->gone)
        free(l);
}

struct accounts_login *accounts_login_new(struct accounts *a, struct loop *home, const struct accounts_client *c,
                                          void (*done)(void *ctx, const struct accounts_answer *answer), void *ctx)
{
    struct accounts_login *l = calloc(1, sizeof *l);

    *l = (struct accounts_login){ .a = a, .home = home, .post.run = login_run, .done = done, .ctx = ctx };
    snprintf(a->client, sizeof a->client, "%s %s%s%s", c->mechanism, c->service, c->tls ? " tls" : "",
             c->clear_ok ? " clear" : "");
    a->logins++;
    return l;
}

void accounts_login_step(struct accounts_login *l, struct slice response, bool has_response)
{
    l->a->steps++;
    snprintf(l->a->asked, sizeof l->a->asked, "%s", has_response ? "" : "none");
    for (size_t i = 0; i < response.len && i + 1 < sizeof l->a->asked; i++) {
        l->a->asked[i] = response.ptr[i] != '\0' ? response.ptr[i] : '|';
        l->a->asked[i + 1] = '\0';
    }
    if (l->a->silent)
        return;
    l->posted = true;
    loop_post(l->home, &l->post);
}

void accounts_login_free(struct accounts_login *l)
{
    if (l == NULL)
        return;
    l->a->freed++;
    l->gone = true;
    if (!l->posted)
        free(l);
}

const char *accounts_mechanisms(const struct accounts *a, bool tls, bool clear_ok, bool binding, bool external)
{
    return tls || clear_ok ? "SCRAM-SHA-256 PLAIN LOGIN" : "SCRAM-SHA-256";
}

uint64_t accounts_generation(const struct accounts *a)
{
    return a->generation;
}

void accounts_charge(struct accounts *a, struct loop *home, const char *user, unsigned recipients,
                     void (*done)(void *ctx, bool ok, const char *why), void *ctx)
{
    a->charges++;
    a->recipients += recipients;
    a->charge_done = done;
    a->charge_ctx = ctx;
}

static void charge(struct accounts *a, bool ok)
{
    void (*done)(void *ctx, bool ok, const char *why) = a->charge_done;

    a->charge_done = NULL;
    assert_non_null(done);
    done(a->charge_ctx, ok, ok ? NULL : "4.7.1 too many messages this hour, try again later");
}

/* ---- a client and its server ---------------------------------------------------- */

struct fix {
    struct queue_fix *f;
    struct settings *settings;
    struct delivery_policy *policy;
    struct acceptor_config *config;
    struct acceptor acceptor;
    struct clients *clients;
    struct accounts accounts;
    struct stream *stream; /* NULL once the server is done with it */
    struct fix_stream *memory;
    struct buf said;
    struct message *stored;
};

struct fix_stream {
    struct stream base;
    struct fix *fix;
};

static void stream_nothing(struct stream *s)
{
}

static void stream_paused(struct stream *s, bool on)
{
}

static void stream_in(struct stream *s, uint64_t ms)
{
}

static void take_output(struct fix *x)
{
    buf_add(&x->said, buf_bytes(&x->memory->base.out));
    buf_release(&x->memory->base.out);
}

static void stream_closed(struct stream *s, bool finish)
{
    struct fix *x = container_of(s, struct fix_stream, base)->fix;

    take_output(x);
    x->stream = NULL;
}

static struct fix *fix_new(const char *conf)
{
    struct fix *x = calloc(1, sizeof *x);
    struct bundle *b = bundle_new("conf");
    struct diagnostics d = { 0 };
    struct buf text = { 0 };

    buf_printf(&text, "hostname mx.test\n%s\n", conf);
    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/relayd/conf", buf_bytes(&text), NULL));
    if (err_failed(settings_load_bundle(b, &d, &x->settings)))
        fail_msg("%s", d.items[0].message);
    bundle_free(b);
    buf_release(&text);
    diagnostics_release(&d);
    x->f = queue_fix_new();
    x->clients = clients_new();
    x->policy = delivery_policy_new(x->settings);
    x->config = acceptor_config_new(x->settings, x->policy);
    acceptor_init(&x->acceptor, &x->f->loop, x->f->q, x->clients, x->config);
    x->acceptor.accounts = &x->accounts;
    return x;
}

static void settle(struct fix *x)
{
    queue_fix_settle(x->f);
    take_output(x);
}

static void connect_from(struct fix *x, const char *from)
{
    static const struct stream_ops ops = { stream_nothing, stream_paused, stream_in, stream_closed };

    free(x->memory);
    x->memory = calloc(1, sizeof *x->memory);
    x->memory->fix = x;
    x->stream = &x->memory->base;
    x->stream->ops = &ops;
    x->stream->loop = &x->f->loop;
    x->stream->local = x->settings->listens[0].addr;
    assert_true(net_addr_parse(slice_str(from), &x->stream->remote));
    acceptor_accept(&x->acceptor, &x->settings->listens[0], x->stream);
    settle(x);
}

static void say(struct fix *x, const char *text)
{
    buf_clear(&x->said);
    assert_non_null(x->stream);
    x->stream->events->data(x->stream->ctx, slice_str(text));
    settle(x);
}

/* The last line said begins with this. */
#define assert_said(x, want)                                                                       \
    do {                                                                                           \
        const char *all_ = buf_cstr(&(x)->said), *last_ = all_;                                    \
        for (const char *p_ = all_; (p_ = strchr(p_, '\n')) != NULL && p_[1] != '\0'; p_++)        \
            last_ = p_ + 1;                                                                        \
        if (strncmp(last_, (want), strlen(want)) != 0)                                             \
            fail_msg("\"%s\" where \"%s\" is expected", last_, (want));                            \
    } while (0)

static void stored_done(void *ctx, struct err e, struct message *m)
{
    struct fix *x = ctx;

    assert_ok(e);
    x->stored = message_ref(m);
}

/* The message whose id was just told. */
static const char *stored(struct fix *x)
{
    const char *as = strstr(buf_cstr(&x->said), "queued as ");
    static char text[8192];

    assert_non_null(as);
    message_unref(x->stored);
    x->stored = NULL;
    queue_load(x->f->q, strtoull(as + strlen("queued as "), NULL, 16), &x->f->loop, stored_done, x);
    queue_fix_settle(x->f);
    assert_non_null(x->stored);
    snprintf(text, sizeof text, "%.*s%.*s", (int)x->stored->header.len, x->stored->header.ptr, (int)x->stored->body.len,
             x->stored->body.ptr);
    return text;
}

static void assert_has(const char *text, const char *part)
{
    assert_non_null(text);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in\n%s", part, text);
}

static void assert_has_not(const char *text, const char *part)
{
    assert_non_null(text);
    if (strstr(text, part) != NULL)
        fail_msg("\"%s\" is in\n%s", part, text);
}

static void fix_free(struct fix *x)
{
    acceptor_release(&x->acceptor);
    assert_null(x->stream);
    queue_fix_settle(x->f);
    assert_int_equal(x->accounts.logins, x->accounts.freed);
    assert_int_equal(clients_count(x->clients), 0);
    message_unref(x->stored);
    acceptor_config_unref(x->config);
    policy_unref(x->policy);
    settings_unref(x->settings);
    clients_free(x->clients);
    queue_fix_free(x->f);
    buf_release(&x->said);
    free(x->memory);
    free(x);
}

#define SUBMISSION "listen 127.0.0.1:587 { role submission; tls none"
#define CONTENT    "Subject: hi\r\nBcc: hidden@dest.example\r\n\r\nbody\r\n.\r\n"
#define LOGIN      "AUTH PLAIN AHdlYkBzaG9wLmV4YW1wbGUAc2VjcmV0\r\n" /* web@shop.example, secret */

static const char *const own[] = { "web@shop.example" };
static const char *const shop[] = { "shop.example" };

/* What the accounts process knows of web@shop.example. */
static void may_log_in(struct fix *x)
{
    x->accounts.next = (struct accounts_answer){
        .verdict = ACCOUNTS_OK, .user = "web@shop.example", .senders = own, .sender_count = 1,
    };
}

static void logged_in(struct fix *x)
{
    connect_from(x, "127.0.0.1");
    may_log_in(x);
    say(x, "EHLO web\r\n");
    assert_has(buf_cstr(&x->said), "250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n");
    say(x, LOGIN);
    assert_said(x, "235 2.7.0 ");
    assert_string_equal(x->accounts.asked, "|web@shop.example|secret");
    assert_string_equal(x->accounts.client, "PLAIN smtp clear");
}

static void send_to(struct fix *x, const char *from, const char *to, const char *content)
{
    struct buf line = { 0 };

    buf_printf(&line, "MAIL FROM:<%s>\r\n", from);
    say(x, buf_cstr(&line));
    assert_said(x, "250 ");
    buf_clear(&line);
    buf_printf(&line, "RCPT TO:<%s>\r\n", to);
    say(x, buf_cstr(&line));
    assert_said(x, "250 ");
    say(x, "DATA\r\n");
    assert_said(x, "354 ");
    say(x, content);
    buf_release(&line);
}

static void test_login_is_required(void **state)
{
    /* trusted networks are no exception */
    struct fix *x = fix_new(SUBMISSION " }\ntrusted 127.0.0.0/8\ndomain ours.example { relay }");

    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\n");
    say(x, "MAIL FROM:<web@shop.example>\r\n");
    assert_said(x, "530 5.7.0 ");
    x->accounts.next.verdict = ACCOUNTS_DENIED;
    say(x, LOGIN);
    assert_said(x, "535 5.7.8 ");
    say(x, "MAIL FROM:<web@shop.example>\r\n");
    assert_said(x, "530 5.7.0 ");
    may_log_in(x);
    say(x, LOGIN);
    assert_said(x, "235 ");
    send_to(x, "web@shop.example", "anybody@elsewhere.example", CONTENT);
    assert_said(x, "250 2.0.0 queued as ");
    fix_free(x);
}

static void test_without_accounts(void **state)
{
    struct fix *x = fix_new(SUBMISSION " }");

    x->acceptor.accounts = NULL;
    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\n");
    assert_has_not(buf_cstr(&x->said), "AUTH");
    say(x, LOGIN);
    assert_said(x, "502 ");
    say(x, "MAIL FROM:<web@shop.example>\r\n");
    assert_said(x, "530 ");
    fix_free(x);
}

static void test_completed(void **state)
{
    struct fix *x = fix_new(SUBMISSION " }");
    const char *text;

    logged_in(x);
    send_to(x, "web@shop.example", "anybody@elsewhere.example", CONTENT);
    text = stored(x);
    assert_has(text, "Received: from web ([127.0.0.1])");
    assert_has(text, "\tby mx.test with ESMTPA id ");
    assert_has(text, "\r\nSubject: hi\r\nFrom: web@shop.example\r\nDate: Mon, 23 Nov 2026 ");
    assert_has(text, "\r\nMessage-ID: <");
    assert_has(text, "@mx.test>\r\n\r\nbody\r\n");
    assert_has_not(text, "hidden@dest.example");
    assert_slice_str(x->stored->protocol, "ESMTPA");
    assert_int_equal(x->stored->message_id.len, 16 + strlen("@mx.test"));
    /* the next message of the session, in chunks and without a body */
    say(x, "MAIL FROM:<>\r\nRCPT TO:<b@c.example>\r\nBDAT 9\r\nSubject: BDAT 7 LAST\r\n twice ");
    text = stored(x);
    assert_has(text, "\r\nSubject:  twice \r\nFrom: web@shop.example\r\nDate: ");
    assert_int_equal(x->stored->reverse_path.len, 0);
    /* and one without a byte */
    send_to(x, "web@shop.example", "anybody@elsewhere.example", ".\r\n");
    text = stored(x);
    assert_has(text, "+0000\r\nFrom: web@shop.example\r\nDate: ");
    fix_free(x);
}

static void test_senders(void **state)
{
    struct fix *x = fix_new(SUBMISSION " }");

    logged_in(x);
    say(x, "MAIL FROM:<boss@shop.example>\r\n");
    assert_said(x, "553 5.7.1 <boss@shop.example>: Sender address rejected: not owned by user web@shop.example");
    say(x, "MAIL FROM:<WEB@shop.example>\r\n");
    assert_said(x, "250 ");
    say(x, "RSET\r\nMAIL FROM:<>\r\n");
    assert_said(x, "250 ");
    say(x, "QUIT\r\n");

    connect_from(x, "127.0.0.1");
    x->accounts.next.senders = shop;
    x->accounts.next.sender_count = 1;
    say(x, "EHLO web\r\n" LOGIN "MAIL FROM:<boss@shop.example>\r\n");
    assert_said(x, "250 ");
    say(x, "RSET\r\nMAIL FROM:<boss@sub.shop.example>\r\n");
    assert_said(x, "553 ");
    say(x, "QUIT\r\n");

    /* a user whose own name is not his to send from */
    connect_from(x, "127.0.0.1");
    x->accounts.next.sender_count = 0;
    say(x, "EHLO web\r\n" LOGIN "MAIL FROM:<web@shop.example>\r\n");
    assert_said(x, "553 ");
    say(x, "QUIT\r\n");

    connect_from(x, "127.0.0.1");
    x->accounts.next.sender_any = true;
    say(x, "EHLO web\r\n" LOGIN "MAIL FROM:<x@anywhere.example>\r\n");
    assert_said(x, "250 ");
    fix_free(x);
}

static void test_header_from(void **state)
{
    struct fix *x = fix_new(SUBMISSION "; header_from owned }");
    static const struct {
        const char *header, *reply;
    } rows[] = {
        { "From: web@shop.example\r\n", "250 " },
        { "From: The Shop <WEB@Shop.example>\r\n", "250 " },
        { "Subject: none\r\n", "250 " },
        { "From: boss@shop.example\r\n", "553 5.7.1 " },
        { "From: web@shop.example, boss@shop.example\r\n", "553 5.7.1 " },
        { "From: web@shop.example\r\nFROM : boss@shop.example\r\n", "553 5.7.1 " },
        { "From: \"web@shop.example\" <boss@shop.example>\r\n", "553 5.7.1 " },
        { "From: web\r\n", "553 5.7.1 " },
        { "From: undisclosed:;\r\n", "553 5.7.1 " },
    };

    logged_in(x);
    for (size_t i = 0; i < countof(rows); i++) {
        struct buf content = { 0 };

        buf_printf(&content, "%s\r\nbody\r\n.\r\n", rows[i].header);
        send_to(x, "web@shop.example", "b@c.example", buf_cstr(&content));
        assert_said(x, rows[i].reply);
        buf_release(&content);
    }
    fix_free(x);

    x = fix_new(SUBMISSION " }"); /* the default looks at the envelope alone */
    logged_in(x);
    send_to(x, "web@shop.example", "b@c.example", "From: boss@shop.example\r\n\r\n.\r\n");
    assert_said(x, "250 ");
    fix_free(x);
}

/* What the trace says of who signs the message just stored; "" when it says nothing. */
static const char *signer(struct fix *x)
{
    static char text[RECIPIENT_REPLY_MAX + 1];
    struct history_events l = { 0 };
    struct store_txn *t;
    uint64_t sequence = 0;
    bool done = false;

    text[0] = '\0';
    assert_ok(store_snapshot(queue_store(x->f->q), &t));
    while (!done)
        assert_ok(history_read(t, IN_QUEUE, x->stored->id, &sequence, 8, &l, &done));
    store_snapshot_end(t);
    for (size_t i = 0; i < l.count; i++) {
        struct event e;

        assert_true(history_event_get(&l, i, &e));
        if (e.type == EVENT_SIGNER)
            snprintf(text, sizeof text, "%.*s", (int)e.text.len, e.text.ptr);
    }
    history_events_release(&l);
    return text;
}

#define OURS_FLAGS (MESSAGE_OURS | MESSAGE_OURS_BY_SENDER)

/* A user's own From signs; else the envelope's sender, who was checked. */
static void test_who_signs(void **state)
{
    static const struct {
        const char *from, *header;
        uint32_t flags;
        const char *signer;
    } rows[] = {
        { "web@shop.example", "From: web@shop.example\r\n", MESSAGE_OURS, "" },
        { "", "From: The Shop <WEB@Shop.example>\r\n", MESSAGE_OURS, "" },
        { "web@shop.example", "Subject: none\r\n", MESSAGE_OURS, "" },
        { "web@shop.example", "From: boss@shop.example\r\n", MESSAGE_OURS_BY_SENDER,
          "shop.example, the domain of the envelope's sender: boss@shop.example in From is not owned by user "
          "web@shop.example" },
        { "web@shop.example", "From: web@shop.example, x@bank.example\r\n", MESSAGE_OURS_BY_SENDER,
          "shop.example, the domain of the envelope's sender: x@bank.example in From is not owned by user "
          "web@shop.example" },
        { "web@shop.example", "From: x@elsewhere.example\r\n", MESSAGE_OURS_BY_SENDER,
          "shop.example, the domain of the envelope's sender: x@elsewhere.example in From is not owned by user "
          "web@shop.example" },
        { "web@shop.example", "From: undisclosed:;\r\n", MESSAGE_OURS_BY_SENDER,
          "shop.example, the domain of the envelope's sender: From names no address" },
        { "", "From: x@bank.example\r\n", MESSAGE_OURS_BY_SENDER,
          "none: x@bank.example in From is not owned by user web@shop.example" },
        /* no domain that signs is concerned */
        { "", "From: x@elsewhere.example\r\n", MESSAGE_OURS_BY_SENDER, "" },
    };
    struct fix *x = fix_new(SUBMISSION " }\ndomain shop.example { dkim auto }\ndomain bank.example { dkim auto }");

    logged_in(x);
    for (size_t i = 0; i < countof(rows); i++) {
        struct buf content = { 0 };

        buf_printf(&content, "%s\r\nbody\r\n.\r\n", rows[i].header);
        send_to(x, rows[i].from, "b@c.example", buf_cstr(&content));
        stored(x);
        assert_int_equal(x->stored->flags & OURS_FLAGS, rows[i].flags);
        assert_string_equal(signer(x), rows[i].signer);
        buf_release(&content);
    }
    /* the next message owes nothing to the last */
    send_to(x, "web@shop.example", "b@c.example", "From: web@shop.example\r\n\r\n.\r\n");
    stored(x);
    assert_int_equal(x->stored->flags & OURS_FLAGS, MESSAGE_OURS);
    assert_string_equal(signer(x), "");
    say(x, "QUIT\r\n");

    /* who may send from anything signs for anything */
    connect_from(x, "127.0.0.1");
    x->accounts.next.sender_any = true;
    say(x, "EHLO web\r\n" LOGIN);
    send_to(x, "web@shop.example", "b@c.example", "From: x@bank.example\r\n\r\n.\r\n");
    stored(x);
    assert_int_equal(x->stored->flags & OURS_FLAGS, MESSAGE_OURS);
    assert_string_equal(signer(x), "");
    fix_free(x);

    /* trusted networks have no addresses of their own; strangers nothing at all */
    x = fix_new("listen 127.0.0.1:25\ntrusted 127.0.0.1\ndomain ours.example { relay; dkim auto }");
    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\n");
    send_to(x, "web@shop.example", "b@c.example", "From: x@ours.example\r\n\r\n.\r\n");
    stored(x);
    assert_int_equal(x->stored->flags & OURS_FLAGS, MESSAGE_OURS);
    assert_string_equal(signer(x), "");
    say(x, "QUIT\r\n");
    connect_from(x, "192.0.2.9");
    say(x, "EHLO web\r\n");
    send_to(x, "web@shop.example", "b@ours.example", "From: x@ours.example\r\n\r\n.\r\n");
    stored(x);
    assert_int_equal(x->stored->flags & OURS_FLAGS, 0);
    fix_free(x);
}

static void test_rewritten(void **state)
{
    struct fix *x = fix_new(SUBMISSION "; header_from owned; sender_rewrite root@ web@shop.example }\n"
                                       "sender_rewrite * other@shop.example\n");
    const char *text;

    logged_in(x);
    send_to(x, "root@web1.internal", "b@c.example", "From: root (Cron Daemon)\r\n\r\n.\r\n");
    text = stored(x);
    assert_has(text, "From: web@shop.example (Cron Daemon)\r\n");
    assert_slice_str(x->stored->reverse_path, "web@shop.example");
    /* the listener's rule first, then the general one; the null path stays */
    say(x, "MAIL FROM:<daemon@web1.internal>\r\n");
    assert_said(x, "553 5.7.1 <other@shop.example>: ");
    say(x, "MAIL FROM:<>\r\n");
    assert_said(x, "250 ");
    fix_free(x);

    /* trusted programs on a relay listener, and nobody else's mail */
    x = fix_new("listen 127.0.0.1:25\ntrusted 127.0.0.1\ndomain ours.example { relay }\n"
                "sender_rewrite root@ web@shop.example\n");
    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\n");
    send_to(x, "root@web1.internal", "b@c.example", "From: root@web1.internal\r\n\r\n.\r\n");
    text = stored(x);
    assert_has(text, "\r\nFrom: web@shop.example\r\nDate: ");
    assert_slice_str(x->stored->reverse_path, "web@shop.example");
    say(x, "QUIT\r\n");
    connect_from(x, "192.0.2.9");
    say(x, "EHLO web\r\n");
    send_to(x, "root@web1.internal", "b@ours.example", "From: root@web1.internal\r\nBcc: b\r\n\r\n.\r\n");
    text = stored(x);
    assert_has(text, "\r\nFrom: root@web1.internal\r\nBcc: b\r\n\r\n");
    assert_slice_str(x->stored->reverse_path, "root@web1.internal");
    fix_free(x);
}

/* A relay's mail is nobody's business. */
static void test_relay_untouched(void **state)
{
    struct fix *x = fix_new("listen 127.0.0.1:25\n");

    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\n");
    assert_has_not(buf_cstr(&x->said), "AUTH");
    send_to(x, "a@b.example", "b@c.example", CONTENT);
    assert_has(stored(x), "\r\nSubject: hi\r\nBcc: hidden@dest.example\r\n\r\nbody\r\n");
    fix_free(x);
}

static void test_client_address(void **state)
{
    struct fix *x = fix_new(SUBMISSION "; client_address hide }");
    const char *text;

    logged_in(x);
    send_to(x, "web@shop.example", "b@c.example", CONTENT);
    text = stored(x);
    assert_has(text, "Received: by mx.test with ESMTPA id ");
    assert_has_not(text, "127.0.0.1");
    fix_free(x);
}

static void test_who_logs_in(void **state)
{
    struct fix *x = fix_new(SUBMISSION "; login unless_trusted }\ntrusted 192.0.2.0/24\n");

    connect_from(x, "192.0.2.7");
    say(x, "EHLO web\r\n");
    send_to(x, "a@b.example", "b@c.example", CONTENT);
    assert_has(stored(x), "\r\nFrom: a@b.example\r\n");
    say(x, "QUIT\r\n");
    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\nMAIL FROM:<a@b.example>\r\n");
    assert_said(x, "530 ");
    fix_free(x);

    x = fix_new("listen 127.0.0.1:25 { login optional; tls none }\ntrusted none\n");
    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@c.example>\r\n");
    assert_said(x, "550 5.7.1 ");
    say(x, "RSET\r\n");
    may_log_in(x);
    say(x, LOGIN);
    assert_said(x, "235 ");
    say(x, "MAIL FROM:<web@shop.example>\r\nRCPT TO:<b@c.example>\r\n");
    assert_said(x, "250 ");
    fix_free(x);
}

static void test_verdicts(void **state)
{
    static const struct {
        enum accounts_verdict verdict;
        const char *reply;
    } rows[] = {
        { ACCOUNTS_DENIED, "535 5.7.8 " },
        { ACCOUNTS_LATER, "454 4.7.0 " },
        { ACCOUNTS_TEMPFAIL, "454 4.7.0 " },
        { ACCOUNTS_BAD, "504 5.5.4 " },
    };
    struct fix *x = fix_new(SUBMISSION " }");
    char *long_challenge = calloc(1, 9000);

    connect_from(x, "127.0.0.1");
    say(x, "EHLO web\r\n");
    for (size_t i = 0; i < countof(rows); i++) {
        x->accounts.next.verdict = rows[i].verdict;
        say(x, LOGIN);
        assert_said(x, rows[i].reply);
    }
    x->accounts.next = (struct accounts_answer){ .verdict = ACCOUNTS_CHALLENGE, .challenge = SLICE("Password:") };
    say(x, "AUTH LOGIN\r\n");
    assert_said(x, "334 UGFzc3dvcmQ6\r\n");
    assert_string_equal(x->accounts.asked, "none");
    say(x, "*\r\n");
    assert_said(x, "501 5.7.0 ");
    say(x, "AUTH LOGIN\r\n");
    may_log_in(x);
    say(x, "d2Vi\r\n");
    assert_said(x, "235 ");
    assert_string_equal(x->accounts.asked, "web");
    say(x, "QUIT\r\n");

    connect_from(x, "127.0.0.1");
    x->accounts.next = (struct accounts_answer){ .verdict = ACCOUNTS_CHALLENGE, .challenge = { long_challenge, 9000 } };
    say(x, "EHLO web\r\nAUTH LOGIN\r\n");
    assert_said(x, "454 4.7.0 ");
    free(long_challenge);
    fix_free(x);
}

/* Neither the login nor the charge of a session that is gone finds it again. */
static void test_gone_meanwhile(void **state)
{
    struct fix *x = fix_new(SUBMISSION " }");

    connect_from(x, "127.0.0.1");
    x->accounts.silent = true;
    say(x, "EHLO web\r\n" LOGIN);
    x->stream->events->closed(x->stream->ctx, err_sys(104, "read"));
    settle(x);
    assert_null(x->stream);
    assert_int_equal(x->accounts.freed, 1);

    connect_from(x, "127.0.0.1");
    x->accounts.silent = false;
    may_log_in(x);
    x->accounts.next.messages_per_hour = 1;
    say(x, "EHLO web\r\n" LOGIN "MAIL FROM:<web@shop.example>\r\nRCPT TO:<b@c.example>\r\nDATA\r\n");
    assert_int_equal(x->accounts.charges, 1);
    x->stream->events->closed(x->stream->ctx, err_sys(104, "read"));
    assert_null(x->stream);
    charge(&x->accounts, true);
    fix_free(x);
}

static void test_limits(void **state)
{
    struct fix *x = fix_new(SUBMISSION " }");

    connect_from(x, "127.0.0.1");
    may_log_in(x);
    x->accounts.next.recipients_per_hour = 3;
    say(x, "EHLO web\r\n" LOGIN "MAIL FROM:<web@shop.example>\r\nRCPT TO:<b@c.example>\r\nRCPT TO:<d@c.example>\r\nDATA\r\n");
    charge(&x->accounts, true);
    settle(x);
    assert_said(x, "354 ");
    assert_int_equal(x->accounts.recipients, 2);
    say(x, CONTENT);
    assert_said(x, "250 2.0.0 queued");
    say(x, "MAIL FROM:<web@shop.example>\r\nRCPT TO:<b@c.example>\r\nDATA\r\n");
    charge(&x->accounts, false);
    settle(x);
    assert_said(x, "450 4.7.1 too many messages this hour");
    say(x, "QUIT\r\n");

    /* no limit is not asked about, until something about users has changed */
    logged_in(x);
    x->accounts.charges = 0;
    send_to(x, "web@shop.example", "b@c.example", CONTENT);
    assert_said(x, "250 ");
    assert_int_equal(x->accounts.charges, 0);
    x->accounts.generation++;
    say(x, "MAIL FROM:<web@shop.example>\r\nRCPT TO:<b@c.example>\r\nDATA\r\n");
    assert_int_equal(x->accounts.charges, 1);
    charge(&x->accounts, true);
    fix_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login_is_required), cmocka_unit_test(test_without_accounts),
        cmocka_unit_test(test_completed),         cmocka_unit_test(test_senders),
        cmocka_unit_test(test_header_from),       cmocka_unit_test(test_rewritten),
        cmocka_unit_test(test_relay_untouched),   cmocka_unit_test(test_client_address),
        cmocka_unit_test(test_who_logs_in),       cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_gone_meanwhile),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_who_signs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
