/* relayd/settings.h - what the configuration says, checked and ready for use.
 *
 * A settings object is made once by settings_load*(), never changes, and is
 * shared by all threads through a count of references: a reload makes a new
 * one, and whoever holds the old one keeps it until settings_unref(). All
 * pointers in it belong to it. Names and order follow relayd.conf(5).
 *
 * Times are in milliseconds, sizes in bytes. Where a limit can be
 * "unlimited" the field is 0.
 */
#ifndef RELAYD_SETTINGS_H
#define RELAYD_SETTINGS_H

#include "base/err.h"
#include "base/log.h"
#include "conf/bundle.h"
#include "conf/diagnostics.h"
#include "conf/value.h"
#include "mail/dkim_record.h"
#include "net/addr.h"
#include "relayd/kinds.h"

#include "mail/alias.h"

#include <stdatomic.h>

enum settings_role { /* of a listener; this release has relay only */
    SETTINGS_ROLE_RELAY,
    SETTINGS_ROLE_SUBMISSION,
    SETTINGS_ROLE_LMTP,
    SETTINGS_ROLE_IMAP,
    SETTINGS_ROLE_POP3,
    SETTINGS_ROLE_METRICS,
};

enum settings_login { /* of a listener's clients */
    SETTINGS_LOGIN_NONE,           /* not offered */
    SETTINGS_LOGIN_OPTIONAL,       /* who logs in may send anywhere */
    SETTINGS_LOGIN_UNLESS_TRUSTED, /* no mail without it but from trusted networks */
    SETTINGS_LOGIN_REQUIRED,       /* no mail without it */
};

enum settings_tls {
    SETTINGS_TLS_NONE,
    SETTINGS_TLS_OPTIONAL,
    SETTINGS_TLS_REQUIRED, /* encrypted, whatever the certificate */
    SETTINGS_TLS_VERIFIED,
    SETTINGS_TLS_IMPLICIT, /* from the first byte (listeners) */
};

/* Where a directive stands, for messages about it later ("address in use"). */
struct settings_place {
    const char *file;
    unsigned line;
};

/* An address of a program that is replaced in envelope and header. */
struct settings_rewrite {
    const char *pattern;    /* of mail/path.h */
    const char *address;
    const struct settings_rewrite *next;
};

struct settings_pair { /* a certificate with its key */
    const char *certificate; /* paths, absolute; of several files the first */
    const char *key;
    struct slice certificate_pem, key_pem;
    const char *name;        /* the first it is for */
    int64_t begins_s, expires_s;
    struct settings_place place;
};

struct settings_listen {
    unsigned index;         /* its place among the listens */
    struct net_addr addr;   /* with its port */
    bool both_families;     /* "*:25": addr is ::, and IPv4 too; else IPV6_V6ONLY */
    enum settings_role role;
    enum settings_login login; /* default required with role submission, else none */
    bool header_from_owned; /* the header's From, too, must be the user's own; default no */
    bool hide_client;       /* the client's address is left out of Received; default no */
    const struct settings_rewrite *rewrites; /* come before the general ones */
    const struct net_prefix *proxies; /* front ends that begin with a PROXY header, and they alone */
    size_t proxy_count;
    const struct net_prefix *xclients; /* front ends that may say XCLIENT */
    size_t xclient_count;
    enum settings_tls tls;  /* relay and lmtp: optional; submission, imap and pop3: required */
    struct slice client_ca; /* PEM: whose client certificates count; empty: none is asked for */
    bool repair_line_ends;  /* bare CR and LF are made CR LF instead of refused; default no */
    struct settings_place place;
};

struct settings_dkim { /* a key that a domain signs with */
    const char *selector;
    const char *path;       /* of the key's file */
    enum mail_dkim_kind kind;
    const char *record;     /* for DNS: its public half; NULL with a problem */
    const char *problem;    /* why it can't be used, with the path; or NULL */
    const char *pem;        /* for sign workers and the parent only, else NULL */
    struct settings_place place;
};

struct settings_domain {
    const char *name;       /* A-labels, lower case */
    struct settings_dkim *dkim;
    size_t dkim_count;
    bool dkim_auto;
    const char *dkim_problem; /* why keys of its own could not be made; or NULL */
    bool relay;             /* accepted from anyone for any local part, and passed on by the routes */
    bool listed;            /* but only for its recipients; they are among the aliases' */
    bool aliased;           /* some names of it are aliases: their mail is accepted, relay or not */
    const struct alias_map *names; /* of its aliases file, or NULL */
    struct settings_place place;
};

struct settings_host {
    const char *name;       /* A-labels, lower case; or an IP address, without brackets */
    bool literal;           /* name is an IP address: addr holds it */
    struct net_addr addr;   /* with port, when literal */
    uint16_t port;          /* default 25 */
};

enum settings_tls_start { /* of TLS towards a smart host */
    SETTINGS_TLS_BY_PORT,   /* the default: from the first byte on 465, else by STARTTLS */
    SETTINGS_TLS_FIRST,
    SETTINGS_TLS_STARTTLS,
};

