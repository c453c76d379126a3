/* queue/history_internal.h - what the mover, the trimmer and the lookups share. */
#ifndef QUEUE_HISTORY_INTERNAL_H
#define QUEUE_HISTORY_INTERNAL_H

#include "queue/history.h"
#include "queue/queue_internal.h"

#define HISTORY_BUCKET_SECONDS 3600u
#define HISTORY_BUCKET_ENTRIES 20000u

/* An address is hashed without regard to case, and so is a Message-ID: some
 * programs change its case in a reply. Matches are compared afterwards. */
enum history_kind { HISTORY_ADDRESS = 'a', HISTORY_MESSAGE_ID = 'm' };
uint64_t history_hash(enum history_kind kind, struct slice s);

#define HISTORY_INDEX_KEY_LEN 20
struct codec_key history_index_key(uint32_t bucket, uint64_t hash, uint64_t id);

struct index_entry {
    uint64_t hash, id;
};

struct batch_event {
    struct codec_key key;
    size_t at, len; /* of its record in batch.records */
};

struct batch {
    struct batch_event *events;
    size_t count, cap;
    struct buf records;
    struct index_entry *index; /* by hash and id, each once */
    size_t index_count, index_cap;
    bool full; /* there was more */
};

struct trim {
    struct store_job job;
    struct codec_key from;      /* age: where this pass goes on; empty = from the start */
    struct codec_key next_from; /* set by run */
    bool more;                  /* set by run */
    bool by_size;               /* set by run */
    size_t removed;             /* set by run */
    uint64_t now_wall_ms, keep_ms, bytes_max; /* copies: the options may change meanwhile */
};

struct history {
    struct queue *q;
    struct loop *home;
    struct history_options opt;
    struct timer tick;
    bool busy, stopped;
    bool more;     /* the last batch was full, or none was read yet */
    bool calm;     /* few new events since the last look */
    bool complained;
    uint64_t trim_due_ms; /* monotonic */
    uint32_t bucket;
    uint32_t bucket_entries;
    struct store_job job; /* of the step under way */
    struct batch batch;
    struct trim trim;
};

/* history_trim.c: removes a little of what is too old or too much, in a job
 * of the history's writer. */
struct err history_trim_run(struct store_job *j, struct store_txn *t);

#endif
