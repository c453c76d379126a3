/* History: events move once and whole, are found, and go in their time. */
#include "tests/unit/queue_fixture.h"

#include "queue/history.h"
#include "queue/history_internal.h"

struct fix {
    struct queue_fix *f;
    struct history *h;
};

static void start(struct fix *x, uint64_t keep_ms, uint64_t bytes_max)
{
    struct history_options opt = { .keep_ms = keep_ms, .bytes_max = bytes_max };

    assert_ok(history_start(x->f->q, &x->f->loop, &opt, &x->h));
}

static int setup(void **state)
{
    struct fix *x = calloc(1, sizeof *x);

    x->f = queue_fix_new();
    *state = x;
    return 0;
}

static void end(struct fix *x)
{
    if (x->h == NULL)
        return;
    history_stop(x->h);
    queue_fix_settle(x->f);
    assert_true(history_idle(x->h));
    history_free(x->h);
    x->h = NULL;
}

static int teardown(void **state)
{
    struct fix *x = *state;

    end(x);
    queue_fix_free(x->f);
    free(x);
    return 0;
}

static size_t count_keys(struct store *s, unsigned table)
{
    struct store_txn *t;
    struct store_cursor *c;
    struct slice k, v;
    size_t n = 0;

    assert_ok(store_snapshot(s, &t));
    assert_ok(store_cursor_open(t, table, &c));
    for (struct err e = store_cursor_seek(c, SLICE_EMPTY, &k, &v); !err_failed(e);
         e = store_cursor_next(c, &k, &v))
        n++;
    store_cursor_close(c);
    store_snapshot_end(t);
    return n;
}

static size_t waiting(struct fix *x)
{
    return count_keys(queue_store(x->f->q), TABLE_EVENT);
}

static size_t kept(struct fix *x)
{
    return count_keys(queue_history_store(x->f->q), HISTORY_EVENT);
}

static size_t indexed(struct fix *x)
{
    return count_keys(queue_history_store(x->f->q), HISTORY_INDEX);
}

/* The life of a message as "received delivered …", from both places. */
static const char *life(struct fix *x, uint64_t id)
{
    static char text[512];
    struct history_events l = { 0 };

    for (enum history_place place = IN_QUEUE; place <= IN_HISTORY; place++) {
        struct store_txn *t;
        uint64_t sequence = 0;
        bool done = false;

        assert_ok(store_snapshot(place == IN_QUEUE ? queue_store(x->f->q) : queue_history_store(x->f->q), &t));
        while (!done)
            assert_ok(history_read(t, place, id, &sequence, 2, &l, &done));
        store_snapshot_end(t);
    }
    history_events_sort(&l);
    text[0] = '\0';
    for (size_t i = 0; i < l.count; i++) {
        struct event e;

        if (i > 0)
            strcat(text, " ");
        strcat(text, history_event_get(&l, i, &e) ? event_type_text(e.type) : "unreadable");
    }
    history_events_release(&l);
    return text;
}

/* Ids that a search finds, as the numbers of `known`: "2 0". */
static const char *search(struct fix *x, const char *what, size_t limit, const uint64_t *known, size_t count)
{
    static char text[256];
    struct history_search s;
    bool done = false;

    history_search_init(&s, slice_str(what), limit);
    while (!done) {
        struct store_txn *t;

        assert_ok(store_snapshot(queue_store(x->f->q), &t));
        assert_ok(history_search_queue(&s, t, 3, &done));
        store_snapshot_end(t);
    }
    done = false;
    while (!done) {
        struct store_txn *t;

        assert_ok(store_snapshot(queue_history_store(x->f->q), &t));
        assert_ok(history_search_history(&s, t, 1, &done));
        store_snapshot_end(t);
    }
    history_search_sort(&s);
    text[0] = '\0';
    for (size_t i = 0; i < s.count; i++) {
        char one[16] = "? ";

        for (size_t k = 0; k < count; k++)
            if (known[k] == s.hits[i].id)
                snprintf(one, sizeof one, "%zu ", k);
        strcat(text, one);
    }
    if (s.count > 0)
        text[strlen(text) - 1] = '\0';
    history_search_release(&s);
    return text;
}

