/* Whose name a message bears. */
#include "tests/unit/check.h"

#include "mail/author.h"

static void test_domains(void **state)
{
    static const struct {
        const char *header;
        const char *domain; /* NULL: none */
    } rows[] = {
        { "From: me@example.com\r\n\r\n", "example.com" },
        { "from : me@Example.COM\r\n", "example.com" },
        { "From:me@example.com", "example.com" },
        { "Subject: x\r\nFrom: A B <me@example.com>\r\nTo: you@other.test\r\n\r\n", "example.com" },
        { "From: \"A, <x@evil.test>\" <me@example.com>\r\n", "example.com" },
        { "From: \"a\\\" <x@evil.test>\" <me@example.com>\r\n", "example.com" },
        { "From: (x@evil.test) me@example.com (y@evil.test)\r\n", "example.com" },
        { "From: me (a (nested) \\) x@evil.test) @ example.com\r\n", "example.com" },
        { "From: me@example.com, you@other.test\r\n", "example.com" },
        { "From: , me@example.com\r\n", "example.com" },
        { "From: Doe, John <me@example.com>\r\n", "example.com" },
        { "From: Team: A <me@example.com>, you@other.test;\r\n", "example.com" },
        { "From: A\r\n B\r\n <me@example.com>\r\n", "example.com" },
        { "From: \"quoted local\"@example.com\r\n", "example.com" },
        { "From: A <\"a>b\"@example.com>\r\n", "example.com" },
        { "From: x@evil.test <me@example.com>\r\n", "example.com" },
        { "From: J\xc3\xb6rg <me@b\xc3\xbc" "cher.example>\r\n", "xn--bcher-kva.example" },
        { "From: first@example.com\r\nFrom: second@other.test\r\n", "example.com" },
        { "From: me@sub.example.com\r\n", "sub.example.com" },
        /* none */
        { "", NULL },
        { "\r\nFrom: me@example.com\r\n", NULL },
        { "From:\r\n\r\n", NULL },
        { "From: me\r\n", NULL },
        { "From: a@b@c.example, you@other.test\r\n", NULL },
        { "From: <>\r\n", NULL },
        { "From: <me@>\r\n", NULL },
        { "From: me@[192.0.2.1]\r\n", NULL },
        { "From: undisclosed:;\r\n", NULL },
        { "From: (me@example.com\r\n", NULL },
        { "From: \"me@example.com\r\n", NULL },
        { "From: <a@b@example.com>\r\n", NULL },
        { "From: me@-bad-.example\r\n", NULL },
        { "X-From: me@example.com\r\n", NULL },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        char domain[MAIL_DOMAIN_MAX + 1] = "";
        bool found = mail_author_domain(slice_str(rows[i].header), domain);

        if (found != (rows[i].domain != NULL) || (found && strcmp(domain, rows[i].domain) != 0))
            fail_msg("%s: got %s", rows[i].header, found ? domain : "none");
    }
}

static void test_nul_and_length(void **state)
{
    char domain[MAIL_DOMAIN_MAX + 1];
    struct buf big = { 0 };

    assert_false(mail_author_domain(slice_make("From: me@exam\0ple.com\r\n", 23), domain));
    buf_add_str(&big, "From: ");
    for (size_t i = 0; i < 70000; i++)
        buf_add_byte(&big, ',');
    buf_add_str(&big, "me@example.com\r\n");
    assert_true(mail_author_domain(buf_bytes(&big), domain));
    assert_string_equal(domain, "example.com");
    buf_release(&big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_nul_and_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
