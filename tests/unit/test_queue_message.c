/* A message from draft to its end: what was given comes back byte for byte,
 * from memory, from chunks and from a file; what is final is gone; what the
 * disk refused was never there. */
#include "tests/unit/queue_fixture.h"

#include "queue/record.h"
#include "queue/writes.h"

struct loaded {
    unsigned done;
    struct err e;
    struct message *m;
};

static void take_loaded(void *ctx, struct err e, struct message *m)
{
    struct loaded *l = ctx;

    l->done++;
    l->e = e;
    l->m = m != NULL ? message_ref(m) : NULL;
}

static struct loaded load(struct queue_fix *f, uint64_t id)
{
    struct loaded l = { 0 };

    queue_load(f->q, id, &f->loop, take_loaded, &l);
    assert_int_equal(l.done, 0); /* never from inside */
    queue_fix_settle(f);
    assert_int_equal(l.done, 1);
    return l;
}

static int setup(void **state)
{
    *state = queue_fix_new();
    return 0;
}

static int teardown(void **state)
{
    queue_fix_free(*state);
    return 0;
}

static void reopen(struct queue_fix *f, size_t draft_memory_max, size_t body_file_min)
{
    struct queue_options opt = {
        .state_dir = f->path,
        .clock = &f->clock,
        .draft_memory_max = draft_memory_max,
        .body_file_min = body_file_min,
        .stepped = true,
    };

    queue_close(f->q);
    assert_ok(queue_open(&opt, &f->q));
}

static char *text_of(size_t len, unsigned salt)
{
    char *text = malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        text[i] = i % 80 == 78 ? '\r' : i % 80 == 79 ? '\n' : (char)('!' + (i * 31 + salt + i / 977) % 90);
    text[len] = '\0';
    return text;
}

static struct envelope envelope_for(const struct slice *to, size_t count)
{
    return (struct envelope){
        .reverse_path = SLICE("from@example.com"),
        .recipients = to,
        .recipient_count = count,
        .client_addr = SLICE("192.0.2.7"),
        .protocol = SLICE("ESMTP"),
    };
}

/* Gives `body` in pieces; the id. */
static uint64_t commit(struct queue_fix *f, const char *header, struct slice body, size_t piece)
{
    static const struct slice to[] = { { "one@example.net", 15 }, { "two@example.net", 15 } };
    struct envelope env = envelope_for(to, 2);
    struct queue_draft *d = queue_draft_new(f->q, &f->loop);
    uint64_t id = queue_draft_id(d);

    queue_draft_append(d, slice_str(header));
    while (body.len > 0) {
        queue_draft_append(d, slice_head(body, piece));
        body = slice_from(body, piece);
        if (body.len % 3 == 0)
            queue_fix_settle(f);
    }
    queue_draft_commit(d, &env, queue_fix_done, f);
    queue_fix_settle(f);
    return id;
}

struct piece {
    struct blob_op op;
    bool done;
    struct err e;
};

static void piece_done(struct blob_op *op, struct err e)
{
    struct piece *p = container_of(op, struct piece, op);

    p->done = true;
    p->e = e;
}

static void check_body(struct queue_fix *f, const struct message *m, struct slice want)
{
    struct buf got = { 0 };

    assert_true(m->body_bytes == want.len);
    if (m->body_loaded) {
        assert_true(slice_eq(m->body, want));
        return;
    }
    while (buf_len(&got) < want.len) {
        struct piece p = { .op = { .home = &f->loop, .done = piece_done, .offset = buf_len(&got), .want = 10000 } };

        queue_read_body(f->q, m, &p.op);
        queue_fix_settle(f);
        assert_true(p.done);
        assert_ok(p.e);
        assert_true(buf_len(&p.op.bytes) > 0);
        buf_add(&got, buf_bytes(&p.op.bytes));
        buf_release(&p.op.bytes);
    }
    assert_true(slice_eq(buf_bytes(&got), want));
    buf_release(&got);
}

/* Memory is short when its header comes, and then nothing follows. */
static void a_header_without_a_body_needs_no_file(void **state)
{
    struct queue_fix *f = *state;
    struct loaded l;

    reopen(f, 1, 10 * MIB);
    l = load(f, commit(f, "Subject: x\r\n\r\n", SLICE_EMPTY, 1));
    assert_int_equal(f->failed, 0);
    assert_ok(l.e);
    assert_slice_str(l.m->header, "Subject: x\r\n\r\n");
    assert_int_equal(l.m->body_place, BODY_CHUNKS);
    check_body(f, l.m, SLICE_EMPTY);
    message_unref(l.m);
}

