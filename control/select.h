/* control/select.h - walks the queue and picks the messages a filter means. */
#ifndef CONTROL_SELECT_H
#define CONTROL_SELECT_H

#include "control/filter.h"
#include "control/source.h"

struct picked_recipient {
    struct recipient r; /* slices lie in the selection's memory */
    size_t at, len;
    bool addressed;     /* by what is stored the filter means it */
    struct live_view view;
};

struct picked {
    uint64_t id;
    size_t first, count; /* in selection.recipients */
    size_t at, len;      /* its message record; len 0: there is none */
};

struct selection {
    struct source *source;
    const struct filter *filter;
    uint64_t at_id, end_id; /* still to look at: at_id <= id < end_id */
    uint64_t give_up_ms;    /* monotonic */
    struct picked *messages;
    size_t message_count, message_cap;
    struct picked_recipient *recipients;
    size_t recipient_count, recipient_cap;
    struct buf bytes;
    size_t want, seen; /* of one step */
};

/* From id `from` on. */
void selection_init(struct selection *s, struct source *source, const struct filter *filter, uint64_t from);
/* One message, if it is there. */
void selection_init_one(struct selection *s, struct source *source, const struct filter *none, uint64_t id);
void selection_release(struct selection *s);

/* Forgets what was picked and picks up to `want` more, with the scheduler's
 * view of them. Looks for SELECTION_MS in all at most, so it may end with few
 * or none though there is more: see selection_ended(). */
#define SELECTION_MS 1000u
MUST_CHECK struct err selection_next(struct selection *s, size_t want);
bool selection_ended(const struct selection *s);    /* nothing is left to look at */
bool selection_exhausted(const struct selection *s); /* its time is up */

static inline struct slice selection_record(const struct selection *s, const struct picked *p)
{
    return slice_make(buf_bytes(&s->bytes).ptr + p->at, p->len);
}

#endif
