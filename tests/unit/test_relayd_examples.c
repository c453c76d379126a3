/* The example configurations of the manual: as they stand, without what a
 * later release brings, and spoiled line by line. Whatever a file holds,
 * loading it ends in settings or in a message with its place. */
#include "tests/unit/check_conf.h"
#include "tests/unit/tls_certs.h"

#include "relayd/settings.h"

#include <stdio.h>
#include <stdlib.h>

static const char site[] =
    "hostname mail.example.com\n"
    "\n"
    "tls { certificate /etc/ssl/mail.pem; key /etc/ssl/mail.key }   # without: self-signed, with a warning\n"
    "\n"
    "listen 0.0.0.0:25                         # the world, for our domains only; local programs\n"
    "listen 0.0.0.0:587 { role submission }    # STARTTLS and login required\n"
    "listen 0.0.0.0:465 { role submission; tls implicit }\n"
    "listen 0.0.0.0:993 { role imap; tls implicit }\n"
    "\n"
    "domain example.com {                      # ours: DKIM-signed out, mailboxes in\n"
    "    dkim auto                             # key made at first start; relayctl dkim prints the record\n"
    "    mailboxes\n"
    "}\n"
    "\n"
    "smarthost ses {\n"
    "    host email-smtp.eu-west-1.amazonaws.com:587\n"
    "    user AKIA\xe2\x80\xa6\n"
    "    password_file /etc/relayd/ses.secret\n"
    "}\n"
    "route from @shop.example via ses\n"
    "route default direct\n";

static const char lab[] =
    "hostname mx.relay.test\n"
    "state_dir ./lab/state                     # LMDB environments, body files, users, keys\n"
    "runtime_dir ./lab/run                     # control socket, lock\n"
    "resolver 127.0.0.1:5353                   # default: those of /etc/resolv.conf\n"
    "trusted 127.0.0.1/32                      # may relay without login on role relay\n"
    "limits { message_size 20M; recipients 1000; connections_per_client unlimited }\n"
    "tls { certificate ./lab/cert.pem; key ./lab/key.pem }\n"
    "\n"
    "listen 127.0.0.1:2525                     # role relay is the default\n"
    "listen 127.0.0.1:2587 { role submission }\n"
    "listen 127.0.0.1:2465 { role submission; tls implicit }\n"
    "listen 127.0.0.1:2424 { role lmtp }       # into mailboxd\n"
    "listen 127.0.0.1:1143 { role imap }\n"
    "listen 127.0.0.1:1993 { role imap; tls implicit }\n"
    "listen 127.0.0.1:1110 { role pop3 }\n"
    "listen 127.0.0.1:9090 { role metrics }\n"
    "\n"
    "domain dest.test { relay }                # accepted from anyone, passed on\n"
    "domain home.test { mailboxes; dkim selector s1 key_file ./lab/s1.pem }\n"
    "\n"
    "smarthost sink { host 127.0.0.1:2526; tls optional }\n"
    "route to dest.test via sink\n"
    "route default direct\n"
    "delivery { port 2526; loopback_mx allow } # lab only: MX hosts on loopback, another port than 25\n"
    "retry { first 2s; factor 2; max 5s; doubt 3s; expire 10m; warn 5m }\n";

static struct cert certificate;

static int make_certificate(void **state)
{
    certificate = cert_make((struct cert_plan){ .name = "mail", .alternatives = "DNS:mail.example.com" });
    return 0;
}

static int free_certificate(void **state)
{
    cert_free(&certificate);
    return 0;
}

static void add_files(struct bundle *b)
{
    assert_ok(bundle_add(b, BUNDLE_SECRET, "/etc/relayd/ses.secret", SLICE("s3cret\n"), NULL));
    assert_ok(bundle_add(b, BUNDLE_CERTIFICATE, "/etc/ssl/mail.pem", buf_bytes(&certificate.pem), NULL));
    assert_ok(bundle_add(b, BUNDLE_SECRET, "/etc/ssl/mail.key", buf_bytes(&certificate.key_pem), NULL));
    assert_ok(bundle_add(b, BUNDLE_CERTIFICATE, "/etc/relayd/lab/cert.pem", buf_bytes(&certificate.pem), NULL));
    assert_ok(bundle_add(b, BUNDLE_SECRET, "/etc/relayd/lab/key.pem", buf_bytes(&certificate.key_pem), NULL));
}

