/* relayd/notify.h - tells the service manager (systemd, by $NOTIFY_SOCKET).
 *
 * Without libsystemd at build time, or without a manager, nothing happens. */
#ifndef RELAYD_NOTIFY_H
#define RELAYD_NOTIFY_H

#include "base/clock.h"
#include "base/slice.h"

void notify_ready(void);
void notify_reloading(const struct clock *clock);
void notify_stopping(void);
void notify_status(struct slice text); /* one line; control characters become spaces */

#endif
