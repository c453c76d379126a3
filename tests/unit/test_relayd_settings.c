/* What relayd.conf means: defaults, every directive, and mistakes with the
 * place and words of their message. */
#include "tests/unit/check_conf.h"

#include "auth/sasl_client.h"
#include "relayd/settings.h"
#include "relayd/settings_schema.h"

/* NULL when there are errors. */
static struct settings *load(const char *text, struct buf *errors)
{
    struct bundle *b = bundle_new("conf");
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    struct err e;

    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/relayd/conf", slice_str(text), NULL));
    e = settings_load_bundle(b, &d, &s);
    bundle_free(b); /* nothing may point into it any more */
    brief(&d, errors);
    assert_int_equal(e.kind, d.errors == 0 ? ERR_NONE : ERR_SYNTAX);
    assert_int_equal(s == NULL, err_failed(e));
    diagnostics_release(&d);
    return s;
}

struct table { /* a file that a directive names */
    const char *path, *text; /* NULL: it can't be read */
};

/* Likewise, with such files. */
static struct settings *load_with(const char *text, const struct table *tables, size_t count, struct buf *errors)
{
    struct bundle *b = bundle_new("conf");
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    struct err e;

    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/relayd/conf", slice_str(text), NULL));
    for (size_t i = 0; i < count; i++)
        assert_ok(bundle_add(b, BUNDLE_TABLE, tables[i].path, slice_str(tables[i].text),
                             tables[i].text != NULL ? NULL : "Permission denied"));
    e = settings_load_bundle(b, &d, &s);
    bundle_free(b);
    brief(&d, errors);
    assert_int_equal(s == NULL, err_failed(e));
    diagnostics_release(&d);
    return s;
}

static struct settings *load_good(const char *text)
{
    struct buf errors = { 0 };
    struct settings *s = load(text, &errors);

    assert_string_equal(buf_cstr(&errors), "");
    assert_non_null(s);
    buf_release(&errors);
    return s;
}

static void assert_addr(const struct net_addr *a, const char *want)
{
    char text[NET_ADDR_TEXT_MAX];

    assert_string_equal(net_addr_format_port(a, text), want);
}

static void test_defaults(void **state)
{
    struct settings *s = load_good("hostname mail.example.com");

    assert_string_equal(s->hostname, "mail.example.com");
    assert_null(s->postmaster);
    assert_string_equal(s->state_dir, "/var/lib/relayd");
    assert_string_equal(s->runtime_dir, "/run/relayd");
    assert_string_equal(s->engine_user, "_relayd");
    assert_string_equal(s->accounts_user, "_relayauth");
    assert_string_equal(s->sign_user, "_relaysign");
    assert_int_equal(s->loops, 0);
    assert_int_equal(s->resolver_count, 0);
    assert_int_equal(s->trusted_count, 0);
    assert_true(s->trust_loopback);
    assert_int_equal(s->listen_count, 1);
    assert_addr(&s->listens[0].addr, "127.0.0.1:25");
    assert_int_equal(s->domain_count, 0);
    assert_int_equal(s->route_count, 0);
    assert_int_equal(s->route_default.action, SETTINGS_DIRECT);
    assert_int_equal(s->limits.message_size, 50 * MIB);
    assert_int_equal(s->limits.message_memory, 0); /* by the memory there is */
    assert_int_equal(s->limits.received, 50);
    assert_true(s->limits.future_release_ms == 30 * DAY_MS);
    assert_int_equal(s->delivery.port, 25);
    assert_false(s->delivery.loopback_mx);
    assert_string_equal(s->delivery.helo, "mail.example.com");
    assert_int_equal(s->delivery.connections_per_site, 20);
    assert_int_equal(s->delivery.final_timeout_ms, 10 * MINUTE_MS);
    assert_int_equal(s->retry.first_ms, MINUTE_MS);
    assert_int_equal(s->retry.factor_percent, 200);
    assert_int_equal(s->retry.max_ms, 4 * HOUR_MS);
    assert_int_equal(s->retry.doubt_ms, 30 * MINUTE_MS);
    assert_int_equal(s->retry.expire_ms, 5 * DAY_MS);
    assert_int_equal(s->retry.warn_ms, 4 * HOUR_MS);
    assert_int_equal(s->history_keep_ms, 14 * DAY_MS);
    assert_int_equal(s->history_size, 1024ull * MIB);
    assert_int_equal(s->log_level, LOG_LEVEL_INFO);
    settings_unref(s);
}

