/* queue/apply.c - what happened to recipients, made durable with its events. */
#include "queue/queue_internal.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct apply {
    struct store_job job;
    struct queue *q;
    struct writes writes;
    uint64_t id;
    bool drop_file;
    struct message *dsns[QUEUE_DSNS_MAX];
    size_t dsn_count;
    uint32_t events;
    queue_done *done;
    void *ctx;
};

static struct err apply_run(struct store_job *j, struct store_txn *t)
{
    return writes_run(&container_of(j, struct apply, job)->writes, t);
}

static void unlink_done(struct blob_op *op, struct err e)
{
    free(op); /* a file that stayed is swept at the next start */
}

static void unlink_body(struct apply *a)
{
    struct blob_op *op = mem_new(struct blob_op);

    op->home = a->job.home;
    op->done = unlink_done;
    op->id = a->id;
    blob_unlink(a->q->blobs, op);
}

static void apply_done(struct store_job *j, struct err e)
{
    struct apply *a = container_of(j, struct apply, job);

    if (!err_failed(e)) {
        atomic_fetch_add(&a->q->events_waiting, a->events);
        if (a->drop_file)
            unlink_body(a); /* only now: a crash must not leave a record without its body */
    }
    a->done(a->ctx, e, NULL);
    for (size_t i = 0; i < a->dsn_count; i++)
        message_unref(a->dsns[i]);
    writes_release(&a->writes);
    free(a);
}

static void change_writes(struct apply *a, const struct queue_update *u, const struct queue_change *c)
{
    struct codec_key key = codec_key_u64_u32(u->id, c->now.n);

    if (c->final) {
        writes_delete(&a->writes, TABLE_RECIPIENT, key);
    } else {
        record_recipient_put(writes_begin(&a->writes), &c->now);
        writes_end(&a->writes, TABLE_RECIPIENT, key, false);
    }
    if (!c->silent) {
        struct event e = {
            .id = u->id,
            .type = c->event,
            .wall_ms = clock_wall_ms(a->q->opt.clock),
            .code = c->now.code,
            .status = c->now.status,
            .attempts = c->now.attempts,
            .delay_ms = c->delay_ms,
            .recipient = c->now.address,
            .relay = c->now.relay,
            .text = c->now.reply,
            .tls = c->tls,
        };

        event_writes(a->q, &e, &a->writes);
        a->events++;
    }
}

static void message_delete_writes(struct apply *a, const struct queue_update *u)
{
    writes_delete(&a->writes, TABLE_MESSAGE, codec_key_u64(u->id));
    writes_delete_prefix(&a->writes, TABLE_BODY, codec_key_u64(u->id)); /* signatures are there, too */
    a->drop_file = u->body_is_file;
}

void queue_apply(struct queue *q, const struct queue_update *u, struct loop *home, queue_done *done, void *ctx)
{
    struct apply *a = mem_new(struct apply);

    a->q = q;
    a->id = u->id;
    a->done = done;
    a->ctx = ctx;
    for (size_t i = 0; i < u->change_count; i++)
        change_writes(a, u, &u->changes[i]);
    if (u->message_done)
        message_delete_writes(a, u);
    assert(u->dsn_count <= QUEUE_DSNS_MAX);
    for (size_t i = 0; i < u->dsn_count; i++) {
        a->dsns[a->dsn_count++] = u->dsns[i];
        a->events += commit_message_writes(q, u->dsns[i], &a->writes);
    }
    a->job.home = home;
    a->job.run = apply_run;
    a->job.done = apply_done;
    a->job.cost_bytes = a->writes.cost_bytes;
    store_submit(q->store, &a->job);
}
