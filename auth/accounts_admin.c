/* auth/accounts_admin.c - users made, shown, changed and deleted. */
#include "auth/accounts_admin.h"

#include "base/mem.h"
#include "base/secret.h"
#include "mail/path.h"

#include <stdlib.h>

#define LIST_DEFAULT 1000u
#define LIST_BYTES   (256u * KIB)

struct deed {
    const struct admin_context *c;
    const struct admin_fields *fields;
    struct buf *answer;
    char address[USER_ADDRESS_MAX + 1]; /* as it is written */
    char key[USER_ADDRESS_MAX + 1];
};

static void refuse_err(struct deed *d, struct err e)
{
    char text[256];

    switch (e.kind) {
    case ERR_NOT_FOUND:
        admin_answer_begin(d->answer, ADMIN_NOT_FOUND, "there is no user %s", d->address);
        break;
    case ERR_EXISTS:
        admin_answer_begin(d->answer, ADMIN_EXISTS, "%s", e.what);
        break;
    case ERR_LIMIT:
    case ERR_SYNTAX:
        admin_answer_begin(d->answer, ADMIN_BAD, "%s", e.what);
        break;
    default:
        admin_answer_begin(d->answer, ADMIN_FAILED, "%s", err_text(e, text, sizeof text));
        break;
    }
}

static bool take_user(struct deed *d)
{
    struct slice name = admin_text(d->fields, "user");

    if (user_address(name, d->c->domain, d->address) && user_key(name, d->c->domain, d->key))
        return true;
    admin_answer_begin(d->answer, ADMIN_BAD, "\"%.*s\" is no address: write user@example.com",
                       (int)slice_head(name, 200).len, name.ptr != NULL ? name.ptr : "");
    return false;
}

/* ---- what a request wants of a user --------------------------------------------------------- */

struct wishes {
    bool has_password, has_senders, has_services, has_messages, has_recipients, has_disabled;
    char hash[PASSWORD_HASH_MAX];
    struct scram_keys scram;
    bool sender_own, sender_any, disabled;
    char *senders[USER_SENDERS_MAX];
    size_t sender_count;
    unsigned services;
    uint32_t messages, recipients;
};

static void wishes_release(struct wishes *w)
{
    for (size_t i = 0; i < w->sender_count; i++)
        free(w->senders[i]);
    secret_wipe(w, sizeof *w);
}

static bool bad(struct deed *d, const char *what, struct slice value, const char *why)
{
    admin_answer_begin(d->answer, ADMIN_BAD, "%s \"%.*s\": %s", what, (int)slice_head(value, 200).len,
                       value.ptr != NULL ? value.ptr : "", why);
    return false;
}

static bool take_password(struct deed *d, struct wishes *w)
{
    struct slice password = admin_text(d->fields, "password");
    const char *why;
    struct err e;

    w->has_password = admin_has(d->fields, "password");
    if (!w->has_password)
        return true;
    if (!password_acceptable(password, &why)) {
        admin_answer_begin(d->answer, ADMIN_BAD, "the password can't be used: %s", why);
        return false;
    }
    e = password_hash(password, w->hash);
    if (!err_failed(e)) {
        e = password_scram(password, &w->scram);
        if (e.kind == ERR_SYNTAX) /* no SCRAM for this one; PLAIN and LOGIN work */
            e = ERR_OK;
    }
    if (!err_failed(e))
        return true;
    refuse_err(d, e);
    return false;
}

static bool add_sender(struct deed *d, struct wishes *w, struct slice rule)
{
    if (slice_eq_nocase(rule, SLICE("own"))) {
        w->sender_own = true;
    } else if (slice_eq_nocase(rule, SLICE("any")) || slice_eq(rule, SLICE("*"))) {
        w->sender_any = true;
    } else if (rule.len > USER_ADDRESS_MAX || !mail_pattern_valid(rule)) {
        return bad(d, "senders", rule,
                   "write own, any, user@example.com, example.com, .example.com or user@, with commas between");
    } else if (w->sender_count == USER_SENDERS_MAX) {
        return bad(d, "senders", rule, "there are more than 64 rules");
    } else {
        w->senders[w->sender_count++] = mem_dup(rule.ptr, rule.len);
    }
    return true;
}

