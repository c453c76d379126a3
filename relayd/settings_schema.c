/* relayd/settings_schema.c - the one table of all directives, in the order of
 * relayd.conf(5), and the types of value that mail has. */
#include "relayd/settings_schema.h"

#include "relayd/settings_dkim.h"

#include "auth/sasl_client.h"
#include "auth/signer.h"
#include "conf/value.h"
#include "mail/path.h"
#include "relayd/settings_alias.h"
#include "relayd/settings_frontend.h"

#include <stddef.h>

#define REPLY_TEXT_MAX                                                                             \
    400u /* with its code a reply line is at most 512 bytes, RFC 5321 section 4.5.3.1.5 */

static bool valid_domain(struct slice text, const char **why)
{
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct net_addr addr;

    *why = "labels of letters, digits and hyphens stand between dots";
    if (net_addr_parse(text, &addr)) {
        *why = "it is an address";
        return false;
    }
    return mail_domain_to_ascii(text, ascii) && mail_domain_valid(slice_str(ascii));
}

static bool valid_addr(struct slice text, const char **why)
{
    struct net_addr addr;

    *why = "write 192.0.2.1 or 2001:db8::1";
    return net_addr_parse(text, &addr);
}

static bool valid_addr_port(struct slice text, const char **why)
{
    struct net_addr addr;

    *why = "write 192.0.2.1:25, [2001:db8::1]:25 or *:25";
    if (!net_addr_parse_port(text, &addr))
        return false;
    *why = "port 0 is none";
    return addr.port != 0;
}

static bool valid_resolver(struct slice text, const char **why)
{
    struct net_addr addr;

    *why = "write 127.0.0.1, 127.0.0.1:5353 or [::1]:5353";
    return settings_parse_resolver(text, &addr);
}

static bool valid_prefix(struct slice text, const char **why)
{
    struct net_prefix prefix;

    *why = "write 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32; bits beyond the prefix are zero";
    return net_prefix_parse(text, &prefix);
}

static bool valid_host(struct slice text, const char **why)
{
    struct settings_host host;

    *why = "write mail.example.com, mail.example.com:587, 192.0.2.1:25 or [2001:db8::1]:25";
    return settings_parse_host(text, NULL, &host);
}

static bool valid_pattern(struct slice text, const char **why)
{
    *why = "write user@example.com, example.com, .example.com, user@, <> or *";
    return mail_pattern_valid(text);
}

static bool valid_email(struct slice text, const char **why)
{
    struct mail_path path;
    enum mail_path_error e = mail_address_parse(text, 0, &path);

    *why = "the domain is missing";
    if (slice_find(text, '@') == text.len)
        return false;
    *why = mail_path_error_text(e);
    return e == MAIL_PATH_OK;
}

static bool valid_reply(struct slice text, const char **why)
{
    *why = "it is empty or longer than 400 bytes";
    if (text.len == 0 || text.len > REPLY_TEXT_MAX)
        return false;
    *why = "a reply is printable ASCII";
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~')
            return false;
    }
    return true;
}

static bool valid_selector(struct slice text, const char **why)
{
    struct buf name = { 0 };
    bool valid;

    *why = "labels of letters, digits and hyphens, 63 characters at most in all";
    if (text.len > SIGN_SELECTOR_MAX)
        return false;
    buf_add(&name, text);
    buf_add_str(&name, "._domainkey");
    valid = mail_domain_valid(buf_bytes(&name));
    buf_release(&name);
    return valid;
}

static bool valid_user(struct slice text, const char **why)
{
    *why = "it is made of letters, digits, \"_\", \"-\" and \".\", and no more than 32 of them";
    if (text.len == 0 || text.len > 32 || text.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_alnum(text.ptr[i]) && strchr("_-.", text.ptr[i]) == NULL)
            return false;
    }
    return true;
}

static bool valid_mechanism(struct slice text, const char **why)
{
    *why = "write SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN or XOAUTH2";
    return sasl_mechanism_bit(text) != 0;
}

static bool valid_file(struct slice text, const char **why)
{
    *why = text.len == 0 ? "it is empty" : "it is longer than 4095 bytes";
    return text.len != 0 && text.len <= 4095;
}