static void test_every_directive(void **state)
{
    struct settings *s = load_good("hostname B\xc3\xbc" "cher.Example\n"
                                   "postmaster \"Post.Master@EXAMPLE.com\"\n"
                                   "state_dir state; runtime_dir /run/x; loops 3\n"
                                   "resolver 127.0.0.1:5353, ::1; resolver 192.0.2.1\n"
                                   "trusted 10.0.0.0/8, ::1; trusted 192.0.2.0/24\n"
                                   "users { engine mail; accounts auth; sign _dkim }\n"
                                   "limits { message_size unlimited; recipients 7; connections 8\n"
                                   " connections_per_client 9; messages_per_connection 10; errors 11\n"
                                   " idle_commands 12; received 13; command_timeout 14s; data_timeout 15s\n"
                                   " message_timeout unlimited; message_memory 1G; future_release none }\n"
                                   "storage { ahead none; reserve 0; map_size 1G }\n"
                                   "delivery { port 2526; loopback_mx allow; connections 2\n"
                                   " connections_per_site 3; messages_per_connection unlimited\n"
                                   " recipients_per_message 5; helo out.example.com\n"
                                   " source 192.0.2.7, 2001:db8::7; ipv4 no; ipv6 yes; connect_timeout 1s\n"
                                   " greeting_timeout 2s; command_timeout 3s; data_timeout 4s\n"
                                   " final_timeout 5s; idle_timeout 6s }\n"
                                   "history { keep 1d; size 2G }\n"
                                   "log { level debug; format postfix }\n");

    assert_string_equal(s->hostname, "xn--bcher-kva.example");
    assert_string_equal(s->postmaster, "Post.Master@example.com");
    assert_string_equal(s->state_dir, "/etc/relayd/state");
    assert_string_equal(s->runtime_dir, "/run/x");
    assert_int_equal(s->loops, 3);
    assert_int_equal(s->resolver_count, 3);
    assert_addr(&s->resolvers[0], "127.0.0.1:5353");
    assert_addr(&s->resolvers[1], "[::1]:53");
    assert_addr(&s->resolvers[2], "192.0.2.1:53");
    assert_int_equal(s->trusted_count, 3);
    assert_int_equal(s->trusted[0].bits, 8);
    assert_int_equal(s->trusted[1].bits, 128);
    assert_false(s->trust_loopback);
    assert_string_equal(s->engine_user, "mail");
    assert_string_equal(s->accounts_user, "auth");
    assert_string_equal(s->sign_user, "_dkim");
    assert_int_equal(s->limits.message_size, 0);
    assert_int_equal(s->limits.recipients, 7);
    assert_int_equal(s->limits.connections, 8);
    assert_int_equal(s->limits.connections_per_client, 9);
    assert_int_equal(s->limits.messages_per_connection, 10);
    assert_int_equal(s->limits.errors, 11);
    assert_int_equal(s->limits.idle_commands, 12);
    assert_int_equal(s->limits.received, 13);
    assert_int_equal(s->limits.command_timeout_ms, 14000);
    assert_int_equal(s->limits.data_timeout_ms, 15000);
    assert_int_equal(s->limits.message_timeout_ms, 0);
    assert_int_equal(s->limits.future_release_ms, 0);
    assert_int_equal(s->limits.message_memory, 1024ull * MIB);
    assert_int_equal(s->storage.ahead, 0);
    assert_int_equal(s->storage.reserve, 0);
    assert_int_equal(s->storage.map_size, 1024ull * MIB);
    assert_int_equal(s->delivery.port, 2526);
    assert_true(s->delivery.loopback_mx);
    assert_int_equal(s->delivery.connections, 2);
    assert_int_equal(s->delivery.connections_per_site, 3);
    assert_int_equal(s->delivery.messages_per_connection, 0);
    assert_int_equal(s->delivery.recipients_per_message, 5);
    assert_string_equal(s->delivery.helo, "out.example.com");
    assert_int_equal(s->delivery.source_count, 2);
    assert_addr(&s->delivery.sources[1], "[2001:db8::7]:0");
    assert_false(s->delivery.ipv4);
    assert_true(s->delivery.ipv6);
    assert_int_equal(s->delivery.connect_timeout_ms, 1000);
    assert_int_equal(s->delivery.greeting_timeout_ms, 2000);
    assert_int_equal(s->delivery.command_timeout_ms, 3000);
    assert_int_equal(s->delivery.data_timeout_ms, 4000);
    assert_int_equal(s->delivery.final_timeout_ms, 5000);
    assert_int_equal(s->delivery.idle_timeout_ms, 6000);
    assert_int_equal(s->history_keep_ms, DAY_MS);
    assert_int_equal(s->history_size, 2048ull * MIB);
    assert_int_equal(s->log_level, LOG_LEVEL_DEBUG);
    settings_unref(s);
}

static void test_listeners(void **state)
{
    struct settings *s = load_good("hostname a.b\n"
                                   "listen *:25\n"
                                   "listen [::]:26 { role relay }\n"
                                   "listen 127.0.0.1:27 { repair_line_ends; tls none }\n"
                                   "listen [::1]:27 { repair_line_ends no }\n");

    assert_int_equal(s->listen_count, 4);
    assert_addr(&s->listens[0].addr, "[::]:25");
    assert_true(s->listens[0].both_families);
    assert_false(s->listens[1].both_families);
    assert_int_equal(s->listens[1].role, SETTINGS_ROLE_RELAY);
    assert_true(s->listens[2].repair_line_ends);
    assert_false(s->listens[3].repair_line_ends);
    assert_int_equal(s->listens[2].tls, SETTINGS_TLS_NONE);
    assert_int_equal(s->listens[3].tls, SETTINGS_TLS_OPTIONAL);
    assert_string_equal(s->listens[3].place.file, "conf");
    assert_int_equal(s->listens[3].place.line, 5);
    settings_unref(s);
}

static void test_submission(void **state)
{
    struct settings *s = load_good("hostname a.b\n"
                                   "sender_rewrite root@ admin@a.b; sender_rewrite .a.b admin@a.b\n"
                                   "listen 127.0.0.1:587 { role submission; tls none; header_from owned\n"
                                   "  client_address hide; sender_rewrite www@ Web@A.B }\n"
                                   "listen 127.0.0.1:588 { role submission; login unless_trusted }\n"
                                   "listen 127.0.0.1:25 { login optional; client_address show; header_from any }\n"
                                   "listen 127.0.0.1:26\n");

    assert_int_equal(s->listens[0].role, SETTINGS_ROLE_SUBMISSION);
    assert_int_equal(s->listens[0].login, SETTINGS_LOGIN_REQUIRED);
    assert_true(s->listens[0].header_from_owned);
    assert_true(s->listens[0].hide_client);
    assert_string_equal(s->listens[0].rewrites->pattern, "www@");
    assert_string_equal(s->listens[0].rewrites->address, "Web@a.b");
    assert_null(s->listens[0].rewrites->next);
    assert_int_equal(s->listens[1].login, SETTINGS_LOGIN_UNLESS_TRUSTED);
    assert_int_equal(s->listens[2].login, SETTINGS_LOGIN_OPTIONAL);
    assert_false(s->listens[2].header_from_owned);
    assert_false(s->listens[2].hide_client);
    assert_int_equal(s->listens[3].login, SETTINGS_LOGIN_NONE);
    assert_null(s->listens[3].rewrites);
    assert_string_equal(s->rewrites->pattern, "root@");
    assert_string_equal(s->rewrites->next->pattern, ".a.b");
    assert_null(s->rewrites->next->next);
    settings_unref(s);
}

