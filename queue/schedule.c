/* queue/schedule.c - groups of recipients, their heap and their index by id.
 *
 * Groups live in blocks that never move, so both their index and their
 * address are good for as long as they exist. A million of them must fit in
 * some 100 MB.
 */
#include "queue/schedule.h"

#include "base/mem.h"
#include "base/timers.h"

#include <assert.h>
#include <stdlib.h>

#define BLOCK_GROUPS 1024u

struct id_slot { /* open addressing; head 0 = empty */
    uint64_t id;
    uint32_t head;
};

struct schedule {
    struct group **blocks;
    uint32_t block_count;
    uint32_t next_unused; /* index; 0 is never given */
    uint32_t free_list;   /* by link */
    uint64_t group_count;
    uint64_t recipients[GROUP_STATES]; /* of the groups in each state */

    uint32_t *heap;
    uint32_t heap_len, heap_cap;

    struct id_slot *slots;
    size_t slot_count; /* a power of two */
    size_t slot_used;
};

struct schedule *schedule_new(void)
{
    struct schedule *s = mem_new(struct schedule);

    s->next_unused = 1;
    s->slot_count = 1024;
    s->slots = mem_zero(s->slot_count, sizeof *s->slots);
    return s;
}

struct group *schedule_group(struct schedule *s, uint32_t index)
{
    return index != 0 ? &s->blocks[index / BLOCK_GROUPS][index % BLOCK_GROUPS] : NULL;
}

void group_drop_hot(struct group *g)
{
    message_unref(g->hot);
    g->hot = NULL;
}

static void free_numbers(struct group *g)
{
    if (g->count > 1)
        free(g->n.many);
    g->count = 0;
}

void schedule_free(struct schedule *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 1; i < s->next_unused; i++) {
        struct group *g = schedule_group(s, i);

        if (g->state != GROUP_FREE) {
            free_numbers(g);
            group_drop_hot(g);
        }
    }
    for (uint32_t i = 0; i < s->block_count; i++)
        free(s->blocks[i]);
    free(s->blocks);
    free(s->heap);
    free(s->slots);
    free(s);
}

/* ---- index by message id --------------------------------------------------- */

static size_t slot_home(const struct schedule *s, uint64_t id)
{
    return (size_t)((id * 0x9e3779b97f4a7c15ull) >> 20) & (s->slot_count - 1);
}

static struct id_slot *slot_find(const struct schedule *s, uint64_t id)
{
    size_t i = slot_home(s, id);

    while (s->slots[i].head != 0 && s->slots[i].id != id)
        i = (i + 1) & (s->slot_count - 1);
    return &s->slots[i];
}

static void slots_grow(struct schedule *s)
{
    struct id_slot *old = s->slots;
    size_t old_count = s->slot_count;

    s->slot_count *= 2;
    s->slots = mem_zero(s->slot_count, sizeof *s->slots);
    for (size_t i = 0; i < old_count; i++)
        if (old[i].head != 0)
            *slot_find(s, old[i].id) = old[i];
    free(old);
}

/* Closes the gap so that no later entry becomes unreachable. */
static void slot_remove(struct schedule *s, struct id_slot *slot)
{
    size_t gap = (size_t)(slot - s->slots);
    size_t i = gap;

    for (;;) {
        size_t home;

        i = (i + 1) & (s->slot_count - 1);
        if (s->slots[i].head == 0)
            break;
        home = slot_home(s, s->slots[i].id);
        if (((i - home) & (s->slot_count - 1)) >= ((i - gap) & (s->slot_count - 1))) {
            s->slots[gap] = s->slots[i];
            gap = i;
        }
    }
    s->slots[gap].head = 0;
    s->slot_used--;
}

static void index_add(struct schedule *s, struct group *g)
{
    struct id_slot *slot;

    if ((s->slot_used + 1) * 4 > s->slot_count * 3)
        slots_grow(s);
    slot = slot_find(s, g->id);
    if (slot->head == 0)
        s->slot_used++;
    slot->id = g->id;
    g->sibling = slot->head;
    slot->head = g->self;
}

static void index_remove(struct schedule *s, struct group *g)
{
    struct id_slot *slot = slot_find(s, g->id);

    if (slot->head == g->self) {
        if (g->sibling != 0)
            slot->head = g->sibling;
        else
            slot_remove(s, slot);
        return;
    }
    for (struct group *it = schedule_group(s, slot->head); it != NULL; it = schedule_sibling(s, it)) {
        if (it->sibling == g->self) {
            it->sibling = g->sibling;
            return;
        }
    }
    assert(!"group not in its message's chain");
}

struct group *schedule_find(struct schedule *s, uint64_t id)
{
    return schedule_group(s, slot_find(s, id)->head);
}

/* ---- groups ---------------------------------------------------------------- */

static struct group *take_unused(struct schedule *s)
{
    uint32_t index = s->free_list;
    struct group *g;

