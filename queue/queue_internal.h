/* queue/queue_internal.h - what the files of queue/ share. */
#ifndef QUEUE_QUEUE_INTERNAL_H
#define QUEUE_QUEUE_INTERNAL_H

#include "queue/queue.h"
#include "queue/writes.h"

#define QUEUE_BODY_FOLDER "body" /* in the state directory */

struct queue {
    struct queue_options opt;
    char *state_dir;
    struct store *store;
    struct store *history;
    struct blobs *blobs;
    struct id_source ids;
    struct id_source sequences;
    _Atomic size_t draft_memory;
    _Atomic size_t drafts;
    _Atomic uint64_t events_waiting; /* in the queue environment, for the move to history */
};

/* Adds the writes that make m durable, with its first events; their number. */
uint32_t commit_message_writes(struct queue *q, struct message *m, struct writes *w);
/* What is stored of them, into m->signatures. */
void read_signatures(struct store_txn *t, struct message *m);
void event_writes(struct queue *q, const struct event *e, struct writes *w);

#endif