static void test_routes(void **state)
{
    struct settings *s = load_good("hostname a.b\n"
                                   "route from @shop.example via two, one\n"
                                   "route from <> to user@ reject \"not here\"\n"
                                   "route default hold\n"
                                   "route to .example.com discard\n"
                                   "route direct { tls none }\n"
                                   "smarthost one { host mx.one.example; tls none }\n"
                                   "smarthost two { host A.two.example:587, [::1]:2, 192.0.2.1; tls optional }\n"
                                   "domain Dest.Test { relay }\n"
                                   "domain home.test\n");

    assert_int_equal(s->route_count, 4);
    assert_string_equal(s->routes[0].from, "@shop.example");
    assert_null(s->routes[0].to);
    assert_int_equal(s->routes[0].action, SETTINGS_VIA);
    assert_int_equal(s->routes[0].smarthost_count, 2);
    assert_string_equal(s->smarthosts[s->routes[0].smarthosts[0]].title, "two");
    assert_string_equal(s->smarthosts[s->routes[0].smarthosts[1]].title, "one");
    assert_string_equal(s->routes[1].from, "<>");
    assert_string_equal(s->routes[1].to, "user@");
    assert_int_equal(s->routes[1].action, SETTINGS_REJECT);
    assert_string_equal(s->routes[1].reject_text, "not here");
    assert_int_equal(s->routes[2].action, SETTINGS_DISCARD);
    assert_int_equal(s->routes[3].action, SETTINGS_DIRECT);
    assert_int_equal(s->routes[3].tls, SETTINGS_TLS_NONE);
    assert_null(s->routes[3].from);
    assert_int_equal(s->route_default.action, SETTINGS_HOLD);

    assert_int_equal(s->smarthosts[0].host_count, 1);
    assert_string_equal(s->smarthosts[0].hosts[0].name, "mx.one.example");
    assert_int_equal(s->smarthosts[0].hosts[0].port, 25);
    assert_false(s->smarthosts[0].hosts[0].literal);
    assert_int_equal(s->smarthosts[0].tls, SETTINGS_TLS_NONE);
    assert_int_equal(s->smarthosts[1].host_count, 3);
    assert_string_equal(s->smarthosts[1].hosts[0].name, "a.two.example");
    assert_int_equal(s->smarthosts[1].hosts[0].port, 587);
    assert_true(s->smarthosts[1].hosts[1].literal);
    assert_addr(&s->smarthosts[1].hosts[1].addr, "[::1]:2");
    assert_string_equal(s->smarthosts[1].hosts[2].name, "192.0.2.1");
    assert_addr(&s->smarthosts[1].hosts[2].addr, "192.0.2.1:25");
    assert_int_equal(s->smarthosts[1].tls, SETTINGS_TLS_OPTIONAL);

    assert_int_equal(s->domain_count, 2);
    assert_string_equal(s->domains[0].name, "dest.test");
    assert_true(s->domains[0].relay);
    assert_false(s->domains[1].relay);
    settings_unref(s);
}

static void test_logins(void **state)
{
    struct settings *s = load_good("hostname a.b\n"
                                   "smarthost plain { host mx.test }\n"
                                   "smarthost ses { host mx.test:587, mx2.test:465; user AKIA; password \"s p\"; "
                                   "auth SCRAM-SHA-256, plain; limit { connections 3; rate 30/min } }\n"
                                   "smarthost google { host smtp.test:587; tls required starttls; user u@v; "
                                   "token_command ./token -s \"a b\" }\n"
                                   "smarthost file { host smtp.test:5465; tls verified implicit; user u; "
                                   "token_file /run/token; limit { rate unlimited } }\n"
                                   "smarthost here { host 127.0.0.1:2525, [::1], localhost; tls none; user u; "
                                   "password p }\n"
                                   "delivery { rate 2/s }\n");
    const struct settings_smarthost *sh = s->smarthosts;

    assert_int_equal(sh[0].tls, SETTINGS_TLS_VERIFIED);
    assert_int_equal(sh[0].tls_start, SETTINGS_TLS_BY_PORT);
    assert_null(sh[0].user);
    assert_int_equal(sh[0].limit.connections, 0);
    assert_int_equal(sh[0].limit.rate.count, 0);
    assert_string_equal(sh[1].user, "AKIA");
    assert_string_equal(sh[1].password, "s p");
    assert_int_equal(sh[1].mechanisms, SASL_BIT(SASL_SCRAM_SHA_256) | SASL_BIT(SASL_PLAIN));
    assert_int_equal(sh[1].limit.connections, 3);
    assert_int_equal(sh[1].limit.rate.count, 30);
    assert_int_equal(sh[1].limit.rate.per_ms, 60000);
    assert_int_equal(sh[2].tls, SETTINGS_TLS_REQUIRED);
    assert_int_equal(sh[2].tls_start, SETTINGS_TLS_STARTTLS);
    assert_int_equal(sh[2].token_command[0][0], '/');
    assert_string_equal(sh[2].token_command[1], "-s");
    assert_string_equal(sh[2].token_command[2], "a b");
    assert_null(sh[2].token_command[3]);
    assert_int_equal(sh[3].tls, SETTINGS_TLS_VERIFIED);
    assert_int_equal(sh[3].tls_start, SETTINGS_TLS_FIRST);
    assert_string_equal(sh[3].token_file, "/run/token");
    assert_int_equal(sh[3].limit.rate.count, 0);
    assert_int_equal(sh[4].tls, SETTINGS_TLS_NONE);
    assert_int_equal(s->delivery.rate.count, 2);
    assert_int_equal(s->delivery.rate.per_ms, 1000);
    settings_unref(s);
}

