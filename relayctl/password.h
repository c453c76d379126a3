/* relayctl/password.h - asks a person for a password, or reads it from a program. */
#ifndef RELAYCTL_PASSWORD_H
#define RELAYCTL_PASSWORD_H

#include "base/buf.h"

/* from_stdin: the first line of standard input; else twice at the terminal,
 * without an echo. *out is to be wiped. Returns an exit code, and has told why
 * when it is not EX_OK. */
int password_ask(bool from_stdin, const char *user, struct buf *out);

#endif
