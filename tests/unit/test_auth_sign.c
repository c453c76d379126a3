/* Sign workers as the engine uses them: every request is answered once,
 * whatever becomes of the workers. The workers are real but for their process. */
#include "tests/unit/check.h"

#include "auth/sign.h"
#include "auth/sign_wire.h"
#include "auth/sign_worker.h"
#include "base/mem.h"
#include "net/ipc.h"
#include "net/keypair.h"
#include "net/uvloop.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define REQUESTS 60

struct fixture;

struct worker { /* a real one, or a plain end of a link */
    struct fixture *fixture;
    struct sign_worker *worker;
    struct ipc *end;
    unsigned heard, dies_at; /* end: the message on which it goes */
    struct slice says;       /* end: its answer to everything */
};

struct asked {
    struct sign_request request;
    struct fixture *fixture;
    unsigned answers;
};

struct fixture {
    struct loop *loop;
    struct timer guard, look;
    bool (*until)(struct fixture *f);
    struct signers *signers;
    struct worker workers[3];
    struct asked asked[REQUESTS];
    unsigned answered, want;
    unsigned kill_at; /* answers after which worker 0 dies */
    unsigned spent;
};

static char *rsa_pem, *ed_pem;
static uint64_t clock_jump;

static uint64_t jumping_mono(void *ctx)
{
    return clock_mono_ms(&clock_system) + clock_jump;
}

static uint64_t system_wall(void *ctx)
{
    return clock_wall_ms(&clock_system);
}

static const struct clock jumping = { .mono_ms = jumping_mono, .wall_ms = system_wall };

static const struct sign_identity both[] = { { "example.com", "r1" }, { "example.com", "e1" } };

static void guard_fire(struct timer *t)
{
    fail_msg("not all requests were answered within 20 s");
}

static void look_fire(struct timer *t)
{
    struct fixture *f = container_of(t, struct fixture, look);

    if (f->until(f))
        uvloop_stop(f->loop);
    else
        loop_arm(f->loop, &f->look, 1);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);

    clock_jump = 0;
    assert_ok(uvloop_new(0, &jumping, &f->loop));
    f->guard.fire = guard_fire;
    f->look.fire = look_fire;
    f->signers = signers_new(f->loop);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    loop_disarm(f->loop, &f->guard);
    signers_free(f->signers);
    for (size_t i = 0; i < countof(f->workers); i++) {
        sign_worker_free(f->workers[i].worker);
        ipc_free(f->workers[i].end);
    }
    for (size_t i = 0; i < REQUESTS; i++)
        buf_release(&f->asked[i].request.fields);
    uvloop_free(f->loop);
    free(f);
    return 0;
}

/* ---- workers ------------------------------------------------------------------------ */

static void worker_spent(void *ctx);

static void start_worker(struct fixture *f, unsigned index, unsigned jobs_max)
{
    struct worker *w = &f->workers[index];
    struct sign_worker_options opt = { .loop = f->loop, .jobs_max = jobs_max, .spent = worker_spent, .ctx = w };
    const struct sign_worker_key keys[] = {
        { "example.com", "r1", SIGN_RSA_SHA256, rsa_pem, NULL },
        { "example.com", "e1", SIGN_ED25519_SHA256, ed_pem, NULL },
        { "broken.test", "s", SIGN_RSA_SHA256, NULL, "Permission denied" },
    };
    int ends[2];

    w->fixture = f;
    assert_ok(sign_worker_new(&opt, &w->worker));
    sign_worker_set_keys(w->worker, keys, countof(keys));
    assert_ok(ipc_pair(ends));
    sign_worker_link(w->worker, ends[1]);
    signers_link(f->signers, index, ends[0]);
}

static void worker_spent(void *ctx)
{
    struct worker *w = ctx;
    struct fixture *f = w->fixture;

    f->spent++;
    sign_worker_free(w->worker);
    w->worker = NULL;
    start_worker(f, (unsigned)(w - f->workers), 5);
}

