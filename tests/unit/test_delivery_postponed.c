/* Mail that its sender wants to go later (FUTURERELEASE), and clocks that are
 * set back: it goes neither before its time nor years after it. */
#include "tests/unit/queue_fixture.h"

#include "delivery/dispatch.h"

#define TEN_YEARS_MS (3653 * DAY_MS)

struct fix {
    struct queue_fix *queue;
    struct resolver resolver;
    struct loop *loop;
    struct resolver *resolvers[1];
    struct delivery_policy policy;
    struct dispatch *dispatch;
    uint64_t id;
};

static struct dns_query *never_asked(struct resolver *r, const char *name, enum dns_type type, dns_done *done, void *ctx)
{
    fail_msg("%s is looked up: nothing was to go yet", name);
    return NULL;
}

static const struct resolver_ops resolver_ops = { .ask = never_asked };

static void start(struct fix *f)
{
    struct dispatch_options opt = {
        .home = f->loop,
        .loops = &f->loop,
        .resolvers = f->resolvers,
        .loop_count = 1,
        .queue = f->queue->q,
        .policy = &f->policy,
    };

    f->dispatch = dispatch_new(&opt);
    assert_ok(dispatch_recover(f->dispatch));
}

static void restart(struct fix *f)
{
    dispatch_free(f->dispatch);
    queue_close(f->queue->q);
    queue_fix_open(f->queue);
    start(f);
}

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);

    f->queue = queue_fix_new();
    f->loop = &f->queue->loop;
    f->resolver = (struct resolver){ .ops = &resolver_ops, .loop = f->loop };
    f->resolvers[0] = &f->resolver;
    f->policy = (struct delivery_policy){
        .refs = 1,
        .hostname = "relay.example",
        .fallback = { .action = ROUTE_DIRECT, .tls = HOP_TLS_OPTIONAL },
        .connections = 10,
        .connections_per_site = 2,
        .retry = { .first_ms = MINUTE_MS,
                   .factor_percent = 200,
                   .max_ms = 4 * HOUR_MS,
                   .doubt_ms = 30 * MINUTE_MS,
                   .expire_ms = 5 * DAY_MS },
    };
    start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    dispatch_free(f->dispatch);
    queue_fix_free(f->queue);
    free(f);
    return 0;
}

/* A message that is to go in so long. */
static void add(struct fix *f, uint64_t hold_ms)
{
    struct slice to = SLICE("somebody@dest.example");
    struct queue_draft *d = queue_draft_new(f->queue->q, f->loop);
    struct envelope env = {
        .reverse_path = SLICE("sender@example.org"),
        .recipients = &to,
        .recipient_count = 1,
        .client_addr = SLICE("192.0.2.7"),
        .client_name = SLICE("client.example"),
        .helo = SLICE("client"),
        .protocol = SLICE("ESMTP"),
        .release_wall_ms = f->queue->wall_ms + hold_ms,
    };

    f->id = queue_draft_id(d);
    queue_draft_append(d, SLICE("Subject: a test\r\n\r\nbody\r\n"));
    queue_draft_commit(d, &env, queue_fix_done, f->queue);
    queue_fix_settle(f->queue);
    dispatch_arrived(f->dispatch, f->queue->last);
    queue_fix_settle(f->queue);
}

static void order(struct fix *f, enum dispatch_order what)
{
    struct dispatch_answer answer = { 0 };

    dispatch_order(f->dispatch, f->id, what, &answer);
    assert_int_equal(answer.recipients, 1);
    queue_fix_settle(f->queue);
}

/* Such clocks differ by what the test itself takes. */
static void goes_in(struct fix *f, uint64_t least_ms, uint64_t most_ms)
{
    struct dispatch_view view;

    assert_true(dispatch_view(f->dispatch, f->id, 0, &view));
    assert_string_equal(view.state, "waiting");
    assert_in_range(view.next_in_ms, least_ms, most_ms);
}

static void a_release_keeps_the_senders_time(void **state)
{
    struct fix *f = *state;

    add(f, HOUR_MS);
    goes_in(f, HOUR_MS, HOUR_MS);
    order(f, ORDER_HOLD);
    queue_fix_pass(f->queue, MINUTE_MS);
    order(f, ORDER_RELEASE);
    goes_in(f, HOUR_MS - MINUTE_MS, HOUR_MS - MINUTE_MS);
}

/* Else it would wait until the old clock's time came round again. */
static void a_release_after_ten_years_back_is_no_ten_years(void **state)
{
    struct fix *f = *state;

    add(f, HOUR_MS);
    order(f, ORDER_HOLD);
    f->queue->wall_ms -= TEN_YEARS_MS;
    order(f, ORDER_RELEASE);
    goes_in(f, HOUR_MS, HOUR_MS);
}

static void a_start_after_ten_years_back_is_no_ten_years(void **state)
{
    struct fix *f = *state;

    add(f, 8 * HOUR_MS);
    f->queue->wall_ms -= TEN_YEARS_MS;
    restart(f);
    goes_in(f, HOUR_MS, 8 * HOUR_MS);
}

/* Ids never run backwards: when the clock was set back they are ahead of it, and
 * a message seems to have come later than it did. */
static void an_id_ahead_of_the_clock_is_no_reason_to_go_early(void **state)
{
    struct fix *f = *state;

    add(f, 8 * HOUR_MS);
    f->queue->wall_ms -= 6 * HOUR_MS;
    add(f, 8 * HOUR_MS);
    restart(f);
    goes_in(f, 8 * HOUR_MS, 8 * HOUR_MS);
    order(f, ORDER_HOLD);
    order(f, ORDER_RELEASE);
    goes_in(f, 8 * HOUR_MS, 8 * HOUR_MS);
    f->queue->wall_ms += 7 * HOUR_MS; /* what it was, and an hour of it gone */
    restart(f);
    goes_in(f, HOUR_MS, HOUR_MS);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_release_keeps_the_senders_time),
        TEST(a_release_after_ten_years_back_is_no_ten_years),
        TEST(a_start_after_ten_years_back_is_no_ten_years),
        TEST(an_id_ahead_of_the_clock_is_no_reason_to_go_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
