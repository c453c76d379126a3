/* relayd/settings_smarthost.c - other servers that take our mail: who they
 * are, who we are there, and how much they want of it. */
#include "relayd/settings_schema.h"

#include "auth/sasl_client.h"

#include <string.h>

static bool is(const struct conf_word *word, const char *keyword)
{
    return slice_eq(word->text, slice_str(keyword));
}

static enum settings_tls take_hop_tls(struct conf *c, const struct conf_stmt *s)
{
    static const struct {
        const char *name;
        enum settings_tls tls;
    } policies[] = {
        { "none", SETTINGS_TLS_NONE },
        { "optional", SETTINGS_TLS_OPTIONAL },
        { "required", SETTINGS_TLS_REQUIRED },
        { "verified", SETTINGS_TLS_VERIFIED },
    };

    for (size_t i = 0; i < countof(policies); i++) {
        if (is(&s->args[0], policies[i].name))
            return policies[i].tls;
    }
    conf_error(c, &s->name, "\"tls %.*s\" is not in this release", (int)s->args[0].text.len,
               s->args[0].text.ptr);
    return SETTINGS_TLS_VERIFIED;
}

void settings_take_tls(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(enum settings_tls *)into = take_hop_tls(c, s);
}

void settings_take_smarthost_tls(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_smarthost *smarthost = into;

    smarthost->tls = take_hop_tls(c, s);
    if (s->arg_count > 1)
        smarthost->tls_start = is(&s->args[1], "implicit") ? SETTINGS_TLS_FIRST : SETTINGS_TLS_STARTTLS;
    if (smarthost->tls == SETTINGS_TLS_OPTIONAL && smarthost->tls_start == SETTINGS_TLS_FIRST)
        conf_error(c, &s->args[1],
                   "what begins with TLS can't go on without it: write \"tls required implicit\" or "
                   "\"tls verified implicit\"");
}

void settings_take_hosts(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_smarthost *smarthost = into;

    smarthost->hosts = pool_zero(c->pool, s->arg_count, sizeof *smarthost->hosts);
    for (size_t i = 0; i < s->arg_count; i++) {
        if (!s->args[i].comma &&
            settings_parse_host(s->args[i].text, c->pool, &smarthost->hosts[smarthost->host_count]))
            smarthost->host_count++;
    }
}

void settings_take_password_file(struct conf *c, const struct conf_stmt *s, void *into)
{
    const struct bundle_entry *e = conf_secret(c, &s->args[0]);
    struct slice text = e != NULL ? buf_bytes(&e->bytes) : SLICE_EMPTY;

    if (e != NULL && e->withheld) { /* there, but for others to know */
        *(const char **)into = "";
        return;
    }
    text = slice_head(text, slice_find(text, '\n'));
    if (text.len > 0 && text.ptr[text.len - 1] == '\r')
        text.len--;
    if (text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL) {
        conf_error(c, &s->args[0], "the first line of \"%.*s\" is no password", (int)s->args[0].text.len,
                   s->args[0].text.ptr);
        return;
    }
    *(const char **)into = pool_dup(c->pool, text);
}

void settings_take_token_command(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char **argv = pool_zero(c->pool, s->arg_count + 1, sizeof *argv);

    argv[0] = conf_path(c, s->args[0].file, s->args[0].text);
    for (size_t i = 1; i < s->arg_count; i++)
        argv[i] = pool_dup(c->pool, s->args[i].text);
    *(const char *const **)into = argv;
}

void settings_take_mechanisms(struct conf *c, const struct conf_stmt *s, void *into)
{
    for (size_t i = 0; i < s->arg_count; i++) {
        if (!s->args[i].comma)
            *(unsigned *)into |= sasl_mechanism_bit(s->args[i].text);
    }
}

void settings_take_rate(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct conf_rate *rate = into;
    const char *why;

    if (!conf_value_rate(s->args[0].text, rate, &why))
        *rate = (struct conf_rate){ 0 }; /* unlimited */
}