static bool take_senders(struct deed *d, struct wishes *w)
{
    struct slice rest = admin_text(d->fields, "senders"), rule;

    w->has_senders = admin_has(d->fields, "senders");
    while (slice_split(&rest, ',', &rule)) {
        rule = slice_trim(rule);
        if (rule.len != 0 && !add_sender(d, w, rule))
            return false;
    }
    if (w->has_senders && !w->sender_own && !w->sender_any && w->sender_count == 0)
        return bad(d, "senders", admin_text(d->fields, "senders"), "it names nobody to send as");
    return true;
}

static bool take_rate(struct deed *d, const char *name, bool *has, uint32_t *out)
{
    struct slice text = admin_text(d->fields, name);
    uint64_t n;

    *has = admin_has(d->fields, name);
    if (!*has)
        return true;
    if (slice_eq(text, SLICE("default")))
        n = USER_RATE_DEFAULT;
    else if (slice_eq(text, SLICE("unlimited")))
        n = USER_RATE_UNLIMITED;
    else if (!slice_u64(text, &n) || n == 0 || n >= USER_RATE_UNLIMITED)
        return bad(d, name, text, "write a number above 0, unlimited or default");
    *out = (uint32_t)n;
    return true;
}

static bool take_wishes(struct deed *d, struct wishes *w)
{
    struct slice services = admin_text(d->fields, "services"), disabled = admin_text(d->fields, "disabled");

    w->has_services = admin_has(d->fields, "services");
    if (w->has_services && !user_service_parse(services, &w->services))
        return bad(d, "services", services, "write smtp, imap, pop3 with commas between, all or none");
    w->has_disabled = admin_has(d->fields, "disabled");
    w->disabled = slice_eq(disabled, SLICE("yes"));
    if (w->has_disabled && !w->disabled && !slice_eq(disabled, SLICE("no")))
        return bad(d, "disabled", disabled, "write yes or no");
    return take_rate(d, "messages_per_hour", &w->has_messages, &w->messages) &&
           take_rate(d, "recipients_per_hour", &w->has_recipients, &w->recipients) && take_senders(d, w) &&
           take_password(d, w); /* last: it takes a while */
}

static void set_senders(const struct wishes *w, struct user *u)
{
    for (size_t i = 0; i < u->sender_count; i++)
        free(u->senders[i]);
    free(u->senders);
    u->sender_own = w->sender_own;
    u->sender_any = w->sender_any;
    u->sender_count = w->sender_count;
    u->senders = mem_zero(w->sender_count, sizeof *u->senders);
    for (size_t i = 0; i < w->sender_count; i++)
        u->senders[i] = mem_str(w->senders[i]);
}

/* Store thread, perhaps twice. */
static struct err grant(void *ctx, struct user *u)
{
    const struct wishes *w = ctx;

    if (w->has_password) {
        free(u->hash);
        u->hash = mem_str(w->hash);
        u->scram = w->scram;
    }
    if (w->has_senders)
        set_senders(w, u);
    if (w->has_services)
        u->services = w->services;
    if (w->has_messages)
        u->messages_per_hour = w->messages;
    if (w->has_recipients)
        u->recipients_per_hour = w->recipients;
    if (w->has_disabled)
        u->disabled = w->disabled;
    return ERR_OK;
}

static void do_add(struct deed *d)
{
    struct wishes w = { 0 };
    struct user u = { 0 };
    struct err e;

    if (take_user(d) && take_wishes(d, &w)) {
        u.address = mem_str(d->address);
        u.hash = mem_str("");
        u.sender_own = true;
        u.services = USER_ALL_SERVICES;
        u.created_wall_ms = u.changed_wall_ms = clock_wall_ms(d->c->clock);
        e = grant(&w, &u);
        if (!err_failed(e))
            e = users_add(d->c->users, &u);
        if (err_failed(e))
            refuse_err(d, e);
        else
            admin_answer_begin(d->answer, ADMIN_OK, "%s: added", d->address);
        user_release(&u);
    }
    wishes_release(&w);
}

static void do_change(struct deed *d)
{
    struct wishes w = { 0 };
    struct err e;

    if (take_user(d) && take_wishes(d, &w)) {
        e = users_change(d->c->users, d->key, grant, &w);
        if (err_failed(e))
            refuse_err(d, e);
        else
            admin_answer_begin(d->answer, ADMIN_OK, "%s: changed", d->address);
    }
    wishes_release(&w);
}

