/* queue/writes.c - what a commit will do, prepared outside the writer. */
#include "queue/writes.h"

#include "base/mem.h"

#include <stdlib.h>

enum { OP_PUT, OP_APPEND, OP_DELETE, OP_DELETE_PREFIX };

#define OP_OVERHEAD_BYTES 64 /* of a key and its node in a page */

static struct write_op *add(struct writes *w, int kind, unsigned table, struct codec_key key)
{
    struct write_op *op;

    if (w->len == w->cap) {
        w->cap = w->cap != 0 ? w->cap * 2 : 8;
        w->ops = mem_grow(w->ops, w->cap, sizeof *w->ops);
    }
    op = &w->ops[w->len++];
    *op = (struct write_op){ .kind = (uint8_t)kind, .table = (uint8_t)table, .key = key };
    w->cost_bytes += OP_OVERHEAD_BYTES;
    return op;
}

struct buf *writes_begin(struct writes *w)
{
    return &w->bytes;
}

/* What was encoded since the last owned value. */
static size_t owned_end(const struct writes *w)
{
    for (size_t i = w->len; i > 0; i--)
        if (w->ops[i - 1].owned)
            return w->ops[i - 1].at + w->ops[i - 1].value.len;
    return 0;
}

void writes_end(struct writes *w, unsigned table, struct codec_key key, bool append)
{
    size_t at = owned_end(w);
    struct write_op *op = add(w, append ? OP_APPEND : OP_PUT, table, key);

    op->owned = true;
    op->at = at;
    op->value.len = buf_len(&w->bytes) - at;
    w->cost_bytes += op->value.len;
}

void writes_put(struct writes *w, unsigned table, struct codec_key key, struct slice value, bool append)
{
    struct write_op *op = add(w, append ? OP_APPEND : OP_PUT, table, key);

    op->value = value;
    w->cost_bytes += value.len;
}

void writes_put_chunks(struct writes *w, unsigned table, uint64_t id, uint32_t first, struct slice value)
{
    for (uint32_t n = first; value.len > 0; n++) {
        struct slice chunk = slice_head(value, STORE_VALUE_MAX);

        writes_put(w, table, codec_key_u64_u32(id, n), chunk, true);
        value = slice_from(value, chunk.len);
    }
}

void writes_delete(struct writes *w, unsigned table, struct codec_key key)
{
    add(w, OP_DELETE, table, key);
}

void writes_delete_prefix(struct writes *w, unsigned table, struct codec_key prefix)
{
    add(w, OP_DELETE_PREFIX, table, prefix);
}

void writes_release(struct writes *w)
{
    free(w->ops);
    buf_release(&w->bytes);
    *w = (struct writes){ 0 };
}

static struct err run_put(const struct writes *w, const struct write_op *op, struct store_txn *t)
{
    const char *from = op->owned ? buf_bytes(&w->bytes).ptr + op->at : op->value.ptr;
    struct slice key = codec_key_slice(&op->key);
    char *room;
    struct err e;

    if (op->kind == OP_APPEND)
        e = store_append_room(t, op->table, key, op->value.len, &room);
    else
        e = store_put_room(t, op->table, key, op->value.len, &room);
    if (!err_failed(e) && op->value.len != 0)
        memcpy(room, from, op->value.len);
    return e;
}

static struct err run_delete(const struct write_op *op, struct store_txn *t)
{
    struct slice key = codec_key_slice(&op->key);
    struct err e;

    if (op->kind == OP_DELETE_PREFIX)
        return store_delete_prefix(t, op->table, key, NULL);
    e = store_delete(t, op->table, key);
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

struct err writes_run(const struct writes *w, struct store_txn *t)
{
    for (size_t i = 0; i < w->len; i++) {
        const struct write_op *op = &w->ops[i];
        bool put = op->kind == OP_PUT || op->kind == OP_APPEND;
        struct err e = put ? run_put(w, op, t) : run_delete(op, t);

        if (err_failed(e))
            return e;
    }
    return ERR_OK;
}