static void contents_come_back(void **state)
{
    static const size_t sizes[] = { 0, 1, 100, 4079, 4080, 4081, 8160, 100000, 131072, 131073, 400000 };
    static const char *const headers[] = { "Subject: x\r\n\r\n", "\r\n" };
    struct queue_fix *f = *state;

    for (size_t i = 0; i < countof(sizes); i++) {
        for (size_t h = 0; h < countof(headers); h++) {
            char *body = text_of(sizes[i], (unsigned)i);
            uint64_t id = commit(f, headers[h], slice_make(body, sizes[i]), 1 + sizes[i] / 7);
            struct loaded l = load(f, id);

            assert_ok(l.e);
            assert_slice_str(l.m->header, headers[h]);
            assert_slice_str(l.m->reverse_path, "from@example.com");
            assert_int_equal(l.m->recipient_count, 2);
            assert_slice_str(l.m->recipients[1].address, "two@example.net");
            assert_int_equal(l.m->recipients[1].state, RECIPIENT_QUEUED);
            check_body(f, l.m, slice_make(body, sizes[i]));
            if (l.m->body_place == BODY_BLOB)
                assert_true(sizes[i] > 100000);
            message_unref(l.m);
            free(body);
        }
    }
    assert_int_equal(f->failed, 0);
}

static void long_headers_come_back(void **state)
{
    static const size_t sizes[] = { 1500, 1900, 2100, 4080, 5000, 200000 };
    struct queue_fix *f = *state;

    for (size_t i = 0; i < countof(sizes); i++) {
        struct buf header = { 0 };
        struct loaded l;

        while (buf_len(&header) < sizes[i])
            buf_printf(&header, "X-%zu: some words\r\n", buf_len(&header));
        buf_add_str(&header, "\r\n");
        l = load(f, commit(f, buf_cstr(&header), SLICE("body\r\n"), 6));
        assert_ok(l.e);
        assert_true(slice_eq(l.m->header, buf_bytes(&header)));
        check_body(f, l.m, SLICE("body\r\n"));
        message_unref(l.m);
        buf_release(&header);
    }
}

/* Content that has no empty line gets the one that ends its header. */
static void a_header_without_an_end_gets_one(void **state)
{
    struct queue_fix *f = *state;
    struct loaded l = load(f, commit(f, "Subject: x\r\nno field\r\n", SLICE_EMPTY, 1));

    assert_ok(l.e);
    assert_slice_str(l.m->header, "Subject: x\r\n\r\n");
    check_body(f, l.m, SLICE("no field\r\n"));
    message_unref(l.m);
}

static void with_no_memory_drafts_go_to_files(void **state)
{
    struct queue_fix *f = *state;
    char *body = text_of(50000, 3);
    struct queue_draft *drafts[5];
    static const struct slice to[] = { { "one@example.net", 15 } };
    struct envelope env = envelope_for(to, 1);
    uint64_t ids[5];
    struct queue_stats stats;

    reopen(f, 1000, 10 * MIB);
    for (unsigned i = 0; i < 5; i++) {
        drafts[i] = queue_draft_new(f->q, &f->loop);
        ids[i] = queue_draft_id(drafts[i]);
        queue_draft_append(drafts[i], SLICE("Subject: x\r\n\r\n"));
    }
    for (size_t at = 0; at < 50000; at += 5000) /* all at once, in turns */
        for (unsigned i = 0; i < 5; i++)
            queue_draft_append(drafts[i], slice_make(body + at, 5000));
    for (unsigned i = 0; i < 5; i++)
        queue_draft_commit(drafts[i], &env, queue_fix_done, f);
    queue_fix_settle(f);
    assert_int_equal(f->done, 5);
    assert_int_equal(f->failed, 0);
    for (unsigned i = 0; i < 5; i++) {
        struct loaded l = load(f, ids[i]);

        assert_ok(l.e);
        assert_int_equal(l.m->body_place, BODY_BLOB);
        check_body(f, l.m, slice_make(body, 50000));
        message_unref(l.m);
    }
    queue_stats(f->q, &stats);
    assert_int_equal(stats.draft_memory, 0); /* all given back */
    free(body);
}

