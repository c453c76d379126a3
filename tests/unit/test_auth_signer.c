/* Signatures of one message: which fields come out and what is refused. That
 * they verify is for tests/dkim_oracle.py and the end-to-end tests to say, with a
 * program that is not ours; here is what that can't see. */
#include "tests/unit/check.h"

#include "auth/signer.h"
#include "mail/header.h"
#include "net/keypair.h"
#include "net/keyring.h"

static char *rsa_pem, *ed_pem;

static char *make_key(enum keypair_kind kind)
{
    struct buf pem = { 0 };

    assert_ok(keypair_generate(kind, 1024, &pem));
    return buf_detach(&pem);
}

static int make_keys(void **state)
{
    rsa_pem = make_key(KEYPAIR_RSA);
    ed_pem = make_key(KEYPAIR_ED25519);
    return 0;
}

static int free_keys(void **state)
{
    free(rsa_pem);
    free(ed_pem);
    return 0;
}

struct body {
    struct slice rest;
    size_t step;
    struct err fails;
};

static struct err body_read(void *ctx, struct slice *piece)
{
    struct body *b = ctx;

    if (b->rest.len == 0 && err_failed(b->fails))
        return b->fails;
    *piece = slice_head(b->rest, b->step);
    b->rest = slice_from(b->rest, piece->len);
    return ERR_OK;
}

static struct err sign(const char *header, size_t header_len, struct slice body, size_t step, const struct signer_key *keys,
                       size_t count, struct buf *out, char why[SIGNER_WHY_MAX])
{
    struct body b = { .rest = body, .step = step };
    struct signer_message m = {
        .id = "test",
        .header = slice_make(header, header_len),
        .read = body_read,
        .ctx = &b,
        .wall_ms = 1790000000123,
    };
    struct signer *s;
    struct err e;

    assert_ok(signer_new(&s));
    e = signer_sign(s, &m, keys, count, out, why);
    signer_free(s);
    return e;
}

#define HEADER "Received: by a\r\nFrom: Me <me@example.com>\r\nTo: you@other.test\r\nSubject: a\r\n b\r\n" \
               "X-Odd: \xff\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n"

static struct signer_key both[2] = {
    { "example.com", "r1", SIGN_RSA_SHA256, NULL },
    { "example.com", "e1", SIGN_ED25519_SHA256, NULL },
};

static struct signer_key *keys(void)
{
    both[0].pem = rsa_pem;
    both[1].pem = ed_pem;
    return both;
}

static void assert_tag(struct slice field, const char *tag)
{
    struct buf flat = { 0 };

    mail_field_unfold(field, &flat);
    if (strstr(buf_cstr(&flat), tag) == NULL)
        fail_msg("no %s in %s", tag, buf_cstr(&flat));
    buf_release(&flat);
}

static void test_two_fields(void **state)
{
    char why[SIGNER_WHY_MAX];
    struct buf out = { 0 };
    struct mail_field f;
    struct slice rest, line;
    size_t at = 0;

    assert_ok(sign(HEADER, strlen(HEADER), SLICE("body\r\n"), 100, keys(), 2, &out, why));
    assert_true(mail_header_next(buf_bytes(&out), &at, &f));
    assert_slice_str(f.name, "DKIM-Signature");
    assert_tag(f.value, "a=rsa-sha256;");
    assert_tag(f.value, "c=relaxed/relaxed;");
    assert_tag(f.value, "d=example.com;");
    assert_tag(f.value, "s=r1;");
    assert_tag(f.value, "t=1790000000;");
    assert_tag(f.value, "h=From:To:Subject:Date:From:Reply-To:Subject:To:Cc:Date;");
    assert_true(mail_header_next(buf_bytes(&out), &at, &f));
    assert_tag(f.value, "a=ed25519-sha256;");
    assert_tag(f.value, "s=e1;");
    assert_int_equal(at, buf_len(&out));
    /* Folded: lines end in CR LF and are as short as mail wants them. */
    rest = buf_bytes(&out);
    assert_true(slice_ends_nocase(rest, SLICE("\r\n")));
    while (slice_split(&rest, '\n', &line)) {
        assert_true(line.len <= 79);
        assert_true(line.ptr[line.len - 1] == '\r');
        assert_int_equal(slice_find(line, '\r'), line.len - 1);
    }
    buf_release(&out);
}

/* The same body in whatever pieces is the same body. */
static void test_pieces(void **state)
{
    static const char body[] = "one \t two\r\n\r\n.dot\r\nlong   \r\n\r\n\r\n";
    static const size_t steps[] = { 1, 2, 3, 7, 1000 };
    struct buf first = { 0 }, out = { 0 };
    char why[SIGNER_WHY_MAX];

    assert_ok(sign(HEADER, strlen(HEADER), slice_str(body), 5, keys(), 1, &first, why));
    for (size_t i = 0; i < countof(steps); i++) {
        buf_clear(&out);
        assert_ok(sign(HEADER, strlen(HEADER), slice_str(body), steps[i], keys(), 1, &out, why));
        assert_true(slice_eq(buf_bytes(&out), buf_bytes(&first)));
    }
    buf_release(&first);
    buf_release(&out);
}

