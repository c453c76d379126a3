/* base/post.c - the lock-free inbox between threads. */
#include "base/post.h"

bool inbox_push(struct inbox *in, struct post *p)
{
    struct post *old = atomic_load_explicit(&in->top, memory_order_relaxed);

    do {
        p->next = old;
    } while (!atomic_compare_exchange_weak_explicit(&in->top, &old, p, memory_order_release,
                                                    memory_order_relaxed));
    return old == NULL;
}

struct post *inbox_take(struct inbox *in)
{
    struct post *p = atomic_exchange_explicit(&in->top, NULL, memory_order_acquire);
    struct post *oldest = NULL;

    while (p != NULL) {
        struct post *next = p->next;

        p->next = oldest;
        oldest = p;
        p = next;
    }
    return oldest;
}