/* ---- a login as a whole ------------------------------------------------------- */

static const char *const secrets[] = { "password", "password_file", "token_file", "token_command" };

static void check_secrets(struct conf *c, const struct conf_stmt *s, const struct settings_smarthost *sh)
{
    const struct conf_stmt *user = conf_find(s, "user"), *mechanisms = conf_find(s, "auth");
    const struct conf_stmt *first = NULL;

    for (size_t i = 0; i < countof(secrets); i++) {
        const struct conf_stmt *secret = conf_find(s, secrets[i]);

        if (secret != NULL && first != NULL)
            conf_error(c, &secret->name, "\"%s\" beside \"%.*s\": one login has one secret", secrets[i],
                       (int)first->name.text.len, first->name.text.ptr);
        else if (secret != NULL)
            first = secret;
    }
    if (user == NULL && first != NULL)
        conf_error(c, &first->name, "\"%.*s\" without \"user\"", (int)first->name.text.len, first->name.text.ptr);
    if (user == NULL && first == NULL && mechanisms != NULL)
        conf_error(c, &mechanisms->name, "\"auth\" without \"user\"");
    if (user != NULL && first == NULL)
        conf_error(c, &user->name, "\"user\" without a secret: add \"password\", \"password_file\", "
                                   "\"token_file\" or \"token_command\"");
    if (first == NULL || mechanisms == NULL || mechanisms->bad)
        return;
    if (sh->token_file != NULL || sh->token_command != NULL) {
        if ((sh->mechanisms & SASL_BIT(SASL_XOAUTH2)) == 0)
            conf_error(c, &mechanisms->name, "a token is for XOAUTH2, and \"auth\" does not name it");
    } else if ((sh->mechanisms & ~SASL_BIT(SASL_XOAUTH2)) == 0) {
        conf_error(c, &mechanisms->name, "XOAUTH2 takes a token: \"token_file\" or \"token_command\"");
    }
}

static bool is_here(const struct settings_host *h)
{
    return h->literal ? net_addr_is_loopback(&h->addr) : strcmp(h->name, "localhost") == 0;
}

/* A login never travels in the clear, but to a program on this machine. */
static void check_clear(struct conf *c, const struct conf_stmt *s, const struct settings_smarthost *sh)
{
    const struct conf_stmt *tls = conf_find(s, "tls"), *user = conf_find(s, "user");

    if (tls == NULL || user == NULL || sh->tls != SETTINGS_TLS_NONE)
        return;
    for (size_t i = 0; i < sh->host_count; i++) {
        if (!is_here(&sh->hosts[i])) {
            conf_error(c, &tls->name, "\"tls none\" with a login is for hosts on loopback only, and %s is none",
                       sh->hosts[i].name);
            return;
        }
    }
}

void settings_take_smarthost(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    struct settings_smarthost *smarthost;

    if (b->smarthosts == NULL)
        b->s->smarthosts = b->smarthosts =
            pool_zero(c->pool, SETTINGS_SMARTHOSTS_MAX, sizeof *b->smarthosts);
    if (b->s->smarthost_count == SETTINGS_SMARTHOSTS_MAX) {
        conf_error(c, &s->name, "more than %u smart hosts", SETTINGS_SMARTHOSTS_MAX);
        return;
    }
    smarthost = &b->smarthosts[b->s->smarthost_count++];
    smarthost->place = settings_place_of(s);
    smarthost->title = pool_dup(c->pool, s->args[0].text);
    smarthost->tls = SETTINGS_TLS_VERIFIED;
    conf_take_block(c, s, smarthost);
    if (conf_find(s, "host") == NULL)
        conf_error(c, &s->args[0], "smarthost \"%s\" has no \"host\"", smarthost->title);
    check_secrets(c, s, smarthost);
    check_clear(c, s, smarthost);
}
