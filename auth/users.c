/* auth/users.c - the users' environment opened and closed, and its commits.
 *
 * A change is a job of store/ whose maker waits for the commit. The generation
 * is raised in the same transaction, so whoever remembers something of a user
 * can tell that it is old.
 */
#include "auth/users_internal.h"

#include "base/codec.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_STEP_MS 50u

static const char *const table_names[USERS_TABLES] = { "user", "app", "used", "rate", "system" };

#define KEY_FORMAT     SLICE("format")
#define KEY_GENERATION SLICE("generation")
#define KEY_SECRET     SLICE("secret")

/* ---- a job whose maker waits -------------------------------------------------------------- */

static void direct_post(struct loop *l, struct post *p)
{
    p->run(p);
}

static const struct loop_ops direct = { .post = direct_post };
static struct loop nowhere = { .ops = &direct };

struct loop *users_nowhere(void)
{
    return &nowhere;
}

static struct err put_u64(struct store_txn *t, struct slice key, uint64_t n)
{
    struct buf b = { 0 };
    struct err e;

    codec_put_u64(&b, n);
    e = store_put(t, USERS_SYSTEM, key, buf_bytes(&b));
    buf_release(&b);
    return e;
}

uint64_t users_get_u64(struct store_txn *t, unsigned table, struct slice key)
{
    struct slice v;

    return err_failed(store_get(t, table, key, &v)) ? 0 : codec_key_read_u64(v, 0);
}

static struct err waiting_run(struct store_job *j, struct store_txn *t)
{
    struct users_job *w = container_of(j, struct users_job, job);
    struct err e = w->run(w, t);

    if (err_failed(e))
        return e;
    w->generation = users_get_u64(t, USERS_SYSTEM, KEY_GENERATION) + 1;
    return put_u64(t, KEY_GENERATION, w->generation);
}

static void waiting_done(struct store_job *j, struct err e)
{
    struct users_job *w = container_of(j, struct users_job, job);

    pthread_mutex_lock(&w->lock);
    w->result = e;
    w->finished = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

struct err users_commit(struct users *u, const char *key,
                        struct err (*run)(struct users_job *w, struct store_txn *t), void *ctx)
{
    struct users_job w = { .users = u, .run = run, .ctx = ctx, .key = key };
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
static struct err begin_run(struct users_job *w, struct store_txn *t)
{
    struct buf b = { 0 };
    struct err e;

    codec_put_u32(&b, USERS_FORMAT);
    e = store_put(t, USERS_SYSTEM, KEY_FORMAT, buf_bytes(&b));
    buf_release(&b);
    return err_failed(e) ? e : store_put(t, USERS_SYSTEM, KEY_SECRET, slice_make(w->ctx, USERS_SECRET_BYTES));
}

static struct err read_system(struct users *u)
{
    struct store_txn *t = NULL;
    struct slice format, secret;
    struct err e = store_snapshot(u->store, &t);

    if (err_failed(e))
        return e;
    e = store_get(t, USERS_SYSTEM, KEY_FORMAT, &format);
    if (!err_failed(e) && codec_key_read_u32(format, 0) != USERS_FORMAT)
        e = err_make(ERR_VERSION, "the users: written by another release");
    if (!err_failed(e))
        e = store_get(t, USERS_SYSTEM, KEY_SECRET, &secret);
    if (!err_failed(e) && secret.len != USERS_SECRET_BYTES)
        e = err_make(ERR_CORRUPT, "the secret of the users");
    if (!err_failed(e))
        memcpy(u->secret, secret.ptr, USERS_SECRET_BYTES);
    atomic_store(&u->generation, users_get_u64(t, USERS_SYSTEM, KEY_GENERATION));
    store_snapshot_end(t);
    return e;
}

static struct err open_environment(struct users *u, const char *folder)
{
    struct store_options opt = {
        .path = folder,
        .tables = table_names,
        .table_count = USERS_TABLES,
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
    return users_commit(u, "", begin_run, u->secret);
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
