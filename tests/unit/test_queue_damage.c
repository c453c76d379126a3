/* Each record of a queue and of its history is damaged in turn, in several
 * ways, as a bad disk would; then everything that reads it does. Nothing
 * crashes, nothing is passed off as what it was: a message that loads is the
 * one that came, byte for byte.
 *
 * And the corners of what else makes records: long lists of an alias's
 * targets, every event's name.
 */
#include "tests/unit/queue_fixture.h"

#include "base/log.h"
#include "queue/history.h"
#include "queue/record.h"

#define MESSAGES 3
#define RECORDS_MAX 256

enum damage { CUT, GROWN, ZEROED, GONE, NEXT_VERSION, DAMAGES };

struct record {
    unsigned table;
    struct buf key, value;
};

struct fix {
    struct queue_fix *f;
    struct record records[RECORDS_MAX];
    size_t count;
    struct { /* what came */
        uint64_t id;
        struct buf content;
    } mail[MESSAGES];
    struct err heard;
    struct message *loaded;
};

/* ---- the store, by hand ---------------------------------------------------------------- */

struct write {
    struct store_job job;
    const struct record *record;
    struct slice value;
    bool remove;
};

static struct err write_run(struct store_job *j, struct store_txn *t)
{
    struct write *w = container_of(j, struct write, job);
    struct slice key = buf_bytes(&w->record->key);

    return w->remove ? store_delete(t, w->record->table, key) : store_put(t, w->record->table, key, w->value);
}

static void write_done(struct store_job *j, struct err e)
{
    assert_ok(e);
}

static void put(struct fix *x, struct store *s, const struct record *r, struct slice value, bool remove)
{
    struct write w = { .job = { .home = &x->f->loop, .run = write_run, .done = write_done, .cost_bytes = 4096 },
                       .record = r, .value = value, .remove = remove };

    store_submit(s, &w.job);
    queue_fix_settle(x->f);
}

static void take_records(struct fix *x, struct store *s, unsigned tables)
{
    struct store_txn *t;

    assert_ok(store_snapshot(s, &t));
    for (unsigned table = 0; table < tables; table++) {
        struct store_cursor *c;
        struct slice k, v;
        struct err e;

        assert_ok(store_cursor_open(t, table, &c));
        for (e = store_cursor_seek(c, SLICE_EMPTY, &k, &v); !err_failed(e); e = store_cursor_next(c, &k, &v)) {
            struct record *r = &x->records[x->count++];

            assert_in_range(x->count, 1, RECORDS_MAX);
            r->table = table;
            buf_add(&r->key, k);
            buf_add(&r->value, v);
        }
        store_cursor_close(c);
    }
    store_snapshot_end(t);
}

static void forget_records(struct fix *x)
{
    for (size_t i = 0; i < x->count; i++) {
        buf_release(&x->records[i].key);
        buf_release(&x->records[i].value);
    }
    x->count = 0;
}

static void damage(struct fix *x, struct store *s, const struct record *r, enum damage how)
{
    struct buf other = { 0 };

    buf_add(&other, how == CUT ? slice_head(buf_bytes(&r->value), buf_len(&r->value) / 2) : buf_bytes(&r->value));
    if (how == GROWN && buf_len(&other) < 4000) /* a full chunk has no room */
        buf_add_str(&other, "more");
    if (how == ZEROED && buf_len(&other) > 0)
        memset(other.ptr + other.start, 0, buf_len(&other));
    if (how == NEXT_VERSION && buf_len(&other) > 0)
        other.ptr[other.start] = (char)(other.ptr[other.start] + 1);
    put(x, s, r, buf_bytes(&other), how == GONE);
    buf_release(&other);
}

/* ---- everything that reads ----------------------------------------------------------------- */

static void on_done(void *ctx, struct err e, struct message *m)
{
    struct fix *x = ctx;

    x->heard = e;
    message_unref(x->loaded);
    x->loaded = m != NULL ? message_ref(m) : NULL;
}

static bool is_whole(const struct fix *x, unsigned n)
{
    const struct message *m = x->loaded;
    struct slice came = buf_bytes(&x->mail[n].content);

    return slice_eq(m->header, slice_head(came, m->header.len)) &&
           (!m->body_loaded || slice_eq(m->body, slice_from(came, m->header.len)));
}

