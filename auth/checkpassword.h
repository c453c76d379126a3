/* auth/checkpassword.h - a program that knows whether a password is right.
 *
 * Started as "COMMAND ARGS" for each login, it reads from descriptor 3
 *   user NUL password NUL timestamp NUL
 * and exits 0 (right), 1 (wrong) or 111 (can't tell now), as the checkpassword
 * interface of qmail has it. Input, output and errors are the null device; the
 * environment is PATH, PROTO (SMTP, IMAP, POP3) and TCPREMOTEIP.
 */
#ifndef AUTH_CHECKPASSWORD_H
#define AUTH_CHECKPASSWORD_H

#include "base/clock.h"
#include "base/slice.h"

#define CHECKPASSWORD_MAX 512u /* bytes of user and password; the pipe takes them at once */

enum checkpassword_verdict { CHECKPASSWORD_RIGHT, CHECKPASSWORD_WRONG, CHECKPASSWORD_UNKNOWN };

struct checkpassword {
    const char *const *argv; /* NULL at its end; argv[0] is a path */
    uint64_t timeout_ms;
    const struct clock *clock;
};

/* Waits for it: for threads that may. Tells the log what went wrong. */
enum checkpassword_verdict checkpassword_run(const struct checkpassword *c, const char *user, struct slice password,
                                             const char *service, const char *client);

#endif
