/* net/uvloop.h - real loops on libuv, and the listeners on them. */
#ifndef NET_UVLOOP_H
#define NET_UVLOOP_H

#include "net/loop.h"
#include "net/stream.h"

struct uv_loop_s;

MUST_CHECK struct err uvloop_new(unsigned index, const struct clock *clock, struct loop **out);
void uvloop_run(struct loop *l);  /* until uvloop_stop; the calling thread becomes the loop's */
void uvloop_stop(struct loop *l); /* any thread */
void uvloop_free(struct loop *l); /* after run returned; closes what is left. NULL is fine */

/* For dns/ only, which hands c-ares' sockets to the same loop. */
struct uv_loop_s *uvloop_uv(struct loop *l);

/* Accepts on a listening descriptor, which it takes over. When descriptors
 * run out accepting pauses and resumes by itself, without a busy loop.
 * `accepted` gets a stream without events: call stream_set_events at once. */
struct listener;
typedef void listener_accepted(void *ctx, struct stream *s);
MUST_CHECK struct err listener_new(struct loop *l, int fd, listener_accepted *accepted, void *ctx,
                                   struct listener **out);
void listener_free(struct listener *ln); /* NULL is fine */

/* Calls readable() whenever fd has something to read or is at its end. The
 * descriptor stays the caller's. */
struct fd_watch;
MUST_CHECK struct err fd_watch_new(struct loop *l, int fd, void (*readable)(void *ctx), void *ctx,
                                   struct fd_watch **out);
void fd_watch_free(struct fd_watch *w); /* NULL is fine */

#endif
