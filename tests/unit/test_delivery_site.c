/* Turns at a site: a newsletter of a thousand never delays a password reset. */
#include "tests/unit/check.h"

#include "delivery/site.h"

struct fix {
    struct schedule *sched;
    struct site *site;
    uint64_t next_id;
};

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);

    f->sched = schedule_new();
    f->site = site_new(NULL, "10:mx.example", NULL, false);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    site_free(f->site);
    schedule_free(f->sched);
    free(f);
    return 0;
}

static struct group *group(struct fix *f, uint32_t sender, uint32_t dest)
{
    uint32_t n = 0;
    struct group *g = schedule_add(f->sched, ++f->next_id, &n, 1);

    g->sender = sender;
    g->dest = dest;
    return g;
}

static struct group *add(struct fix *f, uint32_t sender)
{
    struct group *g = group(f, sender, 1);

    site_add(f->site, f->sched, g);
    return g;
}

/* Takes all; senders as letters. */
static const char *order(struct fix *f, char *out)
{
    struct group *g;
    size_t n = 0;

    while ((g = site_take(f->site, f->sched)) != NULL)
        out[n++] = (char)('a' + g->sender);
    out[n] = '\0';
    assert_int_equal(f->site->ready, 0);
    return out;
}

static void senders_take_turns(void **state)
{
    struct fix *f = *state;
    char out[50];

    for (unsigned i = 0; i < 5; i++)
        add(f, 0);
    add(f, 1);
    add(f, 1);
    add(f, 2);
    assert_int_equal(f->site->ready, 8);
    assert_string_equal(order(f, out), "abcabaaa");
}

