/* queue/id.h - queue ids: 42 bits of milliseconds, 16 of counter, 6 of spool.
 *
 * Printed as 16 hex digits. A source never gives a number twice nor one below
 * the last, whatever the clock does. Any thread.
 */
#ifndef QUEUE_ID_H
#define QUEUE_ID_H

#include "base/clock.h"
#include "base/slice.h"

#include <stdatomic.h>

#define QUEUE_ID_TEXT_MAX 17

struct id_source {
    const struct clock *clock;
    _Atomic uint64_t last;
    unsigned spool; /* 0–63 */
};

void id_source_init(struct id_source *s, const struct clock *clock, unsigned spool);
void id_source_raise(struct id_source *s, uint64_t seen); /* later ids are above `seen` */
uint64_t id_source_next(struct id_source *s);

const char *queue_id_format(uint64_t id, char out[QUEUE_ID_TEXT_MAX]);
bool queue_id_parse(struct slice text, uint64_t *out); /* exactly 16 hex digits */
uint64_t queue_id_wall_ms(uint64_t id);                /* about when it was made */
uint64_t queue_id_of_wall_ms(uint64_t wall_ms);        /* the lowest id of that moment */

#endif
