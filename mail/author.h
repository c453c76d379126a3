/* mail/author.h - whose name a message bears: the domain of its From field. Pure. */
#ifndef MAIL_AUTHOR_H
#define MAIL_AUTHOR_H

#include "mail/path.h"

/* The domain of the first address of the first From field, as A-labels in
 * lower case. False when there is none that can be read. */
bool mail_author_domain(struct slice header, char out[MAIL_DOMAIN_MAX + 1]);

#endif
