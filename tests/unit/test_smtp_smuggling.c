/* Nothing but CR LF . CR LF ends content, however it is spelled, cut or
 * carried: what stands behind any other spelling is never a command.
 *
 * Every pair of an odd line end before and after the dot is sent inside DATA
 * and inside a BDAT chunk, whole and byte by byte.
 *
 * Nor is what stands behind STARTTLS a command of the encrypted session (RFC
 * 3207), wherever the network cut it and however long the owner thinks.
 */
#include "tests/unit/check.h"

#include "smtp/server.h"

static const struct spelling {
    const char *bytes;
    size_t len;
} spellings[] = {
#define S(text)                                                                                    \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }
    S("\r\n"),   S("\n"),    S("\r"),       S("\n\r"),   S("\r\r\n"),   S("\r\n\n"),
    S("\r\n\r"), S("\0"),    S("\r\0\n"),   S("\r\n\0"), S("\0\r\n"),   S("\n\n"),
    S("\r\r"),   S("\n\0"),  S("\r\n "),    S(" \r\n"),  S("\x85"),     S("\xe2\x80\xa8"),
    S("\v"),     S("\f"),    S("\r\n."),    S(".\r\n"),  S("\x8d\x8a"), S("\t\r\n"),
    S("\n.\n"),  S("\r.\r"), S("\r\n\r\n"), S("\x1a"),   S("\b\r\n"),   S("\r \n"),
#undef S
};

struct owner {
    struct smtp_server *server;
    unsigned senders, messages, starttls;
    bool slow; /* STARTTLS is answered later */
    struct buf content;
};

static void on_sender(void *ctx, const struct smtp_sender *from)
{
    struct owner *o = ctx;

    o->senders++;
    assert_slice_str(mail_path_text(&from->path), "good@example.com");
    smtp_server_answer(o->server, 250, "2.0.0 ok");
}

static void on_recipient(void *ctx, const struct smtp_recipient *to)
{
    struct owner *o = ctx;

    assert_slice_str(mail_path_text(&to->path), "good@example.net");
    smtp_server_answer(o->server, 250, "2.0.0 ok");
}

static void on_begin(void *ctx)
{
    struct owner *o = ctx;

    buf_clear(&o->content);
    smtp_server_answer(o->server, 354, "go");
}

static bool has_bare(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\r' && (i + 1 == s.len || s.ptr[i + 1] != '\n'))
            return true;
        if (s.ptr[i] == '\n' && (i == 0 || s.ptr[i - 1] != '\r'))
            return true;
    }
    return false;
}

/* Of refused content, too, no stray CR or LF is handed on; the last byte may
 * be a CR whose LF is still to come. */
static void on_bytes(void *ctx, struct slice bytes)
{
    struct owner *o = ctx;
    struct slice all;

    buf_add(&o->content, bytes);
    all = buf_bytes(&o->content);
    if (all.ptr[all.len - 1] == '\r')
        all.len--;
    assert_false(has_bare(all));
}

static void on_end(void *ctx, const struct smtp_content *content)
{
    struct owner *o = ctx;

    o->messages++;
    assert_int_equal(content->size_bytes, buf_len(&o->content));
    assert_false(has_bare(buf_bytes(&o->content)));
    smtp_server_answer(o->server, 250, "2.0.0 ok");
}

static void on_reset(void *ctx)
{
}

static void on_starttls(void *ctx)
{
    struct owner *o = ctx;

    o->starttls++;
    if (!o->slow)
        smtp_server_answer(o->server, 220, "2.0.0 go ahead");
}

static const struct smtp_server_handler handler = {
    .sender = on_sender,
    .recipient = on_recipient,
    .message_begin = on_begin,
    .message_bytes = on_bytes,
    .message_end = on_end,
    .transaction_reset = on_reset,
    .starttls = on_starttls,
};

static const struct smtp_server_options options = { .hostname = "mx.test" };

static void feed(struct owner *o, struct slice bytes, bool bytewise)
{
    size_t step = bytewise ? 1 : bytes.len;

    for (size_t at = 0; at < bytes.len; at += step)
        smtp_server_feed(o->server, slice_make(bytes.ptr + at, step));
}

static void say(struct owner *o, const char *text)
{
    feed(o, slice_str(text), false);
}

static void open_transaction(struct owner *o)
{
    o->server = smtp_server_new(&options, &handler, o);
    smtp_server_greet(o->server);
    say(o, "EHLO client\r\nMAIL FROM:<good@example.com>\r\nRCPT TO:<good@example.net>\r\n");
    buf_clear(smtp_server_out(o->server));
}

static void close_session(struct owner *o)
{
    smtp_server_free(o->server);
    buf_release(&o->content);
}

static const char smuggled[] = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<evil@example.net>\r\n"
                               "DATA\r\nevil\r\n";

/* The content up to a true end mark, which is searched for here anew. */
static size_t true_end(struct slice s)
{
    static const char mark[] = "\r\n.\r\n";
    const char *at = memmem(s.ptr, s.len, mark, 5);

    if (s.len >= 3 && memcmp(s.ptr, mark + 2, 3) == 0)
        return 3;
    assert_non_null(at);
    return (size_t)(at - s.ptr) + 5;
}

