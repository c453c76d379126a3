/* relayd/session_auth.c - a client's login: its bytes go to the accounts
 * process and the verdicts come back. Then: what the user may send from, and
 * how much.
 *
 * A login makes the client trusted: it may send anywhere. On a submission
 * listener nobody else sends at all, unless the listener says that trusted
 * networks need no login.
 */
#include "relayd/session_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/author.h"
#include "net/tls.h"

#include <stdio.h>
#include <stdlib.h>

#define CHALLENGE_MAX (8u * KIB) /* no mechanism comes near; in base64 it fits into a line */

struct session_charge { /* outlives a session that ends while its user is charged */
    struct session *session;
    void (*then)(struct session *s);
};

/* What the line is worth, and who the client says it is by a certificate. */
struct line {
    bool tls;
    struct slice binding;
    const char *external;
};

static struct line line_of(const struct session *s)
{
    const struct tls_info *t = stream_tls(s->stream);
    struct line line = { .tls = t != NULL };

    if (t != NULL && t->has_binding)
        line.binding = slice_make(t->binding, sizeof t->binding);
    if (t != NULL && t->verified)
        line.external = t->peer_name;
    return line;
}

/* ---- the exchange ---------------------------------------------------------------- */

void session_offer_login(struct session *s)
{
    struct accounts *a = s->acceptor->accounts;
    struct line line = line_of(s);
    bool safe = line.tls || s->login_in_clear;

    if (s->login == SETTINGS_LOGIN_NONE)
        return;
    s->auth = (struct smtp_server_auth){
        .mechanisms = "",
        .under_tls = "",
        .required = s->login == SETTINGS_LOGIN_REQUIRED ||
                    (s->login == SETTINGS_LOGIN_UNLESS_TRUSTED && !s->trusted),
    };
    if (a != NULL && safe)
        s->auth.mechanisms =
            accounts_mechanisms(a, line.tls, s->login_in_clear, line.binding.len > 0, line.external != NULL);
    else if (a != NULL)
        s->auth.under_tls = accounts_mechanisms(a, true, false, false, false);
    smtp_server_set_auth(s->engine, &s->auth);
}

static void user_free(struct session_user *u)
{
    if (u == NULL)
        return;
    accounts_login_free(u->login);
    for (size_t i = 0; i < u->sender_count; i++)
        free(u->senders[i]);
    free(u->senders);
    free(u->name);
    free(u);
}

void session_forget_login(struct session *s)
{
    if (s->charge != NULL)
        s->charge->session = NULL;
    s->charge = NULL;
    user_free(s->user);
    s->user = NULL;
    s->trusted = s->trusted_address;
}

static void take_user(struct session *s, const struct accounts_answer *answer)
{
    struct session_user *u = s->user;

    accounts_login_free(u->login);
    u->login = NULL;
    u->name = mem_str(answer->user);
    u->senders = mem_zero(answer->sender_count, sizeof *u->senders);
    for (; u->sender_count < answer->sender_count; u->sender_count++)
        u->senders[u->sender_count] = mem_str(answer->senders[u->sender_count]);
    u->sender_any = answer->sender_any;
    u->limited = answer->messages_per_hour != 0 || answer->recipients_per_hour != 0;
    u->generation = accounts_generation(s->acceptor->accounts);
    s->trusted = true;
}

/* A failure is logged by the accounts process, which knows of all of them. */
static void login_answered(void *ctx, const struct accounts_answer *answer)
{
    struct session *s = ctx;
    enum accounts_verdict verdict = answer->verdict;

    if (verdict == ACCOUNTS_CHALLENGE && answer->challenge.len <= CHALLENGE_MAX) {
        smtp_server_challenge(s->engine, answer->challenge);
        session_after(s);
        return;
    }
    if (verdict == ACCOUNTS_OK)
        take_user(s, answer);
    if (verdict != ACCOUNTS_OK)
        session_forget_login(s);
    switch (verdict) {
    case ACCOUNTS_OK:
        smtp_server_answer(s->engine, 235, "2.7.0 Authentication successful");
        break;
    case ACCOUNTS_DENIED:
        smtp_server_answer(s->engine, 535, "5.7.8 Authentication credentials invalid");
        break;
    case ACCOUNTS_LATER:
        smtp_server_answer(s->engine, 454, "4.7.0 too many failed logins, try again later");
        break;
    case ACCOUNTS_BAD:
        smtp_server_answer(s->engine, 504, "5.5.4 this mechanism is not for this connection");
        break;
    default:
        smtp_server_answer(s->engine, 454, "4.7.0 logins can't be checked now, try again later");
        break;
    }
    session_after(s);
}

