/* mail/address_list.h - the addresses in From and its kin (RFC 5322 section 3.4).
 * Pure, and tolerant: what programs write there is seldom to the letter. */
#ifndef MAIL_ADDRESS_LIST_H
#define MAIL_ADDRESS_LIST_H

#include "base/buf.h"

/* Where an address stands in a field's value: its local part, "@" and domain,
 * without the brackets, names and comments around it. */
struct mail_mailbox {
    size_t begin, end;
};

/* Walks the mailboxes of a field's raw value, those of groups too. Begin with
 * *at = 0. An empty place between commas is none. */
bool mail_mailbox_next(struct slice value, size_t *at, struct mail_mailbox *out);

/* The address that stands there, without blanks, folds and comments inside;
 * one without a domain gets `domain`. */
void mail_mailbox_address(struct slice value, const struct mail_mailbox *m, const char *domain, struct buf *out);

#endif