static bool valid_delimiter(struct slice text, const char **why)
{
    *why = "it is one of + - = _ ~ #";
    return text.len == 1 && strchr("+-=_~#", text.ptr[0]) != NULL;
}

static const struct conf_type types[] = {
    { "ADDR", "an IP address", valid_addr, NULL },
    { "ADDR_PORT", "an address and port", valid_addr_port, NULL },
    { "ALIASES_FILE", "the path of an aliases file", valid_file, NULL },
    { "DELIMITER", "a delimiter of tags", valid_delimiter, NULL },
    { "DOMAIN", "a domain name", valid_domain, NULL },
    { "EMAIL", "a mail address", valid_email, NULL },
    { "FACTOR", "a factor such as 2 or 1.5", NULL, conf_value_hundredths },
    { "HOST", "a host", valid_host, NULL },
    { "MECHANISM", "a way to log in", valid_mechanism, NULL },
    { "PATTERN", "an address pattern", valid_pattern, NULL },
    { "PREFIX", "a network", valid_prefix, NULL },
    { "RECIPIENTS_FILE", "the path of a list of recipients", valid_file, NULL },
    { "REPLY", "a text for the reply", valid_reply, NULL },
    { "RESOLVER", "the address of a name server", valid_resolver, NULL },
    { "SELECTOR", "the name of a key", valid_selector, NULL },
    { "USER", "the name of a user", valid_user, NULL },
    { "VIRTUAL_FILE", "the path of a file of virtual aliases", valid_file, NULL },
    { NULL, NULL, NULL, NULL },
};

/* Whose secrets a directive has; without one of these they stay with the parent. */
#define FOR_ENGINE   CONF_FOR(PROCESS_ENGINE)
#define FOR_ACCOUNTS CONF_FOR(PROCESS_ACCOUNTS)
#define FOR_SIGN     CONF_FOR(PROCESS_SIGN)

#define ACTION        "(direct | via NAME {, NAME} | hold | discard | reject REPLY)"
#define HOP_TLS       "none | optional | required | verified | dane"
#define TIMEOUT       "DURATION(10ms..1d)"
#define WAIT          "DURATION(10ms..30d)"
#define SET(member)   offsetof(struct settings, member)
#define ACCOUNTS(member) offsetof(struct settings_accounts, member)
#define LIMIT(member) offsetof(struct settings_limits, member)
#define STORE(member) offsetof(struct settings_storage, member)
#define HOP(member)   offsetof(struct settings_delivery, member)
#define RETRY(member) offsetof(struct settings_retry, member)

/* A CONF_LATER row's values are checked and then refused with it, so nothing
 * takes them. */
