/* mail/mime_field.h - header fields of MIME: read, and written in seven bits. */
#ifndef MAIL_MIME_FIELD_H
#define MAIL_MIME_FIELD_H

#include "mail/header.h"

/* What an entity's header says about its content. */
struct mail_content {
    struct buf type;     /* "text/plain", in lower case; empty without Content-Type */
    struct buf boundary; /* of a multipart, or empty */
    struct buf encoding; /* in lower case; empty without Content-Transfer-Encoding */
    bool mime_version;
};
void mail_content_read(struct slice header, struct mail_content *out);
void mail_content_release(struct mail_content *c);

/* Appends the field, its bytes over 127 as encoded-words (RFC 2047) where the
 * field's grammar has room for them, else as "?". */
void mail_field_to_seven_bit(const struct mail_field *f, struct buf *out);

#endif
