/* The queue over a store whose calls fail: a life of a few messages is played
 * again and again, and each time the N-th call of those below fails, once or
 * from then on, for N = 1… until none is left to fail.
 *
 * Whatever failed: afterwards the queue opens; what was acknowledged is there
 * byte for byte, unless its end was acknowledged too; what was refused is not
 * there; and the history has its events.
 *
 * The linker puts our functions in front of the store's (--wrap).
 */
#include "tests/unit/failing_calls.h"
#include "tests/unit/queue_fixture.h"

#include "base/log.h"
#include "queue/history.h"
#include "store/blob.h"

#define MESSAGES 5

#define FAILING ((struct err){ .kind = ERR_IO, .sys = EIO, .what = "a call that fails in a test" })

WRAP(struct err, store_open, (const struct store_options *opt, struct store **out),
     (opt, out), FAILING)
WRAP(struct err, store_snapshot, (struct store *s, struct store_txn **out),
     (s, out), FAILING)
WRAP(struct err, store_get, (struct store_txn *t, unsigned table, struct slice key, struct slice *out),
     (t, table, key, out), FAILING)
WRAP(struct err, store_put, (struct store_txn *t, unsigned table, struct slice key, struct slice value),
     (t, table, key, value), FAILING)
WRAP(struct err, store_put_room, (struct store_txn *t, unsigned table, struct slice key, size_t len, char **room),
     (t, table, key, len, room), FAILING)
WRAP(struct err, store_append_room, (struct store_txn *t, unsigned table, struct slice key, size_t len, char **room),
     (t, table, key, len, room), FAILING)
WRAP(struct err, store_delete, (struct store_txn *t, unsigned table, struct slice key),
     (t, table, key), FAILING)
WRAP(struct err, store_delete_prefix, (struct store_txn *t, unsigned table, struct slice prefix, size_t *count),
     (t, table, prefix, count), FAILING)
WRAP(struct err, store_cursor_open, (struct store_txn *t, unsigned table, struct store_cursor **out),
     (t, table, out), FAILING)
WRAP(struct err, store_cursor_seek, (struct store_cursor *c, struct slice key, struct slice *k, struct slice *v),
     (c, key, k, v), FAILING)
WRAP(struct err, store_cursor_last, (struct store_cursor *c, struct slice *k, struct slice *v),
     (c, k, v), FAILING)
WRAP(struct err, store_cursor_next, (struct store_cursor *c, struct slice *k, struct slice *v),
     (c, k, v), FAILING)
WRAP(struct err, store_cursor_prev, (struct store_cursor *c, struct slice *k, struct slice *v),
     (c, k, v), FAILING)
WRAP(struct err, store_cursor_delete, (struct store_cursor *c),
     (c), FAILING)
WRAP(struct err, blobs_open, (const struct blobs_options *opt, struct blobs **out),
     (opt, out), FAILING)

/* What the threads of body files answer. */
static void tell_failed(struct post *p)
{
    struct blob_op *op = container_of(p, struct blob_op, post);

    op->result = FAILING;
    op->done(op, op->result);
}

