/* queue/salvage.h - messages out of a queue whose store is damaged.
 *
 * Takes what store/wreck.h reads and keeps what is whole: every record, header
 * and body is held against its checksum. Nothing is changed in the queue.
 */
#ifndef QUEUE_SALVAGE_H
#define QUEUE_SALVAGE_H

#include "queue/message.h"
#include "store/wreck.h"

enum salvage_outcome {
    SALVAGE_WHOLE,
    SALVAGE_NO_RECORD,  /* recipients or content are there, and nothing tells of what message */
    SALVAGE_NO_HEADER,
    SALVAGE_NO_BODY,
};

struct salvaged {
    uint64_t id;
    enum salvage_outcome outcome;
    bool certain;                  /* false: perhaps one that is long done with */
    const struct message *message; /* its envelope and recipients; NULL: SALVAGE_NO_RECORD */
    const struct recipient *recipients; /* whom it has not reached */
    const bool *recipient_certain;      /* of each: false: perhaps it has */
    size_t recipient_count;
    /* SALVAGE_WHOLE. A body file is the body instead of slice when body_fd is not -1. */
    struct slice header, body;
    int body_fd;
};

/* False ends it. */
typedef bool salvage_visitor(void *ctx, const struct salvaged *s);

/* Every message that anything is left of, in order of id. ERR_NOT_FOUND: there is
 * no queue. */
MUST_CHECK struct err queue_salvage(const char *state_dir, salvage_visitor *visit, void *ctx,
                                    struct wreck_counts *counts);
/* The same of a data file's bytes; body files are looked for in body_dir. */
void queue_salvage_bytes(struct slice file, const char *body_dir, salvage_visitor *visit, void *ctx,
                         struct wreck_counts *counts);

#endif
