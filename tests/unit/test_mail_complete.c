/* What submission does to a header; who it says a message is from. Mails of
 * other projects are read from DATA_DIR where they are. */
#include "tests/unit/check.h"

#include "mail/address_list.h"
#include "mail/complete.h"
#include "mail/header.h"

#include <dirent.h>
#include <stdio.h>

#define ADDED_DATE "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
#define ADDED_ID   "Message-ID: <0123456789ABCDEF@mx.test>\r\n"
#define ADDED_FROM "From: user@mx.test\r\n"
#define REST       "Subject: hi\r\n"
#define GIVEN      "From: a@b.example\r\nDate: yesterday\r\nMessage-ID: <1@b.example>\r\n"

static const struct mail_completion plain = {
    .hostname = "mx.test",
    .id = "0123456789ABCDEF",
    .wall_ms = 1700000000000,
    .from = { "user@mx.test", 12 },
};

/* Content as it arrives, to content as it is stored. */
static void complete(struct slice content, const struct mail_completion *c, struct buf *out)
{
    struct mail_header_scan scan = { 0 };

    mail_header_scan(&scan, content, true);
    mail_complete_header(slice_head(content, scan.size), scan.malformed, c, out);
    buf_add(out, slice_from(content, scan.size));
}

static void test_missing(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { GIVEN REST "\r\nbody", GIVEN REST "\r\nbody" },
        { REST "\r\nbody", REST ADDED_FROM ADDED_DATE ADDED_ID "\r\nbody" },
        { "\r\nbody", ADDED_FROM ADDED_DATE ADDED_ID "\r\nbody" },
        { "", ADDED_FROM ADDED_DATE ADDED_ID },
        { "fRoM : a@b.example\r\ndate: x\r\nMESSAGE-id:\r\n <1@b>\r\n\r\n",
          "fRoM : a@b.example\r\ndate: x\r\nMESSAGE-id:\r\n <1@b>\r\n\r\n" },
        /* no value is as good as none */
        { "From: \r\n\t\r\nDate:\r\nMessage-ID:  \r\n" REST "\r\n", REST ADDED_FROM ADDED_DATE ADDED_ID "\r\n" },
        /* a header and nothing else, with and without the last line end */
        { GIVEN REST, GIVEN REST },
        { "Subject: hi", "Subject: hi\r\n" ADDED_FROM ADDED_DATE ADDED_ID },
        /* what is no field ends the header and is the body */
        { REST "no field\r\n", REST ADDED_FROM ADDED_DATE ADDED_ID "\r\nno field\r\n" },
        { " folded from nothing\r\n", ADDED_FROM ADDED_DATE ADDED_ID "\r\n folded from nothing\r\n" },
        { "\x80\xff: x\r\n\r\n", ADDED_FROM ADDED_DATE ADDED_ID "\r\n\x80\xff: x\r\n\r\n" },
        /* 8-bit stays */
        { GIVEN "Subject: \xc3\xa4\r\n \xff\r\n\r\n\xe4", GIVEN "Subject: \xc3\xa4\r\n \xff\r\n\r\n\xe4" },
        /* Resent fields are of the one who resends, and not these */
        { "Resent-From: a@b.example\r\nResent-Date: x\r\n\r\n",
          "Resent-From: a@b.example\r\nResent-Date: x\r\n" ADDED_FROM ADDED_DATE ADDED_ID "\r\n" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf out = { 0 };

        complete(slice_str(rows[i].in), &plain, &out);
        assert_slice_str(buf_bytes(&out), rows[i].out);
        buf_release(&out);
    }
}

static void test_no_from(void **state)
{
    struct mail_completion c = plain;
    struct buf out = { 0 };

    c.from = SLICE_EMPTY;
    complete(SLICE("\r\n"), &c, &out);
    assert_slice_str(buf_bytes(&out), ADDED_DATE ADDED_ID "\r\n");
    buf_release(&out);
}