/* All sorts of headers either sign or are refused with a reason, and nothing
 * half made comes out. */
static void test_odd_headers(void **state)
{
    static const struct {
        const char *header;
        size_t len;
        enum err_kind want;
        const char *why; /* begins with */
    } rows[] = {
#define ROW(h, want, why) { h, sizeof(h) - 1, want, why }
        ROW("From: me@example.com\r\n", ERR_NONE, ""),
        ROW("From: me@example.com\r\n\r\n", ERR_NONE, ""),
        ROW("From: me@example.com\r\nFrom: you@example.com\r\n\r\n", ERR_NONE, ""),
        ROW("From:\r\n\tme@example.com\r\n\r\n", ERR_NONE, ""),
        ROW("From : me@example.com\r\n\r\n", ERR_NONE, ""),
        ROW("FROM: me@example.com\r\nSUBJECT:\r\n\r\n", ERR_NONE, ""),
        ROW("From: me@example.com\r\nSubject: \r\n \r\n\r\n", ERR_NONE, ""),
        ROW("From: me@example.com\r\nSubject: \x01\x7f\xff;=b=\r\n\r\n", ERR_NONE, ""),
        ROW("From: me@example.com\r\nX-Nul: a\0b\r\n\r\n", ERR_NONE, ""),
        ROW("From: me@example.com\r\nSubject: a\0b\r\n\r\n", ERR_SYNTAX, "the field Subject holds a NUL"),
        ROW("Subject: no author\r\n\r\n", ERR_SYNTAX, "header: "),
        ROW("", ERR_SYNTAX, "header: "),
#undef ROW
    };

    for (size_t i = 0; i < countof(rows); i++) {
        char why[SIGNER_WHY_MAX];
        struct buf out = { 0 };
        struct err e = sign(rows[i].header, rows[i].len, SLICE("x\r\n"), 10, keys(), 2, &out, why);

        if (e.kind != rows[i].want || strncmp(why, rows[i].why, strlen(rows[i].why)) != 0)
            fail_msg("row %zu: kind %d, why %s", i, e.kind, why);
        assert_true(err_failed(e) == (buf_len(&out) == 0));
        buf_release(&out);
    }
}

static void test_bad_keys(void **state)
{
    char why[SIGNER_WHY_MAX];
    struct buf out = { 0 };
    struct signer_key bad[2] = {
        { "example.com", "r1", SIGN_RSA_SHA256, rsa_pem },
        { "example.com", "e1", SIGN_ED25519_SHA256, "no key at all" },
    };

    assert_err(sign(HEADER, strlen(HEADER), SLICE("x\r\n"), 10, bad, 2, &out, why), ERR_DENIED);
    assert_int_equal(buf_len(&out), 0);
    assert_true(why[0] != '\0');
    assert_null(strstr(why, "no key at all"));
    assert_err(sign(HEADER, strlen(HEADER), SLICE("x\r\n"), 10, bad, 0, &out, why), ERR_SYSTEM);
    buf_release(&out);
}

static void test_body_unreadable(void **state)
{
    char why[SIGNER_WHY_MAX];
    struct buf out = { 0 };
    struct body b = { .rest = SLICE("x\r\n"), .step = 3, .fails = err_make(ERR_IO, "read the body") };
    struct signer_message m = { .id = "test", .header = slice_str(HEADER), .read = body_read, .ctx = &b };
    struct signer *s;

    assert_ok(signer_new(&s));
    assert_err(signer_sign(s, &m, keys(), 2, &out, why), ERR_IO);
    assert_int_equal(buf_len(&out), 0);
    signer_free(s);
    buf_release(&out);
}

/* libopendkim reads its keys through the ring when they are in it, and signs
 * the same: both algorithms have one signature for a message and key. */
static void test_keys_read_once(void **state)
{
    struct buf fresh = { 0 }, held = { 0 };
    unsigned long before = keyring_uses();
    char why[SIGNER_WHY_MAX];

    assert_ok(sign(HEADER, strlen(HEADER), SLICE("body\r\n"), 100, keys(), 2, &fresh, why));
    assert_int_equal(keyring_uses(), before);
    assert_ok(keyring_add(slice_str(rsa_pem)));
    assert_ok(keyring_add(slice_str(ed_pem)));
    for (unsigned i = 1; i <= 3; i++) {
        buf_clear(&held);
        assert_ok(sign(HEADER, strlen(HEADER), SLICE("body\r\n"), 100, keys(), 2, &held, why));
        assert_int_equal(keyring_uses(), before + 2 * i);
        assert_slice_str(buf_bytes(&held), buf_cstr(&fresh));
    }
    keyring_clear();
    buf_release(&fresh);
    buf_release(&held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_fields), cmocka_unit_test(test_pieces),   cmocka_unit_test(test_odd_headers),
        cmocka_unit_test(test_bad_keys),   cmocka_unit_test(test_body_unreadable),
        cmocka_unit_test(test_keys_read_once),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
