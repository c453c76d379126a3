/* queue/message.c - the life of a message's memory. */
#include "queue/message.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct message *message_new(void)
{
    struct message *m = mem_new(struct message);

    atomic_init(&m->refs, 1);
    return m;
}

struct message *message_ref(struct message *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void message_unref(struct message *m)
{
    if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    buf_release(&m->content);
    buf_release(&m->text);
    buf_release(&m->signatures);
    free(m->recipients);
    free(m);
}

struct slice message_intern(struct message *m, struct slice s)
{
    struct slice copy;

    assert(m->text.cap - m->text.end >= s.len);
    copy = slice_make(m->text.ptr + m->text.end, s.len);
    buf_add(&m->text, s);
    return copy;
}
