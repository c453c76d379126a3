/* store/wake.c - how a message waiting to be committed wakes the thread that
 * commits it.
 *
 * Both sides change `asleep` by an atomic exchange, and exchanges of one
 * variable have one order. If the waker's comes first, the sleeper's sees
 * what was pushed before it and does not sleep; if the sleeper's comes
 * first, the waker sees it asleep. So no wake-up is lost.
 */
#include "store/wake.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void wake_up(struct wake *w)
{
    if (atomic_exchange_explicit(&w->asleep, 0, memory_order_acq_rel) != 0)
        syscall(SYS_futex, &w->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void wake_wait(struct wake *w, struct inbox *in, uint64_t timeout_ms)
{
    struct timespec ts = { (time_t)(timeout_ms / 1000), (long)(timeout_ms % 1000) * 1000000 };

    atomic_exchange_explicit(&w->asleep, 1, memory_order_acq_rel);
    if (atomic_load_explicit(&in->top, memory_order_acquire) == NULL)
        syscall(SYS_futex, &w->asleep, FUTEX_WAIT_PRIVATE, 1, timeout_ms == WAKE_NEVER ? NULL : &ts,
                NULL, 0);
    atomic_store_explicit(&w->asleep, 0, memory_order_relaxed);
}
