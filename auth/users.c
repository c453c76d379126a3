/* auth/users.c - the users' environment: opened, read, changed.
 *
 * A change is a job of store/ whose maker waits for the commit. The generation
 * is raised in the same transaction, so whoever remembers something of a user
 * can tell that it is old.
 */
#include "auth/users.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#define SECRET_BYTES 32u
#define LOCK_STEP_MS 50u

enum { TABLE_USER, TABLE_APP, TABLE_USED, TABLE_RATE, TABLE_SYSTEM, TABLE_COUNT };
static const char *const table_names[TABLE_COUNT] = { "user", "app", "used", "rate", "system" };

#define KEY_FORMAT     SLICE("format")
#define KEY_GENERATION SLICE("generation")
#define KEY_SECRET     SLICE("secret")

struct note { /* waits for users_flush() */
    unsigned table;
    char *value;
    size_t value_len;
    UT_hash_handle hh;
    size_t key_len; /* the table's byte and the key */
    char key[];
};

struct users {
    const struct clock *clock;
    struct store *store;
    int lock_fd;
    _Atomic uint64_t generation;
    uint8_t secret[SECRET_BYTES];
    struct note *notes;
};

/* ---- a job whose maker waits -------------------------------------------------------------- */

struct waiting {
    struct store_job job;
    struct users *users;
    struct err (*run)(struct waiting *w, struct store_txn *t);
    void *ctx;
    const char *key;
    uint64_t generation; /* as it will be */
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished;
    struct err result;
};

static void direct_post(struct loop *l, struct post *p)
{
    p->run(p);
}

static const struct loop_ops direct = { .post = direct_post };
static struct loop nowhere = { .ops = &direct }; /* completions run on the store's thread */

static struct err put_u64(struct store_txn *t, struct slice key, uint64_t n)
{
    struct buf b = { 0 };
    struct err e;

    codec_put_u64(&b, n);
    e = store_put(t, TABLE_SYSTEM, key, buf_bytes(&b));
    buf_release(&b);
    return e;
}

static uint64_t get_u64(struct store_txn *t, unsigned table, struct slice key)
{
    struct slice v;

    return err_failed(store_get(t, table, key, &v)) ? 0 : codec_key_read_u64(v, 0);
}

static struct err waiting_run(struct store_job *j, struct store_txn *t)
{
    struct waiting *w = container_of(j, struct waiting, job);
    struct err e = w->run(w, t);

    if (err_failed(e))
        return e;
    w->generation = get_u64(t, TABLE_SYSTEM, KEY_GENERATION) + 1;
    return put_u64(t, KEY_GENERATION, w->generation);
}

static void waiting_done(struct store_job *j, struct err e)
{
    struct waiting *w = container_of(j, struct waiting, job);

    pthread_mutex_lock(&w->lock);
    w->result = e;
    w->finished = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static struct err change_and_wait(struct users *u, const char *key,
                                  struct err (*run)(struct waiting *w, struct store_txn *t), void *ctx)
{
    struct waiting w = { .users = u, .run = run, .ctx = ctx, .key = key };
    uint64_t seen;

    w.job.home = &nowhere;
    w.job.run = waiting_run;
    w.job.done = waiting_done;
    w.job.cost_bytes = STORE_VALUE_MAX;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.done, NULL);
    store_submit(u->store, &w.job);
    pthread_mutex_lock(&w.lock);
    while (!w.finished)
        pthread_cond_wait(&w.done, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.done);
    if (err_failed(w.result))
        return w.result;
    seen = atomic_load(&u->generation);
    while (seen < w.generation && !atomic_compare_exchange_weak(&u->generation, &seen, w.generation))
        ;
    return ERR_OK;
}

/* ---- open ---------------------------------------------------------------------------------- */

static struct err make_folder(const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_sys(errno, "make the folder of the users");
    return ERR_OK;
}

