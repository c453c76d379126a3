/* net/ipc.h - whole messages between two of our processes, over one socket.
 *
 * The socket is an end of a socketpair(AF_UNIX, SOCK_STREAM) whose other end
 * the other process has; both wrap it by ipc_new(). A message is up to
 * IPC_PAYLOAD_MAX bytes and perhaps one descriptor; what is larger travels as
 * the descriptor of a memfd or file. Messages arrive whole and in order.
 *
 * The ends trust each other no further than this: bytes that break the frame
 * (another version, a length over the limit, a descriptor more or less than
 * said) close the connection. What a message means is its receiver's affair
 * and as much to be checked.
 *
 * All calls are for the loop's thread, the loop is one of uvloop_new().
 * Nothing blocks and no event comes from inside a call here; every call may
 * be made from inside an event. Bytes are wiped once sent or received, for a
 * message may hold a password.
 */
#ifndef NET_IPC_H
#define NET_IPC_H

#include "net/loop.h"

#define IPC_PAYLOAD_MAX (1 * MIB)
#define IPC_BACKLOG_MAX (64 * MIB) /* to a process that does not read: the connection closes */

struct ipc; /* one end of a connection */

struct ipc_events {
    /* payload holds until the callee returns, even when it calls ipc_free();
     * fd is -1, or taken over by the callee. */
    void (*message)(void *ctx, struct slice payload, int fd);
    /* At most once, and nothing after it: the other process is gone
     * (ERR_CLOSED), broke the frame (ERR_PROTOCOL, ERR_LIMIT, ERR_VERSION),
     * or does not read (ERR_BUSY). What it had said before came first. The
     * owner still calls ipc_free(). */
    void (*closed)(void *ctx, struct err why);
};

/* Takes fd over, also on failure; it becomes non-blocking. */
MUST_CHECK struct err ipc_new(struct loop *l, int fd, const struct ipc_events *events, void *ctx,
                              struct ipc **out);
void ipc_free(struct ipc *i); /* drops what is not sent; NULL is fine */

/* Copies the payload; fd, unless -1, is duplicated and stays the caller's.
 * Written at the end of the loop's turn, all of a turn together. A payload
 * over IPC_PAYLOAD_MAX is the caller's mistake. After `closed` nothing is
 * sent. */
void ipc_send(struct ipc *i, struct slice payload, int fd);

/* Bytes that the other process has not made room for: who sends much looks. */
size_t ipc_backlog(const struct ipc *i);

/* An unconnected pair for ipc_new(), one end to be handed to each process. */
MUST_CHECK struct err ipc_pair(int ends[2]);

#endif