static void test_schedules(void **state)
{
    struct settings *s = load_good("hostname a.b\n"
                                   "retry slow.example { max 12h; warn never }\n"
                                   "retry { first 2s; factor 1.5; max 5h }\n"
                                   "retry .fast.example { first 1s }\n");

    assert_int_equal(s->retry.first_ms, 2000);
    assert_int_equal(s->retry.factor_percent, 150);
    assert_int_equal(s->retry_count, 2);
    assert_string_equal(s->retries[0].pattern, "slow.example");
    assert_int_equal(s->retries[0].retry.first_ms, 2000); /* from the general one, though it stands below */
    assert_int_equal(s->retries[0].retry.max_ms, 12 * HOUR_MS);
    assert_int_equal(s->retries[0].retry.warn_ms, 0);
    assert_int_equal(s->retries[0].retry.expire_ms, 5 * DAY_MS);
    assert_int_equal(s->retries[1].retry.first_ms, 1000);
    assert_int_equal(s->retries[1].retry.max_ms, 5 * HOUR_MS);
    assert_int_equal(s->retries[1].retry.warn_ms, 4 * HOUR_MS);
    settings_unref(s);
}

/* From disk, with the environment of the process, as relayd -n does it. */
static void test_load(void **state)
{
    struct scratch dir;
    struct diagnostics d = { 0 };
    struct settings *s;

    scratch_open(&dir);
    scratch_write(&dir, "good", "hostname a.b; state_dir state; limits { errors 5 }", 0600);
    scratch_write(&dir, "bad", "hostname a b", 0600);

    assert_int_equal(setenv("RELAYD_LIMITS_ERRORS", "7", 1), 0);
    assert_ok(settings_load(scratch_path(&dir, "good"), &d, &s));
    assert_int_equal(s->limits.errors, 7);
    assert_int_equal(strncmp(s->state_dir, dir.path, strlen(dir.path)), 0);
    settings_unref(s);
    assert_true(settings_check(dir.file));
    assert_int_equal(unsetenv("RELAYD_LIMITS_ERRORS"), 0);

    assert_err(settings_load(scratch_path(&dir, "bad"), &d, &s), ERR_SYNTAX);
    assert_null(s);
    assert_int_equal(d.errors, 1);
    assert_false(settings_check(dir.file));
    assert_false(settings_check(scratch_path(&dir, "nowhere")));
    diagnostics_release(&d);
    scratch_close(&dir);
}

/* Without the directive it is the machine's name; one without a domain works,
 * with a warning. */
static void test_default_hostname(void **state)
{
    struct buf errors = { 0 };
    struct settings *s = load("", &errors);

    assert_non_null(s);
    assert_true(s->hostname[0] != '\0');
    if (strchr(s->hostname, '.') == NULL)
        assert_non_null(strstr(buf_cstr(&errors), "warning: \"hostname\" is not set"));
    else
        assert_string_equal(buf_cstr(&errors), "");
    settings_unref(s);
    buf_release(&errors);
}

static void test_references(void **state)
{
    struct settings *s = load_good("hostname a.b");
    const struct settings *mine = settings_ref(s);

    settings_unref(s);
    assert_string_equal(mine->hostname, "a.b");
    settings_unref(mine);
    settings_unref(NULL);
}

