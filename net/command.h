/* net/command.h - runs another program and takes what it prints, on a loop.
 *
 * For small helpers the admin named, such as one that fetches a token. The
 * program gets no input, an environment of PATH alone (ours may hold
 * secrets), "/" as its folder, and a process group of its own, which is killed
 * when its time is up or its output too long.
 */
#ifndef NET_COMMAND_H
#define NET_COMMAND_H

#include "base/buf.h"
#include "net/loop.h"

#define COMMAND_OUTPUT_MAX (64u * KIB)
#define COMMAND_ERRORS_MAX 1024u /* of standard error; the rest is dropped */

struct command;

struct command_result {
    struct err failed;    /* it could not be run, was cut short (ERR_TIMEOUT, ERR_LIMIT) or read from */
    int exit_status;      /* when not failed: 0 to 255 */
    int signal;           /* that ended it, or 0 */
    struct slice output;  /* a secret, perhaps: wiped when done() returns */
    struct slice errors;  /* the beginning of standard error */
};

/* Once, never from inside command_run(). */
typedef void command_done(void *ctx, const struct command_result *r);

/* argv[0] is a path. An error is told by done(), too. A real loop only. */
struct command *command_run(struct loop *l, const char *const *argv, uint64_t timeout_ms, command_done *done,
                            void *ctx);
void command_cancel(struct command *c); /* kills it; no done(). NULL is fine */

#endif
