/* store/wake.h - a thread that sleeps until its inbox has something.
 *
 * Whoever pushes into an empty inbox calls wake_up(), which costs a system
 * call only when the thread really sleeps.
 */
#ifndef STORE_WAKE_H
#define STORE_WAKE_H

#include "base/post.h"

struct wake {
    _Atomic uint32_t asleep;
};

#define WAKE_NEVER UINT64_MAX

void wake_up(struct wake *w);

/* Returns when woken, when `in` is not empty, after timeout_ms, or for no
 * reason at all. One thread per wake. */
void wake_wait(struct wake *w, struct inbox *in, uint64_t timeout_ms);

#endif