/* The next connection that is free is the password reset's. */
static void a_newcomer_is_next(void **state)
{
    struct fix *f = *state;
    char out[50];

    for (unsigned i = 0; i < 6; i++)
        add(f, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    add(f, 1);
    assert_string_equal(order(f, out), "baaaaa");
}

/* Those who have had a turn go on, if slowly, while new ones keep coming. */
static void newcomers_stop_nobody(void **state)
{
    struct fix *f = *state;
    char out[50];

    add(f, 0);
    add(f, 0);
    add(f, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    for (unsigned i = 1; i <= 9; i++)
        add(f, i);
    assert_string_equal(order(f, out), "bcdeafghiaj");

    for (unsigned i = 1; i <= 9; i++) { /* nobody waited while these were served */
        add(f, i);
        assert_int_equal(site_take(f->site, f->sched)->sender, i);
    }
    add(f, 0);
    add(f, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    add(f, 1);
    assert_string_equal(order(f, out), "ba");
}

/* Whoever hands in one message after the other is new but once. */
static void an_empty_queue_keeps_its_place(void **state)
{
    struct fix *f = *state;

    add(f, 0);
    add(f, 0);
    add(f, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    add(f, 1);
    assert_int_equal(site_take(f->site, f->sched)->sender, 1);
    add(f, 1);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 1);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    assert_null(f->site->senders); /* and nobody is remembered for ever */
}

/* A message to more recipients than fit a transaction is many turns, not one. */
static void the_rest_of_a_group_takes_another_turn(void **state)
{
    struct fix *f = *state;
    struct group *rest;
    char out[50];

    add(f, 0);
    add(f, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    rest = group(f, 0, 1);
    site_add_rest(f->site, f->sched, rest);
    add(f, 1);
    assert_int_equal(site_take(f->site, f->sched)->sender, 1);
    assert_ptr_equal(site_take(f->site, f->sched), rest);
    assert_string_equal(order(f, out), "a");

    rest = group(f, 0, 1);
    site_add_rest(f->site, f->sched, rest); /* also when it was all he had */
    add(f, 1);
    assert_string_equal(order(f, out), "ba");
}

/* What turns out not to be for now costs its sender nothing. */
static void looking_is_no_turn(void **state)
{
    struct fix *f = *state;
    struct group *g;
    char out[50];

    assert_null(site_next(f->site, f->sched));
    add(f, 0);
    add(f, 0);
    site_take(f->site, f->sched);
    g = add(f, 1);
    assert_ptr_equal(site_next(f->site, f->sched), g);
    group_queue_leave(f->sched, g);
    assert_int_equal(site_next(f->site, f->sched)->sender, 0);
    add(f, 1);
    assert_string_equal(order(f, out), "ba");
}

static bool note(void *ctx, struct group *g)
{
    assert_int_equal(g->attempts, 0);
    g->attempts = 1;
    ++*(unsigned *)ctx;
    return g->sender != 2;
}

/* However unlike their queues are in length. */
static void each_is_picked_once(void **state)
{
    struct fix *f = *state;
    unsigned seen = 0;
    char out[50];

    for (unsigned i = 0; i < 7; i++)
        add(f, 0);
    add(f, 1);
    add(f, 2);
    add(f, 2);
    site_pick(f->site, f->sched, note, &seen);
    assert_int_equal(seen, 10);
    assert_string_equal(order(f, out), "abaaaaaa");
}

static bool stays_if_late(void *ctx, struct group *g)
{
    return g->expires_ms > *(uint64_t *)ctx;
}

/* All that wait are looked at only when that time has come. */
static void it_knows_when_somebody_is_to_be_told(void **state)
{
    struct fix *f = *state;
    void (*const ways[])(struct site *, struct schedule *, struct group *) = { site_add, site_add_front, site_add_rest };
    static const struct {
        uint64_t warn_ms, expires_ms, first_ms;
    } rows[] = {
        { TIMERS_NEVER, TIMERS_NEVER, TIMERS_NEVER },
        { TIMERS_NEVER, 900, 900 },
        { 700, 1000, 700 },
        { 800, 950, 700 },
        { TIMERS_NEVER, 600, 600 },
    };
    uint64_t now = 960;

    assert_int_equal(f->site->tell_ms, TIMERS_NEVER);
    for (size_t i = 0; i < countof(rows); i++) {
        struct group *g = group(f, (uint32_t)i, 1);

        g->warn_ms = rows[i].warn_ms;
        g->expires_ms = rows[i].expires_ms;
        ways[i % countof(ways)](f->site, f->sched, g);
        assert_int_equal(f->site->tell_ms, rows[i].first_ms);
    }
    site_pick(f->site, f->sched, stays_if_late, &now);
    assert_int_equal(f->site->ready, 2);
    assert_int_equal(f->site->tell_ms, 700);
}

static void within_a_sender_first_come_first_served(void **state)
{
    struct fix *f = *state;
    struct group *g[10];

    for (unsigned i = 0; i < 10; i++)
        g[i] = add(f, 3);
    for (unsigned i = 0; i < 10; i++)
        assert_ptr_equal(site_take(f->site, f->sched), g[i]);
    assert_null(site_take(f->site, f->sched));
}

/* What came back without an attempt is the very next. */
static void the_front_is_the_front(void **state)
{
    struct fix *f = *state;
    struct group *back;

    add(f, 0);
    add(f, 1);
    add(f, 1);
    back = group(f, 1, 1);
    site_add_front(f->site, f->sched, back);
    assert_ptr_equal(site_take(f->site, f->sched), back);
    back = group(f, 9, 1);
    site_add_front(f->site, f->sched, back);
    assert_ptr_equal(site_take(f->site, f->sched), back);
}

/* A group may leave its queue from the middle; an emptied sender is no trap. */
static void leaving_is_fine(void **state)
{
    struct fix *f = *state;
    struct group *only = add(f, 0), *middle;
    char out[50];

    add(f, 1);
    middle = add(f, 1);
    add(f, 1);
    group_queue_leave(f->sched, only);
    group_queue_leave(f->sched, middle);
    assert_int_equal(f->site->ready, 2);
    assert_string_equal(order(f, out), "bb");
    add(f, 0); /* and the sender comes back */
    assert_string_equal(order(f, out), "a");
}

/* A domain whose MX changed takes its mail, and only its own, along. */
static void a_domain_moves(void **state)
{
    struct fix *f = *state;
    struct site *to = site_new(NULL, "10:other.example", NULL, false);
    char out[50];

    for (unsigned i = 0; i < 12; i++)
        site_add(f->site, f->sched, group(f, i % 3 == 0 ? 1 : 0, i % 2)); /* one with twice as many */
    site_move(f->site, f->sched, 1, to);
    assert_int_equal(f->site->ready, 6);
    assert_int_equal(to->ready, 6);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(site_take(to, f->sched)->dest, 1);
    assert_int_equal(strlen(order(f, out)), 6);
    assert_true(site_unused(to));
    site_free(to);
}

static void a_spent_connection_is_not_idle(void **state)
{
    struct fix *f = *state;
    struct site_conn a = { .busy = true }, b = { .spent = true }, c = { .gone = true }, d = { 0 };

    list_append(&f->site->conns, &a.link);
    list_append(&f->site->conns, &b.link);
    list_append(&f->site->conns, &c.link);
    assert_null(site_idle_conn(f->site));
    list_append(&f->site->conns, &d.link);
    assert_ptr_equal(site_idle_conn(f->site), &d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(senders_take_turns),
        TEST(a_newcomer_is_next),
        TEST(newcomers_stop_nobody),
        TEST(an_empty_queue_keeps_its_place),
        TEST(the_rest_of_a_group_takes_another_turn),
        TEST(looking_is_no_turn),
        TEST(each_is_picked_once),
        TEST(it_knows_when_somebody_is_to_be_told),
        TEST(within_a_sender_first_come_first_served),
        TEST(the_front_is_the_front),
        TEST(leaving_is_fine),
        TEST(a_domain_moves),
        TEST(a_spent_connection_is_not_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