    if (index != 0) {
        g = schedule_group(s, index);
        s->free_list = g->link;
    } else {
        index = s->next_unused++;
        if (index / BLOCK_GROUPS >= s->block_count) {
            s->blocks = mem_grow(s->blocks, s->block_count + 1, sizeof *s->blocks);
            s->blocks[s->block_count++] = mem_zero(BLOCK_GROUPS, sizeof **s->blocks);
        }
        g = schedule_group(s, index);
    }
    *g = (struct group){ .self = index };
    return g;
}

static void set_numbers(struct group *g, const uint32_t *numbers, uint32_t count)
{
    uint32_t *many = NULL;
    uint32_t one = count == 1 ? numbers[0] : 0;

    assert(count > 0);
    if (count > 1) {
        size_t room = 2;

        while (room < count)
            room *= 2; /* as schedule_append_number() expects */
        many = mem_alloc(room * sizeof *many);
        memcpy(many, numbers, count * sizeof *many);
    }
    free_numbers(g);
    g->count = count;
    if (count > 1)
        g->n.many = many;
    else
        g->n.one = one;
}

void schedule_set_numbers(struct schedule *s, struct group *g, const uint32_t *numbers, uint32_t count)
{
    s->recipients[g->state] += (uint64_t)count - g->count;
    set_numbers(g, numbers, count);
}

void schedule_append_number(struct schedule *s, struct group *g, uint32_t n)
{
    uint32_t one = g->n.one;

    assert(g->count > 0);
    if (g->count == 1) {
        g->n.many = mem_alloc(2 * sizeof *g->n.many);
        g->n.many[0] = one;
    } else if ((g->count & (g->count - 1)) == 0) {
        g->n.many = mem_grow(g->n.many, (size_t)g->count * 2, sizeof *g->n.many);
    }
    g->n.many[g->count++] = n;
    s->recipients[g->state]++;
}

void schedule_set_state(struct schedule *s, struct group *g, enum group_state state)
{
    s->recipients[g->state] -= g->count;
    g->state = state;
    s->recipients[g->state] += g->count;
}

struct group *schedule_add(struct schedule *s, uint64_t id, const uint32_t *numbers, uint32_t count)
{
    struct group *g = take_unused(s);

    g->id = id;
    g->next_ms = 0;
    g->expires_ms = g->warn_ms = TIMERS_NEVER;
    set_numbers(g, numbers, count);
    g->state = GROUP_ACTIVE;
    s->recipients[GROUP_ACTIVE] += count;
    index_add(s, g);
    s->group_count++;
    return g;
}

struct group *schedule_split(struct schedule *s, struct group *g, uint32_t count)
{
    const uint32_t *numbers = group_numbers(g);
    struct group *part;
    uint32_t *rest;
    uint32_t rest_count = g->count - count;

    assert(count > 0 && count < g->count);
    part = schedule_add(s, g->id, numbers, count);
    part->next_ms = g->next_ms;
    part->expires_ms = g->expires_ms;
    part->warn_ms = g->warn_ms;
    part->dest = g->dest;
    part->sender = g->sender;
    part->attempts = g->attempts;
    part->generation = g->generation;
    part->released = g->released;
    part->attempted = g->attempted;
    if (g->hot != NULL)
        part->hot = message_ref(g->hot);
    rest = mem_alloc(rest_count * sizeof *rest);
    memcpy(rest, numbers + count, rest_count * sizeof *rest);
    schedule_set_numbers(s, g, rest, rest_count);
    free(rest);
    return part;
}

void schedule_remove(struct schedule *s, struct group *g)
{
    schedule_unwait(s, g);
    group_queue_leave(s, g);
    index_remove(s, g);
    s->recipients[g->state] -= g->count;
    free_numbers(g);
    group_drop_hot(g);
    s->group_count--;
    g->state = GROUP_FREE;
    g->link = s->free_list;
    s->free_list = g->self;
}

/* ---- heap ------------------------------------------------------------------ */

uint64_t schedule_due_ms(const struct group *g)
{
    uint64_t due = g->next_ms;

    if (g->warn_ms < due)
        due = g->warn_ms;
    /* Nothing expires before this process has tried it once. */
    if (g->attempted && g->expires_ms < due)
        due = g->expires_ms;
    return due;
}

static bool due_before(struct schedule *s, uint32_t a, uint32_t b)
{
    const struct group *ga = schedule_group(s, a), *gb = schedule_group(s, b);
    uint64_t da = schedule_due_ms(ga), db = schedule_due_ms(gb);

    return da != db ? da < db : ga->id < gb->id || (ga->id == gb->id && a < b);
}

static void heap_put(struct schedule *s, uint32_t slot, uint32_t index)
{
    s->heap[slot - 1] = index;
    schedule_group(s, index)->heap_slot = slot;
}

static void heap_up(struct schedule *s, uint32_t slot, uint32_t index)
{
    while (slot > 1 && due_before(s, index, s->heap[slot / 2 - 1])) {
        heap_put(s, slot, s->heap[slot / 2 - 1]);
        slot /= 2;
    }
    heap_put(s, slot, index);
}