static void test_errors(void **state)
{
    static const char host_forms[] = "is not a host: write mail.example.com, mail.example.com:587, "
                                     "192.0.2.1:25 or [2001:db8::1]:25";
    static const struct {
        const char *text, *errors; /* %s is host_forms */
    } bad[] = {
        /* names and addresses */
        { "hostname a..b",
          "1:10: \"a..b\" is not a domain name: labels of letters, digits and hyphens stand between dots" },
        { "hostname 192.0.2.1", "1:10: \"192.0.2.1\" is not a domain name: it is an address" },
        { "hostname", "1:9: \"hostname\" needs a domain name here" },
        { "hostname a b", "1:12: \"hostname\" takes no further argument \"b\"" },
        { "postmaster root", "1:12: \"root\" is not a mail address: the domain is missing" },
        { "resolver dns.example",
          "1:10: \"dns.example\" is not the address of a name server: "
          "write 127.0.0.1, 127.0.0.1:5353 or [::1]:5353" },
        { "resolver *:53",
          "1:10: \"*:53\" is not the address of a name server: "
          "write 127.0.0.1, 127.0.0.1:5353 or [::1]:5353" },
        { "trusted 10.0.0.1/8",
          "1:9: \"10.0.0.1/8\" is not a network: write 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32; "
          "bits beyond the prefix are zero" },
        { "trusted none; trusted ::1", "1:1: \"trusted none\" stands beside other \"trusted\" directives" },
        { "users { engine \"a b\" }",
          "1:16: \"a b\" is not the name of a user: it is made of letters, digits, \"_\", \"-\" and \".\", "
          "and no more than 32 of them" },
        { "state_dir", "1:10: \"state_dir\" needs a path here" },
        { "loops 0", "1:7: \"0\" is out of range: 1 to 256" },
        /* limits */
        { "limits { message_size 100 }", "1:23: \"100\" is out of range: 1K to 1T" },
        { "limits { connections_per_client infinite }",
          "1:33: \"infinite\" is not a number: it begins with no digit" },
        { "limits { errors unlimited }", "1:17: \"unlimited\" is not a number: it begins with no digit" },
        { "limits { command_timeout 5ms }", "1:26: \"5ms\" is out of range: 10ms to 1d" },
        { "limits { message_memory 1K }", "1:25: \"1K\" is out of range: 1M to 64G" },
        /* listeners */
        { "listen 25", "1:8: \"25\" is not an address and port: "
                       "write 192.0.2.1:25, [2001:db8::1]:25 or *:25" },
        { "listen localhost:25", "1:8: \"localhost:25\" is not an address and port: "
                                 "write 192.0.2.1:25, [2001:db8::1]:25 or *:25" },
        { "listen 127.0.0.1:0", "1:8: \"127.0.0.1:0\" is not an address and port: port 0 is none" },
        { "listen 127.0.0.1:65536", "1:8: \"127.0.0.1:65536\" is not an address and port: "
                                    "write 192.0.2.1:25, [2001:db8::1]:25 or *:25" },
        { "listen *:25\nlisten *:25", "2:8: a second listen \"*:25\"; the first is at conf:1" },
        { "listen [::1]:25\nlisten [0::1]:25",
          "2:8: a second listener on this address; the first is at conf:1" },
        { "listen 0.0.0.0:25 { tls none }", "1:21: \"tls none\" is for listeners on loopback only" },
        { "listen *:25 { role mta }",
          "1:20: \"role\" needs \"relay\", \"submission\", \"lmtp\", \"imap\", \"pop3\" or \"metrics\" here, "
          "not \"mta\"" },
        { "listen *:25 { proxy_protocol 10.0.0.1 }", "1:30: \"proxy_protocol\" needs \"from\" here, not \"10.0.0.1\"" },
        { "listen *:25 { xclient from }", "1:27: \"xclient\" needs a network here" },
        { "listen *:25 { repair_line_ends maybe }", "1:32: \"maybe\" is not \"yes\" or \"no\": it is yes or no" },
        { "listen *:25 { role relay; role relay }", "1:27: a second \"role\"; the first is at conf:1" },
        /* domains */
        { "domain a.test\ndomain A.TEST", "2:8: a second domain \"A.TEST\"; the first is at conf:1" },
        { "domain a.test { relay yes }", "1:23: \"relay\" takes no argument \"yes\"" },
        { "domain @a.test", "1:8: \"@a.test\" is not a domain name: "
                            "labels of letters, digits and hyphens stand between dots" },
        /* smart hosts */
        { "smarthost a { tls none }", "1:11: smarthost \"a\" has no \"host\"" },
        { "smarthost a", "1:12: \"smarthost\" needs a block: { … }" },
        { "smarthost \"a b\" {}", "1:11: \"a b\" is not a name: "
                                  "it is made of letters, digits, \"_\", \"-\" and \".\"" },
        { "smarthost a { tls none; host b.test:0 }", "1:30: \"b.test:0\" %s" },
        { "smarthost a { tls none; host b.test:99999 }", "1:30: \"b.test:99999\" %s" },
        { "smarthost a { tls none; host b.test: }", "1:30: \"b.test:\" %s" },
        { "smarthost a { tls none; host *:25 }", "1:30: \"*:25\" %s" },
        { "smarthost a { tls none; host 192.0.2.1:0 }", "1:30: \"192.0.2.1:0\" %s" },
        { "smarthost a { tls none; host \"\" }", "1:30: \"\" %s" },
        { "smarthost a { tls none; host b.test c.test }",
          "1:37: \"host\" takes no further argument \"c.test\"" },
        { "smarthost a { tls none; host b.test }\nsmarthost A { tls none; host b.test }",
          "2:11: a second smarthost \"A\"; the first is at conf:1" },
        { "smarthost a { host b.test; tls none; user x; password y }",
          "1:28: \"tls none\" with a login is for hosts on loopback only, and b.test is none" },
        { "smarthost a { host 127.0.0.1, 192.0.2.1; tls none; user x; password y }",
          "1:42: \"tls none\" with a login is for hosts on loopback only, and 192.0.2.1 is none" },
        { "smarthost a { host b; tls optional implicit }",
          "1:36: what begins with TLS can't go on without it: write \"tls required implicit\" or "
          "\"tls verified implicit\"" },
        { "smarthost a { host b; tls none implicit }", "1:32: \"tls\" takes no further argument \"implicit\"" },
        { "smarthost a { host b; user x }",
          "1:23: \"user\" without a secret: add \"password\", \"password_file\", \"token_file\" or "
          "\"token_command\"" },
        { "smarthost a { host b; password x }", "1:23: \"password\" without \"user\"" },
        { "smarthost a { host b; auth PLAIN }", "1:23: \"auth\" without \"user\"" },
        { "smarthost a { host b; user x; password y; token_file z }",
          "1:43: \"token_file\" beside \"password\": one login has one secret" },
        { "smarthost a { host b; user x; password y; auth CRAM-MD5 }",
          "1:48: \"CRAM-MD5\" is not a way to log in: "
          "write SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN or XOAUTH2" },
        { "smarthost a { host b; user x; password y; auth xoauth2 }",
          "1:43: XOAUTH2 takes a token: \"token_file\" or \"token_command\"" },
        { "smarthost a { host b; user x; token_file y; auth plain }",
          "1:45: a token is for XOAUTH2, and \"auth\" does not name it" },
        { "smarthost a { host b; user x; password_file /nowhere/at/all }",
          "1:45: can't use \"/nowhere/at/all\": it is not part of this configuration" },
        { "smarthost a { host b; limit { connections 0 } }", "1:43: \"0\" is out of range: 1 to 10000" },
        { "smarthost a { host b; limit { rate 30 } }",
          "1:36: \"30\" is not a rate such as 30/min: a \"/\" and s, min, h or day must follow the number" },
        /* routes */
        { "route default via a { tls none }\nsmarthost a { host b }",
          "1:23: \"tls\" of a route is for \"direct\"; a smart host has its own" },
        { "route via sunk\nsmarthost sink { host a.test; tls none }",
          "1:11: there is no smarthost \"sunk\"; did you mean \"sink\"?" },
        { "route default via x", "1:19: there is no smarthost \"x\"" },
        { "route default direct\nroute default hold", "2:7: a second default route; the first is at conf:1" },
        { "route default", "1:14: \"route\" needs \"direct\", \"via\", \"hold\", \"discard\" or \"reject\" here" },
        { "route from a@b@c direct",
          "1:12: \"a@b@c\" is not an address pattern: "
          "write user@example.com, example.com, .example.com, user@, <> or *" },
        { "route to a.test drop",
          "1:17: \"route\" needs \"direct\", \"via\", \"hold\", \"discard\" or \"reject\" here, not \"drop\"" },
        { "route reject", "1:13: \"route\" needs a text for the reply here" },
        { "route reject \"\xc3\xbc\"", "1:14: \"\xc3\xbc\" is not a text for the reply: "
                                       "a reply is printable ASCII" },
        { "route reject \"a\\nb\"", "1:14: \"a\nb\" is not a text for the reply: a reply is printable ASCII" },
        { "route reject no such user", "1:17: \"route\" takes no further argument \"such\"" },
        /* delivery */
        { "delivery { ipv4 no; ipv6 no }", "1:1: with neither IPv4 nor IPv6 nothing can be delivered" },
        { "delivery { source 192.0.2.1, 192.0.2.2 }", "1:30: a second source address of the same family" },
        { "delivery { source host.test }",
          "1:19: \"host.test\" is not an IP address: write 192.0.2.1 or 2001:db8::1" },
        { "delivery { loopback_mx yes }", "1:24: \"loopback_mx\" needs \"allow\" or \"refuse\" here, not \"yes\"" },
        { "delivery { port 65536 }", "1:17: \"65536\" is out of range: 1 to 65535" },
        { "port 25", "1:1: unknown directive \"port\"; it stands in \"delivery { … }\"" },
        /* retry */
        { "retry { first 5h }", "1:1: \"max\" is shorter than \"first\"" },
        { "retry { first 5m; max 1m }", "1:19: \"max\" is shorter than \"first\"" },
        { "retry { first 5m }\nretry a.test { max 1m }", "2:16: \"max\" is shorter than \"first\"" },
        { "retry { factor 0.5 }", "1:16: \"0.5\" is out of range: 1 to 10" },
        { "retry { factor 2,5 }", "1:17: \"factor\" takes no further argument \",\"" },
        { "retry a.test {}\nretry A.test {}", "2:7: a second retry \"A.test\"; the first is at conf:1" },
        { "log { level verbose }",
          "1:13: \"level\" needs \"debug\", \"info\", \"warning\" or \"error\" here, not \"verbose\"" },
        /* submission */
        { "listen *:587 { role submission; tls none }",
          "1:33: \"tls none\" is for listeners on loopback only" },
        { "listen 127.0.0.1:587 { role submission; login optional }",
          "1:41: on a listener with \"role submission\" the login is required, or unless_trusted" },
        { "listen 127.0.0.1:587 { login maybe }",
          "1:30: \"login\" needs \"none\", \"optional\", \"unless_trusted\" or \"required\" here, not \"maybe\"" },
        { "sender_rewrite root@", "1:21: \"sender_rewrite\" needs a mail address here" },
        { "sender_rewrite <> a@b.test", "1:16: the null path is for mail that must not be answered, and stays" },
        { "sender_rewrite root@ web", "1:22: \"web\" is not a mail address: the domain is missing" },
        /* what this release refuses */
        { "listen *:24 { role lmtp }", "1:15: \"role lmtp\" is not in this release" },
        { "listen *:24 { role metrics }", "1:15: \"role metrics\" is not in this release" },
        { "domain a.test { mailboxes }", "1:17: \"mailboxes\" is not in this release" },
        { "domain a.test { dkim selector -s key_file ./s1.pem }",
          "1:31: \"-s\" is not the name of a key: labels of letters, digits and hyphens, 63 characters at most in all" },
        { "domain a.test { dkim selector s key_file a; dkim selector S key_file b }",
          "1:59: a second key with this selector" },
        { "domain a.test { dkim selector s1 keyfile ./s1.pem }",
          "1:34: \"dkim\" needs \"key_file\" here, not \"keyfile\"; did you mean \"key_file\"?" },
        { "smarthost a { host b; tls dane }", "1:23: \"tls dane\" is not in this release" },
        { "route direct { tls dane }", "1:16: \"tls dane\" is not in this release" },
        { "users { verify x }", "1:9: \"verify\" is not in this release" },
        { "log { format json }", "1:7: \"format json\" is not in this release" },
        { "log { syslog }", "1:7: \"syslog\" is not in this release" },
    };
    struct buf errors = { 0 }, want = { 0 };

    for (size_t i = 0; i < countof(bad); i++) {
        const char *mark = strstr(bad[i].errors, "%s");

        buf_clear(&want);
        buf_add(&want,
                slice_make(bad[i].errors, mark != NULL ? (size_t)(mark - bad[i].errors) : strlen(bad[i].errors)));
        if (mark != NULL)
            buf_add_str(&want, host_forms);
        assert_null(load(bad[i].text, &errors));
        assert_string_equal(buf_cstr(&errors), buf_cstr(&want));
    }
    buf_release(&errors);
    buf_release(&want);
}

