/* The schedule against a model so slow that it must be right: for a hundred
 * thousand random steps both tell the same. */
#include "tests/unit/check.h"

#include "base/clock.h"
#include "base/timers.h"
#include "queue/schedule.h"

#define IDS 40u
#define GROUPS_MAX 400u

struct model {
    struct group *g;
    uint64_t id;
    uint32_t numbers[64];
    uint32_t count;
    int place; /* 0 nowhere, 1 waiting, 2 and 3 in a queue, 4 held */
    uint64_t order; /* in its queue */
};

struct world {
    struct schedule *s;
    struct group_queue queues[2];
    uint64_t sum;
    struct model m[GROUPS_MAX];
    size_t count;
    uint64_t next_order, front_order;
    uint32_t next_number;
    struct rng rng;
};

static void check_queue(struct world *w, unsigned q)
{
    size_t n = 0;

    for (size_t i = 0; i < w->count; i++)
        n += w->m[i].place == 2 + (int)q;
    assert_int_equal(w->queues[q].len, n);
}

static void check_all(struct world *w)
{
    uint64_t due = TIMERS_NEVER;
    size_t recipients = 0, waiting = 0, ready = 0, held = 0;
    struct schedule_counts c;

    for (size_t i = 0; i < w->count; i++) {
        struct model *m = &w->m[i];

        recipients += m->count;
        ready += m->place == 2 || m->place == 3 ? m->count : 0;
        held += m->place == 4 ? m->count : 0;
        assert_int_equal(m->g->count, m->count);
        assert_memory_equal(group_numbers(m->g), m->numbers, m->count * sizeof m->numbers[0]);
        if (m->place == 1) {
            waiting += m->count;
            if (schedule_due_ms(m->g) < due)
                due = schedule_due_ms(m->g);
        }
    }
    assert_true(schedule_next_ms(w->s) == due);
    check_queue(w, 0);
    check_queue(w, 1);
    assert_true(w->sum == w->queues[0].len + w->queues[1].len);
    schedule_counts(w->s, &c);
    assert_true(c.recipients == recipients);
    assert_true(c.groups == w->count);
    assert_true(c.waiting == waiting && c.ready == ready && c.held == held);
    assert_true(c.active == recipients - waiting - ready - held);
    for (uint64_t id = 1; id <= IDS; id++) { /* each message's chain has just its groups */
        size_t want = 0, got = 0;

        for (size_t i = 0; i < w->count; i++)
            want += w->m[i].id == id;
        for (struct group *g = schedule_find(w->s, id); g != NULL; g = schedule_sibling(w->s, g), got++)
            assert_true(g->id == id);
        assert_int_equal(got, want);
    }
}

static struct model *model_of(struct world *w, const struct group *g)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->m[i].g == g)
            return &w->m[i];
    fail_msg("a group that is not there");
    return NULL;
}

static void add(struct world *w)
{
    struct model *m = &w->m[w->count];

    if (w->count == GROUPS_MAX)
        return;
    *m = (struct model){ .id = 1 + rng_below(&w->rng, IDS), .count = 1 + (uint32_t)rng_below(&w->rng, 5) };
    for (uint32_t i = 0; i < m->count; i++)
        m->numbers[i] = w->next_number++;
    m->g = schedule_add(w->s, m->id, m->numbers, m->count);
    w->count++;
}

static void forget(struct world *w, struct model *m)
{
    schedule_remove(w->s, m->g);
    *m = w->m[--w->count];
}

static void wait_for(struct world *w, struct model *m)
{
    if (m->place >= 2)
        group_queue_leave(w->s, m->g);
    m->g->next_ms = rng_below(&w->rng, 1000);
    m->g->expires_ms = rng_below(&w->rng, 2) ? rng_below(&w->rng, 1000) : TIMERS_NEVER;
    m->g->attempted = rng_below(&w->rng, 2);
    m->g->warn_ms = rng_below(&w->rng, 3) == 0 ? rng_below(&w->rng, 1000) : TIMERS_NEVER;
    /* Times of a waiting group change only outside the heap. */
    schedule_unwait(w->s, m->g);
    schedule_wait(w->s, m->g);
    m->place = 1;
}

static void into_queue(struct world *w, struct model *m, unsigned q, bool front)
{
    schedule_unwait(w->s, m->g);
    group_queue_leave(w->s, m->g);
    if (front)
        group_queue_add_front(w->s, &w->queues[q], m->g);
    else
        group_queue_add(w->s, &w->queues[q], m->g);
    assert_int_equal(m->g->state, GROUP_READY);
    m->order = front ? --w->front_order : ++w->next_order;
    m->place = 2 + (int)q;
}

static void hold(struct world *w, struct model *m)
{
    schedule_unwait(w->s, m->g);
    group_queue_leave(w->s, m->g);
    schedule_set_state(w->s, m->g, rng_below(&w->rng, 2) ? GROUP_HELD : GROUP_ROUTE_HELD);
    m->place = 4;
}

static void take_from_queue(struct world *w, unsigned q)
{
    struct model *first = NULL;
    struct group *g;

    for (size_t i = 0; i < w->count; i++)
        if (w->m[i].place == 2 + (int)q && (first == NULL || w->m[i].order < first->order))
            first = &w->m[i];
    g = group_queue_take(w->s, &w->queues[q]);
    assert_ptr_equal(g, first != NULL ? first->g : NULL);
    if (first != NULL) {
        assert_int_equal(g->state, GROUP_ACTIVE);
        first->place = 0;
    }
}

