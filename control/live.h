/* control/live.h - questions to the scheduler, which lives on loop 0.
 *
 * A control thread posts a call and waits for it, a bounded time. A call that
 * was given up may still run later, so what it works on belongs to the call.
 */
#ifndef CONTROL_LIVE_H
#define CONTROL_LIVE_H

#include "base/err.h"
#include "delivery/dispatch.h"

struct live;

#define LIVE_WAIT_MS 4000 /* less than the time relayctl waits for an answer */

struct live *live_new(struct loop *home, struct dispatch *d);
/* From now on calls fail, also those that wait, and none touches the dispatcher. */
void live_close(struct live *l);
/* After loop 0 has ended. NULL is fine. */
void live_free(struct live *l);

/* Embedded at the front of a heap object by whoever asks. */
struct live_call {
    struct post post; /* ours, as all up to given_up */
    struct live *live;
    struct live_call *next, *prev;
    bool finished, refused, given_up;
    void (*run)(struct live_call *c, struct dispatch *d); /* loop 0 */
    void (*free)(struct live_call *c);
};

/* On success the caller has the call back, and frees it. On failure it is
 * taken care of: ERR_TIMEOUT (loop 0 is too busy), ERR_CANCELLED (the engine
 * ends). */
MUST_CHECK struct err live_ask(struct live *l, struct live_call *c);

/* What the scheduler says about recipients. */
struct live_view {
    uint64_t id; /* in */
    uint32_t n;  /* in */
    bool known;
    const char *state; /* static */
    uint64_t next_in_ms;
    char *site, *site_error; /* ours; or NULL */
    uint64_t site_down_for_ms;
};

/* Fills views; on failure all stay unknown. */
MUST_CHECK struct err live_look(struct live *l, struct live_view *views, size_t count);
void live_view_release(struct live_view *v);

/* Gives an order for each id, and adds up the answers. */
MUST_CHECK struct err live_order(struct live *l, const uint64_t *ids, size_t count, enum dispatch_order order,
                                 struct dispatch_answer *out);

#endif
