/* mail/domain.h - helpers that the address parser and the patterns share. */
#ifndef MAIL_DOMAIN_H
#define MAIL_DOMAIN_H

#include "mail/path.h"

#define MAIL_LITERAL_MAX 64 /* "[IPv6:" and the longest text of an address, with its NUL */

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" in its one spelling; false if it is
 * neither (RFC 5321 section 4.1.3). */
bool mail_literal_normalise(struct slice literal, char out[MAIL_LITERAL_MAX]);

#endif
