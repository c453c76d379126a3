/* conf/suggest.h - "did you mean": the known word nearest to an unknown one. */
#ifndef CONF_SUGGEST_H
#define CONF_SUGGEST_H

#include "base/slice.h"

struct suggest { /* zero-initialised but for word */
    struct slice word;
    struct slice best; /* empty while nothing is near enough */
    unsigned distance;
};

void suggest_offer(struct suggest *s, struct slice candidate);

/* Insertions, deletions, substitutions and swaps of neighbours, without case;
 * stops counting beyond `limit` and returns limit + 1. */
unsigned suggest_distance(struct slice a, struct slice b, unsigned limit);

#endif