static void take_due(struct world *w)
{
    uint64_t now = rng_below(&w->rng, 400);
    uint64_t due = schedule_next_ms(w->s);
    struct group *g = schedule_take_due(w->s, now);

    assert_true((g != NULL) == (due <= now));
    if (g == NULL)
        return;
    assert_true(schedule_due_ms(g) == due);
    assert_int_equal(model_of(w, g)->place, 1);
    model_of(w, g)->place = 0;
}

static void split(struct world *w, struct model *m)
{
    struct model *part = &w->m[w->count];
    uint32_t n;

    if (m->count < 2 || w->count == GROUPS_MAX)
        return;
    n = 1 + (uint32_t)rng_below(&w->rng, m->count - 1);
    *part = (struct model){ .id = m->id, .count = n };
    memcpy(part->numbers, m->numbers, n * sizeof m->numbers[0]);
    part->g = schedule_split(w->s, m->g, n);
    assert_true(part->g->next_ms == m->g->next_ms && part->g->dest == m->g->dest);
    m->count -= n;
    memmove(m->numbers, m->numbers + n, m->count * sizeof m->numbers[0]);
    w->count++;
}

static void append(struct world *w, struct model *m)
{
    if (m->count == countof(m->numbers))
        return;
    m->numbers[m->count++] = w->next_number;
    schedule_append_number(w->s, m->g, w->next_number++);
}

static void shrink(struct world *w, struct model *m)
{
    uint32_t keep = 1 + (uint32_t)rng_below(&w->rng, m->count);
    uint32_t numbers[64];

    memcpy(numbers, m->numbers + m->count - keep, keep * sizeof numbers[0]);
    memcpy(m->numbers, numbers, keep * sizeof numbers[0]);
    m->count = keep;
    schedule_set_numbers(w->s, m->g, numbers, keep);
}

static void step(struct world *w)
{
    struct model *m = w->count != 0 ? &w->m[rng_below(&w->rng, w->count)] : NULL;
    unsigned what = (unsigned)rng_below(&w->rng, 13);

    if (what <= 1 || m == NULL) {
        add(w);
        return;
    }
    switch (what) {
    case 2:
    case 3:
        wait_for(w, m);
        break;
    case 4:
        forget(w, m);
        break;
    case 5:
        into_queue(w, m, (unsigned)rng_below(&w->rng, 2), rng_below(&w->rng, 4) == 0);
        break;
    case 6:
        take_from_queue(w, (unsigned)rng_below(&w->rng, 2));
        break;
    case 7:
        take_due(w);
        break;
    case 8:
        split(w, m);
        break;
    case 9:
        append(w, m);
        break;
    case 10:
        shrink(w, m);
        break;
    case 11:
        hold(w, m);
        break;
    default: /* leaving twice is harmless */
        group_queue_leave(w->s, m->g);
        group_queue_leave(w->s, m->g);
        if (m->place == 2 || m->place == 3)
            m->place = 0;
        break;
    }
}

static void behaves_as_its_model(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *w = calloc(1, sizeof *w);

        w->s = schedule_new();
        w->queues[0].sum = w->queues[1].sum = &w->sum;
        w->front_order = w->next_order = UINT64_MAX / 2;
        rng_seed(&w->rng, seed);
        for (unsigned i = 0; i < 20000; i++) {
            step(w);
            if (i % 16 == 0)
                check_all(w);
        }
        while (w->count > 0)
            forget(w, &w->m[0]);
        check_all(w);
        schedule_free(w->s);
        free(w);
    }
}

/* Many ids that collide and go again: the index closes its gaps. */
static void the_index_survives_many_ids(void **state)
{
    struct schedule *s = schedule_new();
    enum { N = 50000 };
    uint32_t *index = calloc(N, sizeof *index);
    struct rng rng;

    rng_seed(&rng, 3);
    for (uint32_t i = 0; i < N; i++)
        index[i] = schedule_add(s, (uint64_t)i << 22, &(uint32_t){ 0 }, 1)->self;
    for (uint32_t i = 0; i < N; i++) {
        uint32_t k = (uint32_t)rng_below(&rng, N);

        if (index[k] != 0)
            schedule_remove(s, schedule_group(s, index[k]));
        index[k] = 0;
    }
    for (uint32_t i = 0; i < N; i++) {
        struct group *g = schedule_find(s, (uint64_t)i << 22);

        assert_int_equal(g != NULL ? g->self : 0, index[i]);
    }
    free(index);
    schedule_free(s);
}

static void nothing_expires_untried(void **state)
{
    struct group g = { .next_ms = 100, .expires_ms = 10, .warn_ms = TIMERS_NEVER };

    assert_int_equal(schedule_due_ms(&g), 100);
    g.attempted = true;
    assert_int_equal(schedule_due_ms(&g), 10);
    g.warn_ms = 5;
    assert_int_equal(schedule_due_ms(&g), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_as_its_model),
        cmocka_unit_test(the_index_survives_many_ids),
        cmocka_unit_test(nothing_expires_untried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