static void do_delete(struct deed *d)
{
    struct err e;

    if (!take_user(d))
        return;
    e = users_delete(d->c->users, d->key);
    if (err_failed(e))
        refuse_err(d, e);
    else
        admin_answer_begin(d->answer, ADMIN_OK, "%s: deleted", d->address);
}

/* ---- looking ------------------------------------------------------------------------------------ */

static bool count_app(void *ctx, const struct user_app *app)
{
    ++*(uint64_t *)ctx;
    return true;
}

struct listing {
    struct deed *d;
    uint64_t shown, limit;
    struct buf next;
};

static bool list_user(void *ctx, const struct user *u)
{
    struct listing *l = ctx;
    struct admin_fields row = { .count = 0 };
    char key[USER_ADDRESS_MAX + 1];
    uint64_t apps = 0;

    if (!user_key(slice_str(u->address), NULL, key))
        return true;
    if (l->shown == l->limit || buf_len(l->d->answer) > LIST_BYTES)
        return false;
    if (err_failed(users_each_app(l->d->c->users, key, count_app, &apps)))
        apps = 0;
    admin_add_text(&row, "user", slice_str(u->address));
    admin_add_switch(&row, "disabled", u->disabled);
    admin_add_switch(&row, "password", u->hash[0] != '\0');
    admin_add_number(&row, "app_passwords", apps);
    admin_add_time(&row, "created", u->created_wall_ms);
    admin_add_time(&row, "last_login", users_last_used(l->d->c->users, key, NULL));
    admin_row_put(l->d->answer, &row);
    l->shown++;
    buf_clear(&l->next);
    buf_add_str(&l->next, key);
    return true;
}

static void do_list(struct deed *d)
{
    struct slice after = admin_text(d->fields, "after"), limit = admin_text(d->fields, "limit");
    struct listing l = { .d = d, .limit = LIST_DEFAULT };
    struct admin_fields row = { .count = 0 };
    char *from = mem_dup(after.ptr, after.len);
    bool whole = true;
    struct err e;

    if (limit.len != 0 && (!slice_u64(limit, &l.limit) || l.limit == 0)) {
        bad(d, "limit", limit, "not a number above 0");
    } else {
        admin_answer_begin(d->answer, ADMIN_OK, "users");
        e = users_each(d->c->users, from, list_user, &l, &whole);
        if (err_failed(e)) {
            refuse_err(d, e);
        } else if (!whole) {
            admin_add_text(&row, "next", buf_bytes(&l.next));
            admin_row_put(d->answer, &row);
        }
    }
    buf_release(&l.next);
    free(from);
}

static bool list_app(void *ctx, const struct user_app *app)
{
    struct deed *d = ctx;
    struct admin_fields row = { .count = 0 };

    admin_add_text(&row, "app", slice_str(app->name));
    admin_add_time(&row, "created", app->created_wall_ms);
    admin_add_time(&row, "last_login", users_last_used(d->c->users, d->key, app->name));
    admin_row_put(d->answer, &row);
    return true;
}

static void add_rate(struct admin_fields *row, const char *name, uint32_t n)
{
    if (n == USER_RATE_DEFAULT || n == USER_RATE_UNLIMITED)
        admin_add_text(row, name, n == USER_RATE_DEFAULT ? SLICE("default") : SLICE("unlimited"));
    else
        admin_add_number(row, name, n);
}

static void put_user(struct deed *d, const struct user *u)
{
    struct admin_fields row = { .count = 0 };
    struct buf senders = { 0 };
    char services[32];

    if (u->sender_any)
        buf_add(&senders, slice_make("any", 4));
    if (u->sender_own)
        buf_add(&senders, slice_make("own", 4));
    for (size_t i = 0; i < u->sender_count; i++)
        buf_add(&senders, slice_make(u->senders[i], strlen(u->senders[i]) + 1));
    admin_add_text(&row, "user", slice_str(u->address));
    admin_add_switch(&row, "disabled", u->disabled);
    admin_add_switch(&row, "password", u->hash[0] != '\0');
    admin_add_switch(&row, "scram", u->scram.iterations != 0);
    admin_add_text(&row, "services", slice_str(user_service_names(u->services, services)));
    admin_add_list(&row, "senders", buf_bytes(&senders));
    add_rate(&row, "messages_per_hour", u->messages_per_hour);
    add_rate(&row, "recipients_per_hour", u->recipients_per_hour);
    if (d->c->counted) {
        admin_add_number(&row, "messages_this_hour", d->c->messages);
        admin_add_number(&row, "recipients_this_hour", d->c->recipients);
    }
    admin_add_time(&row, "created", u->created_wall_ms);
    admin_add_time(&row, "changed", u->changed_wall_ms);
    admin_add_time(&row, "last_login", users_last_used(d->c->users, d->key, NULL));
    admin_row_put(d->answer, &row);
    buf_release(&senders);
}

