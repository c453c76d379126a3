/* control/orders.h - retry, hold, release, delete, bounce. */
#ifndef CONTROL_ORDERS_H
#define CONTROL_ORDERS_H

#include "control/filter.h"
#include "control/json.h"
#include "control/source.h"

bool order_parse(struct slice name, enum dispatch_order *out);

/* One message. Returns when the change is committed, if that is soon. */
MUST_CHECK struct err order_message(struct source *s, uint64_t id, enum dispatch_order order, json_t **out);
/* All that a filter means with ids above `after`, for about a second: member
 * "next" of *out is where to go on, or null. */
MUST_CHECK struct err order_selection(struct source *s, const struct filter *f, uint64_t after,
                                      enum dispatch_order order, json_t **out);

#endif
