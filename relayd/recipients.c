/* relayd/recipients.c - who a message is for, while its envelope is collected. */
#include "relayd/recipients.h"

#include "base/mem.h"

#include <stdlib.h>

#define KEEP_MAX 64u /* with more recipients the memory goes with the message */

struct slice recipients_at(const struct recipients *r, uint32_t i)
{
    return slice_make(buf_bytes(&r->text).ptr + r->items[i].at, r->items[i].len);
}

struct slice recipients_original(const struct recipients *r, uint32_t i)
{
    if (r->items[i].original_len == 0)
        return SLICE_EMPTY;
    return slice_make(buf_bytes(&r->text).ptr + r->items[i].original_at, r->items[i].original_len);
}

struct mail_wish recipients_wish(const struct recipients *r, uint32_t i)
{
    const struct recipients_item *item = &r->items[i];

    return (struct mail_wish){
        .notify = item->notify,
        .original = item->orcpt_len != 0 ? slice_make(buf_bytes(&r->text).ptr + item->orcpt_at, item->orcpt_len)
                                         : SLICE_EMPTY,
    };
}

static uint32_t *slot_of(const struct recipients *r, struct slice address)
{
    uint32_t i = (uint32_t)slice_hash(address) & (r->slot_count - 1);

    while (r->slots[i] != 0 && !slice_eq(recipients_at(r, r->slots[i] - 1), address))
        i = (i + 1) & (r->slot_count - 1);
    return &r->slots[i];
}

static void grow(struct recipients *r)
{
    if (r->count == r->cap) {
        r->cap = r->cap != 0 ? r->cap * 2 : 4;
        r->items = mem_grow(r->items, r->cap, sizeof *r->items);
    }
    if (r->count + 1 <= r->slot_count / 2)
        return;
    r->slot_count = r->slot_count != 0 ? r->slot_count * 2 : 8;
    free(r->slots);
    r->slots = mem_zero(r->slot_count, sizeof *r->slots);
    for (uint32_t i = 0; i < r->count; i++)
        *slot_of(r, recipients_at(r, i)) = i + 1;
}

/* An address with characters outside ASCII has a form of its own for this, and
 * is left to those who know it. */
static void add_own_orcpt(struct buf *out, struct slice original)
{
    size_t before = buf_len(out);

    buf_add(out, SLICE("rfc822;"));
    for (size_t i = 0; i < original.len; i++) {
        unsigned char c = (unsigned char)original.ptr[i];

        if (c > 0x7e) {
            out->end -= buf_len(out) - before;
            return;
        }
        if (c <= ' ' || c == '+' || c == '=')
            buf_printf(out, "+%02X", c);
        else
            buf_add_byte(out, (char)c);
    }
}

static void keep_wish(struct recipients *r, struct recipients_item *item, const struct mail_wish *wish,
                      struct slice original)
{
    item->notify = wish->notify;
    item->orcpt_at = (uint32_t)buf_len(&r->text);
    if (wish->original.len != 0)
        buf_add(&r->text, wish->original);
    else if (item->original_len != 0)
        add_own_orcpt(&r->text, original);
    item->orcpt_len = (uint32_t)buf_len(&r->text) - item->orcpt_at;
}

/* The targets of one alias stand in a row and share its name. */
static void keep_original(struct recipients *r, struct recipients_item *item, struct slice original)
{
    if (r->count > 0 && slice_eq(recipients_original(r, r->count - 1), original)) {
        item->original_at = r->items[r->count - 1].original_at;
    } else {
        item->original_at = (uint32_t)buf_len(&r->text);
        buf_add(&r->text, original);
    }
    item->original_len = (uint32_t)original.len;
}

bool recipients_add(struct recipients *r, struct slice address, struct slice original, const struct mail_wish *wish,
                    bool held)
{
    struct recipients_item item = { .len = (uint32_t)address.len, .held = held };
    uint32_t *slot;

    grow(r);
    slot = slot_of(r, address);
    if (*slot != 0)
        return false;
    item.at = (uint32_t)buf_len(&r->text);
    buf_add(&r->text, address);
    if (original.len != 0 && !slice_eq(original, address))
        keep_original(r, &item, original);
    keep_wish(r, &item, wish, original);
    r->items[r->count++] = item;
    *slot = r->count;
    return true;
}

void recipients_clear(struct recipients *r)
{
    if (r->cap > KEEP_MAX) {
        recipients_release(r);
        return;
    }
    buf_clear(&r->text);
    r->count = 0;
    for (uint32_t i = 0; i < r->slot_count; i++)
        r->slots[i] = 0;
}

void recipients_release(struct recipients *r)
{
    buf_release(&r->text);
    free(r->items);
    free(r->slots);
    *r = (struct recipients){ 0 };
}