/* What the system has left counts besides the budget, and so does the number. */
static void little_memory_around_and_many_drafts(void **state)
{
    struct queue_fix *f = *state;
    struct headroom_gauge gauge = { 0 };
    struct queue_options opt = {
        .state_dir = f->path,
        .clock = &f->clock,
        .draft_memory_max = 100000,
        .drafts_max = 2,
        .headroom = &gauge,
        .body_file_min = MIB,
        .stepped = true,
    };
    struct slice to = SLICE("a@example.net");
    struct envelope env = envelope_for(&to, 1);
    struct queue_draft *drafts[2];
    char *body = text_of(50000, 4);
    struct loaded l;
    uint64_t id;

    queue_close(f->q);
    assert_ok(queue_open(&opt, &f->q));
    for (unsigned i = 0; i < 2; i++) {
        assert_false(queue_crowded(f->q));
        drafts[i] = queue_draft_new(f->q, &f->loop);
    }
    assert_true(queue_crowded(f->q));
    assert_int_equal(queue_memory(f->q), QUEUE_MEMORY_OK); /* those that are there go on as they were */
    queue_draft_free(drafts[0]);
    assert_false(queue_crowded(f->q));
    id = queue_draft_id(drafts[1]);
    queue_draft_append(drafts[1], SLICE("Subject: x\r\n\r\n"));
    queue_draft_append(drafts[1], slice_make(body, 30000));
    assert_int_equal(queue_memory(f->q), QUEUE_MEMORY_OK);
    atomic_store(&gauge.level, HEADROOM_SHORT); /* now that is much */
    assert_int_equal(queue_memory(f->q), QUEUE_MEMORY_SHORT);
    assert_false(queue_crowded(f->q));
    drafts[0] = queue_draft_new(f->q, &f->loop);
    queue_draft_free(drafts[0]);
    queue_draft_append(drafts[1], slice_make(body + 30000, 20000));
    queue_fix_settle(f);
    assert_int_equal(queue_memory(f->q), QUEUE_MEMORY_OK); /* it went to a file; a small one may stay */
    atomic_store(&gauge.level, HEADROOM_NONE);
    assert_int_equal(queue_memory(f->q), QUEUE_MEMORY_FULL);
    assert_true(queue_crowded(f->q));
    queue_draft_commit(drafts[1], &env, queue_fix_done, f);
    queue_fix_settle(f);
    assert_int_equal(f->failed, 0);
    l = load(f, id);
    assert_ok(l.e);
    assert_int_equal(l.m->body_place, BODY_BLOB);
    check_body(f, l.m, slice_make(body, 50000));
    message_unref(l.m);
    atomic_store(&gauge.level, HEADROOM_PLENTY);
    assert_int_equal(queue_memory(f->q), QUEUE_MEMORY_OK);
    queue_close(f->q);
    f->q = NULL;
    free(body);
}

static void a_sender_is_held_back(void **state)
{
    struct queue_fix *f = *state;
    struct queue_draft *d = queue_draft_new(f->q, &f->loop);
    char *body = text_of(200000, 1);
    struct queue_stats stats;

    queue_draft_append(d, SLICE("Subject: x\r\n\r\n"));
    queue_draft_append(d, slice_make(body, 140000));
    /* The disk works on the first; the rest piles up. */
    assert_false(queue_draft_append(d, slice_make(body, 200000)));
    queue_draft_free(d); /* while its file is being written */
    queue_fix_settle(f);
    queue_stats(f->q, &stats);
    assert_int_equal(stats.draft_memory, 0);
    free(body);
}

/* ---- changes ------------------------------------------------------------------- */

static void count_recipient(void *ctx, uint64_t id, const struct recipient *r)
{
    ++*(unsigned *)ctx;
}

static unsigned stored_recipients(struct queue_fix *f)
{
    unsigned n = 0;

    assert_ok(queue_recover(f->q, count_recipient, &n));
    return n;
}

static void changes_are_stored(void **state)
{
    struct queue_fix *f = *state;
    uint64_t id = commit(f, "Subject: x\r\n\r\n", SLICE("body\r\n"), 100);
    struct loaded l;

    assert_int_equal(stored_recipients(f), 2);
    queue_fix_event(f, 1, EVENT_DEFERRED, false, "later");
    l = load(f, id);
    assert_int_equal(l.m->recipients[1].attempts, 1);
    assert_slice_str(l.m->recipients[1].reply, "later");
    assert_int_equal(l.m->recipients[0].attempts, 0);
    message_unref(l.m);
    queue_fix_event(f, 0, EVENT_DELIVERED, true, "ok");
    assert_int_equal(stored_recipients(f), 1);
    l = load(f, id);
    assert_int_equal(l.m->recipient_count, 1);
    assert_int_equal(l.m->recipients[0].n, 1);
    assert_int_equal(l.m->recipient_total, 2);
    message_unref(l.m);
}

