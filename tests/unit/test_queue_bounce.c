/* What a notice gives back of the message it is about. */
#include "tests/unit/queue_fixture.h"

#include "queue/bounce.h"

#include <string.h>

enum returned { HEADER, ALL };

static struct message *message_of(size_t body_bytes, uint32_t flags)
{
    struct message *m = message_new();
    struct slice header = SLICE("Subject: the original\r\n\r\n");

    m->id = 1;
    m->flags = flags;
    m->reverse_path = SLICE("sender@client.test");
    buf_add(&m->content, header);
    while (buf_len(&m->content) < header.len + body_bytes)
        buf_add_byte(&m->content, 'b');
    m->header = slice_head(buf_bytes(&m->content), header.len);
    m->body = slice_from(buf_bytes(&m->content), header.len);
    m->header_bytes = header.len;
    m->body_bytes = body_bytes;
    m->body_loaded = true;
    return m;
}

static struct message *compose(struct queue_fix *f, const struct message *m, enum mail_dsn_action action)
{
    const struct recipient about = { .address = SLICE("gone@dest.test"), .status = { 5, 1, 1 }, .code = 550,
                                     .reply = SLICE("no such user"), .relay = SLICE("mx.dest.test[192.0.2.1]:25") };

    return bounce_compose(f->q, m, "mx.relay.test", action, &about, 1, f->wall_ms, f->wall_ms);
}

static bool has(const struct message *m, const char *text)
{
    return memmem(m->body.ptr, m->body.len, text, strlen(text)) != NULL;
}

static void what_comes_back(void **state)
{
    static const struct {
        enum mail_dsn_action action;
        uint32_t flags;
        size_t body_bytes;
        bool unloaded; /* it is in a file */
        enum returned returned;
    } rows[] = {
        { MAIL_DSN_FAILED, 0, 100, false, ALL },
        { MAIL_DSN_FAILED, 0, 50 * KIB, false, ALL },
        { MAIL_DSN_FAILED, 0, 50 * KIB + 1, false, HEADER },
        { MAIL_DSN_FAILED, 0, 100, true, HEADER },
        { MAIL_DSN_FAILED, MESSAGE_RETURN_HEADER, 100, false, HEADER },
        { MAIL_DSN_FAILED, MESSAGE_RETURN_FULL, 128 * KIB, false, ALL },
        { MAIL_DSN_FAILED, MESSAGE_RETURN_FULL, 128 * KIB + 1, false, HEADER },
        { MAIL_DSN_DELAYED, 0, 100, false, HEADER }, /* RET is about failures alone */
        { MAIL_DSN_DELAYED, MESSAGE_RETURN_FULL, 100, false, HEADER },
    };
    struct queue_fix *f = queue_fix_new();

    for (size_t i = 0; i < countof(rows); i++) {
        struct message *m = message_of(rows[i].body_bytes, rows[i].flags), *dsn;

        m->body_loaded = !rows[i].unloaded;
        dsn = compose(f, m, rows[i].action);
        assert_non_null(dsn);
        assert_int_equal(dsn->reverse_path.len, 0);
        assert_int_equal(dsn->recipient_count, 1);
        assert_slice_str(dsn->recipients[0].address, "sender@client.test");
        assert_true(has(dsn, "Subject: the original\r\n"));
        if (has(dsn, "bbbb") != (rows[i].returned == ALL))
            fail_msg("row %zu", i);
        assert_int_equal(has(dsn, "message/rfc822\r\n"), rows[i].returned == ALL);
        message_unref(dsn);
        message_unref(m);
    }
    queue_fix_free(f);
}

/* RFC 5321 section 4.5.5: or two servers could write to each other for ever. */
static void a_null_reverse_path_is_not_answered(void **state)
{
    struct queue_fix *f = queue_fix_new();
    struct message *m = message_of(100, MESSAGE_DSN);

    m->reverse_path = SLICE_EMPTY;
    assert_null(compose(f, m, MAIL_DSN_FAILED));
    assert_null(compose(f, m, MAIL_DSN_DELAYED));
    message_unref(m);
    queue_fix_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_back),
        cmocka_unit_test(a_null_reverse_path_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