static void test_warnings(void **state)
{
    struct buf errors = { 0 };
    struct settings *s = load("hostname a.b\nretry { expire 1h; warn 2h }", &errors);

    assert_non_null(s);
    assert_string_equal(buf_cstr(&errors),
                        "2:1: warning: nobody is warned: \"expire\" comes before \"warn\"");
    settings_unref(s);
    buf_release(&errors);
}

static void test_too_many(void **state)
{
    struct buf text = { 0 }, errors = { 0 };

    for (unsigned i = 1; i <= 257; i++)
        buf_printf(&text, "listen 127.0.0.1:%u\n", i);
    for (unsigned i = 0; i <= 1024; i++)
        buf_printf(&text, "smarthost s%u { host a.test; tls none }\n", i);
    assert_null(load(buf_cstr(&text), &errors));
    assert_string_equal(buf_cstr(&errors), "257:1: more than 256 listeners\n"
                                           "1282:1: more than 1024 smart hosts");
    buf_clear(&text);
    for (unsigned i = 0; i < 50000; i++)
        buf_printf(&text, "domain d%u.test { relay }\nroute to d%u.test via s\nretry d%u.test {}\n", i, i, i);
    buf_add_str(&text, "hostname a.b\nretry { first 5s }\nsmarthost s { host a.test; tls none }\n");
    struct settings *s = load_good(buf_cstr(&text));
    assert_int_equal(s->domain_count, 50000);
    assert_int_equal(s->route_count, 50000);
    assert_int_equal(s->retries[49999].retry.first_ms, 5000);
    assert_string_equal(s->domains[49999].name, "d49999.test");
    settings_unref(s);
    buf_release(&text);
    buf_release(&errors);
}

