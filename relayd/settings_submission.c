/* relayd/settings_submission.c - directives about mail from our own people and
 * programs: who must log in, and what is done to what they send. */
#include "relayd/settings_schema.h"

#include "mail/path.h"

static bool is(const struct conf_stmt *s, const char *keyword)
{
    return slice_eq(s->args[0].text, slice_str(keyword));
}

void settings_take_login(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(enum settings_login *)into = is(s, "none")       ? SETTINGS_LOGIN_NONE
                                   : is(s, "optional") ? SETTINGS_LOGIN_OPTIONAL
                                   : is(s, "required") ? SETTINGS_LOGIN_REQUIRED
                                                       : SETTINGS_LOGIN_UNLESS_TRUSTED;
}

void settings_take_header_from(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(bool *)into = is(s, "owned");
}

void settings_take_client_address(struct conf *c, const struct conf_stmt *s, void *into)
{
    *(bool *)into = is(s, "hide");
}

/* The rules stay in the order they are written in. */
void settings_take_rewrite(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_rewrite **at = into;
    struct mail_path path;
    struct settings_rewrite *rule = pool_new_of(c->pool, struct settings_rewrite);

    if (slice_eq(s->args[0].text, SLICE("<>"))) {
        conf_error(c, &s->args[0], "the null path is for mail that must not be answered, and stays");
        return;
    }
    if (mail_address_parse(s->args[1].text, 0, &path) != MAIL_PATH_OK)
        return;
    rule->pattern = pool_dup(c->pool, s->args[0].text);
    rule->address = pool_dup(c->pool, mail_path_text(&path));
    while (*at != NULL)
        at = (struct settings_rewrite **)&(*at)->next;
    *at = rule;
}

void settings_finish_login(struct conf *c, const struct conf_stmt *s, struct settings_listen *listen)
{
    const struct conf_stmt *login = s->has_block ? conf_find(s, "login") : NULL;
    const struct conf_word *at = login != NULL ? &login->name : &s->args[0];

    if (login == NULL && listen->role == SETTINGS_ROLE_SUBMISSION)
        listen->login = SETTINGS_LOGIN_REQUIRED;
    if (listen->role == SETTINGS_ROLE_SUBMISSION && listen->login < SETTINGS_LOGIN_UNLESS_TRUSTED)
        conf_error(c, at, "on a listener with \"role submission\" the login is required, or unless_trusted");
}
