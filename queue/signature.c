/* queue/signature.c - a message's DKIM signatures, kept beside it: made once,
 * after it was accepted, and needed again only by a retry. */
#include "queue/queue_internal.h"

#include "base/mem.h"

#include <stdlib.h>

struct keeping {
    struct store_job job;
    struct writes writes;
    uint64_t id;
    queue_done *done;
    void *ctx;
};

/* A message deleted meanwhile must leave nothing behind. */
static struct err keep_run(struct store_job *j, struct store_txn *t)
{
    struct keeping *k = container_of(j, struct keeping, job);
    struct codec_key key = codec_key_u64(k->id);
    struct slice record;
    struct err e = store_get(t, TABLE_MESSAGE, codec_key_slice(&key), &record);

    if (e.kind == ERR_NOT_FOUND)
        return ERR_OK;
    return err_failed(e) ? e : writes_run(&k->writes, t);
}

static void keep_done(struct store_job *j, struct err e)
{
    struct keeping *k = container_of(j, struct keeping, job);

    k->done(k->ctx, e, NULL);
    writes_release(&k->writes);
    free(k);
}

void queue_store_signatures(struct queue *q, uint64_t id, struct slice fields, struct loop *home, queue_done *done,
                            void *ctx)
{
    struct keeping *k = mem_new(struct keeping);
    unsigned parts = (unsigned)((fields.len + RECORD_SIGNATURE_MAX - 1) / RECORD_SIGNATURE_MAX);

    k->id = id;
    k->done = done;
    k->ctx = ctx;
    for (unsigned n = 0; n < parts; n++) {
        struct slice part = slice_head(fields, RECORD_SIGNATURE_MAX);

        record_signature_put(writes_begin(&k->writes), parts, part);
        writes_end(&k->writes, TABLE_BODY, codec_key_u64_u32(id, RECORD_SIGNATURE_CHUNK + n), false);
        fields = slice_from(fields, part.len);
    }
    k->job.home = home;
    k->job.run = keep_run;
    k->job.done = keep_done;
    k->job.cost_bytes = k->writes.cost_bytes;
    store_submit(q->store, &k->job);
}

/* None, or damaged ones, are no fault of the message: new ones are made. */
void read_signatures(struct store_txn *t, struct message *m)
{
    unsigned parts = 1;

    for (unsigned n = 0; n < parts; n++) {
        struct codec_key key = codec_key_u64_u32(m->id, RECORD_SIGNATURE_CHUNK + n);
        struct slice record, fields;
        unsigned said = 0;

        if (err_failed(store_get(t, TABLE_BODY, codec_key_slice(&key), &record)) ||
            err_failed(record_signature_get(record, &said, &fields)) || (n > 0 && said != parts)) {
            buf_clear(&m->signatures);
            return;
        }
        parts = said;
        buf_add(&m->signatures, fields);
    }
}