/* A secret that is for nobody is of no use, and one for all is none. */
static void test_secrets_have_readers(void **state)
{
    const unsigned readers = CONF_FOR(PROCESS_ENGINE) | CONF_FOR(PROCESS_ACCOUNTS) | CONF_FOR(PROCESS_SIGN);
    unsigned seen = 0;

    for (const struct conf_row *r = settings_schema.rows; r->name != NULL; r++) {
        bool secret = strstr(r->args, "SECRET") != NULL || strstr(r->args, "KEYFILE") != NULL;

        if (secret != ((r->flags & readers) != 0) || (r->flags & readers) == readers)
            fail_msg("%s { %s %s }: for whom?", r->parent, r->name, r->args);
        seen += secret;
    }
    assert_true(seen >= 3);
}

static void test_front_ends(void **state)
{
    struct settings *s = load_good("hostname h.test\n"
                                   "listen 127.0.0.1:25 { proxy_protocol from 192.0.2.0/24, ::1; xclient from 10.0.0.1 }\n"
                                   "listen 127.0.0.1:26");
    struct net_addr client;

    assert_int_equal(s->listens[0].proxy_count, 2);
    assert_int_equal(s->listens[0].xclient_count, 1);
    assert_true(net_addr_parse(SLICE("192.0.2.77"), &client));
    assert_true(net_prefix_holds(&s->listens[0].proxies[0], &client));
    assert_false(net_prefix_holds(&s->listens[0].xclients[0], &client));
    assert_true(net_addr_parse(SLICE("::1"), &client));
    assert_true(net_prefix_holds(&s->listens[0].proxies[1], &client));
    assert_int_equal(s->listens[1].proxy_count + s->listens[1].xclient_count, 0);
    settings_unref(s);
}

static void add_target(void *ctx, struct slice address)
{
    buf_printf(ctx, " %.*s", (int)address.len, address.ptr);
}

static void assert_alias(const struct settings *s, const char *address, const char *want)
{
    static const struct alias_events events = { .target = add_target };
    struct buf out = { 0 };

    alias_resolve(s->aliases, slice_str(address), &events, &out);
    assert_string_equal(buf_cstr(&out), want);
    buf_release(&out);
}

static void test_aliases(void **state)
{
    static const struct table tables[] = {
        { "/etc/aliases", "root: admin@far.test\nstaff: :include:/etc/staff, root\n" },
        { "/etc/staff", "# us\njoe@far.test\n:include:more\n" },
        { "/etc/more", "mary@far.test, root\n" },
        { "/etc/relayd/virtual", "info@c.test help@far.test\n@d.test @c.test\n" },
        { "/etc/relayd/list", "bob\nsue@b.test OK\nann@elsewhere.test OK\n" },
    };
    struct buf errors = { 0 };
    struct settings *s = load_with("hostname h.test\n"
                                   "postmaster pm@far.test\n"
                                   "virtual_aliases virtual\n"
                                   "plus_addressing -\n"
                                   "limits { alias_recipients 7 }\n"
                                   "domain a.test { aliases /etc/aliases; alias info root, desk@far.test;\n"
                                   "    alias Press@A.test \\root, x@far.test }\n"
                                   "domain a2.test { aliases /etc//aliases; catch_all all@far.test }\n"
                                   "domain b.test { relay; recipients Joe, \"mary@b.test\"\n recipients_file list }\n"
                                   "domain c.test\ndomain d.test\ndomain bare.test\n",
                                   tables, countof(tables), &errors);

    assert_string_equal(buf_cstr(&errors),
                        "7:1: warning: \"press@a.test\" leads to an address of ours that does not exist: root@a.test");
    assert_int_equal(s->limits.alias_recipients, 7);
    assert_int_equal(s->plus_delimiter, '-');
    assert_true(s->domains[0].aliased && s->domains[0].names == s->domains[1].names && !s->domains[0].relay);
    assert_true(s->domains[2].relay && s->domains[2].listed && !s->domains[2].aliased);
    assert_true(s->domains[3].aliased && s->domains[4].aliased && !s->domains[5].aliased);
    assert_alias(s, "root@a.test", " admin@far.test");
    assert_alias(s, "staff@a2.test", " joe@far.test mary@far.test admin@far.test");
    assert_alias(s, "info-tag@a.test", " admin@far.test desk@far.test");
    assert_alias(s, "press@a.test", " x@far.test");
    assert_alias(s, "who@a.test", "");
    assert_alias(s, "who@a2.test", " all@far.test");
    assert_alias(s, "joe@b.test", " joe@b.test");
    assert_alias(s, "MARY-x@b.test", " MARY-x@b.test");
    assert_alias(s, "bob@b.test", " bob@b.test");
    assert_alias(s, "sue@b.test", " sue@b.test");
    assert_alias(s, "ann@b.test", "");
    assert_alias(s, "abuse@b.test", " pm@far.test");
    assert_alias(s, "info@d.test", " help@far.test");
    assert_alias(s, "any@bare.test", " any@bare.test");
    settings_unref(s);
    buf_release(&errors);
}

