/* relayctl/user.c - the commands about who may log in: user and bans.
 *
 * With the daemon up they go through its control socket to the accounts
 * process; with the daemon down the same deeds are done on the store, as the
 * user that owns it, under its lock.
 */
#include "relayctl/tool.h"

#include "base/secret.h"
#include "control/accounts_json.h"
#include "relayctl/password.h"
#include "relayctl/render.h"
#include "relayd/identity.h"
#include "relayd/kinds.h"
#include "relayd/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USERS_WAIT_MS 2000u
#define STATE_MODE   0711
#define OWN_MODE     0700

/* ---- the store, when the daemon is down ------------------------------------------------------ */

static int tell_denied(struct tool *t)
{
    tool_complain("relayd is not running, and the users in %s/accounts can't be opened: permission denied; be root",
                  t->settings->state_dir);
    return EX_NOPERM;
}

static int exit_of_open(struct tool *t, struct err e)
{
    char text[256];

    if (e.kind == ERR_BUSY) {
        tool_complain("nobody answers at the control socket in %s, but the accounts process has the users: relayd is "
                      "starting or stopping; try again",
                      t->settings->runtime_dir);
        return EX_TEMPFAIL;
    }
    if (e.kind == ERR_DENIED || e.sys == EACCES || e.sys == EPERM)
        return tell_denied(t);
    tool_complain("the users in %s/accounts: %s", t->settings->state_dir, err_text(e, text, sizeof text));
    return e.kind == ERR_VERSION ? EX_UNAVAILABLE : EX_IOERR;
}

/* The folders as the daemon would make them, so that its first start finds
 * them good. */
static struct err make_places(struct tool *t, const struct identity *accounts, struct buf *why)
{
    const struct settings *st = t->settings;
    struct identity engine = { 0 };
    bool made;
    int at = -1;
    struct err e = identity_find(st->engine_user, "engine", &engine, why);

    if (!err_failed(e))
        e = identity_make_folder(st->state_dir, accounts->change ? STATE_MODE : OWN_MODE, &made, &at);
    if (!err_failed(e) && accounts->change && made)
        e = identity_file(&engine, at, LOCK_NAME);
    if (!err_failed(e))
        e = identity_subfolder(accounts, at, "accounts", OWN_MODE);
    if (at >= 0)
        close(at);
    return e;
}

static int open_users(struct tool *t, struct users **out)
{
    struct identity accounts = { 0 };
    struct buf why = { 0 };
    struct err e = identity_find(t->settings->accounts_user, "accounts", &accounts, &why);

    if (!err_failed(e))
        e = make_places(t, &accounts, &why);
    if (err_failed(e)) {
        int exit_code = buf_len(&why) == 0 ? exit_of_open(t, e) : EX_NOUSER;

        if (buf_len(&why) != 0)
            tool_complain("%s", buf_cstr(&why));
        buf_release(&why);
        return exit_code;
    }
    buf_release(&why);
    e = identity_assume(&accounts); /* what it makes in there must be theirs */
    if (!err_failed(e))
        e = users_open(t->settings->state_dir, &clock_system, USERS_WAIT_MS, out);
    return err_failed(e) ? exit_of_open(t, e) : EX_OK;
}

static int exit_of_status(enum admin_status status)
{
    switch (status) {
    case ADMIN_OK:
        return EX_OK;
    case ADMIN_NOT_FOUND:
        return EX_NOINPUT;
    case ADMIN_EXISTS:
        return EX_DATAERR;
    case ADMIN_BAD:
        return EX_USAGE;
    case ADMIN_BUSY:
        return EX_TEMPFAIL;
    default:
        return EX_IOERR;
    }
}

static int ask_store(struct tool *t, const struct buf *request, json_t **out)
{
    struct admin_context c = { .clock = &clock_system, .domain = t->settings->accounts.domain };
    enum admin_status status = ADMIN_FAILED;
    struct admin_request r;
    struct buf answer = { 0 };
    struct users *users = NULL;
    int exit_code = open_users(t, &users);
    struct err e;

    if (exit_code != EX_OK)
        return exit_code;
    if (!t->json)
        fprintf(stderr, "(relayd is not running: done on its store)\n");
    c.users = users;
    e = admin_request_get(buf_bytes(request), &r);
    if (err_failed(e))
        admin_answer_begin(&answer, ADMIN_BAD, "%s", e.what);
    else
        admin_run(&c, &r, &answer);
    users_close(users);
    *out = accounts_answer_json(buf_bytes(&answer), &status);
    buf_wipe(&answer);
    if (status != ADMIN_OK) {
        tool_complain("%s", text_of(*out, "text"));
        json_decref(*out);
        *out = NULL;
    }
    return exit_of_status(status);
}

/* ---- asking ------------------------------------------------------------------------------------- */

