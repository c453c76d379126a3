/* auth/users_change.c - the users added, changed and deleted, and the small
 * things that are only noted. */
#include "auth/users_internal.h"

#include "base/codec.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- changing -------------------------------------------------------------------------------- */

static struct err write_user(struct store_txn *t, const char *key, const struct user *user)
{
    struct buf b = { 0 };
    struct err e;

    user_put(&b, user);
    e = buf_len(&b) > STORE_VALUE_MAX ? err_make(ERR_LIMIT, "the sender rules of the user are too long")
                                      : store_put(t, USERS_USER, slice_str(key), buf_bytes(&b));
    buf_wipe(&b);
    return e;
}

static struct err add_run(struct users_job *w, struct store_txn *t)
{
    struct slice old;
    struct err e = store_get(t, USERS_USER, slice_str(w->key), &old);

    if (e.kind == ERR_NOT_FOUND)
        return write_user(t, w->key, w->ctx);
    return err_failed(e) ? e : err_make(ERR_EXISTS, "there is such a user");
}

struct err users_add(struct users *u, const struct user *user)
{
    char key[USER_ADDRESS_MAX + 1];

    if (!user_key(slice_str(user->address), NULL, key))
        return err_make(ERR_SYNTAX, "the address of the user");
    return users_commit(u, key, add_run, (void *)user);
}

struct changing {
    struct err (*change)(void *ctx, struct user *user);
    void *ctx;
};

static struct err change_run(struct users_job *w, struct store_txn *t)
{
    struct changing *c = w->ctx;
    struct user user;
    struct err e = users_read_record(t, w->key, &user);

    if (err_failed(e))
        return e;
    e = c->change(c->ctx, &user);
    if (!err_failed(e)) {
        user.changed_wall_ms = clock_wall_ms(w->users->clock);
        e = write_user(t, w->key, &user);
    }
    user_release(&user);
    return e;
}

struct err users_change(struct users *u, const char *key, struct err (*change)(void *ctx, struct user *user),
                        void *ctx)
{
    struct changing c = { change, ctx };

    return users_commit(u, key, change_run, &c);
}

static struct err forget(struct store_txn *t, unsigned table, struct slice key)
{
    struct err e = store_delete(t, table, key);

    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static struct err delete_run(struct users_job *w, struct store_txn *t)
{
    struct users_app_key apps = users_app_key(w->key, "");
    struct err e = store_delete(t, USERS_USER, slice_str(w->key));

    if (!err_failed(e))
        e = store_delete_prefix(t, USERS_APP, users_app_key_slice(&apps), NULL);
    if (!err_failed(e))
        e = store_delete_prefix(t, USERS_USED, users_app_key_slice(&apps), NULL);
    if (!err_failed(e))
        e = forget(t, USERS_USED, slice_str(w->key));
    return err_failed(e) ? e : forget(t, USERS_RATE, slice_str(w->key));
}

struct err users_delete(struct users *u, const char *key)
{
    return users_commit(u, key, delete_run, NULL);
}

static struct err count_apps(struct store_txn *t, const char *key, size_t *n)
{
    struct users_app_key prefix = users_app_key(key, "");
    struct store_cursor *c;
    struct slice k, v;
    struct err e = store_cursor_open(t, USERS_APP, &c);

    *n = 0;
    if (err_failed(e))
        return e;
    for (e = store_cursor_seek(c, users_app_key_slice(&prefix), &k, &v);
         !err_failed(e) && slice_eq(slice_head(k, prefix.len), users_app_key_slice(&prefix));
         e = store_cursor_next(c, &k, &v))
        ++*n;
    store_cursor_close(c);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static struct err app_add_run(struct users_job *w, struct store_txn *t)
{
    const struct user_app *app = w->ctx;
    struct users_app_key key = users_app_key(w->key, app->name);
    struct slice old;
    struct buf b = { 0 };
    size_t count;
    struct err e = store_get(t, USERS_USER, slice_str(w->key), &old);

    if (err_failed(e))
        return e;
    e = store_get(t, USERS_APP, users_app_key_slice(&key), &old);
    if (!err_failed(e))
        return err_make(ERR_EXISTS, "there is an application password of that name");
    if (e.kind != ERR_NOT_FOUND)
        return e;
    e = count_apps(t, w->key, &count);
    if (err_failed(e))
        return e;
    if (count >= USER_APPS_MAX)
        return err_make(ERR_LIMIT, "a user can have 100 application passwords");
    user_app_put(&b, app);
    e = store_put(t, USERS_APP, users_app_key_slice(&key), buf_bytes(&b));
    buf_wipe(&b);
    return e;
}

struct err users_app_add(struct users *u, const char *key, const struct user_app *app)
{
    if (app->name[0] == '\0' || strlen(app->name) > USER_APP_NAME_MAX)
        return err_make(ERR_LIMIT, "the name of an application password has 1 to 64 bytes");
    return users_commit(u, key, app_add_run, (void *)app);
}

static struct err app_delete_run(struct users_job *w, struct store_txn *t)
{
    struct users_app_key key = users_app_key(w->key, w->ctx);
    struct err e = store_delete(t, USERS_APP, users_app_key_slice(&key));

