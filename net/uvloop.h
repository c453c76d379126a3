/* net/uvloop.h - real loops on libuv, and the listeners on them.
 *
 * A turn: wait for the kernel; call those it names; then, before waiting
 * again, run posts and due timers and write what was flushed. A post to the
 * own loop and a timer of 0 ms run in that same turn, without a system call.
 */
#ifndef NET_UVLOOP_H
#define NET_UVLOOP_H

#include "net/loop.h"
#include "net/stream.h"

struct uv_loop_s;

/* Ignores SIGPIPE in the whole process. Until uvloop_run the maker's thread
 * may use the loop as its own. */
MUST_CHECK struct err uvloop_new(unsigned index, const struct clock *clock, struct loop **out);
/* Until uvloop_stop; the calling thread becomes the loop's. What was posted
 * or flushed before the stop is still done. May be called again. */
void uvloop_run(struct loop *l);
void uvloop_stop(struct loop *l); /* any thread; before run it makes that return at once */
/* After run returned. Streams that are left are closed without an event;
 * listeners, watches and resolvers must be freed before. Posts that still
 * wait do not run. NULL is fine. */
void uvloop_free(struct loop *l);

/* For net/ only, whose callbacks from libuv begin with uvloop_enter(), which
 * keeps now_ms right. */
struct uv_loop_s *uvloop_uv(struct loop *l);
void uvloop_enter(struct loop *l);

/* Accepts on a listening descriptor, which it takes over even when it fails.
 * Each loop gets a dup() of its own. When descriptors run out accepting
 * pauses, and resumes when a stream of this loop closes or after 100 ms; the
 * last eighth of RLIMIT_NOFILE (at most 128) is left to others.
 * `accepted` gets a stream without events: call stream_set_events, or close
 * or finish it, at once. It may free the listener. */
struct listener;
typedef void listener_accepted(void *ctx, struct stream *s);
MUST_CHECK struct err listener_new(struct loop *l, int fd, listener_accepted *accepted, void *ctx,
                                   struct listener **out);
void listener_free(struct listener *ln); /* NULL is fine */

/* Calls ready() whenever fd can be read (or is at its end) or written, as far
 * as that is waited for; after an error it is said of both, to be met in trying.
 * The descriptor stays the caller's, who frees the watch before closing it; that,
 * and waiting for something else, may be done inside ready(). */
enum { FD_READABLE = 1, FD_WRITABLE = 2 };
struct fd_watch;
typedef void fd_watch_ready(void *ctx, unsigned events);
MUST_CHECK struct err fd_watch_new(struct loop *l, int fd, unsigned events, fd_watch_ready *ready, void *ctx,
                                   struct fd_watch **out);
void fd_watch_change(struct fd_watch *w, unsigned events);
void fd_watch_free(struct fd_watch *w); /* NULL is fine */

#endif