static int ask_down(struct tool *t, const char *op, const json_t *members, json_t **out)
{
    struct buf request = { 0 };
    const char *why = NULL;
    int exit_code;

    if (strncmp(op, "bans-", 5) == 0) {
        tool_complain("relayd is not running, and who is refused is known only while it does");
        return EX_UNAVAILABLE;
    }
    if (!accounts_request_of_json(slice_str(op), members, &request, &why)) {
        tool_complain("%s: %s", op, why);
        return EX_USAGE;
    }
    exit_code = ask_store(t, &request, out);
    buf_wipe(&request);
    return exit_code;
}

/* members is given up; it may hold a password. */
static int ask(struct tool *t, const char *op, json_t *members, json_t **out)
{
    char *body = json_dumps(members, JSON_COMPACT);
    struct buf path = { 0 };
    enum api_result result;
    int exit_code = EX_OK;

    *out = NULL;
    buf_printf(&path, "/v1/accounts/%s", op);
    result = api_ask(t, "POST", buf_cstr(&path), body, API_WAIT_MS, out, &exit_code);
    if (result == API_DOWN)
        exit_code = ask_down(t, op, members, out);
    buf_release(&path);
    secret_wipe(body, strlen(body));
    free(body);
    accounts_wipe_json(members);
    json_decref(members);
    return exit_code;
}

static void print_json(const json_t *doc)
{
    json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
}

static void print_buf(struct buf *text)
{
    fwrite(buf_bytes(text).ptr, 1, buf_len(text), stdout);
    buf_release(text);
}

/* For what changes something: the sentence it answers with. */
static int act(struct tool *t, const char *op, json_t *members)
{
    struct buf text = { 0 };
    json_t *doc;
    int exit_code = ask(t, op, members, &doc);

    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        print_json(doc);
    } else {
        text_clean(&text, text_of(doc, "text"));
        buf_add_byte(&text, '\n');
        print_buf(&text);
    }
    json_decref(doc);
    return EX_OK;
}

/* ---- user ------------------------------------------------------------------------------------------ */

static json_t *about(const char *user)
{
    return json_pack("{ss}", "user", user);
}

static void add_wishes(struct tool *t, json_t *members)
{
    for (size_t i = 0; i < t->wish_count; i++)
        json_object_set_new(members, t->wishes[i].name, json_string(t->wishes[i].value));
}

/* A password that is not UTF-8 can't travel as JSON. */
static int add_password(struct tool *t, json_t *members, const char *user)
{
    struct buf password = { 0 };
    json_t *text = NULL;
    int exit_code = password_ask(t->password_stdin, user, &password);

    if (exit_code == EX_OK) {
        text = json_stringn(buf_bytes(&password).ptr, buf_len(&password));
        if (text == NULL) {
            tool_complain("the password is not UTF-8");
            exit_code = EX_DATAERR;
        } else {
            json_object_set_new(members, "password", text);
        }
    }
    buf_wipe(&password);
    return exit_code;
}

static int user_add(struct tool *t)
{
    json_t *members = about(t->args[1]);
    int exit_code = t->no_password ? EX_OK : add_password(t, members, t->args[1]);

    add_wishes(t, members);
    if (exit_code == EX_OK)
        return act(t, "user-add", members);
    json_decref(members);
    return exit_code;
}

static int user_passwd(struct tool *t)
{
    json_t *members = about(t->args[1]);
    int exit_code = add_password(t, members, t->args[1]);

    if (exit_code == EX_OK)
        return act(t, "user-change", members);
    json_decref(members);
    return exit_code;
}

static int user_set(struct tool *t)
{
    json_t *members = about(t->args[1]);

    if (t->wish_count == 0) {
        tool_complain("user set: what? --senders, --services, --messages-per-hour or --recipients-per-hour");
        json_decref(members);
        return EX_USAGE;
    }
    add_wishes(t, members);
    return act(t, "user-change", members);
}

static int user_delete(struct tool *t)
{
    return act(t, "user-delete", about(t->args[1]));
}

static int user_switch(struct tool *t, bool disabled)
{
    json_t *members = about(t->args[1]);

    json_object_set_new(members, "disabled", json_boolean(disabled));
    return act(t, "user-change", members);
}

static int user_disable(struct tool *t)
{
    return user_switch(t, true);
}

static int user_enable(struct tool *t)
{
    return user_switch(t, false);
}

static int user_list(struct tool *t)
{
    json_t *users = json_array(), *doc;
    struct buf after = { 0 }, text = { 0 };
    int exit_code;

    do {
        json_t *members = json_object(), *row;
        size_t i;

        if (buf_len(&after) != 0)
            json_object_set_new(members, "after", json_string(buf_cstr(&after)));
        buf_clear(&after);
        exit_code = ask(t, "user-list", members, &doc);
        json_array_foreach(json_object_get(doc, "rows"), i, row) {
            if (json_object_get(row, "next") != NULL)
                buf_add_str(&after, text_of(row, "next"));
            else
                json_array_append(users, row);
        }
        json_decref(doc);
    } while (exit_code == EX_OK && buf_len(&after) != 0);
    doc = json_pack("{so}", "users", users);
    if (exit_code == EX_OK && t->json) {
        print_json(doc);
    } else if (exit_code == EX_OK) {
        render_users(&text, users, t->color, t->line_max);
        print_buf(&text);
    }
    buf_release(&after);
    json_decref(doc);
    return exit_code;
}