/* With the files it names, or, much faster, without. */
static struct settings *load_with(struct slice text, bool files, struct diagnostics *d)
{
    struct bundle *b = bundle_new("conf");
    struct settings *s = NULL;
    struct err e;

    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/relayd/conf", text, NULL));
    if (files)
        add_files(b);
    e = settings_load_bundle(b, d, &s);
    bundle_free(b);
    assert_int_equal(s == NULL, err_failed(e));
    assert_int_equal(d->errors != 0, err_failed(e));
    return s;
}

static struct settings *load(struct slice text, struct diagnostics *d)
{
    return load_with(text, true, d);
}

static void assert_errors(const char *text, const char *want)
{
    struct diagnostics d = { 0 };
    struct buf errors = { 0 };

    assert_null(load(slice_str(text), &d));
    brief(&d, &errors);
    assert_string_equal(buf_cstr(&errors), want);
    buf_release(&errors);
    diagnostics_release(&d);
}

static void test_refused_by_name(void **state)
{
    assert_errors(site, "8:22: \"role imap\" is not in this release\n"
                        "12:5: \"mailboxes\" is not in this release");
    assert_errors(lab, "12:25: \"role lmtp\" is not in this release\n"
                       "13:25: \"role imap\" is not in this release\n"
                       "14:25: \"role imap\" is not in this release\n"
                       "15:25: \"role pop3\" is not in this release\n"
                       "16:25: \"role metrics\" is not in this release\n"
                       "19:20: \"mailboxes\" is not in this release");
}

/* The lab without the lines refused above. */
static void lab_of_this_release(struct buf *out)
{
    static const unsigned refused[] = { 12, 13, 14, 15, 16, 19 };
    struct slice rest = slice_str(lab);
    struct slice line;

    for (unsigned n = 1; slice_split(&rest, '\n', &line); n++) {
        bool keep = true;

        for (size_t i = 0; i < countof(refused); i++)
            keep = keep && refused[i] != n;
        if (keep)
            buf_add(out, line);
        buf_add_byte(out, '\n');
    }
}

static void test_lab(void **state)
{
    struct buf text = { 0 };
    struct diagnostics d = { 0 };
    struct settings *s;
    char addr[NET_ADDR_TEXT_MAX];

    lab_of_this_release(&text);
    s = load(buf_bytes(&text), &d);
    assert_int_equal(d.count, 0);
    assert_string_equal(s->state_dir, "/etc/relayd/lab/state");
    assert_string_equal(s->runtime_dir, "/etc/relayd/lab/run");
    assert_int_equal(s->limits.message_size, 20 * MIB);
    assert_int_equal(s->limits.connections_per_client, 0);
    assert_int_equal(s->listen_count, 3);
    assert_int_equal(s->pair_count, 1);
    assert_int_equal(s->listens[0].tls, SETTINGS_TLS_OPTIONAL);
    assert_int_equal(s->listens[1].tls, SETTINGS_TLS_REQUIRED);
    assert_int_equal(s->listens[2].tls, SETTINGS_TLS_IMPLICIT);
    assert_string_equal(net_addr_format_port(&s->listens[0].addr, addr), "127.0.0.1:2525");
    assert_int_equal(s->listens[1].role, SETTINGS_ROLE_SUBMISSION);
    assert_int_equal(s->listens[1].login, SETTINGS_LOGIN_REQUIRED);
    assert_true(s->domains[0].relay);
    assert_string_equal(s->routes[0].to, "dest.test");
    assert_int_equal(s->routes[0].smarthosts[0], 0);
    assert_int_equal(s->delivery.port, 2526);
    assert_true(s->delivery.loopback_mx);
    assert_int_equal(s->retry.doubt_ms, 3000);
    settings_unref(s);
    diagnostics_release(&d);
    buf_release(&text);
}

/* Loads it; every message must name a line and a column that exist. */
static void survive(struct slice text)
{
    struct diagnostics d = { 0 };
    struct buf out = { 0 };
    size_t lines = 1;
    struct settings *s;

    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n';
    s = load_with(text, false, &d);
    for (size_t i = 0; i < d.count; i++) {
        const struct diagnostic *item = &d.items[i];

        assert_true(item->message[0] != '\0');
        if (!item->error)
            continue;
        assert_true(item->line >= 1 && item->line <= lines);
        assert_true(item->column >= 1);
        if (item->source != NULL && memmem(item->source, item->source_len, "password", 8) == NULL)
            assert_true(item->column <= item->source_len + 1); /* behind a password nothing is shown */
    }
    diagnostics_format(&d, &out);
    buf_release(&out);
    diagnostics_release(&d);
    settings_unref(s);
}