static void the_last_one_takes_all_with_it(void **state)
{
    struct queue_fix *f = *state;
    char *body = text_of(300000, 1);
    uint64_t id = commit(f, "Subject: x\r\n\r\n", slice_make(body, 300000), 300000);
    struct queue_change changes[2];
    struct queue_update u = { .id = id, .message = f->last, .changes = changes, .change_count = 2,
                              .message_done = true, .body_is_file = true };
    struct loaded l;
    struct piece p = { .op = { .home = &f->loop, .done = piece_done, .want = 10, .id = id } };

    for (unsigned i = 0; i < 2; i++)
        changes[i] = (struct queue_change){ .event = EVENT_DELIVERED, .final = true, .now = f->last->recipients[i] };
    queue_apply(f->q, &u, &f->loop, queue_fix_done, f);
    queue_fix_settle(f);
    assert_int_equal(stored_recipients(f), 0);
    l = load(f, id);
    assert_err(l.e, ERR_NOT_FOUND);
    assert_null(l.m);
    queue_read_body(f->q, f->last, &p.op);
    queue_fix_settle(f);
    assert_true(err_failed(p.e)); /* the file is gone, too */
    buf_release(&p.op.bytes);
    free(body);
}

static void a_composed_message_is_stored_with_the_change(void **state)
{
    struct queue_fix *f = *state;
    uint64_t id = commit(f, "Subject: x\r\n\r\n", SLICE("body\r\n"), 100);
    struct slice to = SLICE("from@example.com");
    struct envelope env = { .recipients = &to, .recipient_count = 1, .flags = MESSAGE_DSN };
    struct queue_change change = { .event = EVENT_BOUNCED, .final = true, .now = f->last->recipients[0] };
    struct queue_update u = { .id = id, .message = f->last, .changes = &change, .change_count = 1 };
    uint64_t dsn_id;
    struct loaded l;

    struct message *dsn = queue_compose(f->q, &env, SLICE("Subject: dsn\r\n\r\n"), SLICE("sorry\r\n"));

    u.dsns = &dsn;
    u.dsn_count = 1;
    dsn_id = dsn->id;
    assert_true(dsn_id > id);
    queue_apply(f->q, &u, &f->loop, queue_fix_done, f);
    assert_int_equal(stored_recipients(f), 2); /* nothing before the commit */
    queue_fix_settle(f);
    assert_int_equal(stored_recipients(f), 2); /* one gone, one come */
    l = load(f, dsn_id);
    assert_ok(l.e);
    assert_int_equal(l.m->reverse_path.len, 0);
    assert_true((l.m->flags & MESSAGE_DSN) != 0);
    check_body(f, l.m, SLICE("sorry\r\n"));
    message_unref(l.m);
}

/* What the sender asked for is there after a restart, for each recipient. */
static void wishes_are_stored(void **state)
{
    struct queue_fix *f = *state;
    static const struct slice to[] = { { "one@example.net", 15 }, { "two@example.net", 15 } };
    const struct mail_wish wishes[] = { { MAIL_NOTIFY_NEVER, SLICE("rfc822;uno@example.org") }, { 0, SLICE_EMPTY } };
    struct envelope env = envelope_for(to, 2);
    struct queue_draft *d = queue_draft_new(f->q, &f->loop);
    uint64_t id = queue_draft_id(d);
    struct loaded l;

    env.wishes = wishes;
    env.envelope_id = SLICE("QQ+2B1");
    env.release_wall_ms = f->wall_ms + HOUR_MS;
    env.flags = MESSAGE_RETURN_HEADER | MESSAGE_SMTPUTF8;
    queue_draft_append(d, SLICE("Subject: x\r\n\r\nbody\r\n"));
    queue_draft_commit(d, &env, queue_fix_done, f);
    queue_fix_settle(f);
    reopen(f, MIB, MIB);
    l = load(f, id);
    assert_ok(l.e);
    assert_int_equal(l.m->flags & (MESSAGE_RETURN_HEADER | MESSAGE_RETURN_FULL | MESSAGE_SMTPUTF8),
                     MESSAGE_RETURN_HEADER | MESSAGE_SMTPUTF8);
    assert_slice_str(l.m->envelope_id, "QQ+2B1");
    assert_int_equal(l.m->recipients[0].wish.notify, MAIL_NOTIFY_NEVER);
    assert_slice_str(l.m->recipients[0].wish.original, "rfc822;uno@example.org");
    assert_int_equal(l.m->recipients[1].wish.notify, 0);
    assert_int_equal(l.m->recipients[1].wish.original.len, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(l.m->recipients[i].release_wall_ms == env.release_wall_ms);
        assert_true(l.m->recipients[i].next_wall_ms == env.release_wall_ms);
        assert_true(recipient_begins(&l.m->recipients[i], l.m->received_wall_ms) == env.release_wall_ms);
    }
    message_unref(l.m);
}