static const struct conf_row rows[] = {
    /* parent, name, arguments, flags, taker, where */
    { "", "hostname", "DOMAIN", 0, settings_take_hostname, SET(hostname) },
    { "", "postmaster", "EMAIL", 0, settings_take_email, SET(postmaster) },
    { "", "state_dir", "PATH", 0, conf_take_path, SET(state_dir) },
    { "", "runtime_dir", "PATH", 0, conf_take_path, SET(runtime_dir) },
    { "", "loops", "auto | NUMBER(1..256)", 0, conf_take_unsigned, SET(loops) },
    { "", "resolver", "RESOLVER {, RESOLVER}", CONF_MANY | CONF_TITLED, settings_take_resolver, 0 },
    { "", "trusted", "none | PREFIX {, PREFIX}", CONF_MANY | CONF_TITLED, settings_take_trusted,
      0 },

    { "", "users", "", CONF_BLOCK_MUST, conf_take_block, 0 },
    { "users", "engine", "USER", 0, conf_take_string, SET(engine_user) },
    { "users", "accounts", "USER", 0, conf_take_string, SET(accounts_user) },
    { "users", "sign", "USER", 0, conf_take_string, SET(sign_user) },
    { "users", "verify", "USER", CONF_LATER, NULL, 0 },
    { "users", "mailboxd", "USER", CONF_LATER, NULL, 0 },

    { "", "accounts", "", CONF_BLOCK_MUST, conf_take_block, SET(accounts) },
    { "accounts", "domain", "DOMAIN", 0, settings_take_hostname, ACCOUNTS(domain) },
    { "accounts", "file", "PATH", 0, conf_take_path, ACCOUNTS(file) },
    { "accounts", "command", "PATH {TEXT}", 0, settings_take_command, ACCOUNTS(command) },
    { "accounts", "command_timeout", "DURATION(100ms..1m)", 0, conf_take_duration,
      ACCOUNTS(command_timeout_ms) },
    { "accounts", "command_processes", "NUMBER(1..100)", 0, conf_take_unsigned,
      ACCOUNTS(command_processes) },
    { "accounts", "scram", "auto | on | off", 0, settings_take_scram, ACCOUNTS(scram) },
    { "accounts", "messages_per_hour", "unlimited | NUMBER(1..1000000000)", 0, conf_take_unsigned,
      ACCOUNTS(messages_per_hour) },
    { "accounts", "recipients_per_hour", "unlimited | NUMBER(1..1000000000)", 0,
      conf_take_unsigned, ACCOUNTS(recipients_per_hour) },

    { "", "limits", "", CONF_BLOCK_MUST, conf_take_block, SET(limits) },
    { "limits", "message_size", "unlimited | SIZE(1K..1T)", 0, conf_take_size,
      LIMIT(message_size) },
    { "limits", "recipients", "NUMBER(1..100000)", 0, conf_take_unsigned, LIMIT(recipients) },
    { "limits", "alias_recipients", "NUMBER(1..100000)", 0, conf_take_unsigned,
      LIMIT(alias_recipients) },
    { "limits", "connections", "NUMBER(1..1000000)", 0, conf_take_unsigned, LIMIT(connections) },
    { "limits", "connections_per_client", "unlimited | NUMBER(1..1000000)", 0, conf_take_unsigned,
      LIMIT(connections_per_client) },
    { "limits", "messages_per_connection", "unlimited | NUMBER(1..1000000)", 0, conf_take_unsigned,
      LIMIT(messages_per_connection) },
    { "limits", "errors", "NUMBER(1..10000)", 0, conf_take_unsigned, LIMIT(errors) },
    { "limits", "idle_commands", "NUMBER(1..10000)", 0, conf_take_unsigned, LIMIT(idle_commands) },
    { "limits", "received", "NUMBER(1..1000)", 0, conf_take_unsigned, LIMIT(received) },
    { "limits", "command_timeout", TIMEOUT, 0, conf_take_duration, LIMIT(command_timeout_ms) },
    { "limits", "data_timeout", TIMEOUT, 0, conf_take_duration, LIMIT(data_timeout_ms) },
    { "limits", "message_timeout", "unlimited | " TIMEOUT, 0, conf_take_duration,
      LIMIT(message_timeout_ms) },
    { "limits", "future_release", "none | DURATION(1s..366d)", 0, conf_take_duration, LIMIT(future_release_ms) },
    { "limits", "message_memory", "SIZE(1M..64G)", 0, conf_take_size, LIMIT(message_memory) },

    { "", "storage", "", CONF_BLOCK_MUST, conf_take_block, SET(storage) },
    { "storage", "ahead", "none | SIZE(1M..64G)", 0, conf_take_size, STORE(ahead) },
    { "storage", "reserve", "SIZE(0..1T)", 0, conf_take_size, STORE(reserve) },
    { "storage", "map_size", "auto | SIZE(1M..64T)", 0, conf_take_size, STORE(map_size) },

    { "", "tls", "", CONF_MANY | CONF_BLOCK_MUST | CONF_ENV_PLAIN, settings_take_certificates, 0 },
    { "tls", "certificate", "PUBLIC_FILE {, PUBLIC_FILE}", 0, settings_take_certificate, 0 },
    { "tls", "key", "SECRET_FILE", FOR_ENGINE, settings_take_certificate_key, 0 },

    { "", "listen", "ADDR_PORT", CONF_MANY | CONF_TITLED | CONF_BLOCK, settings_take_listen, 0 },
    { "listen", "role", "relay | submission | lmtp | imap | pop3 | metrics", 0, settings_take_role,
      offsetof(struct settings_listen, role) },
    { "listen", "tls", "none | optional | required | implicit", 0, settings_take_listen_tls,
      offsetof(struct settings_listen, tls) },
    { "listen", "login", "none | optional | unless_trusted | required", 0, settings_take_login,
      offsetof(struct settings_listen, login) },
    { "listen", "header_from", "any | owned", 0, settings_take_header_from,
      offsetof(struct settings_listen, header_from_owned) },
    { "listen", "client_address", "show | hide", 0, settings_take_client_address,
      offsetof(struct settings_listen, hide_client) },
    { "listen", "sender_rewrite", "PATTERN EMAIL", CONF_MANY, settings_take_rewrite,
      offsetof(struct settings_listen, rewrites) },
    { "listen", "proxy_protocol", "from PREFIX {, PREFIX}", 0, settings_take_proxies, 0 },
    { "listen", "xclient", "from PREFIX {, PREFIX}", 0, settings_take_xclients, 0 },
    { "listen", "client_certificates", "PUBLIC_FILE", 0, settings_take_client_certificates,
      offsetof(struct settings_listen, client_ca) },
    { "listen", "repair_line_ends", "[SWITCH]", 0, settings_take_yes,
      offsetof(struct settings_listen, repair_line_ends) },

    { "", "domain", "DOMAIN", CONF_MANY | CONF_TITLED | CONF_BLOCK, settings_take_domain, 0 },
    { "domain", "relay", "", 0, conf_take_flag, offsetof(struct settings_domain, relay) },
    { "domain", "recipients", "WORD {, WORD}", CONF_MANY, settings_take_recipients, 0 },
    { "domain", "recipients_file", "RECIPIENTS_FILE", CONF_MANY | CONF_TITLED,
      settings_take_recipients_file, 0 },
    { "domain", "aliases", "ALIASES_FILE", 0, settings_take_aliases_file, 0 },
    { "domain", "alias", "WORD WORD {, WORD}", CONF_MANY, settings_take_alias, 0 },
    { "domain", "catch_all", "WORD {, WORD}", 0, settings_take_catch_all, 0 },
    { "domain", "mailboxes", "", CONF_LATER, NULL, 0 },
    { "domain", "dkim", "auto | selector SELECTOR key_file KEYFILE", CONF_MANY | FOR_SIGN,
      settings_take_dkim, 0 },

    { "", "virtual_aliases", "VIRTUAL_FILE", CONF_MANY | CONF_TITLED, settings_take_virtual_aliases, 0 },
    { "", "plus_addressing", "none | DELIMITER", 0, settings_take_delimiter, SET(plus_delimiter) },

    { "", "smarthost", "NAME", CONF_MANY | CONF_TITLED | CONF_BLOCK_MUST | CONF_ENV_TITLE,
      settings_take_smarthost, 0 },
    { "smarthost", "host", "HOST {, HOST}", 0, settings_take_hosts, 0 },
    { "smarthost", "tls", "none | (optional | required | verified | dane) [implicit | starttls]", 0,
      settings_take_smarthost_tls, 0 },
    { "smarthost", "user", "WORD", 0, conf_take_string, offsetof(struct settings_smarthost, user) },
    { "smarthost", "password", "SECRET", FOR_ENGINE, conf_take_string,
      offsetof(struct settings_smarthost, password) },
    { "smarthost", "password_file", "SECRET_FILE", FOR_ENGINE, settings_take_password_file,
      offsetof(struct settings_smarthost, password) },
    { "smarthost", "token_file", "PATH", 0, conf_take_path,
      offsetof(struct settings_smarthost, token_file) },
    { "smarthost", "token_command", "PATH {TEXT}", 0, settings_take_token_command,
      offsetof(struct settings_smarthost, token_command) },
    { "smarthost", "auth", "MECHANISM {, MECHANISM}", 0, settings_take_mechanisms,
      offsetof(struct settings_smarthost, mechanisms) },
    { "smarthost", "limit", "", CONF_BLOCK_MUST, conf_take_block, 0 },
    { "limit", "connections", "NUMBER(1..10000)", 0, conf_take_unsigned,
      offsetof(struct settings_smarthost, limit.connections) },
    { "limit", "rate", "unlimited | RATE", 0, settings_take_rate,
      offsetof(struct settings_smarthost, limit.rate) },

    { "", "route", "default " ACTION " | [from PATTERN] [to PATTERN] " ACTION,
      CONF_MANY | CONF_BLOCK, settings_take_route, 0 },
    { "route", "tls", HOP_TLS, 0, settings_take_tls, offsetof(struct settings_route, tls) },

    { "", "sender_rewrite", "PATTERN EMAIL", CONF_MANY, settings_take_rewrite, SET(rewrites) },

    { "", "delivery", "", CONF_BLOCK_MUST, settings_take_delivery, SET(delivery) },
    { "delivery", "port", "NUMBER(1..65535)", 0, conf_take_u16, HOP(port) },
    { "delivery", "loopback_mx", "allow | refuse", 0, settings_take_loopback_mx, HOP(loopback_mx) },
    { "delivery", "connections", "NUMBER(1..1000000)", 0, conf_take_unsigned, HOP(connections) },
    { "delivery", "connections_per_site", "NUMBER(1..10000)", 0, conf_take_unsigned,
      HOP(connections_per_site) },
    { "delivery", "messages_per_connection", "unlimited | NUMBER(1..1000000)", 0,
      conf_take_unsigned, HOP(messages_per_connection) },
    { "delivery", "recipients_per_message", "NUMBER(1..100000)", 0, conf_take_unsigned,
      HOP(recipients_per_message) },
    { "delivery", "rate", "unlimited | RATE", 0, settings_take_rate, HOP(rate) },
    { "delivery", "helo", "DOMAIN", 0, settings_take_hostname, HOP(helo) },
    { "delivery", "source", "ADDR {, ADDR}", 0, settings_take_addr_list, 0 },
    { "delivery", "ipv4", "SWITCH", 0, conf_take_switch, HOP(ipv4) },
    { "delivery", "ipv6", "SWITCH", 0, conf_take_switch, HOP(ipv6) },
    { "delivery", "connect_timeout", TIMEOUT, 0, conf_take_duration, HOP(connect_timeout_ms) },
    { "delivery", "greeting_timeout", TIMEOUT, 0, conf_take_duration, HOP(greeting_timeout_ms) },
    { "delivery", "command_timeout", TIMEOUT, 0, conf_take_duration, HOP(command_timeout_ms) },
    { "delivery", "data_timeout", TIMEOUT, 0, conf_take_duration, HOP(data_timeout_ms) },
    { "delivery", "final_timeout", TIMEOUT, 0, conf_take_duration, HOP(final_timeout_ms) },
    { "delivery", "idle_timeout", TIMEOUT, 0, conf_take_duration, HOP(idle_timeout_ms) },

    { "", "retry", "[PATTERN]", CONF_MANY | CONF_TITLED | CONF_BLOCK_MUST | CONF_ENV_PLAIN,
      settings_take_retry, 0 },
    { "retry", "first", WAIT, 0, conf_take_duration, RETRY(first_ms) },
    { "retry", "factor", "FACTOR(1..10)", 0, settings_take_factor, RETRY(factor_percent) },
    { "retry", "max", WAIT, 0, conf_take_duration, RETRY(max_ms) },
    { "retry", "doubt", WAIT, 0, conf_take_duration, RETRY(doubt_ms) },
    { "retry", "expire", "DURATION(1s..365d)", 0, conf_take_duration, RETRY(expire_ms) },
    { "retry", "warn", "never | DURATION(1s..365d)", 0, conf_take_duration, RETRY(warn_ms) },

    { "", "history", "", CONF_BLOCK_MUST, conf_take_block, 0 },
    { "history", "keep", "DURATION(1m..3650d)", 0, conf_take_duration, SET(history_keep_ms) },
    { "history", "size", "SIZE(1M..64T)", 0, conf_take_size, SET(history_size) },

    { "", "log", "", CONF_BLOCK_MUST, conf_take_block, 0 },
    { "log", "level", "debug | info | warning | error", 0, settings_take_level, SET(log_level) },
    { "log", "format", "postfix | json", 0, settings_take_log_format, 0 },
    { "log", "syslog", "[SWITCH]", CONF_LATER, NULL, 0 },

    { NULL, NULL, NULL, 0, NULL, 0 },
};

const struct conf_schema settings_schema = { .rows = rows,
                                             .types = types,
                                             .fetched_table = settings_fetched_table,
                                             .env_prefix = "RELAYD_" };
