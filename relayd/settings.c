/* relayd/settings.c - the configuration as a whole: its defaults, its life. */
#include "relayd/settings.h"

#include "base/clock.h"
#include "base/mem.h"
#include "mail/path.h"
#include "relayd/settings_alias.h"
#include "relayd/settings_schema.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "relayd/settings_dkim.h"

extern char **environ;

static const struct settings defaults = {
    .state_dir = "/var/lib/relayd",
    .runtime_dir = "/run/relayd",
    .engine_user = "_relayd",
    .accounts_user = "_relayauth",
    .sign_user = "_relaysign",
    .trust_loopback = true,
    .accounts = {
        .command_timeout_ms = 10 * SECOND_MS,
        .command_processes = 8,
    },
    .plus_delimiter = '+',
    .limits = {
        .message_size = 50 * MIB,
        .recipients = 1000,
        .alias_recipients = 10000,
        .connections = 2000,
        .connections_per_client = 100,
        .errors = 20,
        .idle_commands = 100,
        .received = 50,
        .command_timeout_ms = 5 * MINUTE_MS,
        .data_timeout_ms = 3 * MINUTE_MS,
        .message_timeout_ms = HOUR_MS,
        .future_release_ms = 30 * DAY_MS,
    },
    .storage = {
        .ahead = 64 * MIB,
        .reserve = 128 * MIB,
    },
    .route_default = { .action = SETTINGS_DIRECT, .tls = SETTINGS_TLS_OPTIONAL },
    .delivery = {
        .port = 25,
        .connections = 500,
        .connections_per_site = 20,
        .messages_per_connection = 100,
        .recipients_per_message = 100,
        .ipv4 = true,
        .ipv6 = true,
        .connect_timeout_ms = 30 * SECOND_MS,
        .greeting_timeout_ms = 5 * MINUTE_MS,
        .command_timeout_ms = 5 * MINUTE_MS,
        .data_timeout_ms = 3 * MINUTE_MS,
        .final_timeout_ms = 10 * MINUTE_MS,
        .idle_timeout_ms = 5 * SECOND_MS,
    },
    .retry = {
        .first_ms = MINUTE_MS,
        .factor_percent = 200,
        .max_ms = 4 * HOUR_MS,
        .doubt_ms = 30 * MINUTE_MS,
        .expire_ms = 5 * DAY_MS,
        .warn_ms = 4 * HOUR_MS,
    },
    .history_keep_ms = 14 * DAY_MS,
    .history_size = 1024ull * MIB,
    .log_level = LOG_LEVEL_INFO,
};

const struct settings *settings_ref(const struct settings *s)
{
    atomic_fetch_add_explicit(&((struct settings *)s)->refs, 1, memory_order_relaxed);
    return s;
}

void settings_unref(const struct settings *s)
{
    struct settings *mine = (struct settings *)s;

    if (s == NULL || atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) != 1)
        return;
    settings_aliases_free(mine->alias_tables);
    pool_free(mine->pool);
    free(mine);
}

/* Without a hostname directive: what the machine is called. */
static void default_hostname(struct settings *s, struct diagnostics *d, const char *file)
{
    char name[HOST_NAME_MAX + 1];
    char ascii[MAIL_DOMAIN_MAX + 1];

    if (gethostname(name, sizeof name) != 0 || !mail_domain_to_ascii(slice_str(name), ascii) ||
        !mail_domain_valid(slice_str(ascii)))
        memcpy(ascii, "localhost", sizeof "localhost");
    if (strchr(ascii, '.') == NULL)
        diagnostics_add(d, false, file, 0, 0, SLICE_EMPTY,
                        "\"hostname\" is not set and this machine's name, \"%s\", has no domain; "
                        "other servers may refuse it",
                        ascii);
    s->hostname = pool_dup(s->pool, slice_str(ascii));
}

/* With no listen directive: the programs of this machine. */
static void default_listen(struct settings *s)
{
    struct settings_listen *listen = pool_new_of(s->pool, struct settings_listen);

    if (net_addr_parse_port(SLICE("127.0.0.1:25"), &listen->addr)) {
        listen->place.file = "the default";
        listen->tls = SETTINGS_TLS_OPTIONAL;
        s->listens = listen;
        s->listen_count = 1;
    }
}

static void fill_in(struct settings *s, struct diagnostics *d, const char *file)
{
    if (s->hostname == NULL)
        default_hostname(s, d, file);
    if (s->listen_count == 0)
        default_listen(s);
    if (s->accounts.domain == NULL)
        s->accounts.domain = s->hostname;
    if (s->delivery.helo == NULL)
        s->delivery.helo = s->hostname;
    if (s->route_default.place.file == NULL)
        s->route_default.place.file = "the default";
}

struct bundle *settings_read(const char *path, char *const *envp)
{
    struct bundle *b = conf_read(&settings_schema, path, envp);

    settings_publish_keys(b);
    return b;
}

struct bundle *settings_read_again(const struct bundle *b)
{
    struct bundle *fresh = conf_read_again(b);

    settings_publish_keys(fresh);
    return fresh;
}

struct bundle *settings_withhold(const struct bundle *b, enum process_kind reader)
{
    return conf_withhold(&settings_schema, b, CONF_FOR(reader));
}

/* Fills in what the bundle says, and the defaults of what it does not. */
static struct settings *take_bundle(const struct bundle *b, struct diagnostics *d)
{
    struct settings *s = mem_new(struct settings);
    struct settings_build build = { .s = s };
    struct conf c = { .schema = &settings_schema, .diags = d, .user = &build };

    *s = defaults;
    atomic_init(&s->refs, 1);
    s->pool = c.pool = pool_new();
    c.bundle = b;
    conf_load(&c, s);
    settings_finish_aliases(&c);
    return s;
}

struct err settings_load_bundle(const struct bundle *b, struct diagnostics *d,
                                struct settings **out)
{
    size_t errors_before = d->errors;
    struct settings *s = take_bundle(b, d);

    *out = NULL;
    if (d->errors == errors_before) {
        fill_in(s, d, b->name);
        settings_check_aliases(s, d);
    }
    if (d->errors != errors_before) {
        settings_unref(s);
        return err_make(ERR_SYNTAX, "load the configuration");
    }
    *out = s;
    settings_fill_dkim(s, b, d);
    return ERR_OK;
}

struct settings *settings_load_places(const char *path)
{
    struct diagnostics d = { 0 };
    struct bundle *b = settings_read(path, environ);
    struct settings *s = take_bundle(b, &d);

    bundle_free(b);
    diagnostics_release(&d);
    return s;
}

struct err settings_load(const char *path, struct diagnostics *d, struct settings **out)
{
    struct bundle *b = settings_read(path, environ);
    struct err e = settings_load_bundle(b, d, out);

    bundle_free(b);
    return e;
}

bool settings_check(const char *path)
{
    struct diagnostics d = { 0 };
    struct settings *s;
    struct err e = settings_load(path, &d, &s);

    if (!err_failed(e))
        settings_judge_certificates(s, NULL, clock_wall_ms(&clock_system), &d);
    diagnostics_print(&d);
    diagnostics_release(&d);
    settings_unref(s);
    return !err_failed(e);
}