struct put_format {
    struct store_job job;
    unsigned char format;
};

static struct err put_format_run(struct store_job *j, struct store_txn *t)
{
    const char value[4] = { 0, 0, 0, (char)container_of(j, struct put_format, job)->format };

    return store_put(t, TABLE_SYSTEM, SLICE("format"), slice_make(value, sizeof value));
}

static void format_put(struct store_job *j, struct err e)
{
    assert_ok(e);
}

static void put_format(struct queue_fix *f, unsigned format)
{
    struct put_format put = { { .home = &f->loop, .run = put_format_run, .done = format_put }, (unsigned char)format };

    store_submit(queue_store(f->q), &put.job);
    queue_fix_settle(f);
}

static uint32_t format_of(struct queue_fix *f)
{
    struct store_txn *t;
    struct slice value;
    uint32_t format;

    assert_ok(store_snapshot(queue_store(f->q), &t));
    assert_ok(store_get(t, TABLE_SYSTEM, SLICE("format"), &value));
    format = codec_key_read_u32(value, 0);
    store_snapshot_end(t);
    return format;
}

/* The queue of the release before is opened, and marked so that it does not
 * open it again; that of a release to come is not. */
static void test_24_formats(void **state)
{
    struct queue_fix *f = *state;
    struct queue_options opt = { .state_dir = f->path, .clock = &f->clock, .stepped = true };
    uint64_t id = commit(f, "Subject: x\r\n\r\n", SLICE("body\r\n"), 100);
    struct queue *other = NULL;
    struct loaded l;

    assert_int_equal(format_of(f), QUEUE_FORMAT);
    put_format(f, QUEUE_FORMAT_BEFORE);
    assert_int_equal(format_of(f), QUEUE_FORMAT_BEFORE);
    reopen(f, MIB, MIB);
    queue_fix_settle(f);
    assert_int_equal(format_of(f), QUEUE_FORMAT);
    l = load(f, id);
    assert_ok(l.e);
    message_unref(l.m);
    put_format(f, QUEUE_FORMAT + 1);
    queue_close(f->q);
    f->q = NULL;
    assert_err(queue_open(&opt, &other), ERR_VERSION);
    assert_null(other);
}

/* Of a release so old that nobody knows its records any more. */
static void test_24_a_format_too_old(void **state)
{
    struct queue_fix *f = *state;
    struct queue_options opt = { .state_dir = f->path, .clock = &f->clock, .stepped = true };
    struct queue *other = NULL;
    struct err e;

    put_format(f, QUEUE_FORMAT_BEFORE - 1);
    queue_close(f->q);
    f->q = NULL;
    e = queue_open(&opt, &other);
    assert_err(e, ERR_VERSION);
    assert_non_null(strstr(e.what, "too old"));
    assert_null(other);
}

/* ---- trouble --------------------------------------------------------------------- */

/* What a process that died never ran; a leak checker finds it here. */
static struct post *volatile unrun;

static void a_crash_before_the_commit_leaves_nothing(void **state)
{
    struct queue_fix *f = *state;
    static const struct slice to[] = { { "one@example.net", 15 } };
    struct envelope env = envelope_for(to, 1);
    char *body = text_of(300000, 1);
    struct queue_draft *d = queue_draft_new(f->q, &f->loop);

    queue_draft_append(d, SLICE("Subject: x\r\n\r\n"));
    queue_draft_append(d, slice_make(body, 300000));
    queue_draft_commit(d, &env, queue_fix_done, f);
    for (unsigned i = 0; i < 8; i++) { /* the file is written and sealed, the record submitted */
        struct post *p = inbox_take(&f->inbox);

        while (p != NULL) {
            struct post *next = p->next;

            p->run(p);
            p = next;
        }
    }
    assert_int_equal(f->done, 0);
    queue_abandon(f->q);
    unrun = inbox_take(&f->inbox);
    queue_fix_open(f);
    assert_int_equal(f->done, 0);
    assert_int_equal(stored_recipients(f), 0); /* and its file is swept */
    free(body);
}

