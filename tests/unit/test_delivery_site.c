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

static void a_latecomer_waits_one_turn(void **state)
{
    struct fix *f = *state;
    char out[50];

    for (unsigned i = 0; i < 6; i++)
        add(f, 0);
    assert_int_equal(site_take(f->site, f->sched)->sender, 0);
    add(f, 1);
    /* a's next was in line before b came; then it is b's turn. */
    assert_string_equal(order(f, out), "abaaaa");
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
        site_add(f->site, f->sched, group(f, i % 3, i % 2));
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
        TEST(a_latecomer_waits_one_turn),
        TEST(within_a_sender_first_come_first_served),
        TEST(the_front_is_the_front),
        TEST(leaving_is_fine),
        TEST(a_domain_moves),
        TEST(a_spent_connection_is_not_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
