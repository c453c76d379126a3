/* queue/id.c - numbers for messages and events. */
#include "queue/id.h"

#include <stdio.h>

#define SPOOL_BITS 6
#define TIME_SHIFT 22
#define STEP (1ull << SPOOL_BITS)

void id_source_init(struct id_source *s, const struct clock *clock, unsigned spool)
{
    s->clock = clock;
    s->spool = spool;
    atomic_init(&s->last, 0);
}

void id_source_raise(struct id_source *s, uint64_t seen)
{
    uint64_t last = atomic_load(&s->last);

    while (last < seen && !atomic_compare_exchange_weak(&s->last, &last, seen))
        ;
}

uint64_t id_source_next(struct id_source *s)
{
    uint64_t now = clock_wall_ms(s->clock) << TIME_SHIFT | s->spool;
    uint64_t last = atomic_load(&s->last);
    uint64_t next;

    do {
        /* The spool bits of `last` may be another's: begin above them. */
        uint64_t after = (last & ~(STEP - 1)) + STEP + s->spool;

        next = now > last ? now : after;
    } while (!atomic_compare_exchange_weak(&s->last, &last, next));
    return next;
}

const char *queue_id_format(uint64_t id, char out[QUEUE_ID_TEXT_MAX])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 15; i >= 0; i--) {
        out[i] = digits[id & 15];
        id >>= 4;
    }
    out[16] = '\0';
    return out;
}

bool queue_id_parse(struct slice text, uint64_t *out)
{
    uint64_t n = 0;

    if (text.len != 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);

        if (ascii_is_digit(c))
            n = n << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            n = n << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = n;
    return true;
}

uint64_t queue_id_wall_ms(uint64_t id)
{
    return id >> TIME_SHIFT;
}

uint64_t queue_id_of_wall_ms(uint64_t wall_ms)
{
    return wall_ms << TIME_SHIFT;
}