    return err_failed(e) ? e : forget(t, USERS_USED, users_app_key_slice(&key));
}

struct err users_app_delete(struct users *u, const char *key, const char *name)
{
    if (strlen(name) > USER_APP_NAME_MAX)
        return err_make(ERR_NOT_FOUND, "application password");
    return users_commit(u, key, app_delete_run, (void *)name);
}

/* ---- notes ------------------------------------------------------------------------------------- */

struct users_note { /* waits for users_flush() */
    unsigned table;
    char *value;
    size_t value_len;
    UT_hash_handle hh;
    size_t key_len; /* the table's byte and the key */
    char key[];
};

static void note(struct users *u, unsigned table, struct slice key, struct slice value)
{
    struct users_note *n = NULL, *fresh = mem_zero(1, sizeof *fresh + 1 + key.len);

    fresh->table = table;
    fresh->key_len = 1 + key.len;
    fresh->key[0] = (char)table;
    memcpy(fresh->key + 1, key.ptr, key.len);
    HASH_FIND(hh, u->notes, fresh->key, fresh->key_len, n);
    if (n != NULL) {
        free(fresh);
    } else {
        n = fresh;
        HASH_ADD_KEYPTR(hh, u->notes, n->key, n->key_len, n);
    }
    free(n->value);
    n->value = mem_dup(value.ptr, value.len);
    n->value_len = value.len;
}

void users_note_used(struct users *u, const char *key, const char *app)
{
    struct users_app_key k = users_app_key(key, app);
    struct buf b = { 0 };

    codec_put_u64(&b, clock_wall_ms(u->clock));
    note(u, USERS_USED, users_app_key_slice(&k), buf_bytes(&b));
    buf_release(&b);
}

void users_note_rate(struct users *u, const char *key, struct slice window)
{
    note(u, USERS_RATE, slice_str(key), window);
}

struct flush {
    struct store_job job;
    struct users_note *notes;
};

static struct err flush_run(struct store_job *j, struct store_txn *t)
{
    struct flush *f = container_of(j, struct flush, job);

    for (struct users_note *n = f->notes; n != NULL; n = n->hh.next) {
        struct slice key = slice_make(n->key + 1, n->key_len - 1), value = slice_make(n->value, n->value_len);
        struct err e = store_put(t, n->table, key, value);

        if (err_failed(e))
            return e;
    }
    return ERR_OK;
}

static void flush_done(struct store_job *j, struct err e)
{
    struct flush *f = container_of(j, struct flush, job);
    struct users_note *n, *tmp;
    char text[256];

    if (err_failed(e)) /* the next will tell more */
        log_warning("accounts", "counters and times of login were not written: %s", err_text(e, text, sizeof text));
    HASH_ITER (hh, f->notes, n, tmp) {
        HASH_DEL(f->notes, n);
        free(n->value);
        free(n);
    }
    free(f);
}

void users_flush(struct users *u)
{
    struct flush *f;

    if (u->notes == NULL)
        return;
    f = mem_new(struct flush);
    f->notes = u->notes;
    u->notes = NULL;
    f->job.home = users_nowhere();
    f->job.run = flush_run;
    f->job.done = flush_done;
    f->job.cost_bytes = HASH_COUNT(f->notes) * 256;
    store_submit(u->store, &f->job);
}
