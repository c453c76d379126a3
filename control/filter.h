/* control/filter.h - which messages of the queue are meant. */
#ifndef CONTROL_FILTER_H
#define CONTROL_FILTER_H

#include "base/slice.h"
#include "control/live.h"
#include "queue/message.h"

enum filter_state {
    FILTER_ANY,
    FILTER_QUEUED,   /* not held */
    FILTER_HELD,
    FILTER_WAITING,  /* for its next attempt */
    FILTER_READY,    /* for a connection */
    FILTER_ACTIVE,   /* being delivered, or changed */
    FILTER_DEFERRED, /* not held, and an attempt has failed */
};

struct filter { /* zero-initialised lets all through */
    char *sender;    /* a pattern as in routes, or NULL */
    char *recipient; /* likewise */
    char *domain;    /* of the recipient, exactly */
    enum filter_state state;
    uint64_t older_ms, newer_ms; /* ages; 0 = not asked */
    bool all;                    /* said explicitly */
};

/* Takes one criterion: sender, recipient, domain, state, older, newer, all.
 * False: *why completes "…: ". An unknown name is false with *why NULL. */
bool filter_set(struct filter *f, const char *name, const char *value, const char **why);
bool filter_is_empty(const struct filter *f);
void filter_release(struct filter *f);

/* The ids that the ages leave: first <= id < end. */
void filter_id_range(const struct filter *f, uint64_t now_wall_ms, uint64_t *first, uint64_t *end);
/* By what is stored, but for the state. */
bool filter_takes_addresses(const struct filter *f, const struct recipient *r);
/* By state; view may be NULL or unknown. */
bool filter_takes_state(const struct filter *f, const struct recipient *r, const struct live_view *view);

/* What a person is told: "held", or what the scheduler says, or "queued". */
const char *filter_state_text(const struct recipient *r, const struct live_view *view);

#endif