static void check_data(const struct spelling *a, const struct spelling *b, bool bytewise)
{
    struct owner o = { 0 };
    struct buf content = { 0 };
    struct slice reply;
    bool bare;

    open_transaction(&o);
    say(&o, "DATA\r\n");
    buf_clear(smtp_server_out(o.server));
    buf_add_str(&content, "hi");
    buf_add(&content, slice_make(a->bytes, a->len));
    buf_add_byte(&content, '.');
    buf_add(&content, slice_make(b->bytes, b->len));
    if (memmem(buf_bytes(&content).ptr, buf_len(&content), "\r\n.\r\n", 5) == NULL)
        buf_add_str(&content, smuggled);
    buf_add_str(&content, "\r\n.\r\n");
    bare = has_bare(slice_head(buf_bytes(&content), true_end(buf_bytes(&content))));
    feed(&o, slice_head(buf_bytes(&content), true_end(buf_bytes(&content))), bytewise);

    reply = buf_bytes(smtp_server_out(o.server));
    assert_int_equal(slice_find(reply, '\n') + 1, reply.len); /* one, and one line */
    assert_true(slice_starts_nocase(reply, bare ? SLICE("550 5.6.0") : SLICE("250 ")));
    assert_int_equal(o.messages, bare ? 0 : 1);
    assert_int_equal(o.senders, 1);
    assert_false(smtp_server_in_transaction(o.server));
    close_session(&o);
    buf_release(&content);
}

static void check_bdat(const struct spelling *a, const struct spelling *b, bool bytewise)
{
    struct owner o = { 0 };
    struct buf content = { 0 }, command = { 0 };
    struct slice reply;
    bool bare;

    open_transaction(&o);
    buf_add_str(&content, "hi");
    buf_add(&content, slice_make(a->bytes, a->len));
    buf_add_byte(&content, '.');
    buf_add(&content, slice_make(b->bytes, b->len));
    buf_add_str(&content, smuggled);
    bare = has_bare(buf_bytes(&content));
    buf_printf(&command, "BDAT %zu LAST\r\n", buf_len(&content));
    feed(&o, buf_bytes(&command), bytewise);
    feed(&o, buf_bytes(&content), bytewise);

    reply = buf_bytes(smtp_server_out(o.server));
    assert_int_equal(slice_find(reply, '\n') + 1, reply.len);
    assert_true(slice_starts_nocase(reply, bare ? SLICE("550 5.6.0") : SLICE("250 ")));
    assert_int_equal(o.messages, bare ? 0 : 1);
    assert_int_equal(o.senders, 1);
    close_session(&o);
    buf_release(&content);
    buf_release(&command);
}

static void test_data(void **state)
{
    for (size_t a = 0; a < countof(spellings); a++) {
        for (size_t b = 0; b < countof(spellings); b++) {
            check_data(&spellings[a], &spellings[b], false);
            check_data(&spellings[a], &spellings[b], true);
        }
    }
}

static void test_bdat(void **state)
{
    for (size_t a = 0; a < countof(spellings); a++) {
        for (size_t b = 0; b < countof(spellings); b++) {
            check_bdat(&spellings[a], &spellings[b], false);
            check_bdat(&spellings[a], &spellings[b], true);
        }
    }
}

/* Cut after `cut` bytes; the answer, if it is slow, comes behind the rest. */
static void check_starttls(size_t cut, bool slow, bool bytewise)
{
    static const char text[] = "STARTTLS\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<evil@example.net>\r\n";
    struct owner o = { .slow = slow };
    struct slice all = slice_make(text, sizeof text - 1), out;

    o.server = smtp_server_new(&options, &handler, &o);
    smtp_server_set_tls(o.server, SMTP_SERVER_TLS_OFFERED);
    smtp_server_greet(o.server);
    say(&o, "EHLO client\r\n");
    buf_clear(smtp_server_out(o.server));
    feed(&o, slice_head(all, cut), bytewise);
    feed(&o, slice_from(all, cut), bytewise);
    if (smtp_server_parked(o.server))
        smtp_server_answer(o.server, 220, "2.0.0 go ahead");

    assert_true(smtp_server_closing(o.server));
    assert_int_equal(o.senders, 0);
    assert_true(o.starttls <= 1);
    out = buf_bytes(smtp_server_out(o.server));
    if (slice_starts_nocase(out, SLICE("220 "))) { /* it came behind our word: the handshake never began */
        assert_true(!slow);
        out = slice_from(out, slice_find(out, '\n') + 1);
    }
    assert_true(slice_starts_nocase(out, SLICE("554 5.5.1 ")));
    assert_int_equal(slice_find(out, '\n') + 1, out.len);
    close_session(&o);
}

static void test_starttls(void **state)
{
    for (size_t cut = 0; cut < 70; cut++) {
        for (unsigned how = 0; how < 4; how++)
            check_starttls(cut, how % 2 != 0, how / 2 != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_bdat),
        cmocka_unit_test(test_starttls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
