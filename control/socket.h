/* control/socket.h - where the control socket lies. Shared with relayctl. */
#ifndef CONTROL_SOCKET_H
#define CONTROL_SOCKET_H

#include "base/buf.h"
#include "base/err.h"

#define CONTROL_SOCKET_NAME "control.sock"

/* The name of the socket for bind and connect. sun_path holds 107 bytes and a
 * folder's name may be longer, so it goes through a descriptor of the folder,
 * which the caller keeps open meanwhile and then closes. */
MUST_CHECK struct err control_socket_path(const char *runtime_dir, struct buf *path, int *dir_fd);

/* Listening, mode 0660. ERR_BUSY: somebody answers there. */
MUST_CHECK struct err control_socket_listen(const char *runtime_dir, int *fd);
void control_socket_remove(const char *runtime_dir);

#endif