struct settings_smarthost {
    const char *title;
    struct settings_host *hosts; /* at least one, in order of preference */
    size_t host_count;
    enum settings_tls tls;  /* none, optional, required or verified, the default */
    enum settings_tls_start tls_start;
    const char *user;       /* NULL: no login; else exactly one of the secrets below */
    const char *password;
    const char *token_file; /* absolute; read anew whenever a token is wanted, as the engine's user */
    const char *const *token_command; /* path (absolute) and arguments, NULL behind them */
    unsigned mechanisms;    /* SASL_BIT()s; 0 = any */
    struct {
        unsigned connections;  /* 0 = as delivery { connections_per_site } says */
        struct conf_rate rate; /* of messages; count 0 = unlimited */
    } limit;
    struct settings_place place;
};

enum settings_action {
    SETTINGS_DIRECT,        /* by MX */
    SETTINGS_VIA,           /* the smart hosts, in order of preference */
    SETTINGS_HOLD,          /* accepted and kept until released */
    SETTINGS_DISCARD,       /* accepted and dropped, with an event */
    SETTINGS_REJECT,        /* refused at RCPT */
};

struct settings_route {
    const char *from;       /* a pattern of mail/path.h on the reverse-path; NULL = any */
    const char *to;         /* on the recipient; NULL = any */
    enum settings_action action;
    const unsigned *smarthosts; /* via: indexes into settings.smarthosts */
    size_t smarthost_count;
    const char *reject_text; /* reject: what follows "550 5.7.1 "; printable ASCII */
    enum settings_tls tls;  /* towards MX hosts; default optional */
    struct settings_place place;
};

struct settings_limits { /* of the SMTP server */
    uint64_t message_size;           /* 50 MiB; 0 = unlimited */
    unsigned recipients;             /* of a message: 1000 */
    unsigned alias_recipients;       /* of a message, once aliases are resolved: 10000 */
    unsigned connections;            /* in, all together: 2000; 421 beyond */
    unsigned connections_per_client; /* from one address: 100; 0 = unlimited */
    unsigned messages_per_connection; /* 0 = unlimited, the default */
    unsigned errors;                 /* of a session: 20; then 421 */
    unsigned idle_commands;          /* NOOP, RSET, VRFY, HELP in a row: 100; then 421 */
    unsigned received;               /* Received fields; more are a loop: 50 */
    uint64_t command_timeout_ms;     /* 5 minutes */
    uint64_t data_timeout_ms;        /* between two pieces of content: 3 minutes */
    uint64_t message_timeout_ms;     /* from DATA to the final dot, all in all: 1 hour; 0 = unlimited */
    uint64_t future_release_ms;      /* how long a submitted message may be held: 30 days; 0 = not at all */
    uint64_t message_memory;         /* all drafts together; beyond it they go to files. 0: by the memory there is */
};

struct settings_storage { /* below state_dir */
    uint64_t ahead;         /* disk space kept allocated for the queue: 64 MiB; 0 = none */
    uint64_t reserve;       /* less free disk than this: new mail gets 452; 128 MiB */
    uint64_t map_size;      /* address space of an environment; 0 = by the size of the disk, the default */
};

struct settings_delivery {
    uint16_t port;                  /* of MX hosts: 25 */
    bool loopback_mx;               /* MX hosts on loopback are no loop: default refuse */
    unsigned connections;           /* out, all together: 500 */
    unsigned connections_per_site;  /* 20 */
    unsigned messages_per_connection; /* 100; 0 = unlimited */
    unsigned recipients_per_message;  /* 100 */
    struct conf_rate rate;          /* of messages to one site; count 0 = unlimited, the default */
    const char *helo;               /* our name in EHLO: default hostname */
    const struct net_addr *sources; /* our addresses to connect from, at most one a family; port 0 */
    size_t source_count;
    bool ipv4, ipv6;                /* which families to use: both */
    uint64_t connect_timeout_ms;    /* per address: 30 seconds */
    /* RFC 5321 section 4.5.3.2 */
    uint64_t greeting_timeout_ms;   /* 5 minutes */
    uint64_t command_timeout_ms;    /* EHLO, MAIL, RCPT, RSET: 5 minutes */
    uint64_t data_timeout_ms;       /* DATA, and each piece of content: 3 minutes */
    uint64_t final_timeout_ms;      /* the reply to the final dot: 10 minutes */
    uint64_t idle_timeout_ms;       /* a connection waiting for the site's next message: 5 seconds */
};

struct settings_retry {
    uint64_t first_ms;      /* before the second attempt: 1 minute */
    unsigned factor_percent; /* each wait is so much of the one before: 200 ("2"; "1.5" is 150) */
    uint64_t max_ms;        /* 4 hours */
    uint64_t doubt_ms;      /* after an ambiguous end, at least: 30 minutes */
    uint64_t expire_ms;     /* from acceptance: 5 days */
    uint64_t warn_ms;       /* the delay warning: 4 hours; 0 = none ("never") */
};

struct settings_retry_for { /* retry PATTERN { … }; what it leaves out is as in retry { … } */
    const char *pattern;    /* on the recipient; the first match wins */
    struct settings_retry retry;
    struct settings_place place;
};

