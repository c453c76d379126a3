/* mail/author.h - whose name a message bears: the domain of its From field. Pure. */
#ifndef MAIL_AUTHOR_H
#define MAIL_AUTHOR_H

#include "mail/path.h"

/* The domain of the first address of the first From field, as A-labels in
 * lower case; those without a domain are passed over. False when there is none,
 * or it can't be read: those behind it do not stand in for it. */
bool mail_author_domain(struct slice header, char out[MAIL_DOMAIN_MAX + 1]);

#endif