static void end_message(void *ctx, struct slice payload, int fd)
{
    struct worker *w = ctx;

    if (fd >= 0)
        close(fd);
    w->heard++;
    if (w->says.len != 0)
        ipc_send(w->end, w->says, -1);
    if (w->heard == w->dies_at) {
        ipc_free(w->end);
        w->end = NULL;
    }
}

static void end_closed(void *ctx, struct err why)
{
    struct worker *w = ctx;

    ipc_free(w->end);
    w->end = NULL;
}

static const struct ipc_events end_events = { end_message, end_closed };

static struct worker *start_end(struct fixture *f, unsigned index, unsigned dies_at)
{
    struct worker *w = &f->workers[index];
    int ends[2];

    w->fixture = f;
    w->dies_at = dies_at;
    w->heard = 0;
    assert_ok(ipc_pair(ends));
    assert_ok(ipc_new(f->loop, ends[1], &end_events, w, &w->end));
    signers_link(f->signers, index, ends[0]);
    return w;
}

/* ---- requests ------------------------------------------------------------------------ */

static void request_done(struct sign_request *r)
{
    struct asked *a = container_of(r, struct asked, request);
    struct fixture *f = a->fixture;

    assert_int_equal(a->answers, 0);
    a->answers++;
    f->answered++;
    if (f->answered == f->kill_at) {
        sign_worker_free(f->workers[0].worker);
        f->workers[0].worker = NULL;
    }
    if (f->answered == f->want)
        uvloop_stop(f->loop);
}

static struct sign_request *ask(struct fixture *f, unsigned n, const struct sign_identity *ids, size_t count)
{
    struct asked *a = &f->asked[n];

    a->fixture = f;
    a->request = (struct sign_request){
        .home = f->loop,
        .done = request_done,
        .identities = ids,
        .identity_count = count,
        .wall_ms = 1790000000000 + n * SECOND_MS,
        .header = SLICE("From: me@example.com\r\nSubject: x\r\n\r\n"),
        .body = SLICE("hello\r\n"),
        .file = -1,
    };
    f->want++;
    return &a->request;
}

static void run(struct fixture *f)
{
    loop_arm(f->loop, &f->guard, 20 * SECOND_MS);
    uvloop_run(f->loop);
    loop_disarm(f->loop, &f->guard);
    assert_int_equal(f->answered, f->want);
}

/* Turns the loop until something can be seen. */
static void run_until(struct fixture *f, bool (*until)(struct fixture *f))
{
    f->until = until;
    loop_arm(f->loop, &f->guard, 20 * SECOND_MS);
    loop_arm(f->loop, &f->look, 0);
    uvloop_run(f->loop);
    loop_disarm(f->loop, &f->guard);
}

static void assert_signed(const struct sign_request *r)
{
    char t[32];

    if (!r->ok)
        fail_msg("not signed: %s", r->why);
    snprintf(t, sizeof t, "t=%llu;", (unsigned long long)(r->wall_ms / SECOND_MS));
    assert_non_null(strstr(buf_cstr((struct buf *)&r->fields), t));
    assert_non_null(strstr(buf_cstr((struct buf *)&r->fields), "a=rsa-sha256"));
    assert_non_null(strstr(buf_cstr((struct buf *)&r->fields), "a=ed25519-sha256"));
}

static void ask_all(struct fixture *f)
{
    for (unsigned n = 0; n < REQUESTS; n++)
        sign_submit(signers_service(f->signers), ask(f, n, both, 2));
}

static void assert_all_signed(struct fixture *f)
{
    struct signers_stats st;

    for (unsigned n = 0; n < REQUESTS; n++)
        assert_signed(&f->asked[n].request);
    signers_stats(f->signers, &st);
    assert_int_equal(st.sum.signed_, REQUESTS);
    assert_int_equal(st.waiting + st.under_way, 0);
}

static void test_shared_out(void **state)
{
    struct fixture *f = *state;

    start_worker(f, 0, 1000);
    start_worker(f, 1, 1000);
    ask_all(f);
    run(f);
    assert_all_signed(f);
}