static void test_alias_mistakes(void **state)
{
    static const struct {
        const char *text, *table, *want;
    } rows[] = {
        { "domain a.test { aliases t }", "a: |prog\n\nb: c@d.test\nB: e@d.test\n",
          "t:1:1: \"|prog\": relayd runs no programs; let a server that does (by LMTP or SMTP) have the address\n"
          "t:4:1: a second alias for \"b\"; the first is at t:3" },
        { "domain a.test { aliases t }", NULL, "1:25: can't use \"t\": Permission denied" },
        { "domain a.test { aliases u }", "", "1:25: can't use \"u\": it is not part of this configuration" },
        { "domain a.test { relay; aliases t }", "a: :include:t\nb: :include:u\nc: :include:\n",
          "t:1:1: \"t\" includes itself\n"
          "t:2:1: can't read \"u\": it is not part of this configuration\n"
          "t:3:1: :include: names no file" },
        { "domain a.test { relay; aliases t }", "a: b\nb: c\nc: a\nd: e\ne: x@y.test\n",
          "t:1:1: warning: \"a\" leads in a circle, which closes at a@a.test\n"
          "t:2:1: warning: \"b\" leads in a circle, which closes at b@a.test\n"
          "t:3:1: warning: \"c\" leads in a circle, which closes at c@a.test" },
        { "virtual_aliases t\ndomain a.test { relay }", "x@a.test y@z.test\nx@b.test y@z.test\n",
          "t:2:1: warning: \"x@b.test\" is never looked up, for \"b.test\" is none of our domains; "
          "write \"domain b.test\"" },
        { "virtual_aliases t\ndomain a.test", "x@a.test y@z.test\n",
          "2:1: postmaster@a.test leads nowhere; say where by \"postmaster ADDRESS\" or an alias" },
        { "postmaster x@a.test\ndomain a.test { alias y z@z.test }", "",
          "2:1: postmaster@a.test leads nowhere, its end is x@a.test; say where by \"postmaster ADDRESS\" or an alias" },
        { "domain a.test { recipients x }", "",
          "1:1: domain \"a.test\" lists its recipients, but has no place for their mail; add \"relay\"" },
        { "domain a.test { relay; recipients x@b.test, @a.test, a..b }", "",
          "1:35: \"x@b.test\": it is not in this domain\n"
          "1:45: \"@a.test\": all names of a domain have \"catch_all\"\n"
          "1:54: \"a..b\": address syntax error" },
        { "domain a.test { relay; recipients_file t }", "a b\n",
          "t:1:1: \"b\" behind the recipient; a line holds one, and nothing or OK behind it" },
        { "domain a.test { relay; alias x y@z.test; alias X z@z.test }", "",
          "1:42: a second alias for \"x@a.test\"; the first is at conf:1" },
        { "domain a.test { relay; alias x :include:/etc/list, /dev/null }", "",
          "1:32: \":include:\" is for files; name one by \"aliases\" or \"virtual_aliases\"\n"
          "1:52: \"/dev/null\": relayd writes to no files; mail to be thrown away has a route: "
          "\"route to ADDRESS discard\"" },
        { "domain a.test { relay; alias x@b.test y@z.test }", "", "1:30: \"x@b.test\": it is not in this domain" },
        { "domain a.test { relay; catch_all }", "", "1:33: \"catch_all\" needs a word here" },
        { "plus_addressing ++", "", "1:17: \"++\" is not a delimiter of tags: it is one of + - = _ ~ #" },
        { "limits { alias_recipients 2 }\ndomain a.test { relay; alias x a@z.test, b@z.test, c@z.test }", "",
          "2:1: warning: \"x@a.test\" has more targets than limits { alias_recipients } allows; too many is c@z.test" },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct table table = { "/etc/relayd/t", rows[i].table };
        struct buf errors = { 0 };
        struct buf text = { 0 };

        buf_printf(&text, "%s\nhostname h.test", rows[i].text);
        settings_unref(load_with(buf_cstr(&text), &table, 1, &errors));
        assert_string_equal(buf_cstr(&errors), rows[i].want);
        buf_release(&errors);
        buf_release(&text);
    }
}

/* What the parent brings along: also files that tables name. */
static void test_tables_are_fetched(void **state)
{
    static const char *const files[] = { "conf", "virtual", "aliases", "inner", "deeper", "list" };
    struct scratch dir;
    struct bundle *b;
    struct diagnostics d = { 0 };
    struct settings *s;

    scratch_open(&dir);
    scratch_write(&dir, "conf", "hostname h.test\npostmaster p@far.test\nvirtual_aliases virtual\n"
                  "domain a.test { relay; aliases aliases; recipients_file list }", 0600);
    scratch_write(&dir, "virtual", "x@a.test :include:inner\n", 0600);
    scratch_write(&dir, "aliases", "y: :INCLUDE:inner\n", 0644);
    scratch_write(&dir, "inner", "a@far.test, :include:deeper\n", 0600);
    scratch_write(&dir, "deeper", "b@far.test\n", 0600);
    scratch_write(&dir, "list", "z\n", 0600);
    b = settings_read(scratch_path(&dir, "conf"), NULL);
    assert_int_equal(b->count, countof(files));
    for (size_t i = 0; i < countof(files); i++)
        assert_non_null(bundle_find(b, i == 0 ? BUNDLE_FILE : BUNDLE_TABLE,
                                    slice_str(scratch_path(&dir, files[i]))));
    assert_ok(settings_load_bundle(b, &d, &s));
    bundle_free(b);
    assert_alias(s, "x@a.test", " a@far.test b@far.test");
    assert_alias(s, "y@a.test", " a@far.test b@far.test");
    assert_alias(s, "z@a.test", " z@a.test");
    settings_unref(s);
    diagnostics_release(&d);
    scratch_close(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_front_ends),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_alias_mistakes),
        cmocka_unit_test(test_tables_are_fetched),
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_every_directive),
        cmocka_unit_test(test_listeners),  cmocka_unit_test(test_submission), cmocka_unit_test(test_routes),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_schedules),  cmocka_unit_test(test_load),
        cmocka_unit_test(test_default_hostname),  cmocka_unit_test(test_references),
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_secrets_have_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
