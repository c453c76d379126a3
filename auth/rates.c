/* auth/rates.c - the sliding hour of each user. */
#include "auth/rates.h"

#include "base/codec.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

#define WINDOW_VERSION 1u

struct slot {
    uint32_t messages, recipients;
};

struct window {
    uint64_t newest; /* number of its slot since 1970 */
    struct slot slots[RATES_SLOTS]; /* by number modulo RATES_SLOTS */
    bool changed;
    UT_hash_handle hh;
    char user[];
};

struct rates {
    struct window *by_user;
};

struct rates *rates_new(void)
{
    return mem_new(struct rates);
}

void rates_free(struct rates *r)
{
    struct window *w, *tmp;

    if (r == NULL)
        return;
    HASH_ITER (hh, r->by_user, w, tmp) {
        HASH_DEL(r->by_user, w);
        free(w);
    }
    free(r);
}

static struct window *find(struct rates *r, const char *user)
{
    struct window *w;

    HASH_FIND_STR(r->by_user, user, w);
    return w;
}

static struct window *find_or_make(struct rates *r, const char *user)
{
    struct window *w = find(r, user);

    if (w != NULL)
        return w;
    w = mem_zero(1, sizeof *w + strlen(user) + 1);
    strcpy(w->user, user);
    HASH_ADD_STR(r->by_user, user, w);
    return w;
}

/* Empties the slots that time has passed over. A clock set back leaves the
 * newest slot the newest. */
static void slide(struct window *w, uint64_t now_ms)
{
    uint64_t number = now_ms / RATES_SLOT_MS;

    if (number <= w->newest && w->newest - number < RATES_SLOTS)
        return;
    if (number < w->newest || number - w->newest >= RATES_SLOTS)
        memset(w->slots, 0, sizeof w->slots);
    else
        for (uint64_t n = w->newest + 1; n <= number; n++)
            w->slots[n % RATES_SLOTS] = (struct slot){ 0 };
    w->newest = number;
}

static void sum(const struct window *w, uint64_t *messages, uint64_t *recipients)
{
    *messages = *recipients = 0;
    for (size_t i = 0; i < RATES_SLOTS; i++) {
        *messages += w->slots[i].messages;
        *recipients += w->slots[i].recipients;
    }
}

/* Until the oldest slot with something in it is an hour old. */
static uint64_t wait_of(const struct window *w, uint64_t now_ms)
{
    for (uint64_t back = RATES_SLOTS; back > 0; back--) {
        uint64_t n = w->newest >= back - 1 ? w->newest - (back - 1) : 0;
        uint64_t free_ms = (n + RATES_SLOTS) * RATES_SLOT_MS;

        if (w->slots[n % RATES_SLOTS].messages != 0)
            return free_ms > now_ms ? free_ms - now_ms : 1;
    }
    return 0;
}

struct rates_verdict rates_charge(struct rates *r, uint64_t now_ms, const char *user, unsigned recipients,
                                  unsigned messages_max, unsigned recipients_max)
{
    struct window *w = find_or_make(r, user);
    struct rates_verdict v = { .ok = true };
    struct slot *slot;
    uint64_t messages, all_recipients;

    slide(w, now_ms);
    sum(w, &messages, &all_recipients);
    if (recipients_max != 0 && all_recipients + recipients > recipients_max)
        v = (struct rates_verdict){ .recipients = true };
    else if (messages_max != 0 && messages + 1 > messages_max)
        v = (struct rates_verdict){ .ok = false };
    if (!v.ok) {
        v.wait_ms = v.recipients && recipients > recipients_max ? 0 : wait_of(w, now_ms);
        return v;
    }
    slot = &w->slots[w->newest % RATES_SLOTS];
    slot->messages++;
    slot->recipients += recipients;
    w->changed = true;
    return v;
}

void rates_now(struct rates *r, uint64_t now_ms, const char *user, uint64_t *messages, uint64_t *recipients)
{
    struct window *w = find(r, user);

    *messages = *recipients = 0;
    if (w == NULL)
        return;
    slide(w, now_ms);
    sum(w, messages, recipients);
}

static void put(struct buf *b, const struct window *w)
{
    codec_put_u8(b, WINDOW_VERSION);
    codec_put_u64(b, w->newest);
    for (size_t i = 0; i < RATES_SLOTS; i++) {
        codec_put_u32(b, w->slots[i].messages);
        codec_put_u32(b, w->slots[i].recipients);
    }
    codec_seal(b, 0);
}

void rates_each_changed(struct rates *r, uint64_t now_ms,
                        void (*visit)(void *ctx, const char *user, struct slice window), void *ctx)
{
    struct window *w, *tmp;

    HASH_ITER (hh, r->by_user, w, tmp) {
        struct buf b = { 0 };
        uint64_t messages, recipients;

        if (w->changed) {
            put(&b, w);
            visit(ctx, w->user, buf_bytes(&b));
            buf_release(&b);
            w->changed = false;
        }
        slide(w, now_ms);
        sum(w, &messages, &recipients);
        if (messages == 0) {
            HASH_DEL(r->by_user, w);
            free(w);
        }
    }
}

void rates_restore(struct rates *r, const char *user, struct slice record)
{
    struct codec_reader reader;
    struct window *w, read = { 0 };

    if (err_failed(codec_open(record, &reader)) || codec_u8(&reader) != WINDOW_VERSION)
        return;
    read.newest = codec_u64(&reader);
    for (size_t i = 0; i < RATES_SLOTS; i++) {
        read.slots[i].messages = codec_u32(&reader);
        read.slots[i].recipients = codec_u32(&reader);
    }
    if (reader.fault || reader.rest.len != 0)
        return;
    w = find_or_make(r, user);
    w->newest = read.newest;
    memcpy(w->slots, read.slots, sizeof w->slots);
}