static void read_messages(struct fix *x)
{
    for (unsigned n = 0; n < MESSAGES; n++) {
        queue_load(x->f->q, x->mail[n].id, &x->f->loop, on_done, x);
        queue_fix_settle(x->f);
        if (!err_failed(x->heard))
            assert_true(is_whole(x, n));
    }
}

static void read_life(struct fix *x, struct store *s, enum history_place place)
{
    for (unsigned n = 0; n < MESSAGES; n++) {
        struct history_events events = { 0 };
        struct store_txn *t;
        uint64_t sequence = 0;
        bool done = false;
        struct err e = store_snapshot(s, &t);

        while (!err_failed(e) && !done)
            e = history_read(t, place, x->mail[n].id, &sequence, 3, &events, &done);
        store_snapshot_end(t);
        history_events_release(&events);
    }
}

static void search(struct fix *x, struct store *s, bool in_queue)
{
    struct history_search look;
    struct store_txn *t;
    bool done = false;
    struct err e;

    history_search_init(&look, SLICE("one@example.net"), 10);
    e = store_snapshot(s, &t);
    while (!err_failed(e) && !done)
        e = in_queue ? history_search_queue(&look, t, 3, &done) : history_search_history(&look, t, 3, &done);
    store_snapshot_end(t);
    history_search_sort(&look);
    history_search_release(&look);
}

static void found(void *ctx, uint64_t id, const struct recipient *r)
{
    ++*(unsigned *)ctx;
}

static void read_queue(struct fix *x)
{
    unsigned recipients = 0;

    read_messages(x);
    read_life(x, queue_store(x->f->q), IN_QUEUE);
    search(x, queue_store(x->f->q), true);
    if (!err_failed(queue_recover(x->f->q, found, &recipients)))
        assert_in_range(recipients, 0, 2 * MESSAGES);
    queue_fix_settle(x->f);
}

/* ---- what there is ----------------------------------------------------------------------------- */

static void take_in(struct fix *x, unsigned n)
{
    static const size_t lines[MESSAGES] = { 2, 300, 20 }; /* a leaf, chunks, chunks of header */
    struct slice to[2] = { SLICE("one@example.net"), SLICE("two@example.net") };
    struct envelope env = { .reverse_path = SLICE("from@example.com"), .recipients = to, .recipient_count = 2,
                            .client_addr = SLICE("192.0.2.7"), .protocol = SLICE("ESMTP") };
    struct queue_draft *d = queue_draft_new(x->f->q, &x->f->loop);
    struct buf *content = &x->mail[n].content;

    x->mail[n].id = queue_draft_id(d);
    buf_printf(content, "Message-ID: <m%u@example.com>\r\n", n);
    for (unsigned i = 0; n == 2 && i < 60; i++)
        buf_printf(content, "X-Line-%u: a header that is long enough for chunks of its own\r\n", i);
    buf_add_str(content, "\r\n");
    for (size_t i = 0; i < lines[n]; i++)
        buf_printf(content, "%zu bottles of beer on the wall\r\n", i);
    queue_draft_append(d, buf_bytes(content));
    queue_draft_commit(d, &env, on_done, x);
    queue_fix_settle(x->f);
    assert_ok(x->heard);
}

static struct fix *begin(void)
{
    struct fix *x = calloc(1, sizeof *x);

    x->f = queue_fix_new();
    for (unsigned n = 0; n < MESSAGES; n++)
        take_in(x, n);
    return x;
}

static void end(struct fix *x)
{
    forget_records(x);
    message_unref(x->loaded);
    for (unsigned n = 0; n < MESSAGES; n++)
        buf_release(&x->mail[n].content);
    queue_fix_free(x->f);
    free(x);
}

static void test_12_damaged_records_of_the_queue(void **state)
{
    struct fix *x = begin();
    struct store *s = queue_store(x->f->q);

    take_records(x, s, QUEUE_TABLE_COUNT);
    assert_true(x->count > 15);
    for (size_t i = 0; i < x->count; i++)
        for (enum damage how = CUT; how < DAMAGES; how++) {
            damage(x, s, &x->records[i], how);
            read_queue(x);
            put(x, s, &x->records[i], buf_bytes(&x->records[i].value), false);
        }
    for (unsigned n = 0; n < MESSAGES; n++) { /* mended, all of it is there */
        queue_load(x->f->q, x->mail[n].id, &x->f->loop, on_done, x);
        queue_fix_settle(x->f);
        assert_ok(x->heard);
        assert_int_equal(x->loaded->recipient_count, 2);
    }
    print_message("# %zu records, each damaged in %d ways\n", x->count, DAMAGES);
    end(x);
}

