/* base/fd.h - what every writer of a whole file needs. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/err.h"
#include "base/slice.h"

/* All of it or an error, also where a signal or a full disk cuts a write in
 * two. For descriptors that block; `what` names the step in the error. */
MUST_CHECK struct err write_all(int fd, struct slice bytes, const char *what);

#endif
