/* mail/dsn_text.h - the words of a delivery status notification. */
#ifndef MAIL_DSN_TEXT_H
#define MAIL_DSN_TEXT_H

#include "mail/dsn.h"

/* What a status means, and what the sender can do about it, in words that a
 * person understands. Never NULL. */
struct mail_dsn_meaning {
    const char *what;
    const char *advice;
};
struct mail_dsn_meaning mail_dsn_explain(struct mail_status st);

const char *mail_dsn_subject(enum mail_dsn_action action);

/* Appends the first part: lines end in CR LF, UTF-8 where strangers wrote it. */
void mail_dsn_words(const struct mail_dsn *d, struct buf *out);

#endif