static const char *const one[] = { "b@dest.example" };
static const char *const three[] = { "b@dest.example", "C@Dest.example", "d@else.example" };

static void test_moves(void **state)
{
    struct fix *x = *state;
    uint64_t id = queue_fix_add(x->f, "a@from.example", one, 1, "1@from.example");

    queue_fix_event(x->f, 0, EVENT_DEFERRED, false, "later");
    start(x, 0, 0);
    assert_int_equal(waiting(x), 2);
    assert_string_equal(life(x, id), "received deferred");
    queue_fix_pass(x->f, 3000);
    assert_int_equal(waiting(x), 0);
    assert_int_equal(kept(x), 2);
    assert_int_equal(indexed(x), 3); /* sender, recipient, Message-ID */
    assert_string_equal(life(x, id), "received deferred");
    queue_fix_event(x->f, 0, EVENT_DELIVERED, true, "taken");
    assert_int_equal(waiting(x), 1);
    assert_string_equal(life(x, id), "received deferred delivered");
    queue_fix_pass(x->f, 2000);
    assert_int_equal(waiting(x), 0);
    assert_int_equal(kept(x), 3);
    assert_string_equal(life(x, id), "received deferred delivered");
    assert_string_equal(life(x, id + 1), "");
}

/* Each search is made before anything moved, half way, and after. */
/* An address is found by its domain in either form, before and after the move. */
static void test_search_in_another_script(void **state)
{
    static const char *const to[] = { "gr\xc3\xbcn@xn--bcher-kva.example" };
    struct fix *x = *state;
    uint64_t id = queue_fix_add(x->f, "a@xn--bcher-kva.example", to, 1, "m@b\xc3\xbc"
                                                                       "cher.example");

    for (unsigned round = 0; round < 2; round++) {
        assert_string_equal(search(x, "gr\xc3\xbcn@b\xc3\xbc"
                                      "cher.example", 9, &id, 1), "0");
        assert_string_equal(search(x, "gr\xc3\xbcn@xn--bcher-kva.example", 9, &id, 1), "0");
        assert_string_equal(search(x, "<a@B\xc3\x9c"
                                      "CHER.example>", 9, &id, 1), "0");
        assert_string_equal(search(x, "m@b\xc3\xbc"
                                      "cher.example", 9, &id, 1), "0"); /* a Message-ID is what it is */
        assert_string_equal(search(x, "grun@xn--bcher-kva.example", 9, &id, 1), "");
        if (round == 0)
            start(x, 0, 0);
        queue_fix_pass(x->f, 3000);
    }
    assert_int_equal(waiting(x), 0);
}

static void test_search(void **state)
{
    static const struct {
        const char *what;
        size_t limit;
        const char *found;
    } rows[] = {
        { "b@dest.example", 10, "3 2 1 0" },
        { "B@DEST.example", 10, "3 2 1 0" },
        { "b@dest.example", 2, "3 2" },
        { "<b@dest.example>", 1, "3" },
        { "c@dest.example", 10, "3 1" }, /* no event names it alone */
        { "a0@from.example", 10, "0" },
        { "a2@from.example", 10, "2" },
        { "m1@from.example", 10, "1" },
        { "<m1@from.example>", 10, "1" },
        { "<M1@from.example> ", 10, "1" },
        { "m1@from.exampl", 10, "" },
        { "dest.example", 10, "" },
        { "b@dest.example", 0, "" },
        { "", 10, "" },
        { "<>", 10, "" },
        { "<", 10, "" },
    };
    struct fix *x = *state;
    uint64_t ids[4];

    for (unsigned i = 0; i < countof(ids); i++) {
        char sender[32], message_id[32];

        snprintf(sender, sizeof sender, "a%u@from.example", i);
        snprintf(message_id, sizeof message_id, "m%u@from.example", i);
        ids[i] = queue_fix_add(x->f, sender, i % 2 == 0 ? one : three, i % 2 == 0 ? 1 : 3, message_id);
        queue_fix_pass(x->f, 1000);
        if (i == 1)
            start(x, 0, 0);
    }
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < countof(rows); i++) {
            const char *found = search(x, rows[i].what, rows[i].limit, ids, countof(ids));

            if (strcmp(found, rows[i].found) != 0)
                fail_msg("round %u, %s: found \"%s\", not \"%s\"", round, rows[i].what, found, rows[i].found);
        }
        queue_fix_pass(x->f, 3000);
        assert_int_equal(waiting(x), 0);
    }
}