#define WRAP_BLOB(name)                                                                            \
    void __real_##name(struct blobs *b, struct blob_op *op);                                       \
    void __wrap_##name(struct blobs *b, struct blob_op *op);                                       \
    void __wrap_##name(struct blobs *b, struct blob_op *op)                                        \
    {                                                                                              \
        if (!fault_hits(#name)) {                                                                  \
            __real_##name(b, op);                                                                  \
            return;                                                                                \
        }                                                                                          \
        op->post.run = tell_failed;                                                                \
        loop_post(op->home, &op->post);                                                            \
    }

WRAP_BLOB(blob_append)
WRAP_BLOB(blob_seal)
WRAP_BLOB(blob_read)
WRAP_BLOB(blob_unlink)

/* ---- what is played ---------------------------------------------------------------- */

struct played {
    uint64_t id;
    bool accepted, ended;
    size_t body_bytes;
};

struct life {
    struct queue_fix *f;
    struct history *h;
    struct played mail[MESSAGES];
    struct err heard; /* of the last completion */
    unsigned completions;
    struct message *loaded;
};

static void on_done(void *ctx, struct err e, struct message *m)
{
    struct life *l = ctx;

    l->completions++;
    l->heard = e;
    message_unref(l->loaded);
    l->loaded = m != NULL ? message_ref(m) : NULL;
}

/* The completion comes, once, whatever happens. */
static bool settled(struct life *l)
{
    queue_fix_settle(l->f);
    assert_int_equal(l->completions, 1);
    l->completions = 0;
    return !err_failed(l->heard);
}

static struct err open_queue(struct life *l)
{
    struct queue_options opt = { .state_dir = l->f->path, .clock = &l->f->clock, .draft_memory_max = 64 * MIB,
                                 .body_file_min = 32 * KIB, .stepped = true };

    l->f->q = NULL;
    return queue_open(&opt, &l->f->q);
}

static char body_byte(const struct played *p, size_t at)
{
    return at % 64 == 62 ? '\r' : at % 64 == 63 ? '\n' : (char)('a' + (at / 64 + p->body_bytes) % 26);
}

/* Short, with chunks, with a header that is no leaf, a file; the last is for an alias's targets. */
static void take_in(struct life *l, unsigned n)
{
    static const size_t sizes[MESSAGES] = { 64, 9024, 640, 40000, 128 };
    struct slice to[3] = { SLICE("one@example.net"), SLICE("two@example.net"), SLICE("three@example.net") };
    struct slice originals[3] = { SLICE("all@example.com"), SLICE("all@example.com"), SLICE_EMPTY };
    bool held[3] = { false, true, false };
    struct envelope env = { .reverse_path = SLICE("from@example.com"), .recipients = to, .recipient_count = 1 + n % 3,
                            .client_addr = SLICE("192.0.2.7"), .protocol = SLICE("ESMTP") };
    struct queue_draft *d = queue_draft_new(l->f->q, &l->f->loop);
    struct played *p = &l->mail[n];
    struct buf content = { 0 };

    if (n == 4)
        env.recipient_count = 3, env.originals = originals, env.held = held;
    p->id = queue_draft_id(d);
    p->body_bytes = sizes[n];
    buf_printf(&content, "Message-ID: <m%u@example.com>\r\n", n);
    for (unsigned i = 0; n == 2 && i < 100; i++)
        buf_printf(&content, "X-Line-%u: a header of a few thousand bytes has chunks of its own\r\n", i);
    buf_add_str(&content, "\r\n");
    for (size_t i = 0; i < p->body_bytes; i++) {
        char c = body_byte(p, i);

        buf_add(&content, slice_make(&c, 1));
    }
    for (struct slice rest = buf_bytes(&content); rest.len > 0; rest = slice_from(rest, 7000)) {
        queue_draft_append(d, slice_head(rest, 7000));
        queue_fix_settle(l->f);
    }
    queue_draft_commit(d, &env, on_done, l);
    p->accepted = settled(l);
    buf_release(&content);
}

static bool load(struct life *l, unsigned n)
{
    queue_load(l->f->q, l->mail[n].id, &l->f->loop, on_done, l);
    return settled(l);
}

static void end_recipients(struct life *l, unsigned n, enum event_type event, bool final)
{
    struct queue_change changes[3] = { 0 };
    struct queue_update u = { .id = l->mail[n].id, .message = l->loaded, .changes = changes, .message_done = final };
    struct message *m = message_ref(l->loaded);

    for (; u.change_count < m->recipient_count; u.change_count++)
        changes[u.change_count] = (struct queue_change){ .event = event, .final = final,
                                                         .now = m->recipients[u.change_count] };
    u.message = m;
    u.body_is_file = m->body_place == BODY_BLOB;
    queue_apply(l->f->q, &u, &l->f->loop, on_done, l);
    if (settled(l) && final)
        l->mail[n].ended = true;
    message_unref(m);
}

static void sign(struct life *l, unsigned n)
{
    struct buf fields = { 0 };

    for (unsigned i = 0; i < 120; i++) /* more than one record of them */
        buf_printf(&fields, "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s%u; b=AAAA\r\n", i);
    queue_store_signatures(l->f->q, l->mail[n].id, buf_bytes(&fields), &l->f->loop, on_done, l);
    settled(l);
    buf_release(&fields);
}

/* As `relayctl trace` asks: of both places, and of an id. */
static void look_back(struct life *l)
{
    struct store *places[] = { queue_store(l->f->q), queue_history_store(l->f->q) };
    struct history_search s;
    struct history_events events = { 0 };

    history_search_init(&s, SLICE("one@example.net"), 10);
    for (unsigned i = 0; i < 2; i++) {
        struct err e = ERR_OK;
        uint64_t sequence = 0;

        for (bool done = false; !done && !err_failed(e);) {
            struct store_txn *t;

            e = store_snapshot(places[i], &t);
            if (err_failed(e))
                break;
            e = i == 0 ? history_search_queue(&s, t, 3, &done) : history_search_history(&s, t, 3, &done);
            store_snapshot_end(t);
        }
        for (bool done = err_failed(e); !done && !err_failed(e);) {
            struct store_txn *t;

            e = store_snapshot(places[i], &t);
            if (err_failed(e))
                break;
            e = history_read(t, i == 0 ? IN_QUEUE : IN_HISTORY, l->mail[0].id, &sequence, 2, &events, &done);
            store_snapshot_end(t);
        }
    }
    history_search_sort(&s);
    history_search_release(&s);
    history_events_release(&events);
}

static void found(void *ctx, uint64_t id, const struct recipient *r)
{
    assert_true(r->address.len > 0);
    ++*(unsigned *)ctx;
}

static void recover(struct life *l)
{
    unsigned recipients = 0;

    if (err_failed(queue_recover(l->f->q, found, &recipients)))
        return;
    queue_fix_settle(l->f);
}

static void live(struct life *l)
{
    struct history_options keep = { .keep_ms = DAY_MS, .bytes_max = 1, .tick_ms = 1000 };

    if (err_failed(open_queue(l)))
        return;
    for (unsigned n = 0; n < MESSAGES; n++)
        take_in(l, n);
    for (unsigned n = 0; n < MESSAGES; n++)
        if (l->mail[n].accepted && n != 1)
            sign(l, n);
    if (load(l, 1))
        end_recipients(l, 1, EVENT_DEFERRED, false);
    if (load(l, 0))
        end_recipients(l, 0, EVENT_DELIVERED, true);
    if (load(l, 3))
        end_recipients(l, 3, EVENT_BOUNCED, true);
    if (!err_failed(history_start(l->f->q, &l->f->loop, &keep, &l->h)))
        queue_fix_pass(l->f, 3 * SECOND_MS);
    look_back(l);
    if (l->h != NULL) {
        keep.keep_ms = 1000; /* all of it goes */
        keep.bytes_max = 0;
        history_configure(l->h, &keep);
        queue_fix_pass(l->f, 3 * HOUR_MS / 1000);
        history_stop(l->h);
        queue_fix_settle(l->f);
        history_free(l->h);
        l->h = NULL;
    }
    queue_close(l->f->q);
    if (!err_failed(open_queue(l)))
        recover(l);
}

/* ---- what must be true afterwards ---------------------------------------------------- */

static void check_stored(struct life *l)
{
    for (unsigned n = 0; n < MESSAGES; n++) {
        const struct played *p = &l->mail[n];
        bool there;

        if (p->id == 0)
            continue;
        there = load(l, n);
        if (p->accepted != there && !(p->accepted && p->ended))
            fail_msg("call %u: message %u was %s and is %s", fault.skip, n, p->accepted ? "accepted" : "refused",
                     there ? "there" : "lost");
        if (p->ended && there)
            fail_msg("call %u: message %u was ended and is there again", fault.skip, n);
        if (!there)
            continue;
        assert_int_equal(l->loaded->body_bytes, p->body_bytes);
        for (size_t i = 0; l->loaded->body_loaded && i < p->body_bytes; i++)
            if (l->loaded->body.ptr[i] != body_byte(p, i))
                fail_msg("call %u: message %u is another at byte %zu", fault.skip, n, i);
    }
}

/* An empty queue; the many folders of body files stay. */
static void begin_anew(struct life *l)
{
    static const char *const stores[] = { "queue", "history" };

    queue_close(l->f->q);
    l->f->q = NULL;
    for (size_t i = 0; i < countof(stores); i++) {
        struct buf path = { 0 };

        buf_printf(&path, "%s/%s", l->f->path, stores[i]);
        scratch_remove(buf_cstr(&path));
        buf_release(&path);
    }
    memset(l->mail, 0, sizeof l->mail);
}

static void play_with_faults(bool sticky)
{
    struct life life = { .f = queue_fix_new() }, *l = &life;
    unsigned visited = 0;

    for (bool hit = true; hit; visited++) {
        begin_anew(l);
        fault_arm(visited, sticky, EIO);
        live(l);
        fault.armed = false;
        hit = fault.hits > 0;
        if (!hit) /* what no fault disturbs goes as it should */
            for (unsigned n = 0; n < MESSAGES; n++)
                assert_true(l->mail[n].accepted && l->mail[n].ended == (n == 0 || n == 3));
        queue_close(l->f->q);
        assert_ok(open_queue(l));
        check_stored(l);
    }
    message_unref(l->loaded);
    queue_fix_free(l->f);
    print_message("# %u calls failed, %s\n", visited - 1, sticky ? "and all after each" : "one at a time");
    assert_in_range(visited, 200, 100000);
}

static void each_call_fails_once(void **state)
{
    play_with_faults(false);
}

static void all_calls_fail_from_there_on(void **state)
{
    play_with_faults(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_once),
        cmocka_unit_test(all_calls_fail_from_there_on),
    };

    log_open("test", LOG_LEVEL_FATAL); /* thousands of complaints are expected */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
