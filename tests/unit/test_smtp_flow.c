/* What dialogues can't show: waiting questions in the midst of a burst, flow
 * control, time-outs, and what an idle session costs.
 */
#include "tests/unit/check.h"

#include "smtp/server.h"

#include <malloc.h>
#include <stdio.h>

struct owner {
    struct smtp_server *server;
    const char *asked; /* NULL: nothing */
    unsigned resets, pieces;
    size_t bytes, first_piece;
    bool hold_each;
    const char *shutdown_in_end; /* called from inside message_end */
    unsigned recipients;
};

static void on_sender(void *ctx, const struct smtp_sender *from)
{
    ((struct owner *)ctx)->asked = "sender";
}

static void on_recipient(void *ctx, const struct smtp_recipient *to)
{
    ((struct owner *)ctx)->asked = "recipient";
}

static void on_begin(void *ctx)
{
    struct owner *o = ctx;

    o->recipients = smtp_server_recipient_count(o->server);
    o->asked = "begin";
}

static void on_bytes(void *ctx, struct slice bytes)
{
    struct owner *o = ctx;

    if (o->pieces++ == 0)
        o->first_piece = bytes.len;
    o->bytes += bytes.len;
    if (o->hold_each)
        smtp_server_hold(o->server, true);
}

static void on_end(void *ctx, const struct smtp_content *content)
{
    struct owner *o = ctx;

    o->asked = "end";
    if (o->shutdown_in_end != NULL)
        smtp_server_shutdown(o->server, o->shutdown_in_end);
}

static void on_reset(void *ctx)
{
    ((struct owner *)ctx)->resets++;
}

static const struct smtp_server_handler handler = {
    .sender = on_sender,
    .recipient = on_recipient,
    .message_begin = on_begin,
    .message_bytes = on_bytes,
    .message_end = on_end,
    .transaction_reset = on_reset,
};

static const struct smtp_server_options options = {
    .hostname = "mx.test",
    .command_timeout_ms = 300000,
    .data_timeout_ms = 180000,
};

static struct owner *open_session(struct owner *o)
{
    *o = (struct owner){ 0 };
    o->server = smtp_server_new(&options, &handler, o);
    smtp_server_greet(o->server);
    return o;
}

static void say(struct owner *o, const char *text)
{
    smtp_server_feed(o->server, slice_str(text));
}

/* The question asked was this; it is answered. */
static void answer(struct owner *o, const char *question, unsigned code, const char *text)
{
    assert_non_null(o->asked);
    assert_string_equal(o->asked, question);
    assert_true(smtp_server_parked(o->server));
    o->asked = NULL;
    smtp_server_answer(o->server, code, "%s", text);
}

/* What the server has said since the last call. */
static void assert_said(struct owner *o, const char *text)
{
    struct buf *out = smtp_server_out(o->server);

    assert_slice_str(buf_bytes(out), text);
    smtp_server_sent(o->server, buf_len(out));
}

static void forget_said(struct owner *o)
{
    smtp_server_sent(o->server, buf_len(smtp_server_out(o->server)));
}

/* A burst stands still at each question, whatever waits behind it, and its
 * replies come in the order of the commands (RFC 2920 section 3.2). */
static void test_parked_order(void **state)
{
    struct owner o;

    open_session(&o);
    say(&o, "HELO c\r\nMAIL FROM:<a@x.example>\r\nNOOP\r\nRCPT TO:<b@x.example>\r\n");
    assert_said(&o, "220 mx.test ESMTP\r\n250 mx.test\r\n");
    say(&o, "RCPT TO:<c@x.example>\r\nDA");
    assert_said(&o, "");
    assert_true(smtp_server_in_transaction(o.server));
    answer(&o, "sender", 250, "2.1.0 sender");
    assert_said(&o, "250 2.1.0 sender\r\n250 2.0.0 ok\r\n");
    answer(&o, "recipient", 550, "5.1.1 no b");
    assert_said(&o, "550 5.1.1 no b\r\n");
    answer(&o, "recipient", 250, "2.1.5 yes c");
    assert_said(&o, "250 2.1.5 yes c\r\n");
    assert_int_equal(smtp_server_recipient_count(o.server), 1);
    say(&o, "TA\r\nhello\r\n.\r\nQUIT\r\n");
    assert_said(&o, "");
    answer(&o, "begin", 354, "go");
    assert_int_equal(o.recipients, 1);
    assert_said(&o, "354 end data with <CR><LF>.<CR><LF>\r\n");
    assert_false(smtp_server_closing(o.server));
    answer(&o, "end", 250, "2.0.0 queued");
    assert_said(&o, "250 2.0.0 queued\r\n221 2.0.0 bye\r\n");
    assert_true(smtp_server_closing(o.server));
    assert_int_equal(o.resets, 0);
    smtp_server_free(o.server);
}