/* Two hours apart: the index has a bucket for each, and a search reads both. */
static void test_buckets(void **state)
{
    struct fix *x = *state;
    uint64_t ids[3];

    start(x, 0, 0);
    for (unsigned i = 0; i < countof(ids); i++) {
        ids[i] = queue_fix_add(x->f, "a@from.example", one, 1, NULL);
        queue_fix_event(x->f, 0, EVENT_DELIVERED, true, "taken");
        queue_fix_pass(x->f, 2000);
        x->f->wall_ms += 2 * HOUR_MS;
    }
    assert_int_equal(indexed(x), 6);
    assert_string_equal(search(x, "b@dest.example", 9, ids, countof(ids)), "2 1 0");
    assert_string_equal(search(x, "b@dest.example", 2, ids, countof(ids)), "2 1");
    x->f->wall_ms -= 10 * HOUR_MS; /* a clock set back makes no bucket older than the last */
    ids[0] = queue_fix_add(x->f, "z@from.example", one, 1, NULL);
    queue_fix_pass(x->f, 2000);
    assert_string_equal(search(x, "z@from.example", 9, ids, countof(ids)), "0");
}

static void test_doubles(void **state)
{
    struct fix *x = *state;
    uint64_t id = queue_fix_add(x->f, "a@from.example", one, 1, "1@from.example");

    queue_fix_event(x->f, 0, EVENT_DEFERRED, false, "later");
    start(x, 0, 0);
    /* Up to the put, then the end. */
    x->h->trim_due_ms = UINT64_MAX;
    x->f->now_ms += 1000;
    x->f->loop.now_ms = x->f->now_ms;
    timers_run(&x->f->loop.timers, x->f->now_ms);
    for (unsigned i = 0; i < 20 && kept(x) == 0; i++) {
        struct post *p = inbox_take(&x->f->inbox);

        if (p != NULL)
            p->run(p);
        queue_step(x->f->q, 1);
    }
    end(x);
    assert_int_equal(waiting(x), 2);
    assert_int_equal(kept(x), 2);
    assert_string_equal(life(x, id), "received deferred");
    assert_string_equal(search(x, "b@dest.example", 9, &id, 1), "0");
    start(x, 0, 0);
    queue_fix_pass(x->f, 3000);
    assert_int_equal(waiting(x), 0);
    assert_int_equal(kept(x), 2);
    assert_string_equal(life(x, id), "received deferred");
}

static struct err damage_run(struct store_job *j, struct store_txn *t)
{
    struct codec_key key = codec_key_u64_u64(77, 1);

    return store_put(t, TABLE_EVENT, codec_key_slice(&key), SLICE("no record"));
}

static void ignore_done(struct store_job *j, struct err e)
{
    assert_ok(e);
}

static void test_damaged_record_moves_too(void **state)
{
    struct fix *x = *state;
    struct store_job j = { .home = &x->f->loop, .run = damage_run, .done = ignore_done };

    store_submit(queue_store(x->f->q), &j);
    queue_fix_settle(x->f);
    start(x, 0, 0);
    queue_fix_pass(x->f, 3000);
    assert_int_equal(waiting(x), 0);
    assert_string_equal(life(x, 77), "unreadable");
}

/* More than a batch, while more comes in. */
static void test_backlog(void **state)
{
    struct fix *x = *state;
    const size_t count = 9000;

    for (size_t i = 0; i < count; i++)
        queue_fix_add(x->f, "a@from.example", one, 1, NULL);
    start(x, 0, 0);
    queue_fix_pass(x->f, 1500); /* the first look sees how much has come in */
    assert_true(waiting(x) > 0 && waiting(x) < 1000);
    queue_fix_add(x->f, "a@from.example", one, 1, NULL);
    queue_fix_pass(x->f, 3000);
    assert_int_equal(waiting(x), 0);
    assert_int_equal(kept(x), count + 1);
}

