/* queue/writes.h - a list of puts and deletes that one transaction carries out.
 *
 * Built on the thread that knows what to write, run by the store's writer,
 * which so only copies bytes. Running it twice has the effect of once.
 */
#ifndef QUEUE_WRITES_H
#define QUEUE_WRITES_H

#include "base/codec.h"
#include "store/store.h"

struct write_op {
    uint8_t kind;
    uint8_t table;
    bool owned;      /* value lies in the list's own memory, at `at` */
    struct codec_key key;
    size_t at;
    struct slice value; /* else here, kept alive by the caller */
};

struct writes {
    struct write_op *ops;
    size_t len, cap;
    struct buf bytes; /* owned values */
    size_t cost_bytes;
};

/* Encode a record into writes_begin()'s buffer, then writes_end() puts it. */
struct buf *writes_begin(struct writes *w);
void writes_end(struct writes *w, unsigned table, struct codec_key key, bool append);
void writes_put(struct writes *w, unsigned table, struct codec_key key, struct slice value, bool append);
/* Splits value into chunks of STORE_VALUE_MAX under id + number. */
void writes_put_chunks(struct writes *w, unsigned table, uint64_t id, uint32_t first, struct slice value);
void writes_delete(struct writes *w, unsigned table, struct codec_key key); /* a missing key is fine */
void writes_delete_prefix(struct writes *w, unsigned table, struct codec_key prefix);
void writes_release(struct writes *w);

MUST_CHECK struct err writes_run(const struct writes *w, struct store_txn *t);

#endif
