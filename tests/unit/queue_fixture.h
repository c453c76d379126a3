/* tests/unit/queue_fixture.h - a stepped queue on a scratch folder, a loop and
 * a clock that move when told, for the tests of what is built on the queue. */
#ifndef TESTS_UNIT_QUEUE_FIXTURE_H
#define TESTS_UNIT_QUEUE_FIXTURE_H

#include "tests/unit/store_fake.h"

#include "queue/queue.h"

struct queue_fix {
    struct loop loop;
    struct inbox inbox;
    struct clock clock;
    uint64_t now_ms;  /* monotonic */
    uint64_t wall_ms;
    char *path;
    struct queue *q;
    struct message *last; /* of the last commit */
    unsigned done, failed;
};

static void queue_fix_post(struct loop *l, struct post *p)
{
    inbox_push(&container_of(l, struct queue_fix, loop)->inbox, p);
}

static void queue_fix_timers_changed(struct loop *l)
{
}

static uint64_t queue_fix_mono(void *ctx)
{
    return ((struct queue_fix *)ctx)->now_ms;
}

static uint64_t queue_fix_wall(void *ctx)
{
    return ((struct queue_fix *)ctx)->wall_ms;
}

static inline void queue_fix_open(struct queue_fix *f)
{
    struct queue_options opt = {
        .state_dir = f->path,
        .clock = &f->clock,
        .draft_memory_max = 64 * MIB,
        .body_file_min = 128 * KIB,
        .stepped = true,
    };

    assert_ok(queue_open(&opt, &f->q));
}

static inline struct queue_fix *queue_fix_new(void)
{
    static const struct loop_ops ops = { .post = queue_fix_post, .timers_changed = queue_fix_timers_changed };
    struct queue_fix *f = calloc(1, sizeof *f);

    f->now_ms = 1000;
    f->wall_ms = 1795449912000; /* 2026-11-23 */
    f->clock = (struct clock){ queue_fix_mono, queue_fix_wall, f };
    f->loop.ops = &ops;
    f->loop.clock = &f->clock;
    f->loop.now_ms = f->now_ms;
    f->path = scratch_make();
    queue_fix_open(f);
    return f;
}

/* Everything that can happen at this moment. */
static inline void queue_fix_settle(struct queue_fix *f)
{
    size_t n;

    do {
        struct post *p = inbox_take(&f->inbox);

        n = queue_step(f->q, SIZE_MAX);
        for (; p != NULL; n++) {
            struct post *next = p->next;

            p->run(p);
            p = next;
        }
    } while (n > 0);
}

/* Lets time pass, in steps of at most 100 ms. */
static inline void queue_fix_pass(struct queue_fix *f, uint64_t ms)
{
    uint64_t end = f->now_ms + ms;

    queue_fix_settle(f);
    while (f->now_ms < end) {
        uint64_t step = end - f->now_ms < 100 ? end - f->now_ms : 100;

        f->now_ms += step;
        f->wall_ms += step;
        f->loop.now_ms = f->now_ms;
        timers_run(&f->loop.timers, f->now_ms);
        queue_fix_settle(f);
    }
}

static inline void queue_fix_free(struct queue_fix *f)
{
    queue_close(f->q);
    for (struct post *p = inbox_take(&f->inbox); p != NULL;) {
        struct post *next = p->next;

        p->run(p);
        p = next;
    }
    message_unref(f->last);
    timers_release(&f->loop.timers);
    scratch_remove(f->path);
    free(f->path);
    free(f);
}

static void queue_fix_done(void *ctx, struct err e, struct message *m)
{
    struct queue_fix *f = ctx;

    f->done++;
    f->failed += err_failed(e);
    if (m != NULL) {
        message_unref(f->last);
        f->last = message_ref(m);
    }
}

/* Commits a message to `count` recipients; its id. A NULL Message-ID leaves it out. */
static inline uint64_t queue_fix_add(struct queue_fix *f, const char *sender, const char *const *recipients,
                                     size_t count, const char *message_id)
{
    struct slice *to = calloc(count, sizeof *to);
    struct queue_draft *d = queue_draft_new(f->q, &f->loop);
    struct envelope env = {
        .reverse_path = slice_str(sender),
        .recipients = to,
        .recipient_count = count,
        .client_addr = SLICE("192.0.2.7"),
        .client_name = SLICE("client.example"),
        .helo = SLICE("client"),
        .protocol = SLICE("ESMTP"),
    };
    uint64_t id = queue_draft_id(d);
    struct buf content = { 0 };

    for (size_t i = 0; i < count; i++)
        to[i] = slice_str(recipients[i]);
    if (message_id != NULL)
        buf_printf(&content, "Message-ID: <%s>\r\n", message_id);
    buf_add_str(&content, "Subject: a test\r\n\r\nbody\r\n");
    queue_draft_append(d, buf_bytes(&content));
    buf_release(&content);
    queue_draft_commit(d, &env, queue_fix_done, f);
    free(to);
    queue_fix_settle(f);
    return id;
}

/* An event for recipient n of the message committed last; final ends it. */
static inline void queue_fix_event(struct queue_fix *f, uint32_t n, enum event_type type, bool final,
                                   const char *reply)
{
    struct queue_change change = { .event = type, .final = final, .now = f->last->recipients[n] };
    struct queue_update u = {
        .id = f->last->id,
        .message = f->last,
        .changes = &change,
        .change_count = 1,
        .message_done = final && f->last->recipient_total == 1,
    };

    change.now.attempts = 1;
    change.now.code = type == EVENT_DELIVERED ? 250 : 451;
    change.now.status = (struct mail_status){ type == EVENT_DELIVERED ? 2 : 4, 3, 0 };
    change.now.reply = slice_str(reply);
    change.now.relay = SLICE("mx.dest.example[192.0.2.9]:25");
    change.now.last_wall_ms = f->wall_ms;
    change.now.next_wall_ms = f->wall_ms + 60000;
    change.delay_ms = 1200;
    queue_apply(f->q, &u, &f->loop, queue_fix_done, f);
    queue_fix_settle(f);
}

#endif
