/* relayd/generation.h - one configuration in force: its bytes, what they mean
 * and the sockets it listens on. A reload makes the next generation beside
 * the current one; exactly one of the two survives. */
#ifndef RELAYD_GENERATION_H
#define RELAYD_GENERATION_H

#include "base/clock.h"
#include "relayd/kinds.h"
#include "relayd/settings.h"
#include "relayd/sockets.h"

struct generation {
    int bundle_fds[PROCESS_KINDS]; /* sealed memfds, each without the secrets of the others */
    struct bundle *bundle; /* all of it, the parent's alone */
    const struct settings *settings;
    struct sockets sockets;
};

#define GENERATION_EMPTY ((struct generation){ .bundle_fds = { -1, -1, -1 } })
_Static_assert(PROCESS_KINDS == 3, "GENERATION_EMPTY");

/* Reads and checks the file; the sockets are still to be opened. Diagnostics,
 * on success warnings perhaps, are appended to `text`. */
MUST_CHECK struct err generation_load(const char *path, struct generation *out, struct buf *text);
/* The same configuration with the secret files as they are now. */
MUST_CHECK struct err generation_refresh(const struct generation *g, struct generation *out,
                                         struct buf *text);
/* Once the state folder is there: makes and reads the keys of domains that sign.
 * What is wrong with a key is told in `text` and concerns its domain only. */
MUST_CHECK struct err generation_keys(struct generation *g, const struct clock *clock, struct buf *text);

/* Whether all of its files could be read, or were found not to be there: an
 * error, with its `text`, where descriptors or memory ran out or the disk failed
 * (ERR_IO). After generation_keys(). */
MUST_CHECK struct err generation_whole(const struct generation *g, struct buf *text);

/* What the clock says of its certificates, beside those that are in use
 * (NULL: none); `text` gets it. See settings_judge_certificates. */
MUST_CHECK struct err generation_judge(const struct generation *g, const struct settings *running, uint64_t wall_ms,
                                       struct buf *text);

void generation_release(struct generation *g);

/* A child's side: the settings in the memfd it was handed; fd stays open. */
MUST_CHECK struct err generation_settings(int bundle_fd, struct diagnostics *d,
                                          struct settings **out);

#endif
