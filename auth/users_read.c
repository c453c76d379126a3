/* auth/users_read.c - the users looked up and walked through. */
#include "auth/users_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

/* ---- keys ------------------------------------------------------------------------------------ */

struct users_app_key users_app_key(const char *key, const char *app)
{
    struct users_app_key k;

    k.len = strlen(key);
    memcpy(k.bytes, key, k.len);
    if (app == NULL)
        return k;
    k.bytes[k.len++] = '\0';
    memcpy(k.bytes + k.len, app, strlen(app));
    k.len += strlen(app);
    return k;
}

struct slice users_app_key_slice(const struct users_app_key *k)
{
    return slice_make(k->bytes, k->len);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct err users_read_record(struct store_txn *t, const char *key, struct user *out)
{
    struct slice record;
    struct err e = store_get(t, USERS_USER, slice_str(key), &record);

    return err_failed(e) ? e : user_get(record, out);
}

struct err users_get(struct users *u, const char *key, struct user *out)
{
    struct store_txn *t = NULL;
    struct err e = store_snapshot(u->store, &t);

    *out = (struct user){ 0 };
    if (err_failed(e))
        return e;
    e = users_read_record(t, key, out);
    store_snapshot_end(t);
    return e;
}

struct walk {
    struct store_txn *t;
    struct store_cursor *cursor;
    struct slice prefix, key, value;
    struct err e;
};

static void walk_check(struct walk *w)
{
    if (!err_failed(w->e) && !slice_eq(slice_head(w->key, w->prefix.len), w->prefix))
        w->e = err_make(ERR_NOT_FOUND, "end of prefix");
}

static void walk_begin(struct walk *w, struct users *u, unsigned table, struct slice prefix, struct slice from)
{
    *w = (struct walk){ .prefix = prefix };
    w->e = store_snapshot(u->store, &w->t);
    if (!err_failed(w->e))
        w->e = store_cursor_open(w->t, table, &w->cursor);
    if (!err_failed(w->e))
        w->e = store_cursor_seek(w->cursor, from, &w->key, &w->value);
    walk_check(w);
}

static void walk_next(struct walk *w)
{
    w->e = store_cursor_next(w->cursor, &w->key, &w->value);
    walk_check(w);
}

static struct err walk_end(struct walk *w)
{
    store_snapshot_end(w->t); /* closes the cursor, too */
    return w->e.kind == ERR_NOT_FOUND ? ERR_OK : w->e;
}

struct err users_each(struct users *u, const char *after, bool (*visit)(void *ctx, const struct user *user),
                      void *ctx, bool *whole)
{
    struct walk w;

    *whole = true;
    for (walk_begin(&w, u, USERS_USER, SLICE_EMPTY, slice_str(after)); !err_failed(w.e) && *whole; walk_next(&w)) {
        struct user user;
        struct err e;

        if (slice_eq(w.key, slice_str(after)))
            continue;
        e = user_get(w.value, &user);
        if (err_failed(e)) { /* one damaged record must not hide the others */
            log_error("accounts", "%.*s can't be read: %s", (int)w.key.len, w.key.ptr, e.what);
            continue;
        }
        *whole = visit(ctx, &user);
        user_release(&user);
    }
    return walk_end(&w);
}

struct err users_each_app(struct users *u, const char *key, bool (*visit)(void *ctx, const struct user_app *app),
                          void *ctx)
{
    struct users_app_key prefix = users_app_key(key, "");
    struct walk w;

    for (walk_begin(&w, u, USERS_APP, users_app_key_slice(&prefix), users_app_key_slice(&prefix)); !err_failed(w.e); walk_next(&w)) {
        struct user_app app;
        bool more;

        w.e = user_app_get(w.value, &app);
        if (err_failed(w.e))
            break;
        more = visit(ctx, &app);
        user_app_release(&app);
        if (!more)
            break;
    }
    return walk_end(&w);
}

struct app_search {
    const char *normal;
    char *name;
    bool found;
};

/* All of them are tried: how many there are takes microseconds each. */
static bool app_try(void *ctx, const struct user_app *app)
{
    struct app_search *s = ctx;
    uint8_t digest[PASSWORD_KEY_BYTES];

    password_app_digest(s->normal, app->salt, digest);
    if (secret_equal(slice_make(digest, sizeof digest), slice_make(app->digest, sizeof app->digest))) {
        strcpy(s->name, app->name);
        s->found = true;
    }
    secret_wipe(digest, sizeof digest);
    return true;
}

struct err users_app_find(struct users *u, const char *key, const char normal[PASSWORD_APP_CHARS],
                          char name[USER_APP_NAME_MAX + 1])
{
    struct app_search s = { .normal = normal, .name = name };
    struct err e = users_each_app(u, key, app_try, &s);

    if (err_failed(e))
        return e;
    return s.found ? ERR_OK : err_make(ERR_NOT_FOUND, "application password");
}

uint64_t users_last_used(struct users *u, const char *key, const char *app)
{
    struct users_app_key k = users_app_key(key, app);
    struct store_txn *t = NULL;
    uint64_t n;

    if (err_failed(store_snapshot(u->store, &t)))
        return 0;
    n = users_get_u64(t, USERS_USED, users_app_key_slice(&k));
    store_snapshot_end(t);
    return n;
}

struct err users_each_rate(struct users *u, void (*visit)(void *ctx, const char *key, struct slice window), void *ctx)
{
    struct walk w;

    for (walk_begin(&w, u, USERS_RATE, SLICE_EMPTY, SLICE_EMPTY); !err_failed(w.e); walk_next(&w)) {
        char *key = mem_dup(w.key.ptr, w.key.len);

        visit(ctx, key, w.value);
        free(key);
    }
    return walk_end(&w);
}
