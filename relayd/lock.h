/* relayd/lock.h - one engine per queue.
 *
 * The engine holds an exclusive flock(2) on STATE_DIR/queue.lock as long as it
 * lives and has its pid in it; relayctl takes it shared to read the store
 * while the daemon is down. The lock goes with its holder, so a stale file
 * means nothing. The file is never removed: a second one under the same name
 * would be a second lock.
 */
#ifndef RELAYD_LOCK_H
#define RELAYD_LOCK_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#define LOCK_NAME    "queue.lock"
#define LOCK_WAIT_MS 5000 /* a predecessor may still be ending */

/* The engine's: tries for wait_ms. On success *fd is to be kept open. ERR_BUSY:
 * `why` names the holder. */
MUST_CHECK struct err lock_take(const char *state_dir, const struct clock *clock, uint64_t wait_ms,
                                int *fd, struct buf *why);

/* relayctl's: shared, no waiting; the file is not created. ERR_NOT_FOUND when
 * there is none, ERR_BUSY when an engine is at work. */
MUST_CHECK struct err lock_share(const char *state_dir, int *fd, struct buf *why);

/* The parent's look before anything is started: ERR_BUSY while somebody has
 * the lock. Leaves nothing behind, not even the file. */
MUST_CHECK struct err lock_check(const char *state_dir, struct buf *why);

#endif
