/* Odd From fields, by both who read them: the sender rule, which looks at every
 * address, and the signing, which takes the first one's domain. */
#include "tests/unit/check.h"

#include "mail/address_list.h"
#include "mail/author.h"
#include "mail/complete.h"

static const struct {
    const char *value;
    const char *addresses; /* as the sender rule sees them; NULL: there is none */
    const char *domain;    /* that signs; NULL: none */
} rows[] = {
    { " me@a.example", "me@a.example", "a.example" },
    { "<me@a.example>", "me@a.example", "a.example" },
    { " Me Myself <me@a.example>", "me@a.example", "a.example" },
    { " me@A.Example", "me@A.Example", "a.example" },
    { " me@sub.a.example.", "me@sub.a.example.", NULL },
    /* several, and groups */
    { " me@a.example, you@b.example", "me@a.example you@b.example", "a.example" },
    { " A <me@a.example>, B <you@b.example>", "me@a.example you@b.example", "a.example" },
    { " ,, me@a.example,", "me@a.example", "a.example" },
    { " <>, me@a.example", "me@a.example", "a.example" },
    { " Team: A <me@a.example>, you@b.example;", "me@a.example you@b.example", "a.example" },
    { " Team: me@a.example; , you@b.example", "me@a.example you@b.example", "a.example" },
    { " x@b.example: me@a.example;", "me@a.example", "a.example" },
    { " None:;, me@a.example", "me@a.example", "a.example" },
    { " undisclosed:;", NULL, NULL },
    /* comments */
    { " (x@b.example) me@a.example (y@b.example)", "me@a.example", "a.example" },
    { " me(x)@(y)a.(z)example", "me@a.example", "a.example" },
    { " (a (nested) \\) x@b.example, ) me@a.example", "me@a.example", "a.example" },
    { " (unclosed <x@b.example>", NULL, NULL },
    { " me@a.example (unclosed, x@b.example", "me@a.example", "a.example" },
    { " (me@a.example)", NULL, NULL },
    /* quoted strings */
    { " \"A, <x@b.example>\" <me@a.example>", "me@a.example", "a.example" },
    { " \"a\\\" <x@b.example>\" <me@a.example>", "me@a.example", "a.example" },
    { " \"x@b.example\"@a.example", "\"x@b.example\"@a.example", "a.example" },
    { " <\"a>, <b\"@a.example>", "\"a>, <b\"@a.example", "a.example" },
    { " \"unclosed <me@a.example>", "\"unclosed <me@a.example>@mx.test", NULL },
    { " \"me@a.example\"", "\"me@a.example\"@mx.test", NULL },
    { " \"ends in a backslash\\", "\"ends in a backslash\\@mx.test", NULL },
    /* what stands before and behind the brackets is a name */
    { " x@b.example <me@a.example>", "me@a.example", "a.example" },
    { " <me@a.example> <x@b.example>", "me@a.example", "a.example" },
    { " <me@a.example> x@b.example, you@c.example", "me@a.example you@c.example", "a.example" },
    { " <me@a.example", "me@a.example", "a.example" },
    { " me@a.example>", "me@a.example>", NULL },
    { " <<me@a.example>>", "<me@a.example", NULL },
    { " < me @ a.example >", "me@a.example", "a.example" },
    /* routes */
    { " <@x.example,@y.example:me@a.example>", "me@a.example", "a.example" },
    { " <@b.example:me@a.example>", "me@a.example", "a.example" },
    { " <@b.example:>", NULL, NULL },
    { " <@b.example>", "@b.example", NULL },
    /* without a domain, and literals */
    { " root", "root@mx.test", NULL },
    { " root (Cron Daemon)", "root@mx.test", NULL },
    { " root, me@a.example", "root@mx.test me@a.example", "a.example" },
    { " Doe, John <me@a.example>", "Doe@mx.test me@a.example", "a.example" },
    { " root, b@b@b.example, me@a.example", "root@mx.test b@b@b.example me@a.example", NULL },
    { " me@", "me@", NULL },
    { " me@[192.0.2.1]", "me@[192.0.2.1]", NULL },
    { " me@[192.0.2.1, x@b.example", "me@[192.0.2.1, x@b.example", NULL },
    { " <me@[IPv6:2001:db8::1]>, you@b.example", "me@[IPv6:2001:db8::1] you@b.example", NULL },
    /* folded */
    { "\r\n me@a.example", "me@a.example", "a.example" },
    { " A\r\n B\r\n\t<me@a\r\n .example>", "me@a.example", "a.example" },
    { " me@a.example,\r\n you@b.example", "me@a.example you@b.example", "a.example" },
    /* nothing, and not what it seems */
    { "", NULL, NULL },
    { " \r\n\t", NULL, NULL },
    { " <>", NULL, NULL },
    { " ,;,", NULL, NULL },
    { " a@b@a.example", "a@b@a.example", NULL },
    { " me a.example", "mea.example@mx.test", NULL },
    { " me@-bad-.example", "me@-bad-.example", NULL },
    { " m\xc3\xa9@b\xc3\xbc" "cher.example", "m\xc3\xa9@b\xc3\xbc" "cher.example", "xn--bcher-kva.example" },
};

static bool collect(void *ctx, struct slice address)
{
    struct buf *all = ctx;

    buf_add_str(all, buf_len(all) > 0 ? " " : "");
    buf_add(all, address);
    return true;
}

/* The row's field in a header, with and without a line end: an address never
 * closed must not take that with it. */
static void check_row(size_t i, const char *before, const char *behind)
{
    char domain[MAIL_DOMAIN_MAX + 1] = "";
    struct buf header = { 0 }, addresses = { 0 };
    bool found;

    buf_printf(&header, "%sFrom:%s%s", before, rows[i].value, behind);
    found = mail_from_addresses(buf_bytes(&header), "mx.test", collect, &addresses) && buf_len(&addresses) > 0;
    if (found != (rows[i].addresses != NULL) || (found && strcmp(buf_cstr(&addresses), rows[i].addresses) != 0))
        fail_msg("\"%s\": the sender rule reads %s", rows[i].value, found ? buf_cstr(&addresses) : "none");
    found = mail_author_domain(buf_bytes(&header), domain);
    if (found != (rows[i].domain != NULL) || (found && strcmp(domain, rows[i].domain) != 0))
        fail_msg("\"%s\": signed by %s", rows[i].value, found ? domain : "none");
    buf_release(&header);
    buf_release(&addresses);
}

static void test_read_alike(void **state)
{
    for (size_t i = 0; i < countof(rows); i++) {
        check_row(i, "", "\r\n\r\n");
        check_row(i, "Subject: x\r\n", "\r\nTo: z@z.example\r\n\r\n");
        check_row(i, "", "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