static void test_12_damaged_records_of_the_history(void **state)
{
    struct fix *x = begin();
    struct store *s = queue_history_store(x->f->q);
    struct history_options keep = { .keep_ms = 30 * DAY_MS, .tick_ms = 1000 };
    struct history *h;

    assert_ok(history_start(x->f->q, &x->f->loop, &keep, &h));
    queue_fix_pass(x->f, 3 * SECOND_MS);
    take_records(x, s, HISTORY_TABLE_COUNT);
    assert_true(x->count > 5);
    for (size_t i = 0; i < x->count; i++)
        for (enum damage how = CUT; how < DAMAGES; how++) {
            damage(x, s, &x->records[i], how);
            read_life(x, s, IN_HISTORY);
            search(x, s, false);
            put(x, s, &x->records[i], buf_bytes(&x->records[i].value), false);
        }
    for (size_t i = 0; i < x->count; i++) /* what nobody can read goes when its time has come */
        damage(x, s, &x->records[i], x->records[i].table == HISTORY_EVENT ? ZEROED : GROWN);
    keep.keep_ms = 1000;
    history_configure(h, &keep);
    queue_fix_pass(x->f, 3 * HOUR_MS / 1000);
    history_stop(h);
    queue_fix_settle(x->f);
    history_free(h);
    end(x);
}

/* ---- corners ---------------------------------------------------------------------------------- */

static void every_event_has_a_name(void **state)
{
    const char *names[EVENT_SIGNER + 2];

    for (int i = 0; i < (int)countof(names); i++) {
        bool known = (i >= EVENT_RECEIVED && i <= EVENT_POSTPONED) || i == EVENT_ALIASED || i == EVENT_SIGNER;

        names[i] = event_type_text((enum event_type)i);
        assert_int_equal(strcmp(names[i], "unknown") != 0, known);
        for (int before = 0; known && before < i; before++)
            assert_string_not_equal(names[i], names[before]);
    }
}

/* As many as fit are named, the others counted. */
static void aliases_with_many_targets(void **state)
{
    enum { TARGETS = 200 };
    struct fix *x = begin();
    struct slice to[TARGETS + 1], originals[TARGETS + 1];
    struct envelope env = { .reverse_path = SLICE("from@example.com"), .recipients = to, .originals = originals,
                            .recipient_count = TARGETS + 1, .client_addr = SLICE("192.0.2.7"),
                            .protocol = SLICE("ESMTP") };
    struct queue_draft *d = queue_draft_new(x->f->q, &x->f->loop);
    uint64_t id = queue_draft_id(d), sequence = 0;
    struct history_events events = { 0 };
    struct store_txn *t;
    bool done = false, all = false, few = false;
    char names[TARGETS][48];

    for (unsigned i = 0; i < TARGETS; i++) {
        snprintf(names[i], sizeof names[i], "somebody.of.a.long.name.%u@example.net", i);
        to[i] = slice_str(names[i]);
        originals[i] = SLICE("all@example.com");
    }
    to[TARGETS] = SLICE("few@example.net");
    originals[TARGETS] = SLICE("few@example.com");
    queue_draft_append(d, SLICE("Subject: x\r\n\r\nx\r\n"));
    queue_draft_commit(d, &env, on_done, x);
    queue_fix_settle(x->f);
    assert_ok(x->heard);
    assert_ok(store_snapshot(queue_store(x->f->q), &t));
    while (!done)
        assert_ok(history_read(t, IN_QUEUE, id, &sequence, 10, &events, &done));
    store_snapshot_end(t);
    for (size_t i = 0; i < events.count; i++) {
        struct event e;

        assert_true(history_event_get(&events, i, &e));
        if (e.type != EVENT_ALIASED)
            continue;
        few = few || slice_eq(e.text, SLICE("few@example.net"));
        all = all || (slice_starts_nocase(e.text, to[0]) && slice_ends_nocase(e.text, SLICE(" more")));
    }
    assert_true(all && few);
    history_events_release(&events);
    end(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_12_damaged_records_of_the_queue),
        cmocka_unit_test(test_12_damaged_records_of_the_history),
        cmocka_unit_test(every_event_has_a_name),
        cmocka_unit_test(aliases_with_many_targets),
    };

    log_open("test", LOG_LEVEL_FATAL); /* hundreds of complaints are expected */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