/* While a question is out only so much may wait. */
static void test_bounded_wait(void **state)
{
    struct owner o;

    open_session(&o);
    say(&o, "EHLO c\r\nMAIL FROM:<a@x.example>\r\n");
    forget_said(&o);
    assert_true(smtp_server_wants_input(o.server));
    for (int i = 0; i < 5000 && smtp_server_wants_input(o.server); i++)
        say(&o, "NOOP\r\n");
    assert_false(smtp_server_wants_input(o.server));
    assert_int_equal(smtp_server_timeout_ms(o.server), 0);
    assert_said(&o, "");
    answer(&o, "sender", 250, "2.1.0 ok");
    assert_true(smtp_server_wants_input(o.server));
    assert_int_equal(buf_len(smtp_server_out(o.server)),
                     strlen("250 2.1.0 ok\r\n") + (4096 / 6 + 1) * strlen("250 2.0.0 ok\r\n"));
    smtp_server_free(o.server);
    assert_int_equal(o.resets, 1);
}

static void begin_data(struct owner *o)
{
    say(o, "EHLO c\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
    answer(o, "sender", 250, "2.1.0 ok");
    answer(o, "recipient", 250, "2.1.5 ok");
    answer(o, "begin", 354, "go");
    forget_said(o);
}

/* A hold from inside message_bytes stops the flow after the piece, however
 * much was read at once. */
static void test_hold_inside(void **state)
{
    size_t size = 1 * MIB;
    char *text = malloc(size);
    struct owner o;

    for (size_t i = 0; i < size; i += 64)
        memcpy(text + i,
               i == 0 ? "Subject: 3456789 123456789 123456789 123456789 123456789 123\r\n\r\n"
                      : "123456789 123456789 123456789 123456789 123456789 123456789 12\r\n",
               64);
    open_session(&o);
    begin_data(&o);
    o.hold_each = true;
    smtp_server_feed(o.server, slice_make(text, size));
    assert_in_range(o.bytes, 1, 64 * KIB);
    assert_false(smtp_server_wants_input(o.server));
    assert_int_equal(smtp_server_timeout_ms(o.server), 0);
    while (o.bytes < size) {
        size_t before = o.bytes;

        smtp_server_hold(o.server, false);
        assert_in_range(o.bytes - before, 1, 64 * KIB);
    }
    smtp_server_hold(o.server, false);
    say(&o, ".\r\n");
    assert_int_equal(o.bytes, size);
    answer(&o, "end", 250, "2.0.0 ok");
    smtp_server_free(o.server);
    free(text);
}

/* The last bytes of a message made its owner hold: no release will come for a
 * message that is over, and the session goes on. */
static void test_hold_at_the_end(void **state)
{
    struct owner o;

    open_session(&o);
    begin_data(&o);
    say(&o, "Subject: a\r\n\r\n");
    o.hold_each = true;
    say(&o, "body\r\n.\r\nRSET\r\n");
    answer(&o, "end", 250, "2.0.0 queued");
    assert_said(&o, "250 2.0.0 queued\r\n250 2.0.0 ok\r\n");
    assert_true(smtp_server_wants_input(o.server));
    o.hold_each = false;
    begin_data(&o);
    say(&o, "Subject: a\r\n\r\n");
    o.hold_each = true;
    say(&o, "bo\ndy\r\n.\r\nRSET\r\n");
    assert_said(&o, "550 5.6.0 message has a CR or LF that is not part of a CR LF\r\n250 2.0.0 ok\r\n");
    smtp_server_free(o.server);
}

/* However it is cut, the header comes whole and first. */
static void test_header_first(void **state)
{
    static const char header[] = "Subject: a\r\nTo: b\r\n\r\n";
    struct owner o;

    open_session(&o);
    begin_data(&o);
    for (size_t i = 0; i < sizeof header - 1; i++)
        smtp_server_feed(o.server, slice_make(header + i, 1));
    say(&o, "body\r\n");
    assert_int_equal(o.first_piece, sizeof header - 1);
    assert_int_equal(o.pieces, 2);
    smtp_server_free(o.server);
    assert_int_equal(o.resets, 1);
}

/* A chunk that is announced too large is consumed, and nobody stores it. */
static void test_announced_too_large(void **state)
{
    static const struct smtp_server_options small = { .hostname = "mx.test",
                                                      .message_size_max = 10 };
    struct owner o = { 0 };

    o.server = smtp_server_new(&small, &handler, &o);
    smtp_server_greet(o.server);
    say(&o, "EHLO c\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\n");
    answer(&o, "sender", 250, "2.1.0 ok");
    answer(&o, "recipient", 250, "2.1.5 ok");
    forget_said(&o);
    say(&o, "BDAT 7\r\nX: y\r\n\r");
    answer(&o, "begin", 250, "2.0.0 ok");
    say(&o, "BDAT 4\r\n\nab\r");
    assert_said(&o, "250 2.0.0 chunk taken\r\n552 5.3.4 message is larger than 10 bytes\r\n");
    assert_int_equal(o.bytes, 0);
    assert_int_equal(o.resets, 1);
    smtp_server_free(o.server);
}

static void test_shutdown_while_parked(void **state)
{
    struct owner o;

    open_session(&o);
    begin_data(&o);
    say(&o, "hi\r\n.\r\nMAIL FROM:<next@x.example>\r\n");
    smtp_server_shutdown(o.server, "4.3.2 stopping");
    assert_said(&o, "");
    assert_false(smtp_server_closing(o.server));
    answer(&o, "end", 250, "2.0.0 queued");
    assert_said(&o, "250 2.0.0 queued\r\n421 4.3.2 stopping\r\n");
    assert_true(smtp_server_closing(o.server));
    assert_null(o.asked); /* the next MAIL was not served */
    assert_int_equal(o.resets, 0);
    smtp_server_free(o.server);

    /* and from inside a handler function */
    open_session(&o);
    begin_data(&o);
    o.shutdown_in_end = "4.3.2 stopping";
    say(&o, "hi\r\n.\r\n");
    assert_said(&o, "");
    answer(&o, "end", 451, "4.3.0 no");
    assert_said(&o, "451 4.3.0 no\r\n421 4.3.2 stopping\r\n");
    assert_int_equal(o.resets, 1);
    smtp_server_free(o.server);
}

static void test_eof_while_parked(void **state)
{
    struct owner o;

    open_session(&o);
    begin_data(&o);
    say(&o, "hi\r\n.\r\nNOOP\r\nNOO");
    smtp_server_eof(o.server);
    assert_false(smtp_server_closing(o.server));
    assert_false(smtp_server_wants_input(o.server));
    answer(&o, "end", 250, "2.0.0 queued");
    assert_said(&o, "250 2.0.0 queued\r\n250 2.0.0 ok\r\n");
    assert_true(smtp_server_closing(o.server));
    smtp_server_free(o.server);
}

/* An answer that never came is no business of the engine after its end. */
static void test_free_while_parked(void **state)
{
    struct owner o;

    open_session(&o);
    say(&o, "EHLO c\r\nMAIL FROM:<a@x.example>\r\nNOOP\r\n");
    assert_true(smtp_server_parked(o.server));
    smtp_server_free(o.server);
    assert_int_equal(o.resets, 1);

    open_session(&o);
    smtp_server_free(o.server);
    assert_int_equal(o.resets, 0);
    smtp_server_free(NULL);
}

static void test_timeouts_and_names(void **state)
{
    struct owner o;

    open_session(&o);
    assert_int_equal(smtp_server_timeout_ms(o.server), 300000);
    assert_string_equal(smtp_server_helo(o.server), "");
    assert_false(smtp_server_esmtp(o.server));
    say(&o, "HELO first.example\r\n");
    assert_string_equal(smtp_server_helo(o.server), "first.example");
    assert_false(smtp_server_esmtp(o.server));
    begin_data(&o);
    assert_string_equal(smtp_server_helo(o.server), "c");
    assert_true(smtp_server_esmtp(o.server));
    assert_int_equal(smtp_server_timeout_ms(o.server), 180000);
    smtp_server_eof(o.server);
    assert_int_equal(smtp_server_timeout_ms(o.server), 0);
    assert_int_equal(o.resets, 1);
    smtp_server_free(o.server);
}

/* Ten thousand idle clients should cost a few megabytes. */
static void test_idle_is_small(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("# skipped: the sanitizer's allocator does not tell\n");
#else
    enum { SESSIONS = 500 };
    struct owner *o = calloc(SESSIONS, sizeof *o);
    size_t before = mallinfo2().uordblks;

    for (size_t n = 0; n < SESSIONS; n++) {
        open_session(&o[n]);
        begin_data(&o[n]);
        for (int i = 0; i < 100; i++)
            say(&o[n], "X-Field: a line of the header that goes on and on\r\n");
        say(&o[n], ".\r\n");
        answer(&o[n], "end", 250, "2.0.0 ok");
        forget_said(&o[n]);
    }
    assert_in_range((mallinfo2().uordblks - before) / SESSIONS, 100, 400);
    for (size_t n = 0; n < SESSIONS; n++)
        smtp_server_free(o[n].server);
    free(o);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parked_order),        cmocka_unit_test(test_bounded_wait),
        cmocka_unit_test(test_hold_inside),         cmocka_unit_test(test_hold_at_the_end),
        cmocka_unit_test(test_header_first),        cmocka_unit_test(test_announced_too_large),
        cmocka_unit_test(test_shutdown_while_parked), cmocka_unit_test(test_eof_while_parked),
        cmocka_unit_test(test_free_while_parked),   cmocka_unit_test(test_timeouts_and_names),
        cmocka_unit_test(test_idle_is_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
