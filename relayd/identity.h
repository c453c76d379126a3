/* relayd/identity.h - as whom a child runs, and the folders it may write to. */
#ifndef RELAYD_IDENTITY_H
#define RELAYD_IDENTITY_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

struct identity {
    bool change; /* started as root: become uid and gid; else stay who we are */
    uid_t uid;
    gid_t gid;
};

/* The user of that name when we are root, ourselves otherwise. */
MUST_CHECK struct err identity_find(const char *user, struct identity *out, struct buf *why);

/* In the forked child: becomes it for good. Supplementary groups go too. */
MUST_CHECK struct err identity_assume(const struct identity *id);

/* Makes the folder, with what leads to it, or finds it; gives it to `id` when
 * it is new, or empty and root's. One that is somebody else's is ERR_DENIED. */
MUST_CHECK struct err identity_folder(const struct identity *id, const char *path, mode_t mode,
                                      struct buf *why);

#endif