static struct err take_lock(const char *folder, const struct clock *clock, uint64_t wait_ms, int *out)
{
    static const struct timespec step = { 0, LOCK_STEP_MS * 1000000L };
    uint64_t until = clock_mono_ms(clock) + wait_ms;
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/users.lock", folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(errno, "open users.lock");
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            struct err e = err_sys(errno, "lock users.lock");

            close(fd);
            return e;
        }
        if (clock_mono_ms(clock) >= until) {
            close(fd);
            return err_make(ERR_BUSY, "the users are in use by another process");
        }
        nanosleep(&step, NULL);
    }
    *out = fd;
    return ERR_OK;
}

/* A new environment gets its format number and its secret. */
static struct err begin_run(struct waiting *w, struct store_txn *t)
{
    struct buf b = { 0 };
    struct err e;

    codec_put_u32(&b, USERS_FORMAT);
    e = store_put(t, TABLE_SYSTEM, KEY_FORMAT, buf_bytes(&b));
    buf_release(&b);
    return err_failed(e) ? e : store_put(t, TABLE_SYSTEM, KEY_SECRET, slice_make(w->ctx, SECRET_BYTES));
}

static struct err read_system(struct users *u)
{
    struct store_txn *t = NULL;
    struct slice format, secret;
    struct err e = store_snapshot(u->store, &t);

    if (err_failed(e))
        return e;
    e = store_get(t, TABLE_SYSTEM, KEY_FORMAT, &format);
    if (!err_failed(e) && codec_key_read_u32(format, 0) != USERS_FORMAT)
        e = err_make(ERR_VERSION, "the users: written by another release");
    if (!err_failed(e))
        e = store_get(t, TABLE_SYSTEM, KEY_SECRET, &secret);
    if (!err_failed(e) && secret.len != SECRET_BYTES)
        e = err_make(ERR_CORRUPT, "the secret of the users");
    if (!err_failed(e))
        memcpy(u->secret, secret.ptr, SECRET_BYTES);
    atomic_store(&u->generation, get_u64(t, TABLE_SYSTEM, KEY_GENERATION));
    store_snapshot_end(t);
    return e;
}

static struct err open_environment(struct users *u, const char *folder)
{
    struct store_options opt = {
        .path = folder,
        .tables = table_names,
        .table_count = TABLE_COUNT,
        .clock = u->clock,
        .map_bytes = (uint64_t)4 << 30, /* sparse; some four million users */
        .compact = true,
    };
    struct err e = store_open(&opt, &u->store);

    if (err_failed(e))
        return e;
    e = read_system(u);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    random_secret(u->secret, sizeof u->secret);
    return change_and_wait(u, "", begin_run, u->secret);
}

struct err users_open(const char *state_dir, const struct clock *clock, uint64_t wait_ms, struct users **out)
{
    struct users *u = mem_new(struct users);
    char folder[4000];
    struct err e;

    *out = NULL;
    u->clock = clock;
    u->lock_fd = -1;
    snprintf(folder, sizeof folder, "%s/accounts", state_dir);
    e = make_folder(folder);
    if (!err_failed(e))
        e = take_lock(folder, clock, wait_ms, &u->lock_fd);
    if (!err_failed(e))
        e = open_environment(u, folder);
    if (err_failed(e)) {
        users_close(u);
        return e;
    }
    *out = u;
    return ERR_OK;
}

void users_close(struct users *u)
{
    if (u == NULL)
        return;
    if (u->store != NULL)
        users_flush(u);
    store_close(u->store);
    if (u->lock_fd >= 0)
        close(u->lock_fd);
    secret_wipe(u->secret, sizeof u->secret);
    free(u);
}

uint64_t users_generation(struct users *u)
{
    return atomic_load(&u->generation);
}

struct slice users_secret(const struct users *u)
{
    return slice_make(u->secret, sizeof u->secret);
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* address, NUL, name: no address has a NUL, so those of a user stand together. */
struct app_key {
    char bytes[USER_ADDRESS_MAX + 1 + USER_APP_NAME_MAX + 1];
    size_t len;
};

static struct app_key app_key(const char *key, const char *app)
{
    struct app_key k;