static void test_removed(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { GIVEN "Bcc: c@d.example\r\n\r\nBcc: body", GIVEN "\r\nBcc: body" },
        { "bcc: c@d.example,\r\n e@f.example,\r\n\tg@h.example\r\n" GIVEN "\r\n", GIVEN "\r\n" },
        { GIVEN "BCC  :\r\n\r\n", GIVEN "\r\n" },
        { GIVEN "Resent-Bcc: x@y.example\r\n" REST "resent-BCC: z\r\n\r\n", GIVEN REST "\r\n" },
        { "Return-Path: <x@y.example>\r\n" GIVEN "\r\n", GIVEN "\r\n" },
        { "Bcc: x@y.example", ADDED_FROM ADDED_DATE ADDED_ID },
        { GIVEN "X-Bcc: kept\r\nBcc-To: kept\r\nSubject: Bcc: kept\r\n Bcc: kept\r\n\r\n",
          GIVEN "X-Bcc: kept\r\nBcc-To: kept\r\nSubject: Bcc: kept\r\n Bcc: kept\r\n\r\n" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf out = { 0 };

        complete(slice_str(rows[i].in), &plain, &out);
        assert_slice_str(buf_bytes(&out), rows[i].out);
        buf_release(&out);
    }
}

static bool rewrite_root(void *ctx, struct slice address, struct slice *instead)
{
    *instead = SLICE("web@shop.example");
    return slice_eq_nocase(address, SLICE("root@mx.test")) || slice_eq(address, SLICE("\"o d d\"@mx.test"));
}

static void test_rewritten(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "From: root@mx.test\r\n", "From: web@shop.example\r\n" },
        { "From: root\r\n", "From: web@shop.example\r\n" },
        { "From:root@mx.test", "From:web@shop.example\r\n" },
        { "From: root@mx.test (Cron Daemon)\r\n", "From: web@shop.example (Cron Daemon)\r\n" },
        { "From: (Cron) \"Cron, <Daemon>\"\r\n <root@mx.test> (x)\r\n",
          "From: (Cron) \"Cron, <Daemon>\"\r\n <web@shop.example> (x)\r\n" },
        { "From: < root @ (here) MX.test >\r\n", "From: < web@shop.example >\r\n" },
        { "From: a@b.example, root@mx.test, Root <root>\r\n", "From: a@b.example, web@shop.example, Root <web@shop.example>\r\n" },
        { "Sender: root@mx.test\r\n", "Sender: web@shop.example\r\n" },
        { "From: \"o d d\"@mx.test\r\n", "From: web@shop.example\r\n" },
        { "From: friends: root@mx.test, b@c.example;\r\n", "From: friends: web@shop.example, b@c.example;\r\n" },
        { "From: <@relay.example,@b:root@mx.test>\r\n", "From: <@relay.example,@b:web@shop.example>\r\n" },
        /* others stay to the byte */
        { "From: root@mx.test.example\r\n", "From: root@mx.test.example\r\n" },
        { "From: \"root@mx.test\" <a@b.example>\r\n", "From: \"root@mx.test\" <a@b.example>\r\n" },
        { "From: \"root@mx.test\r\n", "From: \"root@mx.test\r\n" },
        { "From: (root@mx.test\r\n", "From: (root@mx.test\r\n" },
        { "From: <root@mx.test\r\n", "From: <web@shop.example\r\n" },
        { "To: root@mx.test\r\nReply-To: root@mx.test\r\n", "To: root@mx.test\r\nReply-To: root@mx.test\r\n" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct mail_completion c = plain;
        struct buf in = { 0 }, out = { 0 };

        c.rewrite = rewrite_root;
        complete(slice_str(rows[i].in), &c, &out);
        if (!slice_starts_nocase(buf_bytes(&out), slice_str(rows[i].out)))
            fail_msg("\"%s\" became \"%s\"", rows[i].in, buf_cstr(&out));
        buf_release(&in);
        buf_release(&out);
    }
}

static bool note(void *ctx, struct slice address)
{
    struct buf *seen = ctx;

    buf_add(seen, address);
    buf_add_byte(seen, '|');
    return !slice_starts_nocase(address, SLICE("bad@"));
}