void session_auth_begin(void *ctx, const char *mechanism, struct slice initial, bool has_initial)
{
    struct session *s = ctx;
    struct line line = line_of(s);
    struct accounts_client client = {
        .mechanism = mechanism,
        .service = "smtp",
        .addr = s->client_addr,
        .tls = line.tls,
        .clear_ok = s->login_in_clear,
        .binding = line.binding,
        .external = line.external,
    };

    s->user = mem_new(struct session_user);
    snprintf(s->user->mechanism, sizeof s->user->mechanism, "%s", mechanism);
    s->user->login = accounts_login_new(s->acceptor->accounts, s->acceptor->loop, &client, login_answered, s);
    accounts_login_step(s->user->login, initial, has_initial);
}

void session_auth_continue(void *ctx, struct slice response)
{
    struct session *s = ctx;

    accounts_login_step(s->user->login, response, true);
}

void session_auth_cancelled(void *ctx)
{
    session_forget_login(ctx);
}

/* ---- what a user may do ------------------------------------------------------------ */

bool session_logged_in(const struct session *s)
{
    return s->user != NULL && s->user->name != NULL;
}

static bool owns(const struct session_user *u, struct slice address)
{
    if (u->sender_any)
        return true;
    for (size_t i = 0; i < u->sender_count; i++)
        if (mail_pattern_matches(slice_str(u->senders[i]), address))
            return true;
    return false;
}

/* The null path is everybody's: receipts and automatic answers use it (RFC 3798
 * section 2.1, RFC 3834 section 3.3). */
bool session_sender_refused(struct session *s, struct slice sender)
{
    if (!session_logged_in(s) || sender.len == 0 || owns(s->user, sender))
        return false;
    smtp_server_answer(s->engine, 553, "5.7.1 <%.*s>: Sender address rejected: not owned by user %s", (int)sender.len,
                       sender.ptr, s->user->name);
    return true;
}

/* An address of the header, by the spelling an envelope has. */
static bool canonical(struct slice address, struct mail_path *path)
{
    return mail_address_parse(address, MAIL_PATH_UTF8_OK, path) == MAIL_PATH_OK;
}

struct own_check {
    const struct session_user *user;
    struct buf *foreign;
};

static bool owns_header_address(void *ctx, struct slice address)
{
    const struct own_check *c = ctx;
    struct mail_path path;

    if (canonical(address, &path) && owns(c->user, mail_path_text(&path)))
        return true;
    buf_add(c->foreign, address);
    return false;
}

bool session_owns_from(const struct session *s, struct slice header, struct buf *foreign)
{
    struct own_check c = { s->user, foreign };

    return !session_logged_in(s) || mail_from_addresses(header, s->config->settings->hostname, owns_header_address, &c);
}

/* The envelope's sender is the user's own: it was refused otherwise. */
void session_note_signer(struct session *s, struct slice header, struct slice foreign)
{
    const struct delivery_policy *p = s->config->policy;
    char author[MAIL_DOMAIN_MAX + 1], sender[MAIL_DOMAIN_MAX + 1];
    bool signs = mail_domain_to_ascii(mail_path_domain(&s->sender), sender) && policy_signing_domain(p, sender) != NULL;

    buf_clear(&s->signer);
    if (!signs && !(mail_author_domain(header, author) && policy_signing_domain(p, author) != NULL))
        return;
    buf_printf(&s->signer, "%s%s: ", signs ? sender : "none", signs ? ", the domain of the envelope's sender" : "");
    if (foreign.len > 0)
        buf_printf(&s->signer, "%.*s in From is not owned by user %s",
                   (int)slice_head(foreign, MAIL_ADDRESS_MAX).len, foreign.ptr, s->user->name);
    else
        buf_add_str(&s->signer, "From names no address");
}