/* The text with `with` instead of the `len` bytes at `at`, in memory of just
 * that size. */
static void survive_edit(struct slice text, size_t at, size_t len, struct slice with)
{
    struct buf edited = { 0 };
    char *exact;
    size_t size;

    buf_add(&edited, slice_head(text, at));
    buf_add(&edited, with);
    buf_add(&edited, slice_from(text, at + len));
    size = buf_len(&edited);
    exact = malloc(size != 0 ? size : 1);
    assert_non_null(exact);
    if (size != 0)
        memcpy(exact, buf_bytes(&edited).ptr, size);
    survive(slice_make(exact, size));
    free(exact);
    buf_release(&edited);
}

/* Each line deleted, doubled, cut, joined with the next; the file cut there. */
static void spoil_lines(struct slice text)
{
    for (size_t at = 0, end; at < text.len; at = end + 1) {
        end = at + slice_find(slice_from(text, at), '\n');
        survive_edit(text, at, end + 1 - at, SLICE_EMPTY);
        survive_edit(text, at, 0, slice_make(text.ptr + at, end + 1 - at));
        survive_edit(text, at, end - at, slice_make(text.ptr + at, (end - at) / 2));
        survive_edit(text, at, text.len - at, SLICE_EMPTY);
        survive_edit(text, end, 1, SLICE(" "));
    }
}

static void spoil(struct slice text)
{
    static const struct slice odd[] = {
        { "", 0 },   { "{", 1 },  { "}", 1 },  { ";", 1 },  { ",", 1 },    { "\"", 1 },    { "#", 1 },
        { "\\", 1 }, { "\0", 1 }, { "\r", 1 }, { "\n", 1 }, { "\xff", 1 }, { " x ", 3 },   { "0", 1 },
        { "*", 1 },  { "@", 1 },  { ":", 1 },  { "/", 1 },  { "-", 1 },    { "include ", 8 },
    };

    spoil_lines(text);
    for (size_t at = 0; at < text.len; at++) {
        for (size_t i = 0; i < countof(odd); i++) {
            survive_edit(text, at, 1, odd[i]);
            if (at % 7 == 0)
                survive_edit(text, at, 0, odd[i]);
        }
    }
}

/* Words that stand where others belong. */
static void exchange(struct slice text)
{
    struct {
        size_t at, len;
    } words[512];
    size_t count = 0;

    for (size_t at = 0; at < text.len && count < countof(words); at++) {
        size_t len = 0;

        while (at + len < text.len && strchr(" \n{};,#", text.ptr[at + len]) == NULL)
            len++;
        if (len == 0)
            continue;
        words[count].at = at;
        words[count++].len = len;
        at += len;
    }
    assert_true(count > 50);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i % 11; k < count; k += 11)
            survive_edit(text, words[i].at, words[i].len, slice_make(text.ptr + words[k].at, words[k].len));
    }
}

static void test_43_spoiled_site(void **state)
{
    spoil(slice_str(site));
    exchange(slice_str(site));
}

static void test_43_spoiled_lab(void **state)
{
    struct buf text = { 0 };

    spoil(slice_str(lab));
    exchange(slice_str(lab));
    lab_of_this_release(&text);
    spoil(buf_bytes(&text));
    exchange(buf_bytes(&text));
    buf_release(&text);
}

/* relayd.conf as it is installed, with its examples and defaults in force; a line
 * of prose is a mistake like any other. */
static void test_43_spoiled_file_of_the_release(void **state)
{
    struct buf text = { 0 }, in_force = { 0 };
    struct slice rest, line;
    FILE *f = fopen(getenv("INSTALLED_CONF"), "re");
    char piece[4096];
    size_t n;

    assert_non_null(f);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&text, slice_make(piece, n));
    fclose(f);
    survive(buf_bytes(&text));
    rest = buf_bytes(&text);
    while (slice_split(&rest, '\n', &line)) {
        bool example = line.len > 1 && line.ptr[0] == '#' && line.ptr[1] != ' ';

        buf_add(&in_force, slice_from(line, example ? 1 : 0));
        buf_add_byte(&in_force, '\n');
    }
    assert_true(buf_len(&in_force) > 1000);
    spoil_lines(buf_bytes(&in_force));
    buf_release(&in_force);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_lab),
        cmocka_unit_test(test_43_spoiled_site),
        cmocka_unit_test(test_43_spoiled_lab),
        cmocka_unit_test(test_43_spoiled_file_of_the_release),
    };

    return cmocka_run_group_tests(tests, make_certificate, free_certificate);
}