static void test_from(void **state)
{
    static const struct {
        const char *header, *seen;
        bool fine;
    } rows[] = {
        { "From: a@b.example\r\n", "a@b.example|", true },
        { "From: A <a@b.example>\r\nfrom: c@d.example\r\n", "a@b.example|c@d.example|", true },
        { "From: a@b.example\r\nFrom: x <bad@b.example>\r\n", "a@b.example|bad@b.example|", false },
        { "From: a@b.example, bad@b.example, c@d.example\r\n", "a@b.example|bad@b.example|", false },
        { "From: (a comment)\r\n", "", false },
        { "From: ,;,\r\n", "", false },
        { "From: <>\r\n", "", false },
        { "From: \r\n", "", true },
        { "To: a@b.example\r\n", "", true },
        { "From: me\r\n", "me@mx.test|", true },
        { "From: \"x\\\" <bad@b.example>\" <a@b.example>\r\n", "a@b.example|", true },
        { "From: (x \\) (<bad@b.example>) ) a@b.example\r\n", "a@b.example|", true },
        { "From: a@[IPv6:2001:db8::1]\r\n", "a@[IPv6:2001:db8::1]|", true },
        { "From: a\r\n @b.\r\n example\r\n", "a@b.example|", true },
        { "From: list:;, bad@b.example\r\n", "bad@b.example|", false },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf seen = { 0 };
        bool fine = mail_from_addresses(slice_str(rows[i].header), "mx.test", note, &seen);

        if (fine != rows[i].fine || strcmp(buf_cstr(&seen), rows[i].seen) != 0)
            fail_msg("\"%s\": %s, saw \"%s\"", rows[i].header, fine ? "fine" : "refused", buf_cstr(&seen));
        buf_release(&seen);
    }
}

/* Sound mails lose nothing but what must go, and nothing twice. */
static void check_sample(struct slice content)
{
    struct mail_header_scan scan = { 0 };
    struct buf once = { 0 }, twice = { 0 };
    struct mail_field f;
    struct slice rest;
    size_t at = 0;

    complete(content, &plain, &once);
    complete(buf_bytes(&once), &plain, &twice);
    assert_true(slice_eq(buf_bytes(&once), buf_bytes(&twice)));
    mail_header_scan(&scan, content, true);
    rest = buf_bytes(&once);
    while (mail_header_next(slice_head(content, scan.size), &at, &f)) {
        if (slice_eq_nocase(f.name, SLICE("Return-Path")) || slice_eq_nocase(f.name, SLICE("Bcc")))
            continue;
        assert_true(rest.len >= f.whole.len && memcmp(rest.ptr, f.whole.ptr, f.whole.len) == 0);
        rest = slice_from(rest, f.whole.len);
    }
    assert_true(mail_header_find(buf_bytes(&once), "From", &f));
    assert_true(mail_header_find(buf_bytes(&once), "Date", &f));
    assert_true(mail_header_message_id(buf_bytes(&once)).len > 0);
    assert_true(slice_ends_nocase(buf_bytes(&once), slice_from(content, scan.size)));
    buf_release(&once);
    buf_release(&twice);
}

/* Lines as they come over the wire. */
static void read_sample(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    int c, before = 0;

    assert_non_null(file);
    while ((c = getc(file)) != EOF) {
        if (c == '\n' && before != '\r')
            buf_add_byte(out, '\r');
        buf_add_byte(out, (char)c);
        before = c;
    }
    fclose(file);
}

static void test_samples(void **state)
{
    static const char *const folders[] = { "mail-haraka", "mail-mox" };
    const char *root = getenv("DATA_DIR");
    unsigned seen = 0;

    for (size_t i = 0; i < countof(folders); i++) {
        char path[1024];
        struct dirent *e;
        DIR *dir;

        snprintf(path, sizeof path, "%s/%s", root != NULL ? root : ".", folders[i]);
        dir = opendir(path);
        while (dir != NULL && (e = readdir(dir)) != NULL) {
            struct buf content = { 0 };

            if (!slice_ends_nocase(slice_str(e->d_name), SLICE(".eml")) &&
                !slice_ends_nocase(slice_str(e->d_name), SLICE(".txt")))
                continue;
            snprintf(path, sizeof path, "%s/%s/%s", root, folders[i], e->d_name);
            read_sample(path, &content);
            check_sample(buf_bytes(&content));
            buf_release(&content);
            seen++;
        }
        if (dir != NULL)
            closedir(dir);
    }
    if (seen == 0) {
        print_message("# the collections mail-haraka and mail-mox are not in DATA_DIR: skipped\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing),  cmocka_unit_test(test_no_from),
        cmocka_unit_test(test_removed),  cmocka_unit_test(test_rewritten),
        cmocka_unit_test(test_from),     cmocka_unit_test(test_samples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
