/* mail/text.h - bytes of strangers made fit for headers and notices; quoted-
 * printable. Shared by the parts of this folder. */
#ifndef MAIL_TEXT_H
#define MAIL_TEXT_H

#include "base/buf.h"

/* Length of the UTF-8 character over 127 at the front of s (which is not
 * empty), 0 if there is none: no longer form than needed, no surrogate, no
 * control of U+0080 to U+009F. */
size_t mail_utf8_len(struct slice s);
unsigned mail_utf8_code(struct slice character); /* the code point of one such */
bool mail_is_utf8(struct slice s); /* ASCII too */
bool mail_has_eight_bit(struct slice s);
bool mail_has_long_line(struct slice s); /* over 998 bytes (RFC 5322 section 2.1.1) */

/* Appends text with control bytes as blanks. What is not ASCII becomes "?",
 * but for sound UTF-8 when utf8_ok. */
void mail_add_clean(struct buf *out, struct slice text, bool utf8_ok);

void mail_add_masked(struct buf *out, struct slice text); /* bytes over 127 become "?" */

/* Quoted-printable (RFC 2045 section 6.7); lines that end in CR LF stay lines.
 * Decoded it is `in` again, byte for byte. */
void mail_add_quoted_printable(struct buf *out, struct slice in);
void mail_add_hex(struct buf *out, char c); /* "=C3" */

#endif