static void test_keeps_by_age(void **state)
{
    struct fix *x = *state;
    uint64_t old, held, young;

    old = queue_fix_add(x->f, "a@from.example", one, 1, NULL);
    queue_fix_event(x->f, 0, EVENT_DELIVERED, true, "taken");
    held = queue_fix_add(x->f, "h@from.example", one, 1, NULL);
    start(x, 10 * HOUR_MS, 0);
    queue_fix_pass(x->f, 3000);
    assert_int_equal(kept(x), 3);
    x->f->wall_ms += 9 * HOUR_MS;
    queue_fix_event(x->f, 0, EVENT_HELD, false, "");
    young = queue_fix_add(x->f, "y@from.example", one, 1, NULL);
    queue_fix_pass(x->f, 120000);
    assert_int_equal(kept(x), 5);
    x->f->wall_ms += 2 * HOUR_MS;
    queue_fix_pass(x->f, 120000);
    assert_string_equal(life(x, old), "");
    assert_string_equal(life(x, held), "held"); /* what happened lately stays */
    assert_string_equal(life(x, young), "received");
    assert_string_equal(search(x, "a@from.example", 9, &old, 1), "");
    assert_string_equal(search(x, "y@from.example", 9, &young, 1), "0");
    x->f->wall_ms += 20 * HOUR_MS;
    queue_fix_pass(x->f, 120000);
    assert_int_equal(kept(x), 0);
    assert_int_equal(indexed(x), 0);
}

/* In steps, so that nobody waits long for the history's writer. */
static void test_much_that_is_too_old(void **state)
{
    struct fix *x = *state;
    const size_t count = 6000;
    uint64_t young;

    for (size_t i = 0; i < count; i++)
        queue_fix_add(x->f, "a@from.example", one, 1, NULL);
    start(x, 10 * HOUR_MS, 0);
    queue_fix_pass(x->f, 10000);
    assert_int_equal(kept(x), count);
    x->f->wall_ms += 11 * HOUR_MS;
    young = queue_fix_add(x->f, "y@from.example", one, 1, NULL);
    for (unsigned i = 0; i < 600 && kept(x) >= count; i++)
        queue_fix_pass(x->f, 100);
    assert_in_range(kept(x), 1000, count - 1); /* a part has gone */
    queue_fix_pass(x->f, 600000);
    assert_int_equal(kept(x), 1);
    assert_string_equal(life(x, young), "received");
    x->f->wall_ms += 21 * HOUR_MS;
    queue_fix_pass(x->f, 600000);
    assert_int_equal(indexed(x), 0);
}

static void test_keeps_by_size(void **state)
{
    struct fix *x = *state;
    struct history_options opt = { .bytes_max = 1500 * KIB };
    struct store_stats st;
    uint64_t first = 0, last = 0;

    for (unsigned i = 0; i < 8000; i++) {
        last = queue_fix_add(x->f, "a@from.example", one, 1, NULL);
        first = first != 0 ? first : last;
    }
    start(x, 0, 0);
    queue_fix_pass(x->f, 5000);
    last = queue_fix_add(x->f, "a@from.example", one, 1, NULL);
    queue_fix_pass(x->f, 5000); /* the store counts its pages once a second, when at work */
    store_stats(queue_history_store(x->f->q), &st);
    assert_true(st.used_bytes > 1500 * KIB);
    history_configure(x->h, &opt);
    queue_fix_pass(x->f, 60000);
    store_stats(queue_history_store(x->f->q), &st);
    assert_in_range(st.used_bytes, 1000 * KIB, 1500 * KIB);
    assert_string_equal(life(x, first), "");
    assert_string_equal(life(x, last), "received");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search_in_another_script, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buckets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_doubles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_record_moves_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backlog, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keeps_by_age, setup, teardown),
        cmocka_unit_test_setup_teardown(test_much_that_is_too_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keeps_by_size, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