/* Asked while no worker is there yet. */
static void test_worker_comes_late(void **state)
{
    struct fixture *f = *state;

    ask_all(f);
    start_worker(f, 2, 1000);
    run(f);
    assert_all_signed(f);
}

static void test_worker_dies(void **state)
{
    struct fixture *f = *state;
    struct signers_stats st;

    start_worker(f, 0, 1000);
    start_worker(f, 1, 1000);
    f->kill_at = 7;
    ask_all(f);
    run(f);
    assert_all_signed(f);
    signers_stats(f->signers, &st);
    assert_int_equal(st.workers, 1);
    assert_int_equal(st.count, 2);
    assert_int_equal(st.sum.deaths, 1);
    assert_int_equal(st.sum.recycled, 0);
    assert_int_equal(st.each[0].sum.deaths, 1);
    assert_int_equal(st.each[1].sum.deaths, 0);
    assert_false(st.each[0].there);
    assert_true(st.each[1].there);
    assert_int_equal(st.each[1].under_way, 0);
    assert_in_range(st.each[0].sum.signed_, 1, 7); /* of the answers by its end */
    assert_int_equal(st.each[0].sum.signed_ + st.each[1].sum.signed_, REQUESTS);
}

static bool first_end_is_gone(struct fixture *f)
{
    return f->workers[0].end == NULL;
}

/* What two workers died of is given up; what they had beside it is not. */
static void test_deadly_message(void **state)
{
    struct fixture *f = *state;
    struct signers_stats st;

    start_end(f, 0, 2); /* has two messages when it dies */
    sign_submit(signers_service(f->signers), ask(f, 0, both, 2));
    sign_submit(signers_service(f->signers), ask(f, 1, both, 2));
    run_until(f, first_end_is_gone);
    for (unsigned n = 2; n < 6; n++)
        sign_submit(signers_service(f->signers), ask(f, n, both, 2));
    start_end(f, 1, 1);
    f->want = 1;
    run(f);
    assert_int_equal(f->workers[1].heard, 1); /* it was alone there */
    assert_false(f->asked[0].request.ok);
    assert_string_equal(f->asked[0].request.why, "sign workers died of it");
    f->want = 6;
    start_worker(f, 2, 1000);
    run(f);
    for (unsigned n = 1; n < 6; n++)
        assert_signed(&f->asked[n].request);
    signers_stats(f->signers, &st);
    assert_int_equal(st.sum.failed, 1);
    assert_int_equal(st.each[1].sum.failed, 1);
    assert_int_equal(st.sum.deaths, 2);
}

static void test_retired_workers(void **state)
{
    struct fixture *f = *state;
    struct signers_stats st;

    start_worker(f, 0, 5);
    start_worker(f, 1, 5);
    ask_all(f);
    run(f);
    assert_all_signed(f);
    assert_in_range(f->spent, REQUESTS / 5 - 4, REQUESTS / 5);
    signers_stats(f->signers, &st);
    assert_int_equal(st.sum.deaths, 0);
    assert_in_range(st.sum.recycled, REQUESTS / 5 - 4, REQUESTS / 5);
    assert_int_equal(st.each[0].sum.recycled + st.each[1].sum.recycled, st.sum.recycled);
}

static bool one_waits(struct fixture *f)
{
    struct signers_stats st;

    signers_stats(f->signers, &st);
    return st.waiting == 1;
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;

    sign_submit(signers_service(f->signers), ask(f, 0, both, 2));
    run_until(f, one_waits);
    clock_jump = SIGN_WAIT_MS;
    loop_arm(f->loop, &f->guard, SIGN_WAIT_MS + 20 * SECOND_MS);
    uvloop_run(f->loop);
    assert_int_equal(f->answered, 1);
    assert_false(f->asked[0].request.ok);
    assert_string_equal(f->asked[0].request.why, "no sign worker had time for it");
}

