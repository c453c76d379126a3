/* auth/rates.h - how much each user has sent within the last hour.
 *
 * Twenty slots of three minutes slide over the hour: what is counted is
 * exact but for the age of the oldest slot. Memory holds them, and the owner
 * stores those that changed now and then, so that a restart does not give a
 * runaway another hour. Time is the wall clock, for it must survive one.
 */
#ifndef AUTH_RATES_H
#define AUTH_RATES_H

#include "base/buf.h"

#define RATES_SLOTS   20u
#define RATES_SLOT_MS (HOUR_MS / RATES_SLOTS)

struct rates;

struct rates_verdict {
    bool ok;
    bool recipients;  /* which limit it is */
    uint64_t wait_ms; /* until something becomes free; 0 = never: more than an hour's worth at once */
};

struct rates *rates_new(void);
void rates_free(struct rates *r); /* NULL is fine */

/* Counts a message with so many recipients, if it fits; a limit of 0 is none. */
struct rates_verdict rates_charge(struct rates *r, uint64_t now_ms, const char *user, unsigned recipients,
                                  unsigned messages_max, unsigned recipients_max);
void rates_now(struct rates *r, uint64_t now_ms, const char *user, uint64_t *messages, uint64_t *recipients);

/* For keeping: each user that changed since the last call; forgets those whose
 * hour is over. */
void rates_each_changed(struct rates *r, uint64_t now_ms,
                        void (*visit)(void *ctx, const char *user, struct slice window), void *ctx);
/* What that wrote; damaged or old ones count nothing. */
void rates_restore(struct rates *r, const char *user, struct slice window);

#endif