static void ids_stay_above_all_stored(void **state)
{
    struct queue_fix *f = *state;
    uint64_t id = commit(f, "\r\n", SLICE("x\r\n"), 3);

    f->wall_ms -= 365 * DAY_MS;
    reopen(f, MIB, MIB);
    assert_true(queue_new_id(f->q) > id);
}

static struct err flip_run(struct store_job *j, struct store_txn *t)
{
    struct store_cursor *c;
    struct slice k, v;
    char copy[STORE_VALUE_MAX];
    struct codec_key key = { .len = 12 };
    struct err e = store_cursor_open(t, TABLE_BODY, &c);

    if (!err_failed(e))
        e = store_cursor_last(c, &k, &v);
    if (err_failed(e))
        return e;
    memcpy(copy, v.ptr, v.len);
    memcpy(key.bytes, k.ptr, 12);
    copy[v.len / 2] ^= 4;
    return store_put(t, TABLE_BODY, codec_key_slice(&key), slice_make(copy, v.len));
}

static void flip_done(struct store_job *j, struct err e)
{
    assert_ok(e);
}

/* Damaged content is told, with the envelope, so that its owner can be. */
static void damage_is_found(void **state)
{
    struct queue_fix *f = *state;
    char *body = text_of(9000, 1);
    uint64_t id = commit(f, "Subject: x\r\n\r\n", slice_make(body, 9000), 9000);
    struct store_job flip = { .home = &f->loop, .run = flip_run, .done = flip_done };
    struct loaded l;

    store_submit(queue_store(f->q), &flip);
    queue_fix_settle(f);
    l = load(f, id);
    assert_err(l.e, ERR_CORRUPT);
    assert_non_null(l.m);
    assert_slice_str(l.m->reverse_path, "from@example.com");
    assert_int_equal(l.m->recipient_count, 2);
    message_unref(l.m);
    free(body);
}

static void an_unknown_id_is_not_found(void **state)
{
    struct loaded l = load(*state, 12345);

    assert_err(l.e, ERR_NOT_FOUND);
    assert_null(l.m);
}

/* ---- signatures ------------------------------------------------------------------ */

static char *fields_of(size_t len)
{
    char *text = text_of(len, 5);

    memcpy(text, "DKIM-Signature: ", 16);
    return text;
}

static void keep_signatures(struct queue_fix *f, uint64_t id, struct slice fields)
{
    unsigned done = f->done;

    queue_store_signatures(f->q, id, fields, &f->loop, queue_fix_done, f);
    assert_int_equal(f->done, done); /* never from inside */
    queue_fix_settle(f);
    assert_int_equal(f->done, done + 1);
    assert_int_equal(f->failed, 0);
}

/* Both ways of reading a message agree. */
static void check_signatures(struct queue_fix *f, uint64_t id, struct slice want)
{
    struct loaded l = load(f, id);
    struct store_txn *t;
    struct message *m;

    assert_ok(l.e);
    assert_true(slice_eq(buf_bytes(&l.m->signatures), want));
    assert_slice_str(l.m->header, "Subject: x\r\n\r\n"); /* as it came */
    message_unref(l.m);
    assert_ok(store_snapshot(queue_store(f->q), &t));
    assert_ok(queue_read(t, id, &m));
    assert_true(slice_eq(buf_bytes(&m->signatures), want));
    store_snapshot_end(t);
    message_unref(m);
}

static void signatures_come_back(void **state)
{
    static const size_t sizes[] = { 16, 700, RECORD_SIGNATURE_MAX - 1, RECORD_SIGNATURE_MAX, RECORD_SIGNATURE_MAX + 1,
                                    5 * RECORD_SIGNATURE_MAX + 17 };
    struct queue_fix *f = *state;

    for (size_t i = 0; i < countof(sizes); i++) {
        char *fields = fields_of(sizes[i]);
        uint64_t id = commit(f, "Subject: x\r\n\r\n", SLICE("body\r\n"), 100);

        check_signatures(f, id, SLICE_EMPTY);
        keep_signatures(f, id, slice_make(fields, sizes[i]));
        check_signatures(f, id, slice_make(fields, sizes[i]));
        reopen(f, MIB, MIB);
        check_signatures(f, id, slice_make(fields, sizes[i]));
        free(fields);
    }
}

