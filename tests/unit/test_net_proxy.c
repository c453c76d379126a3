/* PROXY headers, good and bad, and each of them cut at every byte. */
#include "tests/unit/check.h"

#include "net/proxy.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

struct row {
    struct slice in;
    const char *source, *destination; /* NULL: not known */
    const char *why;                  /* or why it is bad */
    size_t rest;                      /* bytes behind the header */
    bool tls;
};

static const struct row rows[] = {
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"), "192.0.2.7:40000", "198.51.100.1:25", NULL, 0, false },
    { SLICE("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\nEHLO x\r\n"), "0.0.0.0:0", "255.255.255.255:65535", NULL, 8, false },
    { SLICE("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "[2001:db8::1]:1", "[::1]:2", NULL, 0, false },
    { SLICE("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"), "192.0.2.7:1", "[::1]:2", NULL, 0, false },
    { SLICE("PROXY UNKNOWN\r\nX"), NULL, NULL, NULL, 1, false },
    { SLICE("PROXY UNKNOWN ffff::1 what ever\r\n"), NULL, NULL, NULL, 0, false },
    { SLICE(V2 "\x21\x11\0\x0c" "\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\0\x19"), "192.0.2.7:40000", "198.51.100.1:25",
      NULL, 0, false },
    { SLICE(V2 "\x21\x11\0\x10" "\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\0\x19" "\x04\0\x01\0" "rest"),
      "192.0.2.7:40000", "198.51.100.1:25", NULL, 4, false },
    { SLICE(V2 "\x21\x11\0\x14" "\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\0\x19" "\x20\0\x05\x01\0\0\0\0"),
      "192.0.2.7:40000", "198.51.100.1:25", NULL, 0, true },
    { SLICE(V2 "\x21\x11\0\x14" "\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\0\x19" "\x20\0\x05\x06\0\0\0\0"),
      "192.0.2.7:40000", "198.51.100.1:25", NULL, 0, false },
    { SLICE(V2 "\x21\x21\0\x24" "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
            "\0\x01\0\x02"), "[2001:db8::1]:1", "[::1]:2", NULL, 0, false },
    { SLICE(V2 "\x21\x21\0\x24" "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
            "\0\x01\0\x02"), "192.0.2.7:1", "[::1]:2", NULL, 0, false },
    { SLICE(V2 "\x20\0\0\0" "x"), NULL, NULL, NULL, 1, false },
    { SLICE(V2 "\x20\x11\0\x03" "abc"), NULL, NULL, NULL, 0, false },
    { SLICE(V2 "\x21\0\0\x02" "ab"), NULL, NULL, NULL, 0, false },
    /* bad ones */
    { SLICE("EHLO x\r\n"), NULL, NULL, "there is none", 0, false },
    { SLICE("\x16\x03\x01"), NULL, NULL, "there is none", 0, false },
    { SLICE("\r\nPROXY"), NULL, NULL, "there is none", 0, false },
    { SLICE("proxy TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"), NULL, NULL, "there is none", 0, false },
    { SLICE("PROXY\tTCP4"), NULL, NULL, "there is none", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n"), NULL, NULL, "its line ends in LF alone", 0, false },
    { SLICE("PROXY \n"), NULL, NULL, "its line ends in LF alone", 0, false },
    { SLICE("PROXY \r\n"), NULL, NULL, "words are missing", 0, false },
    { SLICE("PROXY UNKNOWNS\r\n"), NULL, NULL, "words are missing", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n"), NULL, NULL, "words are missing", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 \r\n"), NULL, NULL, "too many words", 0, false },
    { SLICE("PROXY TCP4  192.0.2.7 198.51.100.1 40000\r\n"), NULL, NULL, "not an address", 0, false },
    { SLICE("PROXY UDP4 192.0.2.7 198.51.100.1 40000 25\r\n"), NULL, NULL, "it is of neither TCP4 nor TCP6", 0, false },
    { SLICE("PROXY TCP4 2001:db8::1 198.51.100.1 40000 25\r\n"), NULL, NULL, "not an address", 0, false },
    { SLICE("PROXY TCP6 192.0.2.7 ::1 40000 25\r\n"), NULL, NULL, "not an address", 0, false },
    { SLICE("PROXY TCP6 fe80::1%2 ::1 40000 25\r\n"), NULL, NULL, "not an address", 0, false },
    { SLICE("PROXY TCP4 192.0.2.256 198.51.100.1 40000 25\r\n"), NULL, NULL, "not an address", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7\0 198.51.100.1 40000 25\r\n"), NULL, NULL, "not an address", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n"), NULL, NULL, "not a port", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 040 25\r\n"), NULL, NULL, "not a port", 0, false },
    { SLICE("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n"), NULL, NULL, "not a port", 0, false },
    { SLICE("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            "xxxxxxxxxxxxxxxxxxxx\r\n"), NULL, NULL, "its line does not end", 0, false },
    { SLICE(V2 "\x11\x11\0\0"), NULL, NULL, "a version that is not known", 0, false },
    { SLICE(V2 "\x22\x11\0\0"), NULL, NULL, "a command that is not known", 0, false },
    { SLICE(V2 "\x21\x11\xff\xff"), NULL, NULL, "too long", 0, false },
    { SLICE(V2 "\x21\x11\0\x0b" "0123456789a"), NULL, NULL, "too short for its addresses", 0, false },
    { SLICE(V2 "\x21\x21\0\x0c" "0123456789ab"), NULL, NULL, "too short for its addresses", 0, false },
    { SLICE(V2 "\x21\x11\0\x10" "\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\0\x19" "\x04\0\x02\0"), NULL, NULL,
      "a TLV that does not fit", 0, false },
    { SLICE(V2 "\x21\x12\0\x0c" "0123456789ab"), NULL, NULL, "it is not of TCP", 0, false },
    { SLICE(V2 "\x21\x31\0\x01" "0"), NULL, NULL, "it is not of TCP", 0, false },
};

static void check_addr(const struct net_addr *a, const char *want)
{
    char text[NET_ADDR_TEXT_MAX];

    assert_string_equal(net_addr_format_port(a, text), want);
}

static void test_headers(void **state)
{
    for (size_t i = 0; i < countof(rows); i++) {
        const struct row *r = &rows[i];
        struct proxy_header h;
        const char *why;
        enum proxy_result got = proxy_parse(r->in, &h, &why);

        if (r->why != NULL) {
            if (got != PROXY_BAD || strcmp(why, r->why) != 0)
                fail_msg("row %zu: %d %s", i, got, why != NULL ? why : "");
            continue;
        }
        if (got != PROXY_DONE)
            fail_msg("row %zu: %d %s", i, got, why != NULL ? why : "");
        assert_int_equal(h.used, r->in.len - r->rest);
        assert_int_equal(h.known, r->source != NULL);
        assert_int_equal(h.tls, r->tls);
        if (h.known) {
            check_addr(&h.source, r->source);
            check_addr(&h.destination, r->destination);
        }
    }
}

/* However it arrives: no verdict before it is whole, but that it can't be one. */
static void test_pieces(void **state)
{
    for (size_t i = 0; i < countof(rows); i++) {
        struct slice whole = slice_head(rows[i].in, rows[i].in.len - rows[i].rest);
        struct proxy_header h;
        const char *why;

        for (size_t len = 0; len < whole.len; len++) {
            enum proxy_result got = proxy_parse(slice_head(whole, len), &h, &why);

            if (got == PROXY_DONE || (got == PROXY_BAD && rows[i].why == NULL))
                fail_msg("row %zu at byte %zu", i, len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