enum settings_scram { SETTINGS_SCRAM_AUTO, SETTINGS_SCRAM_ON, SETTINGS_SCRAM_OFF };

struct settings_accounts { /* users besides those of relayctl user */
    const char *domain;      /* of login names without one: default hostname */
    const char *file;        /* passwd-style, absolute; NULL = none */
    const char *const *command; /* checkpassword-like and its arguments, NULL at the end; NULL = none */
    uint64_t command_timeout_ms; /* 10 seconds */
    unsigned command_processes;  /* at a time: 8 */
    enum settings_scram scram;   /* auto: off with a file or command, whose users have no SCRAM keys */
    unsigned messages_per_hour, recipients_per_hour; /* of a user; 0 = unlimited, the default */
};

struct settings {
    const char *hostname;    /* A-labels, lower case; default the machine's name when that has a dot */
    const char *postmaster;  /* where mail for postmaster goes that no domain takes, an address; NULL = not said */
    const char *state_dir;   /* absolute; /var/lib/relayd */
    const char *runtime_dir; /* absolute; /run/relayd */
    const char *engine_user; /* the engine runs as, when started by root: _relayd */
    const char *accounts_user; /* likewise the accounts process: _relayauth */
    const char *sign_user;   /* and the sign workers: _relaysign */
    unsigned loops;          /* network loops; 0 = one for two cores, the default */

    const struct net_addr *resolvers; /* with ports; none = those of /etc/resolv.conf */
    size_t resolver_count;

    const struct net_prefix *trusted; /* may relay without login */
    size_t trusted_count;
    /* No trusted directive: loopback clients of listeners bound to loopback
     * may relay, and nobody else. ("trusted none" turns that off.) */
    bool trust_loopback;

    struct settings_accounts accounts;
    struct settings_limits limits;
    struct settings_storage storage;

    /* The first is for clients that ask for no name; none: the engine makes
     * one that is signed by itself. */
    const struct settings_pair *pairs;
    size_t pair_count;

    const struct settings_listen *listens; /* default 127.0.0.1:25 */
    size_t listen_count;
    const struct settings_domain *domains;
    size_t domain_count;
    const struct alias_rules *aliases; /* who the domains' addresses stand for */
    char plus_delimiter;             /* between a name and its tag: "+"; 0 = there are no tags */
    const struct settings_smarthost *smarthosts;
    size_t smarthost_count;

    const struct settings_route *routes; /* the first match wins */
    size_t route_count;
    struct settings_route route_default; /* from and to are NULL; default direct */

    const struct settings_rewrite *rewrites; /* sender_rewrite, in order; the first match is taken */

    struct settings_delivery delivery;
    struct settings_retry retry;
    const struct settings_retry_for *retries;
    size_t retry_count;

    uint64_t history_keep_ms; /* 14 days */
    uint64_t history_size;    /* 1 GiB */

    enum log_level log_level; /* info */

    /* Private. */
    atomic_int refs;
    struct pool *pool;
    struct settings_aliases *alias_tables;
};

/* Whether SCRAM is offered: see settings_accounts.scram. */
bool settings_offer_scram(const struct settings *s);

/* Any thread. */
const struct settings *settings_ref(const struct settings *s);
void settings_unref(const struct settings *s); /* NULL is fine */

/* Reads the file, all it includes, and RELAYD_… of the environment `envp`
 * (environ; NULL for none) into memory, as whoever calls: the parent does
 * this as root. What can't be read is noted in the bundle and told by
 * settings_load_bundle. bundle_free() it. */
struct bundle *settings_read(const char *path, char *const *envp);

/* The same, with the files of its secrets as they are now. */
struct bundle *settings_read_again(const struct bundle *b);

/* What a process of that kind may know of it: the secrets of others are there
 * only in name, see conf_withhold(). The caller frees it. */
struct bundle *settings_withhold(const struct bundle *b, enum process_kind reader);

/* Checks a bundle and makes settings of it; touches no file, so parent and
 * child come to the same result from the same bytes. ERR_SYNTAX when there is
 * an error among the diagnostics; warnings may come with success too. */
MUST_CHECK struct err settings_load_bundle(const struct bundle *b, struct diagnostics *d,
                                           struct settings **out);

/* What is right in a file with mistakes, for a tool that looks for the relayd
 * that runs with it: of all fields only hostname (may be NULL), state_dir and
 * runtime_dir are to be used. */
struct settings *settings_load_places(const char *path);

/* Both steps, with the environment of this process. */
MUST_CHECK struct err settings_load(const char *path, struct diagnostics *d, struct settings **out);

/* What the clock says of the certificates. One that has expired is an error
 * when it is new, that is, when `running` has another in its place; else, and
 * at a start (running is NULL), a warning, as is one that ends within two
 * weeks: mail in the clear is no better. */
void settings_judge_certificates(const struct settings *s, const struct settings *running, uint64_t wall_ms,
                                 struct diagnostics *d);

/* relayd -n: loads, prints all diagnostics to standard error, frees. True
 * when the configuration is good. */
bool settings_check(const char *path);

#endif