/* Beside a body in many records of the same table, each finds its own. */
static void signatures_beside_a_body_in_chunks(void **state)
{
    struct queue_fix *f = *state;
    char *body = text_of(50000, 1), *fields = fields_of(10000);
    uint64_t id = commit(f, "Subject: x\r\n\r\n", slice_make(body, 50000), 50000);
    struct loaded l;

    assert_int_equal(f->last->body_place, BODY_CHUNKS);
    keep_signatures(f, id, slice_make(fields, 10000));
    check_signatures(f, id, slice_make(fields, 10000));
    l = load(f, id);
    check_body(f, l.m, slice_make(body, 50000));
    message_unref(l.m);
    free(body);
    free(fields);
}

/* Records of a message in the table of bodies. */
static unsigned body_records(struct queue_fix *f, uint64_t id)
{
    struct codec_key start = codec_key_u64(id);
    struct store_cursor *c;
    struct store_txn *t;
    struct slice key, value;
    unsigned n = 0;
    struct err e;

    assert_ok(store_snapshot(queue_store(f->q), &t));
    assert_ok(store_cursor_open(t, TABLE_BODY, &c));
    e = store_cursor_seek(c, codec_key_slice(&start), &key, &value);
    for (; !err_failed(e) && codec_key_read_u64(key, 0) == id; e = store_cursor_next(c, &key, &value))
        n++;
    store_cursor_close(c);
    store_snapshot_end(t);
    return n;
}

static void finish(struct queue_fix *f)
{
    struct queue_change changes[2];
    struct queue_update u = { .id = f->last->id, .message = f->last, .changes = changes, .change_count = 2,
                              .message_done = true };

    for (unsigned i = 0; i < 2; i++)
        changes[i] = (struct queue_change){ .event = EVENT_DELIVERED, .final = true, .now = f->last->recipients[i] };
    queue_apply(f->q, &u, &f->loop, queue_fix_done, f);
    queue_fix_settle(f);
}

static void signatures_go_with_their_message(void **state)
{
    struct queue_fix *f = *state;
    char *fields = fields_of(9000);
    uint64_t id = commit(f, "Subject: x\r\n\r\n", SLICE("body\r\n"), 100);
    unsigned before = body_records(f, id);

    keep_signatures(f, id, slice_make(fields, 9000));
    assert_int_equal(body_records(f, id), before + 3);
    finish(f);
    assert_int_equal(body_records(f, id), 0);
    keep_signatures(f, id, slice_make(fields, 9000)); /* made too late: no fault, and nothing of it stays */
    assert_int_equal(body_records(f, id), 0);
    assert_err(load(f, id).e, ERR_NOT_FOUND);
    free(fields);
}

struct spoiling {
    struct store_job job;
    uint64_t id;
    unsigned part;
    enum { SPOIL_FLIP, SPOIL_CUT, SPOIL_EMPTY, SPOIL_REMOVE, SPOIL_OTHER_COUNT, SPOIL_NO_PARTS, SPOILS } how;
};

static struct err spoil_run(struct store_job *j, struct store_txn *t)
{
    struct spoiling *s = container_of(j, struct spoiling, job);
    struct codec_key key = codec_key_u64_u32(s->id, RECORD_SIGNATURE_CHUNK + s->part);
    struct buf copy = { 0 };
    struct slice value;
    struct err e = store_get(t, TABLE_BODY, codec_key_slice(&key), &value);
    unsigned parts;

    if (err_failed(e))
        return e;
    buf_add(&copy, value);
    value = buf_bytes(&copy);
    if (s->how == SPOIL_FLIP) {
        ((char *)value.ptr)[value.len / 2] ^= 4;
    } else if (s->how == SPOIL_CUT) {
        value.len--;
    } else if (s->how == SPOIL_EMPTY) {
        value.len = 0;
    } else if (s->how == SPOIL_OTHER_COUNT || s->how == SPOIL_NO_PARTS) { /* whole, but not of these */
        struct buf other = { 0 };

        e = record_signature_get(value, &parts, &value);
        record_signature_put(&other, s->how == SPOIL_NO_PARTS ? 0 : parts + 1, value);
        buf_release(&copy);
        copy = other;
        value = buf_bytes(&copy);
    }
    if (!err_failed(e))
        e = s->how == SPOIL_REMOVE ? store_delete(t, TABLE_BODY, codec_key_slice(&key))
                                   : store_put(t, TABLE_BODY, codec_key_slice(&key), value);
    buf_release(&copy);
    return e;
}

