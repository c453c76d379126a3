/* queue/bounce.h - the message that tells a sender what became of theirs. */
#ifndef QUEUE_BOUNCE_H
#define QUEUE_BOUNCE_H

#include "mail/dsn.h"
#include "queue/queue.h"

/* A DSN about the recipients of m in `about` (their state as of now), from
 * the null reverse-path to m's; not yet stored. NULL when m itself must not
 * be answered: its reverse-path is null. retry_until_wall_ms is for
 * MAIL_DSN_DELAYED. */
struct message *bounce_compose(struct queue *q, const struct message *m, const char *hostname,
                               enum mail_dsn_action action, const struct recipient *about, size_t count,
                               uint64_t now_wall_ms, uint64_t retry_until_wall_ms);

#endif
