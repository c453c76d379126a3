/* control/source.h - where answers come from: the engine at work, or the
 * store of one that is down. The same code makes the same documents of both.
 */
#ifndef CONTROL_SOURCE_H
#define CONTROL_SOURCE_H

#include "auth/sign.h"
#include "control/live.h"
#include "queue/queue.h"

struct source {
    struct queue *queue;
    struct live *live; /* NULL: the engine is down, and the queue was opened read-only */
    struct signers *signers; /* asked where the dispatcher is; NULL: nobody signs */
    const struct clock *clock;
    const char *hostname;
    const char *version;
    uint64_t started_wall_ms;
};

#define SOURCE_STEP 5000u /* records a snapshot; a longer one would keep freed pages from use */

/* Runs step in a snapshot of one environment and waits for it: in a reader
 * thread of the engine's, or here. */
typedef struct err source_step(void *ctx, struct store_txn *t);
MUST_CHECK struct err source_read(struct source *s, struct store *store, source_step *step, void *ctx);

static inline uint64_t source_now_ms(const struct source *s)
{
    return clock_wall_ms(s->clock);
}

#endif
