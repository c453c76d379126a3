/* base/list.h - a doubly linked list whose links live in its members. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *l, struct list *item)
{
    item->prev = l->prev;
    item->next = l;
    l->prev->next = item;
    l->prev = item;
}

static inline void list_prepend(struct list *l, struct list *item)
{
    list_append(l->next, item);
}

/* Leaves the item linked to itself, so removing twice is harmless. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

#define list_first(l, type, member) container_of((l)->next, type, member)
#define list_foreach(it, l) for (struct list *it = (l)->next; it != (l); it = it->next)
#define list_foreach_safe(it, tmp, l)                                                              \
    for (struct list *it = (l)->next, *tmp = it->next; it != (l); it = tmp, tmp = it->next)

#endif
