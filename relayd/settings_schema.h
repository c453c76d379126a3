/* relayd/settings_schema.h - every directive of relayd.conf, for settings.c. */
#ifndef RELAYD_SETTINGS_SCHEMA_H
#define RELAYD_SETTINGS_SCHEMA_H

#include "conf/conf.h"
#include "relayd/settings.h"

extern const struct conf_schema settings_schema;

#define SETTINGS_SMARTHOSTS_MAX 1024u /* routes look them up by name */

static inline struct settings_place settings_place_of(const struct conf_stmt *s)
{
    return (struct settings_place){ .file = s->name.file->shown, .line = s->name.line };
}

/* What conf.user points to while settings are made. The arrays are the
 * settings' own, still open for writing. */
struct settings_build {
    struct settings *s;
    struct net_addr *resolvers;
    struct net_prefix *trusted;
    struct settings_pair *pairs;
    struct settings_listen *listens;
    struct settings_domain *domains;
    struct settings_smarthost *smarthosts;
    struct settings_route *routes;
    struct settings_retry_for *retries;
    const struct conf_stmt *route_default;
    /* Found once, for there may be as many routes and schedules as domains. */
    const struct conf_stmt **smarthost_stmts;
    size_t smarthost_stmt_count;
    const struct conf_stmt *retry_stmt; /* the general one */
    bool retry_searched;
};

/* Of a listener whose role and TLS are known: what its login is when it says
 * nothing, and what it may not be. */
void settings_finish_login(struct conf *c, const struct conf_stmt *s, struct settings_listen *listen);

/* The schema's takers, each for the directive or the sort of directives that it
 * is called by; see conf_take. What is wrong beyond number and type of the
 * arguments they tell by conf_error(). */
void settings_take_command(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_scram(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_addr_list(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_client_address(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_certificate(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_certificate_key(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_certificates(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_client_certificates(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_delivery(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_domain(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_email(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_factor(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_header_from(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_hostname(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_hosts(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_level(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_listen(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_listen_tls(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_login(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_log_format(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_loopback_mx(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_resolver(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_retry(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_mechanisms(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_password_file(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_rate(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_rewrite(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_role(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_route(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_smarthost(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_smarthost_tls(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_tls(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_token_command(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_trusted(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_yes(struct conf *c, const struct conf_stmt *s, void *into);

/* Values with more than one spelling. */
bool settings_parse_resolver(struct slice text, struct net_addr *out);
bool settings_parse_host(struct slice text, struct pool *pool, struct settings_host *out); /* pool NULL: only check */

#endif
