/* mail/mime.h - 8-bit content for a next hop without 8BITMIME (RFC 6152 section 3). Pure. */
#ifndef MAIL_MIME_H
#define MAIL_MIME_H

#include "base/buf.h"
#include "base/err.h"

#define MAIL_MIME_DEPTH_MAX 32

/* Appends a 7-bit variant of the message (header + body, canonical CR LF) to
 * *out: each leaf part with 8-bit bytes becomes quoted-printable and its
 * Content-Transfer-Encoding is changed, multipart and message/rfc822 parts are
 * walked; raw 8-bit bytes in header fields become encoded-words where the
 * grammar allows or "?" where not. ERR_SYNTAX when it can't be done safely
 * (nesting too deep, an 8-bit boundary). */
MUST_CHECK struct err mail_downgrade(struct slice header, struct slice body, struct buf *out_header,
                                     struct buf *out_body);

#endif
