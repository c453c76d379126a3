/* base/post.h - a letter from one thread to another.
 *
 * The sender embeds a struct post in what it sends and gives it up; the
 * receiver's thread calls run(), which may free it. An inbox keeps the order
 * of each sender. Any thread pushes, one thread takes.
 */
#ifndef BASE_POST_H
#define BASE_POST_H

#include "base/base.h"

#include <stdatomic.h>

struct post {
    struct post *next;
    void (*run)(struct post *p);
};

struct inbox {
    _Atomic(struct post *) top; /* newest first */
};

/* True when the inbox was empty before: time to wake the receiver. */
bool inbox_push(struct inbox *in, struct post *p);

/* All that waits, oldest first, linked by next; NULL when empty. */
struct post *inbox_take(struct inbox *in);

#endif
