/* relayd/child.h - starting another process of the tree.
 *
 * A child is this very program again (/proc/self/exe, so a package upgraded
 * meanwhile does not mix releases), run as its own user, with the null device
 * as input and output, our standard error, its channel at CHANNEL_CHILD_FD and
 * no other descriptor. It is killed when its parent dies, whatever it does.
 */
#ifndef RELAYD_CHILD_H
#define RELAYD_CHILD_H

#include "relayd/channel.h"
#include "relayd/identity.h"

/* `title` is its argv[0], "relayd: engine", by which main() knows its part.
 * *channel is the parent's side. */
MUST_CHECK struct err child_start(const char *title, const struct identity *id, pid_t *pid,
                                  struct channel **channel);

/* In the child's main(): its name for ps and top, signals that are for the
 * parent alone, and the parent's death once more. */
void child_begin(const char *title);

#endif
