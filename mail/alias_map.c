/* mail/alias_map.c - names and their targets in one piece of memory: a hundred
 * thousand of them cost some bytes each, and no search. */
#include "mail/alias_private.h"

#include "base/mem.h"

#include <stdlib.h>

#define SLOTS_MIN 16u

struct alias_map *alias_map_new(void)
{
    return mem_new(struct alias_map);
}

void alias_map_free(struct alias_map *m)
{
    if (m == NULL)
        return;
    buf_release(&m->text);
    free(m->entries);
    free(m->targets);
    free(m->slots);
    free(m);
}

static struct slice text_at(const struct alias_map *m, uint32_t at, uint32_t len)
{
    return slice_make(buf_bytes(&m->text).ptr + at, len);
}

static uint32_t add_text(struct alias_map *m, struct slice text)
{
    uint32_t at = (uint32_t)buf_len(&m->text);

    buf_add(&m->text, text);
    return at;
}

struct slice alias_map_name(const struct alias_map *m, size_t i)
{
    return text_at(m, m->entries[i].name, m->entries[i].name_len);
}

struct alias_entry_place alias_map_place(const struct alias_map *m, size_t i)
{
    return m->entries[i].place;
}

size_t alias_map_count(const struct alias_map *m)
{
    return m->entry_count;
}

/* The slot of that name, or the empty one where it belongs. There is always
 * an empty one. Slots hold an index plus one. */
static uint32_t *slot_of(const struct alias_map *m, struct slice name)
{
    size_t i = slice_hash_nocase(name) & (m->slot_count - 1);

    while (m->slots[i] != 0 && !slice_eq_nocase(alias_map_name(m, m->slots[i] - 1), name))
        i = (i + 1) & (m->slot_count - 1);
    return &m->slots[i];
}

static void grow_slots(struct alias_map *m)
{
    if (m->entry_count + 1 <= m->slot_count / 2)
        return;
    m->slot_count = m->slot_count != 0 ? m->slot_count * 2 : SLOTS_MIN;
    free(m->slots);
    m->slots = mem_zero(m->slot_count, sizeof *m->slots);
    for (size_t i = 0; i < m->entry_count; i++)
        *slot_of(m, alias_map_name(m, i)) = (uint32_t)i + 1;
}

bool alias_map_begin(struct alias_map *m, struct slice name, struct alias_entry_place place,
                     struct alias_entry_place *first)
{
    struct alias_entry *e;
    uint32_t *slot;

    grow_slots(m);
    slot = slot_of(m, name);
    if (*slot != 0) {
        *first = m->entries[*slot - 1].place;
        return false;
    }
    if (m->entry_count == m->entry_cap) {
        m->entry_cap = m->entry_cap != 0 ? m->entry_cap * 2 : 8;
        m->entries = mem_grow(m->entries, m->entry_cap, sizeof *m->entries);
    }
    e = &m->entries[m->entry_count++];
    *e = (struct alias_entry){ .place = place, .name_len = (uint32_t)name.len, .target = (uint32_t)m->target_count };
    e->name = add_text(m, name);
    *slot = (uint32_t)m->entry_count;
    return true;
}

void alias_map_target(struct alias_map *m, enum alias_target_kind kind, struct slice text, bool final)
{
    if (m->target_count == m->target_cap) {
        m->target_cap = m->target_cap != 0 ? m->target_cap * 2 : 8;
        m->targets = mem_grow(m->targets, m->target_cap, sizeof *m->targets);
    }
    m->targets[m->target_count++] = (struct alias_map_target){
        .kind = (uint8_t)kind,
        .final = final,
        .text_len = (uint16_t)text.len,
        .text = add_text(m, text),
    };
    m->entries[m->entry_count - 1].target_count++;
}

const struct alias_entry *alias_map_find(const struct alias_map *m, struct slice name)
{
    uint32_t found;

    if (m == NULL || m->entry_count == 0)
        return NULL;
    found = *slot_of(m, name);
    return found != 0 ? &m->entries[found - 1] : NULL;
}

struct slice alias_map_target_text(const struct alias_map *m, const struct alias_map_target *t)
{
    return text_at(m, t->text, t->text_len);
}