    k.len = strlen(key);
    memcpy(k.bytes, key, k.len);
    if (app == NULL)
        return k;
    k.bytes[k.len++] = '\0';
    memcpy(k.bytes + k.len, app, strlen(app));
    k.len += strlen(app);
    return k;
}

static struct slice app_key_slice(const struct app_key *k)
{
    return slice_make(k->bytes, k->len);
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct err read_user(struct store_txn *t, const char *key, struct user *out)
{
    struct slice record;
    struct err e = store_get(t, TABLE_USER, slice_str(key), &record);

    return err_failed(e) ? e : user_get(record, out);
}

struct err users_get(struct users *u, const char *key, struct user *out)
{
    struct store_txn *t = NULL;
    struct err e = store_snapshot(u->store, &t);

    *out = (struct user){ 0 };
    if (err_failed(e))
        return e;
    e = read_user(t, key, out);
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
    for (walk_begin(&w, u, TABLE_USER, SLICE_EMPTY, slice_str(after)); !err_failed(w.e) && *whole; walk_next(&w)) {
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
    struct app_key prefix = app_key(key, "");
    struct walk w;

    for (walk_begin(&w, u, TABLE_APP, app_key_slice(&prefix), app_key_slice(&prefix)); !err_failed(w.e); walk_next(&w)) {
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
    struct app_key k = app_key(key, app);
    struct store_txn *t = NULL;
    uint64_t n;

    if (err_failed(store_snapshot(u->store, &t)))
        return 0;
    n = get_u64(t, TABLE_USED, app_key_slice(&k));
    store_snapshot_end(t);
    return n;
}

/* ---- changing -------------------------------------------------------------------------------- */

static struct err write_user(struct store_txn *t, const char *key, const struct user *user)
{
    struct buf b = { 0 };
    struct err e;

    user_put(&b, user);
    e = buf_len(&b) > STORE_VALUE_MAX ? err_make(ERR_LIMIT, "the sender rules of the user are too long")
                                      : store_put(t, TABLE_USER, slice_str(key), buf_bytes(&b));
    buf_wipe(&b);
    return e;
}

static struct err add_run(struct waiting *w, struct store_txn *t)
{
    struct slice old;
    struct err e = store_get(t, TABLE_USER, slice_str(w->key), &old);

    if (e.kind == ERR_NOT_FOUND)
        return write_user(t, w->key, w->ctx);
    return err_failed(e) ? e : err_make(ERR_EXISTS, "there is such a user");
}

struct err users_add(struct users *u, const struct user *user)
{
    char key[USER_ADDRESS_MAX + 1];

    if (!user_key(slice_str(user->address), NULL, key))
        return err_make(ERR_SYNTAX, "the address of the user");
    return change_and_wait(u, key, add_run, (void *)user);
}

struct changing {
    struct err (*change)(void *ctx, struct user *user);
    void *ctx;
};

static struct err change_run(struct waiting *w, struct store_txn *t)
{
    struct changing *c = w->ctx;
    struct user user;
    struct err e = read_user(t, w->key, &user);

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

    return change_and_wait(u, key, change_run, &c);
}

static struct err forget(struct store_txn *t, unsigned table, struct slice key)
{
    struct err e = store_delete(t, table, key);

    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

static struct err delete_run(struct waiting *w, struct store_txn *t)
{
    struct app_key apps = app_key(w->key, "");
    struct err e = store_delete(t, TABLE_USER, slice_str(w->key));

    if (!err_failed(e))
        e = store_delete_prefix(t, TABLE_APP, app_key_slice(&apps), NULL);
    if (!err_failed(e))
        e = store_delete_prefix(t, TABLE_USED, app_key_slice(&apps), NULL);
    if (!err_failed(e))
        e = forget(t, TABLE_USED, slice_str(w->key));
    return err_failed(e) ? e : forget(t, TABLE_RATE, slice_str(w->key));
}

struct err users_delete(struct users *u, const char *key)
{
    return change_and_wait(u, key, delete_run, NULL);
}

static size_t count_apps(struct store_txn *t, const char *key)
{
    struct app_key prefix = app_key(key, "");
    struct store_cursor *c;
    struct slice k, v;
    size_t n = 0;
    struct err e = store_cursor_open(t, TABLE_APP, &c);

    if (err_failed(e))
        return 0;
    for (e = store_cursor_seek(c, app_key_slice(&prefix), &k, &v);
         !err_failed(e) && slice_eq(slice_head(k, prefix.len), app_key_slice(&prefix)); e = store_cursor_next(c, &k, &v))
        n++;
    store_cursor_close(c);
    return n;
}

static struct err app_add_run(struct waiting *w, struct store_txn *t)
{
    const struct user_app *app = w->ctx;
    struct app_key key = app_key(w->key, app->name);
    struct slice old;
    struct buf b = { 0 };
    struct err e = store_get(t, TABLE_USER, slice_str(w->key), &old);

    if (err_failed(e))
        return e;
    e = store_get(t, TABLE_APP, app_key_slice(&key), &old);
    if (!err_failed(e))
        return err_make(ERR_EXISTS, "there is an application password of that name");
    if (e.kind != ERR_NOT_FOUND)
        return e;
    if (count_apps(t, w->key) >= USER_APPS_MAX)
        return err_make(ERR_LIMIT, "a user can have 100 application passwords");
    user_app_put(&b, app);
    e = store_put(t, TABLE_APP, app_key_slice(&key), buf_bytes(&b));
    buf_wipe(&b);
    return e;
}

struct err users_app_add(struct users *u, const char *key, const struct user_app *app)
{
    if (app->name[0] == '\0' || strlen(app->name) > USER_APP_NAME_MAX)
        return err_make(ERR_LIMIT, "the name of an application password has 1 to 64 bytes");
    return change_and_wait(u, key, app_add_run, (void *)app);
}

static struct err app_delete_run(struct waiting *w, struct store_txn *t)
{
    struct app_key key = app_key(w->key, w->ctx);
    struct err e = store_delete(t, TABLE_APP, app_key_slice(&key));

    return err_failed(e) ? e : forget(t, TABLE_USED, app_key_slice(&key));
}

struct err users_app_delete(struct users *u, const char *key, const char *name)
{
    if (strlen(name) > USER_APP_NAME_MAX)
        return err_make(ERR_NOT_FOUND, "application password");
    return change_and_wait(u, key, app_delete_run, (void *)name);
}

/* ---- notes ------------------------------------------------------------------------------------- */

static void note(struct users *u, unsigned table, struct slice key, struct slice value)
{
    struct note *n = NULL, *fresh = mem_zero(1, sizeof *fresh + 1 + key.len);

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
    struct app_key k = app_key(key, app);
    struct buf b = { 0 };

    codec_put_u64(&b, clock_wall_ms(u->clock));
    note(u, TABLE_USED, app_key_slice(&k), buf_bytes(&b));
    buf_release(&b);
}

void users_note_rate(struct users *u, const char *key, struct slice window)
{
    note(u, TABLE_RATE, slice_str(key), window);
}

struct flush {
    struct store_job job;
    struct note *notes;
};

static struct err flush_run(struct store_job *j, struct store_txn *t)
{
    struct flush *f = container_of(j, struct flush, job);

    for (struct note *n = f->notes; n != NULL; n = n->hh.next) {
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
    struct note *n, *tmp;
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
    f->job.home = &nowhere;
    f->job.run = flush_run;
    f->job.done = flush_done;
    f->job.cost_bytes = HASH_COUNT(f->notes) * 256;
    store_submit(u->store, &f->job);
}

struct err users_each_rate(struct users *u, void (*visit)(void *ctx, const char *key, struct slice window), void *ctx)
{
    struct walk w;

    for (walk_begin(&w, u, TABLE_RATE, SLICE_EMPTY, SLICE_EMPTY); !err_failed(w.e); walk_next(&w)) {
        char *key = mem_dup(w.key.ptr, w.key.len);

        visit(ctx, key, w.value);
        free(key);
    }
    return walk_end(&w);
}
