/* control/content.h - a message's content as the next hop gets it: octets.
 *
 * From the engine at work or from the store of one that is down, as the
 * documents of view.h; the bytes of a large body are read while they are
 * handed on.
 */
#ifndef CONTROL_CONTENT_H
#define CONTROL_CONTENT_H

#include "control/source.h"

struct content;

/* ERR_NOT_FOUND: no such message waits. ERR_CORRUPT: its record or content is damaged. */
MUST_CHECK struct err content_open(struct source *s, uint64_t id, struct content **out);
uint64_t content_size(const struct content *c);
/* The next bytes, at most max of them; *got is 0 at the end. ERR_CORRUPT there:
 * what was handed on is not what was accepted. */
MUST_CHECK struct err content_next(struct content *c, char *room, size_t max, size_t *got);
void content_close(struct content *c); /* NULL is fine */

#endif