static void heap_down(struct schedule *s, uint32_t slot, uint32_t index)
{
    for (;;) {
        uint32_t child = slot * 2;

        if (child > s->heap_len)
            break;
        if (child < s->heap_len && due_before(s, s->heap[child], s->heap[child - 1]))
            child++;
        if (!due_before(s, s->heap[child - 1], index))
            break;
        heap_put(s, slot, s->heap[child - 1]);
        slot = child;
    }
    heap_put(s, slot, index);
}

void schedule_wait(struct schedule *s, struct group *g)
{
    schedule_unwait(s, g);
    if (s->heap_len == s->heap_cap) {
        s->heap_cap = s->heap_cap != 0 ? s->heap_cap * 2 : 1024;
        s->heap = mem_grow(s->heap, s->heap_cap, sizeof *s->heap);
    }
    schedule_set_state(s, g, GROUP_WAITING);
    s->heap_len++;
    heap_up(s, s->heap_len, g->self);
}

void schedule_unwait(struct schedule *s, struct group *g)
{
    uint32_t slot = g->heap_slot;
    uint32_t last;

    if (slot == 0)
        return;
    g->heap_slot = 0;
    last = s->heap[s->heap_len - 1];
    s->heap_len--;
    if (last == g->self)
        return;
    if (slot > 1 && due_before(s, last, s->heap[slot / 2 - 1]))
        heap_up(s, slot, last);
    else
        heap_down(s, slot, last);
}

uint64_t schedule_next_ms(const struct schedule *s)
{
    if (s->heap_len == 0)
        return TIMERS_NEVER;
    return schedule_due_ms(schedule_group((struct schedule *)s, s->heap[0]));
}

struct group *schedule_take_due(struct schedule *s, uint64_t now_ms)
{
    struct group *g;

    if (schedule_next_ms(s) > now_ms)
        return NULL;
    g = schedule_group(s, s->heap[0]);
    schedule_unwait(s, g);
    schedule_set_state(s, g, GROUP_ACTIVE);
    return g;
}

/* ---- queues ---------------------------------------------------------------- */

static void enter(struct schedule *s, struct group_queue *q, struct group *g)
{
    assert(g->queue == NULL && g->heap_slot == 0);
    schedule_set_state(s, g, GROUP_READY);
    g->queue = q;
    q->len++;
    if (q->sum != NULL)
        ++*q->sum;
}

void group_queue_add(struct schedule *s, struct group_queue *q, struct group *g)
{
    enter(s, q, g);
    g->link = 0;
    g->back = q->tail;
    if (q->tail != 0)
        schedule_group(s, q->tail)->link = g->self;
    else
        q->head = g->self;
    q->tail = g->self;
}

void group_queue_add_front(struct schedule *s, struct group_queue *q, struct group *g)
{
    enter(s, q, g);
    g->back = 0;
    g->link = q->head;
    if (q->head != 0)
        schedule_group(s, q->head)->back = g->self;
    else
        q->tail = g->self;
    q->head = g->self;
}

void group_queue_leave(struct schedule *s, struct group *g)
{
    struct group_queue *q = g->queue;

    if (q == NULL)
        return;
    if (g->back != 0)
        schedule_group(s, g->back)->link = g->link;
    else
        q->head = g->link;
    if (g->link != 0)
        schedule_group(s, g->link)->back = g->back;
    else
        q->tail = g->back;
    g->link = g->back = 0;
    g->queue = NULL;
    schedule_set_state(s, g, GROUP_ACTIVE);
    q->len--;
    if (q->sum != NULL)
        --*q->sum;
}

struct group *group_queue_take(struct schedule *s, struct group_queue *q)
{
    struct group *g = schedule_group(s, q->head);

    if (g != NULL)
        group_queue_leave(s, g);
    return g;
}

/* ---- numbers --------------------------------------------------------------- */

void schedule_each(struct schedule *s, void (*visit)(void *ctx, struct group *g), void *ctx)
{
    for (uint32_t i = 1; i < s->next_unused; i++) {
        struct group *g = schedule_group(s, i);

        if (g->state != GROUP_FREE)
            visit(ctx, g);
    }
}

void schedule_counts(const struct schedule *s, struct schedule_counts *out)
{
    *out = (struct schedule_counts){
        .messages = s->slot_used,
        .groups = s->group_count,
        .waiting = s->recipients[GROUP_WAITING],
        .ready = s->recipients[GROUP_READY],
        .active = s->recipients[GROUP_ACTIVE],
        .held = s->recipients[GROUP_HELD] + s->recipients[GROUP_ROUTE_HELD],
    };
    out->recipients = out->waiting + out->ready + out->active + out->held;
    out->memory = (size_t)s->block_count * BLOCK_GROUPS * sizeof(struct group) +
                  s->heap_cap * sizeof *s->heap + s->slot_count * sizeof *s->slots;
}
