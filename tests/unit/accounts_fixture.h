/* tests/unit/accounts_fixture.h - an accounts process and an engine's side of
 * it on one loop, over a real link, with users in a folder that goes away. */
#ifndef TESTS_UNIT_ACCOUNTS_FIXTURE_H
#define TESTS_UNIT_ACCOUNTS_FIXTURE_H

#include "tests/unit/check.h"

#include "auth/accounts.h"
#include "auth/accounts_admin.h"
#include "auth/accounts_server.h"
#include "base/mem.h"
#include "net/ipc.h"
#include "net/uvloop.h"

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

struct fixture {
    char dir[64];
    struct loop *loop;
    struct timer guard;
    struct accounts *accounts;
    struct accounts_server *server;
    struct accounts_config config;
    /* what the last login or charge came to */
    unsigned answers;
    enum accounts_verdict verdict;
    struct buf challenge, user, senders, why;
    bool sender_any, ok;
    unsigned messages, recipients;
    uint64_t answered_ms;
};

static inline void guard_fire(struct timer *t)
{
    fail_msg("nothing came within 30 s");
}

static inline void turn(struct fixture *f)
{
    struct pollfd p = { .fd = uv_backend_fd(uvloop_uv(f->loop)), .events = POLLIN };

    poll(&p, 1, 2);
    uv_run(uvloop_uv(f->loop), UV_RUN_NOWAIT);
}

#define turn_until(f, condition)                                                                   \
    do {                                                                                           \
        while (!(condition))                                                                       \
            turn(f);                                                                               \
    } while (0)

static inline void start_server(struct fixture *f)
{
    assert_ok(accounts_server_new(f->loop, f->dir, &f->config, 1, 1000, &f->server));
}

static inline void stop_server(struct fixture *f)
{
    accounts_server_free(f->server);
    f->server = NULL;
}

static inline void connect_server(struct fixture *f)
{
    int ends[2];

    assert_ok(ipc_pair(ends));
    accounts_server_link(f->server, ends[0]);
    accounts_link(f->accounts, ends[1]);
}

static inline int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);

    snprintf(f->dir, sizeof f->dir, "/tmp/relayd-accounts-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    f->guard.fire = guard_fire;
    loop_arm(f->loop, &f->guard, 30 * SECOND_MS);
    f->config = (struct accounts_config){ .domain = "example.com", .command_timeout_ms = 2000, .command_processes = 4,
                                           .failure_delay_ms = 150 };
    f->accounts = accounts_new(f->loop);
    start_server(f);
    connect_server(f);
    *state = f;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    return remove(path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    stop_server(f);
    accounts_free(f->accounts);
    loop_disarm(f->loop, &f->guard);
    uvloop_free(f->loop);
    nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    buf_release(&f->challenge);
    buf_release(&f->user);
    buf_release(&f->senders);
    buf_release(&f->why);
    free(f);
    return 0;
}

/* ---- logins ------------------------------------------------------------------------------- */

static inline void take_answer(void *ctx, const struct accounts_answer *a)
{
    struct fixture *f = ctx;

    f->answers++;
    f->answered_ms = clock_mono_ms(&clock_system);
    f->verdict = a->verdict;
    buf_clear(&f->challenge);
    buf_add(&f->challenge, a->challenge);
    buf_clear(&f->user);
    buf_add_str(&f->user, a->user);
    buf_clear(&f->senders);
    for (size_t i = 0; i < a->sender_count; i++)
        buf_printf(&f->senders, "%s ", a->senders[i]);
    f->sender_any = a->sender_any;
    f->messages = a->messages_per_hour;
    f->recipients = a->recipients_per_hour;
}

static inline struct accounts_client client_of(const char *mechanism, const char *addr)
{
    struct accounts_client c = { .mechanism = mechanism, .service = "smtp", .tls = true };

    assert_true(net_addr_parse(slice_str(addr), &c.addr));
    return c;
}

static inline enum accounts_verdict step(struct fixture *f, struct accounts_login *l, struct slice response)
{
    unsigned before = f->answers;

    accounts_login_step(l, response, response.ptr != NULL);
    assert_int_equal(f->answers, before); /* never from inside */
    turn_until(f, f->answers > before);
    return f->verdict;
}

static inline enum accounts_verdict plain_from(struct fixture *f, const char *addr, const char *user,
                                               const char *password)
{
    struct accounts_client c = client_of("PLAIN", addr);
    struct accounts_login *l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    struct buf b = { 0 };
    enum accounts_verdict v;

    buf_add_byte(&b, '\0');
    buf_add(&b, slice_make(user, strlen(user) + 1));
    buf_add_str(&b, password);
    v = step(f, l, buf_bytes(&b));
    accounts_login_free(l);
    buf_release(&b);
    return v;
}

static inline enum accounts_verdict plain(struct fixture *f, const char *user, const char *password)
{
    return plain_from(f, "192.0.2.1", user, password);
}

static inline void take_charge(void *ctx, bool ok, const char *why)
{
    struct fixture *f = ctx;

    f->answers++;
    f->ok = ok;
    buf_clear(&f->why);
    buf_add_str(&f->why, why);
}

static inline bool charge(struct fixture *f, const char *user, unsigned recipients)
{
    unsigned before = f->answers;

    accounts_charge(f->accounts, f->loop, user, recipients, take_charge, f);
    turn_until(f, f->answers > before);
    return f->ok;
}

/* ---- the admin ----------------------------------------------------------------------------- */

#include <pthread.h>

struct asking {
    struct fixture *f;
    struct buf request, *answer;
    struct err e;
    atomic_bool done;
};

static inline void *ask_thread(void *arg)
{
    struct asking *a = arg;

    a->e = accounts_admin_ask(a->f->accounts, buf_bytes(&a->request), 4000, a->answer);
    atomic_store(&a->done, true);
    return NULL;
}

/* "op", then names and values, and NULL. */
static inline enum admin_status admin(struct fixture *f, struct buf *answer, const char *op, ...)
{
    struct asking a = { .f = f, .answer = answer };
    struct admin_request r = { .op = slice_str(op) };
    struct admin_answer out;
    const char *name;
    pthread_t thread;
    va_list ap;

    va_start(ap, op);
    while ((name = va_arg(ap, const char *)) != NULL)
        admin_add_text(&r.fields, name, slice_str(va_arg(ap, const char *)));
    va_end(ap);
    buf_clear(answer);
    admin_request_put(&a.request, &r);
    assert_int_equal(pthread_create(&thread, NULL, ask_thread, &a), 0);
    turn_until(f, atomic_load(&a.done));
    pthread_join(thread, NULL);
    buf_release(&a.request);
    assert_ok(a.e);
    assert_ok(admin_answer_get(buf_bytes(answer), &out));
    return out.status;
}

static inline void add_user(struct fixture *f, const char *user, const char *password)
{
    struct buf answer = { 0 };

    assert_int_equal(admin(f, &answer, "user-add", "user", user, "password", password, NULL), ADMIN_OK);
    buf_release(&answer);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