static bool has_rewrites(const struct session *s)
{
    return s->rewrites != NULL || s->config->settings->rewrites != NULL;
}

static const struct settings_rewrite *find_rewrite(const struct settings_rewrite *rule, struct slice address)
{
    while (rule != NULL && !mail_pattern_matches(slice_str(rule->pattern), address))
        rule = rule->next;
    return rule;
}

/* What the rules make of an address: the listener's come first. */
static const char *rewritten(const struct session *s, struct slice address)
{
    const struct settings_rewrite *rule = find_rewrite(s->rewrites, address);

    if (rule == NULL)
        rule = find_rewrite(s->config->settings->rewrites, address);
    return rule != NULL ? rule->address : NULL;
}

void session_rewrite_sender(const struct session *s, struct mail_path *sender)
{
    const char *instead = sender->len != 0 && session_is_submission(s) ? rewritten(s, mail_path_text(sender)) : NULL;

    if (instead != NULL && mail_address_parse(slice_str(instead), 0, sender) != MAIL_PATH_OK)
        log_error("smtpd", "sender_rewrite: %s is no address", instead); /* settings have checked it */
}

static bool rewrite_header_address(void *ctx, struct slice address, struct slice *instead)
{
    struct mail_path path;
    const char *to = canonical(address, &path) ? rewritten(ctx, mail_path_text(&path)) : NULL;

    *instead = slice_str(to);
    return to != NULL;
}

bool session_is_submission(const struct session *s)
{
    return s->submission || session_logged_in(s) || (s->trusted && has_rewrites(s));
}

void session_complete_header(const struct session *s, struct slice header, bool malformed, struct buf *out)
{
    char id[QUEUE_ID_TEXT_MAX];
    struct mail_completion c = {
        .hostname = s->config->settings->hostname,
        .id = queue_id_format(queue_draft_id(s->draft), id),
        .wall_ms = queue_draft_wall_ms(s->draft),
        .from = mail_path_text(&s->sender),
        .rewrite = has_rewrites(s) ? rewrite_header_address : NULL,
        .ctx = (void *)s,
    };

    if (c.from.len == 0 && session_logged_in(s) && strchr(s->user->name, '@') != NULL)
        c.from = slice_str(s->user->name);
    mail_complete_header(header, malformed, &c, out);
}

char *session_login_text(const struct session *s)
{
    struct buf text = { 0 };

    if (session_logged_in(s))
        buf_printf(&text, ", sasl_method=%s, sasl_username=%s", s->user->mechanism, s->user->name);
    else
        buf_reserve(&text, 1);
    return buf_detach(&text);
}

/* ---- how much ----------------------------------------------------------------------- */

static void charged(void *ctx, bool ok, const char *why)
{
    struct session_charge *c = ctx;
    struct session *s = c->session;
    void (*then)(struct session *s) = c->then;

    free(c);
    if (s == NULL)
        return; /* nobody waits any more */
    s->charge = NULL;
    if (ok) {
        then(s);
    } else {
        log_info("smtpd", "unknown[%s]: no message from sasl_username=%s now: %s", s->client, s->user->name, why);
        smtp_server_answer(s->engine, 450, "%s", why);
    }
    session_after(s);
}

bool session_charge_user(struct session *s, void (*then)(struct session *s))
{
    struct accounts *a = s->acceptor->accounts;
    struct session_user *u = s->user;
    struct session_charge *c;

    /* Whoever had no limit at his login may have got one since. */
    if (!session_logged_in(s) || (!u->limited && u->generation == accounts_generation(a)))
        return false;
    c = mem_new(struct session_charge);
    c->session = s;
    c->then = then;
    s->charge = c;
    accounts_charge(a, s->acceptor->loop, u->name, smtp_server_recipient_count(s->engine), charged, c);
    return true;
}
