/* control/view.h - the documents that tell about queue, messages and history.
 *
 * Made from the engine at work or, with the engine down, from its store: see
 * control/source.h. Their members are described in doc/control-api.md. The
 * caller has the document, by json_decref().
 */
#ifndef CONTROL_VIEW_H
#define CONTROL_VIEW_H

#include "control/filter.h"
#include "control/json.h"
#include "control/source.h"

#define VIEW_PAGE_DEFAULT 100u
#define VIEW_PAGE_MAX 1000u

MUST_CHECK struct err view_status(struct source *s, json_t **out);
/* Up to `limit` messages of ids above `after`; member "next" is where the
 * following page begins, or null. */
MUST_CHECK struct err view_queue(struct source *s, const struct filter *f, uint64_t after, size_t limit,
                                 json_t **out);
MUST_CHECK struct err view_message(struct source *s, uint64_t id, json_t **out); /* ERR_NOT_FOUND */
/* query: a queue id, an address, or a Message-ID; at most `limit` messages. */
MUST_CHECK struct err view_trace(struct source *s, struct slice query, size_t limit, json_t **out);
MUST_CHECK struct err view_sites(struct source *s, json_t **out); /* with an engine only */

#endif