static void test_no_key(void **state)
{
    static const struct sign_identity unreadable[] = { { "broken.test", "s" } };
    static const struct sign_identity unknown[] = { { "example.com", "r1" }, { "other.test", "s" } };
    struct fixture *f = *state;
    struct signers_stats st;

    start_worker(f, 0, 1000);
    sign_submit(signers_service(f->signers), ask(f, 0, unreadable, 1));
    sign_submit(signers_service(f->signers), ask(f, 1, unknown, 2));
    run(f);
    assert_string_equal(f->asked[0].request.why, "the key s of broken.test: Permission denied");
    assert_string_equal(f->asked[1].request.why, "there is no key s of other.test");
    assert_int_equal(buf_len(&f->asked[1].request.fields), 0);
    signers_stats(f->signers, &st);
    assert_int_equal(st.sum.failed, 2);
    assert_int_equal(st.each[0].sum.failed, 2);
    assert_int_equal(st.sum.signed_, 0);
}

/* The same large message in memory, in a file behind its header, and as small
 * pieces would have it, has the same signature. */
static void test_large(void **state)
{
    struct fixture *f = *state;
    struct buf body = { 0 };
    int fd = memfd_create("body", MFD_CLOEXEC);

    for (unsigned i = 0; i < 60000; i++)
        buf_printf(&body, "line %u of a large message\r\n", i);
    assert_int_equal(write(fd, buf_bytes(&body).ptr, buf_len(&body)), buf_len(&body));
    start_worker(f, 0, 1000);
    ask(f, 0, both, 1)->body = buf_bytes(&body);
    ask(f, 1, both, 1)->body = SLICE_EMPTY;
    f->asked[1].request.file = fd;
    f->asked[1].request.file_bytes = buf_len(&body);
    f->asked[1].request.wall_ms = f->asked[0].request.wall_ms;
    ask(f, 2, both, 1)->file = fd; /* shorter than it says */
    f->asked[2].request.file_bytes = buf_len(&body) + 1;
    for (unsigned n = 0; n < 3; n++)
        sign_submit(signers_service(f->signers), &f->asked[n].request);
    run(f);
    assert_true(f->asked[0].request.ok && f->asked[1].request.ok);
    assert_true(slice_eq(buf_bytes(&f->asked[0].request.fields), buf_bytes(&f->asked[1].request.fields)));
    assert_false(f->asked[2].request.ok);
    close(fd);
    buf_release(&body);
}

static bool both_ends_are_gone(struct fixture *f)
{
    return f->workers[0].end == NULL && f->workers[1].end == NULL;
}

/* A worker fallen to a stranger: what it says is refused, and others do the work. */
static void test_nonsense(void **state)
{
    struct fixture *f = *state;

    start_end(f, 0, 0)->says = SLICE("hello");
    start_end(f, 1, 0)->says = slice_make("\x01\x02\0\0\0\0\0\0\xff\xff\x01\0\0\0\x01x", 16);
    sign_submit(signers_service(f->signers), ask(f, 0, both, 2));
    sign_submit(signers_service(f->signers), ask(f, 1, both, 2));
    run_until(f, both_ends_are_gone);
    assert_int_equal(f->answered, 0);
    start_worker(f, 0, 1000);
    run(f);
    assert_signed(&f->asked[0].request);
    assert_signed(&f->asked[1].request);
}

static int make_keys(void **state)
{
    struct buf pem = { 0 };

    assert_ok(keypair_generate(KEYPAIR_RSA, 1024, &pem));
    rsa_pem = buf_detach(&pem);
    assert_ok(keypair_generate(KEYPAIR_ED25519, 0, &pem));
    ed_pem = buf_detach(&pem);
    return 0;
}

static int free_keys(void **state)
{
    free(rsa_pem);
    free(ed_pem);
    return 0;
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_shared_out),      TEST(test_worker_comes_late), TEST(test_worker_dies),
        TEST(test_deadly_message),  TEST(test_retired_workers),   TEST(test_nobody_there),
        TEST(test_no_key),          TEST(test_large),             TEST(test_nonsense),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
