/* mail/complete.h - what a server for submission does to a header (RFC 6409
 * section 8): missing fields are added, blind copies and what only the last
 * server may write are removed. Pure; the body is not touched. */
#ifndef MAIL_COMPLETE_H
#define MAIL_COMPLETE_H

#include "base/buf.h"

struct mail_completion {
    const char *hostname; /* of a Message-ID that we give */
    const char *id;       /* what makes it unique: the queue id */
    uint64_t wall_ms;     /* of a Date that we give */
    struct slice from;    /* of a From that we give; empty: none is given */

    /* Each address of From and Sender may be replaced: true, and the new one
     * in *instead. NULL: none is. `address` has a domain; ours where it had none. */
    bool (*rewrite)(void *ctx, struct slice address, struct slice *instead);
    void *ctx;
};

/* `header` is a message's header as mail_header_scan cut it off, `malformed`
 * as it says. Writes the one that takes its place, with the empty line if the
 * old one had it or can't do without.
 *
 * Date, Message-ID and From are added when they are not there or have no
 * value. Bcc, Resent-Bcc and Return-Path go. All other fields stay as they
 * are, byte for byte and in order. */
void mail_complete_header(struct slice header, bool malformed, const struct mail_completion *c, struct buf *out);

/* Calls visit for each address in each From field; one without a domain gets
 * `domain`. False when visit returned false for one, or when a From field has
 * none at all. True when there is no From with a value. */
bool mail_from_addresses(struct slice header, const char *domain,
                         bool (*visit)(void *ctx, struct slice address), void *ctx);

#endif