/* Whatever is wrong with any part, the message is whole and has none, never some. */
static void damaged_signatures_are_none(void **state)
{
    struct queue_fix *f = *state;
    char *fields = fields_of(9000);
    uint64_t id = commit(f, "Subject: x\r\n\r\n", SLICE("body\r\n"), 100);

    for (unsigned part = 0; part < 3; part++) {
        for (int how = 0; how < SPOILS; how++) {
            struct spoiling s = { .job = { .home = &f->loop, .run = spoil_run, .done = flip_done }, .id = id,
                                  .part = part, .how = how };

            keep_signatures(f, id, slice_make(fields, 9000));
            check_signatures(f, id, slice_make(fields, 9000)); /* and mended by being made again */
            store_submit(queue_store(f->q), &s.job);
            queue_fix_settle(f);
            check_signatures(f, id, SLICE_EMPTY);
        }
    }
    free(fields);
}

/* ---- lists of writes --------------------------------------------------------------- */

struct writes_job {
    struct store_job job;
    struct writes w;
    struct err e;
};

static struct err writes_job_run(struct store_job *j, struct store_txn *t)
{
    struct writes_job *w = container_of(j, struct writes_job, job);
    struct err e = writes_run(&w->w, t);

    return err_failed(e) ? e : writes_run(&w->w, t); /* a batch may be run again */
}

static void writes_job_done(struct store_job *j, struct err e)
{
    container_of(j, struct writes_job, job)->e = e;
}

static void writes_twice_have_the_effect_of_once(void **state)
{
    struct queue_fix *f = *state;
    struct writes_job j = { .job = { .home = &f->loop, .run = writes_job_run, .done = writes_job_done } };
    char *big = text_of(3 * STORE_VALUE_MAX + 5, 9);
    struct store_txn *t;
    struct slice got;
    struct codec_key key;

    for (unsigned i = 0; i < 3; i++) { /* owned values, one after the other */
        buf_printf(writes_begin(&j.w), "value %u", i);
        writes_end(&j.w, TABLE_SYSTEM, codec_key_u64(i), true);
    }
    writes_put_chunks(&j.w, TABLE_BODY, 7, 0, slice_make(big, 3 * STORE_VALUE_MAX + 5));
    writes_put(&j.w, TABLE_BODY, codec_key_u64_u32(8, 0), SLICE("goes"), true);
    writes_delete_prefix(&j.w, TABLE_BODY, codec_key_u64(8));
    writes_delete(&j.w, TABLE_SYSTEM, codec_key_u64(1));
    writes_delete(&j.w, TABLE_SYSTEM, codec_key_u64(99)); /* was never there */
    assert_true(j.w.cost_bytes > 3 * STORE_VALUE_MAX);
    store_submit(queue_store(f->q), &j.job);
    queue_fix_settle(f);
    assert_ok(j.e);
    assert_ok(store_snapshot(queue_store(f->q), &t));
    key = codec_key_u64(2);
    assert_ok(store_get(t, TABLE_SYSTEM, codec_key_slice(&key), &got));
    assert_slice_str(got, "value 2");
    key = codec_key_u64(1);
    assert_err(store_get(t, TABLE_SYSTEM, codec_key_slice(&key), &got), ERR_NOT_FOUND);
    key = codec_key_u64_u32(7, 3);
    assert_ok(store_get(t, TABLE_BODY, codec_key_slice(&key), &got));
    assert_true(slice_eq(got, slice_make(big + 3 * STORE_VALUE_MAX, 5)));
    key = codec_key_u64_u32(8, 0);
    assert_err(store_get(t, TABLE_BODY, codec_key_slice(&key), &got), ERR_NOT_FOUND);
    store_snapshot_end(t);
    writes_release(&j.w);
    free(big);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(contents_come_back),
        TEST(a_header_without_a_body_needs_no_file),
        TEST(long_headers_come_back),
        TEST(a_header_without_an_end_gets_one),
        TEST(with_no_memory_drafts_go_to_files),
        TEST(little_memory_around_and_many_drafts),
        TEST(a_sender_is_held_back),
        TEST(changes_are_stored),
        TEST(the_last_one_takes_all_with_it),
        TEST(a_composed_message_is_stored_with_the_change),
        TEST(wishes_are_stored),
        TEST(test_24_formats), TEST(test_24_a_format_too_old),
        TEST(a_crash_before_the_commit_leaves_nothing),
        TEST(ids_stay_above_all_stored),
        TEST(damage_is_found),
        TEST(an_unknown_id_is_not_found),
        TEST(signatures_come_back),
        TEST(signatures_beside_a_body_in_chunks),
        TEST(signatures_go_with_their_message),
        TEST(damaged_signatures_are_none),
        TEST(writes_twice_have_the_effect_of_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
