/* Addresses and paths of the envelope: which pass, as what, and which don't;
 * domains and patterns. Collections of other projects are read from DATA_DIR
 * when they are there. */
#include "tests/unit/check.h"

#include "mail/path.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X63 X50 X10 "xxx"

enum { N = MAIL_PATH_NULL_OK, P = MAIL_PATH_POSTMASTER_OK, U = MAIL_PATH_UTF8_OK };

struct row {
    const char *in;
    unsigned flags;
    enum mail_path_error error;
    const char *out;
    size_t left; /* bytes of `in` that were not taken */
};

static const struct row paths[] = {
    { "<a@b.example>", 0, MAIL_PATH_OK, "a@b.example", 0 },
    { "<A.b+c@B.Example> SIZE=1", 0, MAIL_PATH_OK, "A.b+c@b.example", 7 },
    { "a@b.example SIZE=1", 0, MAIL_PATH_OK, "a@b.example", 7 },
    { "a@b.example", 0, MAIL_PATH_OK, "a@b.example", 0 },
    { "<>", N, MAIL_PATH_OK, "", 0 },
    { "<> BODY=7BIT", N, MAIL_PATH_OK, "", 10 },
    { "<>", P | U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<>x", N, MAIL_PATH_SYNTAX, NULL, 0 },
    { "< >", N, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<<>>", N, MAIL_PATH_SYNTAX, NULL, 0 },
    { "", N | P | U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<", N, MAIL_PATH_SYNTAX, NULL, 0 },
    { ">", N, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<postmaster>", P, MAIL_PATH_OK, "postmaster", 0 },
    { "<PostMaster>", P, MAIL_PATH_OK, "postmaster", 0 },
    { "Postmaster", P, MAIL_PATH_OK, "postmaster", 0 },
    { "<postmaster>", N | U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<root>", P, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<postmaster@>", P, MAIL_PATH_SYNTAX, NULL, 0 },
    /* bytes of a local part that once steered mail */
    { "<a%b.example@c.example>", 0, MAIL_PATH_OK, "a%b.example@c.example", 0 },
    { "<b.example!a@c.example>", 0, MAIL_PATH_OK, "b.example!a@c.example", 0 },
    { "<\"a@b.example\"@c.example>", 0, MAIL_PATH_OK, "\"a@b.example\"@c.example", 0 },
    { "<!#$%&'*+-/=?^_`{|}~@c.example>", 0, MAIL_PATH_OK, "!#$%&'*+-/=?^_`{|}~@c.example", 0 },
    /* quoted strings: quotes only where they are needed */
    { "<\"abc\"@b.example>", 0, MAIL_PATH_OK, "abc@b.example", 0 },
    { "<\"a.b\"@b.example>", 0, MAIL_PATH_OK, "a.b@b.example", 0 },
    { "<\"a..b\"@b.example>", 0, MAIL_PATH_OK, "\"a..b\"@b.example", 0 },
    { "<\".a\"@b.example>", 0, MAIL_PATH_OK, "\".a\"@b.example", 0 },
    { "<\"a.\"@b.example>", 0, MAIL_PATH_OK, "\"a.\"@b.example", 0 },
    { "<\"\"@b.example>", 0, MAIL_PATH_OK, "\"\"@b.example", 0 },
    { "<\"\\a b\"@b.example>", 0, MAIL_PATH_OK, "\"a b\"@b.example", 0 },
    { "<\"a\\\"\\\\\"@b.example>", 0, MAIL_PATH_OK, "\"a\\\"\\\\\"@b.example", 0 },
    { "<\"> x\"@b.example> y", 0, MAIL_PATH_OK, "\"> x\"@b.example", 2 },
    { "\"a b\"@b.example y", 0, MAIL_PATH_OK, "\"a b\"@b.example", 2 },
    { "<\"a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\\", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\tb\"@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\r\nb\"@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\\\rb\"@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\x7f\"@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\"b@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\"b\"@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\"", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    /* local parts that are none */
    { "<@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<.a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a.@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a..b@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a b@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "< a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b.example >", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a(x)@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\x01@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a,b@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b.example", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b.example>x", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b.example>\tx", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b.example>>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b.example\r\nRCPT>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b@c.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "a", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "Name <a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    /* source routes are read and dropped */
    { "<@r.example:a@b.example>", 0, MAIL_PATH_OK, "a@b.example", 0 },
    { "<@r.example,@s.example:a@b.example> x", 0, MAIL_PATH_OK, "a@b.example", 2 },
    { "<@r.example,s.example:a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<@r.example a@b.example>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<@r.example:>", N, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<@:a@b.example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<@r\xc3\xa4.example:a@b.example>", 0, MAIL_PATH_NON_ASCII, NULL, 0 },
    { "@r.example:a@b.example", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    /* domains */
    { "<a@localhost>", 0, MAIL_PATH_OK, "a@localhost", 0 },
    { "<a@under_score.example>", 0, MAIL_PATH_OK, "a@under_score.example", 0 },
    { "<a@XN--Bcher-KVA.example>", 0, MAIL_PATH_OK, "a@xn--bcher-kva.example", 0 },
    { "<a@" X63 ".example>", 0, MAIL_PATH_OK, "a@" X63 ".example", 0 },
    { "<a@x" X63 ".example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@.example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@b..example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@b.example.>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@-b.example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@b-.example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@b$.example>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@192.0.2.1>", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@" X63 "." X63 "." X63 "." X63 ">", 0, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@" X63 "." X63 "." X63 "." X63 ".x>", 0, MAIL_PATH_DOMAIN_LONG, NULL, 0 },
    { "<" X63 "x@b.example>", 0, MAIL_PATH_OK, X63 "x@b.example", 0 },
    { "<" X63 "xy@b.example>", 0, MAIL_PATH_LOCAL_LONG, NULL, 0 },
    { "<\"" X63 " \"@b.example>", 0, MAIL_PATH_LOCAL_LONG, NULL, 0 },
    { "<\"\\x" X63 "\"@b.example>", 0, MAIL_PATH_OK, "x" X63 "@b.example", 0 },
    { "<" X50 X50 X50 X50 X50 X50 X50 X50 X50 X50 "@b.example>", 0, MAIL_PATH_LOCAL_LONG, NULL, 0 },
    /* address literals */
    { "<a@[192.0.2.1]>", 0, MAIL_PATH_OK, "a@[192.0.2.1]", 0 },
    { "<a@[IPv6:2001:DB8:0::1]>", 0, MAIL_PATH_OK, "a@[IPv6:2001:db8::1]", 0 },
    { "<a@[ipv6:::1]> x", 0, MAIL_PATH_OK, "a@[IPv6:::1]", 2 },
    { "<a@[192.0.2.1>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[192.0.2]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[192.0.2.256]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[192.0.2.01]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[2001:db8::1]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[IPv6:192.0.2.1]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[IPv6:1::2::3]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[IPv6:fe80::1%eth0]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[X-tag:text]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[" X50 "]>", 0, MAIL_PATH_LITERAL_BAD, NULL, 0 },
    { "<a@[192.0.2.1]x>", 0, MAIL_PATH_SYNTAX, NULL, 0 },
    /* other scripts */
    { "<gr\xc3\xbc\xc3\x9f@b.example>", U, MAIL_PATH_OK, "gr\xc3\xbc\xc3\x9f@b.example", 0 },
    { "<a@b\xc3\xbc"
      "cher.Example>",
      U, MAIL_PATH_OK,
      "a@xn--bcher-kva.example", 0 },
    { "<\"\xe2\x82\xac 5\"@b.example>", U, MAIL_PATH_OK, "\"\xe2\x82\xac 5\"@b.example", 0 },
    { "<\"\xe2\x82\xac\"@b.example>", U, MAIL_PATH_OK, "\xe2\x82\xac@b.example", 0 },
    { "<\xf0\x9f\x93\xa7@b.example>", U, MAIL_PATH_OK, "\xf0\x9f\x93\xa7@b.example", 0 },
    { "<gr\xc3\xbc@b.example>", 0, MAIL_PATH_NON_ASCII, NULL, 0 },
    { "<\"gr\xc3\xbc\"@b.example>", 0, MAIL_PATH_NON_ASCII, NULL, 0 },
    { "<a@b\xc3\xbc.example>", 0, MAIL_PATH_NON_ASCII, NULL, 0 },
    { "<a\xff@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\x80@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\xc3@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\xc3", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\xc3\"@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<\"a\\\xc3\xbc\"@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\xc2\x85@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },     /* a control */
    { "<a\xc0\xaf@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },     /* longer than needed */
    { "<a\xe0\x80\xaf@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 }, /* the same */
    { "<a\xf0\x80\x80\xaf@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a\xed\xa0\x80@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 }, /* a surrogate */
    { "<a\xf4\x90\x80\x80@b.example>", U, MAIL_PATH_SYNTAX, NULL, 0 },
    { "<a@b\xff.example>", U, MAIL_PATH_DOMAIN_BAD, NULL, 0 },
    { "<a@b\xe3\x80\x82"
      "example>",
      U, MAIL_PATH_OK,
      "a@b.example", 0 },
    { "<@b\xc3\xbc.example:gr\xc3\xbc@STRASSE.example>", U, MAIL_PATH_OK, "gr\xc3\xbc@strasse.example", 0 },
    { "<a@B\xc3\x9c"
      "CHER.example>",
      U, MAIL_PATH_OK, "a@xn--bcher-kva.example", 0 },
};

static void test_paths(void **state)
{
    for (size_t i = 0; i < countof(paths); i++) {
        size_t len = strlen(paths[i].in), used = 99;
        char *in = malloc(len + 1);
        struct mail_path p;
        enum mail_path_error e;

        memcpy(in, paths[i].in, len);
        e = mail_path_parse(slice_make(in, len), paths[i].flags, &p, &used);
        if (e != paths[i].error)
            fail_msg("%s: %s", paths[i].in, mail_path_error_text(e));
        if (e == MAIL_PATH_OK) {
            assert_string_equal(p.text, paths[i].out);
            assert_int_equal(len - used, paths[i].left);
        } else {
            assert_int_equal(p.len, 0);
            assert_int_equal(used, 0);
        }
        free(in);
    }
}

/* What came out goes in again as the same, in brackets and bare. */
static void test_canonical_is_stable(void **state)
{
    for (size_t i = 0; i < countof(paths); i++) {
        struct mail_path p, again;
        size_t used;
        char text[512];

        if (paths[i].error != MAIL_PATH_OK)
            continue;
        snprintf(text, sizeof text, "<%s>", paths[i].out);
        assert_int_equal(mail_path_parse(slice_str(text), N | P | U, &p, &used), MAIL_PATH_OK);
        assert_string_equal(p.text, paths[i].out);
        assert_int_equal(p.len, strlen(p.text));
        assert_int_equal(mail_address_parse(mail_path_text(&p), N | P | U, &again), MAIL_PATH_OK);
        assert_memory_equal(&p, &again, sizeof p);
        assert_true(slice_eq(mail_path_local(&p), mail_address_local(mail_path_text(&p))));
        assert_true(slice_eq(mail_path_domain(&p), mail_address_domain(mail_path_text(&p))));
    }
}

/* No control byte passes anywhere in an address, NUL least of all. */
static void test_controls(void **state)
{
    static const char *const hosts[] = { "<abc@d.example>", "<\"abc\"@d.example>",
                                         "<@x.example:abc@d.example>", "<abc@[192.0.2.1]>",
                                         "abc@d.example" };

    for (size_t i = 0; i < countof(hosts); i++) {
        for (size_t at = 0; at < strlen(hosts[i]); at++) {
            for (int c = 0; c < 33; c++) {
                char text[64];
                struct mail_path p;
                size_t used;
                enum mail_path_error e;

                strcpy(text, hosts[i]);
                text[at] = (char)(c == 32 ? 0x7f : c);
                e = mail_path_parse(slice_make(text, strlen(hosts[i])), N | P | U, &p, &used);
                assert_int_not_equal(e, MAIL_PATH_OK);
                e = mail_address_parse(slice_make(text, strlen(hosts[i])), N | P | U, &p);
                assert_int_not_equal(e, MAIL_PATH_OK);
            }
        }
    }
}

static void test_parts(void **state)
{
    struct mail_path p;
    size_t used;

    mail_path_parse(SLICE("<\"x@y\"@Z.example>"), 0, &p, &used);
    assert_slice_str(mail_path_local(&p), "\"x@y\"");
    assert_slice_str(mail_path_domain(&p), "z.example");
    assert_false(p.literal);
    assert_false(p.utf8);
    mail_path_parse(SLICE("<x@[192.0.2.1]>"), 0, &p, &used);
    assert_true(p.literal);
    mail_path_parse(SLICE("<x@\xc3\xa4.example>"), U, &p, &used);
    assert_true(p.utf8);
    mail_path_parse(SLICE("<postmaster>"), P, &p, &used);
    assert_slice_str(mail_path_domain(&p), "");
    assert_int_equal(p.local_len, p.len);
    assert_slice_str(mail_address_local(SLICE("")), "");
    assert_slice_str(mail_address_domain(SLICE("")), "");
    assert_slice_str(mail_address_domain(SLICE("postmaster")), "");
    assert_slice_str(mail_address_domain(SLICE("\"@\"@b")), "b");
}

static void test_bare_addresses(void **state)
{
    struct mail_path p;

    assert_int_equal(mail_address_parse(SLICE("a@B.example"), 0, &p), MAIL_PATH_OK);
    assert_string_equal(p.text, "a@b.example");
    assert_int_equal(mail_address_parse(SLICE(""), N, &p), MAIL_PATH_OK);
    assert_int_equal(mail_address_parse(SLICE("<>"), N, &p), MAIL_PATH_OK);
    assert_int_equal(mail_address_parse(SLICE(""), 0, &p), MAIL_PATH_SYNTAX);
    assert_int_equal(mail_address_parse(SLICE("<>"), 0, &p), MAIL_PATH_SYNTAX);
    assert_int_equal(mail_address_parse(SLICE("<a@b.example>"), N, &p), MAIL_PATH_SYNTAX);
    assert_int_equal(mail_address_parse(SLICE("a@b.example "), 0, &p), MAIL_PATH_SYNTAX);
    assert_int_equal(mail_address_parse(SLICE("a@b.example x"), 0, &p), MAIL_PATH_SYNTAX);
    assert_int_equal(p.len, 0);
}

static void test_error_texts(void **state)
{
    for (int e = MAIL_PATH_OK; e <= MAIL_PATH_NON_ASCII; e++)
        assert_true(strlen(mail_path_error_text(e)) > 5);
}

static void test_domains(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "example.com", "example.com" },
        { "EXAMPLE.com", "example.com" },
        { "1.2.3.x4", "1.2.3.x4" },
        { "4u", "4u" },
        { "_dmarc.example.com", "_dmarc.example.com" },
        { "b\xc3\xbc"
          "cher.example",
          "xn--bcher-kva.example" },
        { "B\xc3\x9c"
          "CHER.example",
          "xn--bcher-kva.example" },
        { "fa\xc3\x9f.example", "xn--fa-hia.example" }, /* not "fass": non-transitional */
        { "\xe4\xbe\x8b\xe3\x81\x88.jp", "xn--r8jz45g.jp" },
        { "", NULL },
        { ".", NULL },
        { "a.", NULL },
        { ".a", NULL },
        { "a..b", NULL },
        { "a b", NULL },
        { "-a.b", NULL },
        { "a-.b", NULL },
        { "1.2.3.4", NULL },
        { "123", NULL },
        { "a/b", NULL },
        { "[192.0.2.1]", NULL },
        { X63 "x.example", NULL },
        { "\xff.example", NULL },
        { "\xe2\x80\x8b.example", NULL }, /* nothing but a zero-width space */
        { "\xc3\xa4" X63 ".example", NULL },
        { X63 "." X63 "." X63 "." X50 X10 "x", X63 "." X63 "." X63 "." X50 X10 "x" },
        { X63 "." X63 "." X63 "." X50 X10 "xx", NULL },
        { X63 "." X63 "." X63 "." X63 ".\xc3\xa4", NULL },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        char out[MAIL_DOMAIN_MAX + 1] = "";

        if (mail_domain_to_ascii(slice_str(rows[i].in), out) != (rows[i].out != NULL))
            fail_msg("%s", rows[i].in);
        if (rows[i].out != NULL)
            assert_string_equal(out, rows[i].out);
        if (rows[i].out == NULL)
            assert_false(mail_domain_valid(slice_str(rows[i].in)));
    }
    char out[MAIL_DOMAIN_MAX + 1];
    assert_false(mail_domain_to_ascii(slice_make("a\0b", 3), out));
    assert_false(mail_domain_to_ascii(slice_make("\xc3\xa4\0b", 4), out));
}

static void test_patterns(void **state)
{
    static const struct {
        const char *pattern, *address;
        bool match;
    } rows[] = {
        { "*", "a@b.example", true },
        { "*", "", true },
        { "<>", "", true },
        { "<>", "a@b.example", false },
        { "b.example", "", false },
        { "b.example", "a@b.example", true },
        { "B.Example", "a@b.example", true },
        { "@b.example", "a@b.example", true },
        { "@b.example", "a@x.b.example", false },
        { "b.example", "a@ab.example", false },
        { "b.example", "b.example@c.example", false },
        { ".b.example", "a@b.example", false },
        { ".b.example", "a@x.b.example", true },
        { ".B.example", "a@y.x.b.Example", true },
        { ".b.example", "a@xb.example", false },
        { ".b.example", "a@c.example", false },
        { ".b.example", "a@example", false },
        { ".example", "postmaster", false },
        { "a@b.example", "a@b.example", true },
        { "A@b.EXAMPLE", "a@B.example", true },
        { "a@b.example", "aa@b.example", false },
        { "a@b.example", "a@c.example", false },
        { "a@", "a@b.example", true },
        { "a@", "A@c.example", true },
        { "a@", "b@a", false },
        { "postmaster@", "postmaster", true },
        { "@b.example", "postmaster", false },
        { "\"x y\"@", "\"x y\"@b.example", true },
        { "[192.0.2.1]", "a@[192.0.2.1]", true },
        { "@[192.0.2.1]", "a@[192.0.2.2]", false },
        { "b\xc3\xbc"
          "cher.example",
          "a@xn--bcher-kva.example", true },
        { "xn--bcher-kva.example",
          "a@b\xc3\xbc"
          "cher.example",
          true },
        { ".b\xc3\xbc"
          "cher.example",
          "a@x.xn--bcher-kva.example", true },
    };
    static const char *const bad[] = {
        "",           "@",   ".",     "..",         "a@b@c",       "a b",       "*@b.example",
        "*.example",  "**",  "<a@b>", "b..example", ".b..example", "..example", "a..b@",
        "a@.example", "\"@", "@.",    "1.2.3.4",    "a@-",         "\xff@",     "\n"
    };

    for (size_t i = 0; i < countof(rows); i++) {
        if (mail_pattern_matches(slice_str(rows[i].pattern), slice_str(rows[i].address)) !=
            rows[i].match)
            fail_msg("%s against %s", rows[i].pattern, rows[i].address);
        assert_true(mail_pattern_valid(slice_str(rows[i].pattern)));
    }
    for (size_t i = 0; i < countof(bad); i++) {
        if (mail_pattern_valid(slice_str(bad[i])))
            fail_msg("\"%s\" is no pattern", bad[i]);
        assert_false(mail_pattern_matches(slice_str(bad[i]), SLICE("a@b.example")));
    }
}

/* The collection judges addresses of header fields (RFC 5322), as many
 * programs see them. Where its verdict is open ("any") SMTP has its own:
 * comments and blanks are no part of an SMTP path; general domain literals
 * name no host; a domain that ends in digits only is an address literal that
 * lost its brackets; "::" for a single group of zeros is deprecated but read. */
static const struct {
    const char *diagnosis;
    bool pass;
} open_verdicts[] = {
    { "ISEMAIL_RFC5321_TLDNUMERIC", false },
    { "ISEMAIL_RFC5321_QUOTEDSTRING", true },
    { "ISEMAIL_RFC5321_ADDRESSLITERAL", true },
    { "ISEMAIL_RFC5321_IPV6DEPRECATED", true },
    { "ISEMAIL_CFWS_FWS", false },
    { "ISEMAIL_DEPREC_CFWS_NEAR_AT", false },
    { "ISEMAIL_DEPREC_FWS", false },
    { "ISEMAIL_DEPREC_QP", false }, /* control bytes behind a backslash */
    { "ISEMAIL_DEPREC_COMMENT", false },
    { "ISEMAIL_RFC5322_DOMAIN", false },
    { "ISEMAIL_RFC5322_TOOLONG", true }, /* over 254 in all; each part within its limit */
    { "ISEMAIL_RFC5322_LOCAL_TOOLONG", false },
    { "ISEMAIL_RFC5322_DOMAIN_TOOLONG", false },
    { "ISEMAIL_RFC5322_DOMAINLITERAL", false },
    { "ISEMAIL_RFC5322_DOMLIT_OBSDTEXT", false },
    { "ISEMAIL_RFC5322_IPV6_GRPCOUNT", false },
    { "ISEMAIL_RFC5322_IPV6_MAXGRPS", false },
    { "ISEMAIL_RFC5322_IPV6_2X2XCOLON", false },
    { "ISEMAIL_RFC5322_IPV6_COLONEND", false },
};

static bool should_pass(const char *verdict, const char *diagnosis)
{
    if (strcmp(verdict, "any") != 0)
        return strcmp(verdict, "ok") == 0;
    for (size_t i = 0; i < countof(open_verdicts); i++)
        if (strcmp(open_verdicts[i].diagnosis, diagnosis) == 0)
            return open_verdicts[i].pass;
    fail_msg("no verdict on %s", diagnosis);
    return false;
}

static const char *data_path(const char *name, char path[1024])
{
    const char *dir = getenv("DATA_DIR");

    snprintf(path, 1024, "%s/%s", dir != NULL ? dir : ".", name);
    return path;
}

static void test_isemail_collection(void **state)
{
    char path[1024];
    json_t *all = json_load_file(data_path("isemail/addresses.json", path), JSON_ALLOW_NUL, NULL);
    json_t *row;
    size_t i;

    if (all == NULL) {
        print_message("# the collection isemail/addresses.json is not in DATA_DIR: skipped\n");
        return; /* skip() of this cmocka reads as a failure in TAP */
    }
    assert_true(json_array_size(all) > 50);
    json_array_foreach(all, i, row)
    {
        const json_t *text = json_array_get(row, 0);
        struct slice address = slice_make(json_string_value(text), json_string_length(text));
        const char *verdict = json_string_value(json_array_get(row, 1));
        const char *diagnosis = json_string_value(json_array_get(row, 3));
        struct buf bracketed = { 0 };
        struct mail_path p, q;
        size_t used;
        bool pass = mail_address_parse(address, U, &p) == MAIL_PATH_OK;

        if (pass != should_pass(verdict, diagnosis))
            fail_msg("%s (%s, %s) %s", json_string_value(text), verdict, diagnosis,
                     pass ? "passed" : "did not pass");
        buf_printf(&bracketed, "<%.*s>", (int)address.len, address.ptr);
        if (memchr(address.ptr, '\0', address.len) == NULL)
            assert_int_equal(mail_path_parse(buf_bytes(&bracketed), U, &q, &used) == MAIL_PATH_OK,
                             pass);
        buf_release(&bracketed);
    }
    json_decref(all);
}

/* Inputs that once broke another server's parser: whatever they are called,
 * they must come out canonical or not at all. */
static void test_inputs_of_others(void **state)
{
    char path[1024], text[8192];
    DIR *dir = opendir(data_path("fuzz-chasquid", path));
    struct dirent *entry;
    unsigned seen = 0;

    if (dir == NULL) {
        print_message("# the collection fuzz-chasquid is not in DATA_DIR: skipped\n");
        return; /* skip() of this cmocka reads as a failure in TAP */
    }
    while ((entry = readdir(dir)) != NULL) {
        char file[2048];
        FILE *f;
        size_t len;

        if (strncmp(entry->d_name, "Fuzz", 4) != 0)
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        f = fopen(file, "rb");
        assert_non_null(f);
        len = fread(text, 1, sizeof text - 32, f);
        fclose(f);
        seen++;
        for (size_t begin = 0; begin < len; begin++) {
            struct slice in = slice_make(text + begin, len - begin);
            struct slice quoted = slice_head(in, slice_find(in, '"'));
            struct buf address = { 0 };
            struct mail_path p, q;

            buf_add(&address, quoted);
            buf_add_str(&address, "@");
            buf_add(&address, quoted);
            buf_add_str(&address, ".example");
            if (mail_address_parse(buf_bytes(&address), U, &p) == MAIL_PATH_OK) {
                assert_int_equal(mail_address_parse(mail_path_text(&p), U, &q), MAIL_PATH_OK);
                q.utf8 = p.utf8; /* a domain's other script is gone */
                assert_memory_equal(&p, &q, sizeof p);
            }
            buf_release(&address);
        }
    }
    closedir(dir);
    assert_true(seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_canonical_is_stable),
        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_bare_addresses),
        cmocka_unit_test(test_error_texts),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_isemail_collection),
        cmocka_unit_test(test_inputs_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
