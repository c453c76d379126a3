/* relayd/identity.h - as whom a child runs, and the folders it may write to. */
#ifndef RELAYD_IDENTITY_H
#define RELAYD_IDENTITY_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

struct identity {
    bool found;  /* identity_find() has filled it in */
    bool change; /* started as root: become uid and gid; else stay who we are */
    uid_t uid;
    gid_t gid;
};

/* The user of that name when we are root, ourselves otherwise. `what` is who
 * is to run so ("engine"), and the word of the users directive. */
MUST_CHECK struct err identity_find(const char *user, const char *what, struct identity *out,
                                    struct buf *why);

/* In the forked child: becomes it for good. Supplementary groups go too. */
MUST_CHECK struct err identity_assume(const struct identity *id);

/* Makes the folder, with what leads to it, or finds it; gives it to `id` when
 * it is new, or empty and root's. One that is somebody else's is ERR_DENIED. */
MUST_CHECK struct err identity_folder(const struct identity *id, const char *path, mode_t mode,
                                      struct buf *why);

/* The parts of it, for folders with more to them. */

/* mkdir -p, and opens it; *made tells whether the last part is new. */
MUST_CHECK struct err identity_make_folder(const char *path, mode_t mode, bool *made, int *fd);
/* An entry called `but` does not count. *sys is errno when it could not be looked into, else 0. */
bool identity_folder_empty(int fd, const char *but, int *sys);
/* A folder or an empty file of `id` inside the open folder `at`; never through
 * a symbolic link. What is there must be its own, or root's and empty. */
MUST_CHECK struct err identity_subfolder(const struct identity *id, int at, const char *name,
                                         mode_t mode);
MUST_CHECK struct err identity_file(const struct identity *id, int at, const char *name);

#endif