static int user_show(struct tool *t)
{
    struct buf text = { 0 };
    json_t *doc;
    int exit_code = ask(t, "user-show", about(t->args[1]), &doc);

    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        print_json(doc);
    } else {
        render_user(&text, json_object_get(doc, "rows"), t->color);
        print_buf(&text);
    }
    json_decref(doc);
    return EX_OK;
}

/* ---- user app-password ------------------------------------------------------------------------------- */

static int app_list(struct tool *t)
{
    struct buf text = { 0 };
    json_t *doc;
    int exit_code = ask(t, "app-list", about(t->args[1]), &doc);

    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        print_json(doc);
    } else {
        render_app_passwords(&text, json_object_get(doc, "rows"), t->color, t->line_max);
        print_buf(&text);
    }
    json_decref(doc);
    return EX_OK;
}

static json_t *about_app(struct tool *t)
{
    return json_pack("{ssss}", "user", t->args[1], "name", t->args[3]);
}

/* The password alone goes to standard output, for scripts. */
static int app_add(struct tool *t)
{
    json_t *doc;
    int exit_code = ask(t, "app-add", about_app(t), &doc);

    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        print_json(doc);
    } else {
        fprintf(stderr, "The password, shown this once:\n");
        puts(text_of(json_array_get(json_object_get(doc, "rows"), 0), "password"));
    }
    json_decref(doc);
    return EX_OK;
}

static int user_app_password(struct tool *t)
{
    const char *verb = t->arg_count > 2 ? t->args[2] : "list";

    if (strcmp(verb, "list") == 0 && t->arg_count <= 3)
        return app_list(t);
    if (t->arg_count == 4 && strcmp(verb, "add") == 0)
        return app_add(t);
    if (t->arg_count == 4 && strcmp(verb, "delete") == 0)
        return act(t, "app-delete", about_app(t));
    tool_complain("user app-password ADDRESS list | add NAME | delete NAME");
    return EX_USAGE;
}

/* ---- the tables ----------------------------------------------------------------------------------------- */

static const struct verb {
    const char *name;
    int (*run)(struct tool *t);
    size_t args_min, args_max; /* with the verb */
    bool wishes, password;     /* takes such options */
} verbs[] = {
    { "list", user_list, 1, 1, false, false },
    { "add", user_add, 2, 2, true, true },
    { "show", user_show, 2, 2, false, false },
    { "set", user_set, 2, 2, true, false },
    { "passwd", user_passwd, 2, 2, false, true },
    { "delete", user_delete, 2, 2, false, false },
    { "disable", user_disable, 2, 2, false, false },
    { "enable", user_enable, 2, 2, false, false },
    { "app-password", user_app_password, 2, 4, false, false },
};

int command_user(struct tool *t)
{
    const struct verb *v = NULL;

    for (size_t i = 0; i < countof(verbs) && v == NULL; i++)
        if (strcmp(verbs[i].name, t->args[0]) == 0)
            v = &verbs[i];
    if (v == NULL) {
        tool_complain("user %s: there is list, add, show, set, passwd, delete, disable, enable and app-password",
                      t->args[0]);
        return EX_USAGE;
    }
    if (t->arg_count < v->args_min || t->arg_count > v->args_max) {
        tool_complain(t->arg_count < v->args_min ? "user %s: which user? Give the address"
                                                 : "user %s: that is one argument too many",
                      v->name);
        return EX_USAGE;
    }
    if ((t->wish_count != 0 && !v->wishes) || ((t->password_stdin || t->no_password) && !v->password) ||
        (t->no_password && v->run != user_add)) {
        tool_complain("an option that user %s does not take; see relayctl --help", v->name);
        return EX_USAGE;
    }
    return v->run(t);
}

int command_bans(struct tool *t)
{
    struct buf text = { 0 };
    json_t *doc;
    int exit_code;

    if (t->arg_count == 2 && strcmp(t->args[0], "lift") == 0)
        return act(t, "bans-lift", json_pack("{ss}", "what", t->args[1]));
    if (t->arg_count > 1 || (t->arg_count == 1 && strcmp(t->args[0], "list") != 0)) {
        tool_complain("bans [list | lift ADDRESS|USER]");
        return EX_USAGE;
    }
    exit_code = ask(t, "bans-list", json_object(), &doc);
    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        print_json(doc);
    } else {
        render_bans(&text, json_object_get(doc, "rows"), t->color, t->line_max);
        print_buf(&text);
    }
    json_decref(doc);
    return EX_OK;
}
