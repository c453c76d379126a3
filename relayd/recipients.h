/* relayd/recipients.h - the recipients of a message on its way in, each once.
 *
 * Aliases may make ten thousand of one RCPT, so that finding one twice costs
 * no search.
 */
#ifndef RELAYD_RECIPIENTS_H
#define RELAYD_RECIPIENTS_H

#include "mail/param.h"

struct recipients { /* zero-initialised is empty */
    struct buf text;
    struct recipients_item {
        uint32_t at, len;                   /* in text */
        uint32_t original_at, original_len; /* as RCPT named it; none when it is the same */
        uint32_t orcpt_at, orcpt_len;       /* of its wish */
        uint8_t notify;
        bool held;                          /* by a route */
    } *items;
    uint32_t count, cap;
    uint32_t *slots; /* index plus one, by hash */
    uint32_t slot_count;
};

/* False, and nothing changed, when the address is there already. One that was
 * sent to another address and says no ORCPT gets that address for it, so that
 * a notice names what its reader knows (RFC 3461 section 4.2). */
bool recipients_add(struct recipients *r, struct slice address, struct slice original, const struct mail_wish *wish,
                    bool held);
struct slice recipients_at(const struct recipients *r, uint32_t i);
struct slice recipients_original(const struct recipients *r, uint32_t i); /* empty: the address itself */
struct mail_wish recipients_wish(const struct recipients *r, uint32_t i);
void recipients_clear(struct recipients *r); /* frees what is large */
void recipients_release(struct recipients *r);

#endif