static void do_show(struct deed *d)
{
    struct user u;
    struct err e;

    if (!take_user(d))
        return;
    e = users_get(d->c->users, d->key, &u);
    if (!err_failed(e)) {
        admin_answer_begin(d->answer, ADMIN_OK, "user");
        put_user(d, &u);
        user_release(&u);
        e = users_each_app(d->c->users, d->key, list_app, d);
    }
    if (err_failed(e))
        refuse_err(d, e);
}

/* ---- application passwords ----------------------------------------------------------------------- */

static void do_app_list(struct deed *d)
{
    struct user u;
    struct err e;

    if (!take_user(d))
        return;
    e = users_get(d->c->users, d->key, &u);
    if (!err_failed(e)) {
        user_release(&u);
        admin_answer_begin(d->answer, ADMIN_OK, "application passwords");
        e = users_each_app(d->c->users, d->key, list_app, d);
    }
    if (err_failed(e))
        refuse_err(d, e);
}

static bool take_app_name(struct deed *d, char name[USER_APP_NAME_MAX + 1])
{
    struct slice text = admin_text(d->fields, "name");

    if (text.len == 0 || text.len > USER_APP_NAME_MAX)
        return bad(d, "name", text, "1 to 64 bytes say what the application password is for");
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127)
            return bad(d, "name", text, "there are control characters in it");
    memcpy(name, text.ptr, text.len);
    name[text.len] = '\0';
    return true;
}

static void do_app_add(struct deed *d)
{
    char name[USER_APP_NAME_MAX + 1], typed[PASSWORD_APP_TEXT + 1], normal[PASSWORD_APP_CHARS];
    struct user_app app = { .name = name, .created_wall_ms = clock_wall_ms(d->c->clock) };
    struct admin_fields row = { .count = 0 };
    struct err e;

    if (!take_user(d) || !take_app_name(d, name))
        return;
    password_app_new(typed);
    if (!password_app_normal(slice_str(typed), normal))
        abort(); /* it was made a moment ago */
    random_secret(app.salt, sizeof app.salt);
    password_app_digest(normal, app.salt, app.digest);
    e = users_app_add(d->c->users, d->key, &app);
    if (err_failed(e)) {
        refuse_err(d, e);
    } else {
        admin_answer_begin(d->answer, ADMIN_OK, "%s: application password \"%s\" added", d->address, name);
        admin_add_text(&row, "password", slice_str(typed));
        admin_row_put(d->answer, &row);
    }
    secret_wipe(typed, sizeof typed);
    secret_wipe(normal, sizeof normal);
}

static void do_app_delete(struct deed *d)
{
    char name[USER_APP_NAME_MAX + 1];
    struct err e;

    if (!take_user(d) || !take_app_name(d, name))
        return;
    e = users_app_delete(d->c->users, d->key, name);
    if (e.kind == ERR_NOT_FOUND)
        admin_answer_begin(d->answer, ADMIN_NOT_FOUND, "%s has no application password \"%s\"", d->address, name);
    else if (err_failed(e))
        refuse_err(d, e);
    else
        admin_answer_begin(d->answer, ADMIN_OK, "%s: application password \"%s\" deleted", d->address, name);
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const struct {
    const char *op;
    void (*run)(struct deed *d);
} deeds[] = {
    { "user-list", do_list },     { "user-show", do_show },     { "user-add", do_add },
    { "user-change", do_change }, { "user-delete", do_delete }, { "app-list", do_app_list },
    { "app-add", do_app_add },    { "app-delete", do_app_delete },
};

void admin_run(const struct admin_context *c, const struct admin_request *r, struct buf *answer)
{
    struct deed d = { .c = c, .fields = &r->fields, .answer = answer };

    for (size_t i = 0; i < countof(deeds); i++) {
        if (slice_eq(r->op, slice_str(deeds[i].op))) {
            deeds[i].run(&d);
            return;
        }
    }
    admin_answer_begin(answer, ADMIN_BAD, "there is nothing of that name to do");
}
