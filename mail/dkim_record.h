/* mail/dkim_record.h - a DKIM key as DNS has it (RFC 6376 section 3.6.1). Pure. */
#ifndef MAIL_DKIM_RECORD_H
#define MAIL_DKIM_RECORD_H

#include "base/buf.h"

enum mail_dkim_kind { MAIL_DKIM_RSA = 1, MAIL_DKIM_ED25519 = 2 };

/* "v=DKIM1; k=rsa; p=MIIB…" */
void mail_dkim_record_format(enum mail_dkim_kind kind, struct slice base64, struct buf *out);

/* The kind a record of ours is for; 0 when it is no record of ours. */
enum mail_dkim_kind mail_dkim_record_kind(struct slice record);

/* A line of a zone file: the name, the type, and the value in strings of at
 * most 255 bytes, which is all a string of a TXT record can hold. */
void mail_dkim_zone_line(const char *name, struct slice record, struct buf *out);
/* The strings alone, one a line, for forms that want them one by one. */
void mail_dkim_strings(struct slice record, struct buf *out);

enum mail_dkim_match {
    MAIL_DKIM_SAME,       /* signatures with our key verify */
    MAIL_DKIM_NO_RECORD,  /* it is something else */
    MAIL_DKIM_OTHER_KEY,
    MAIL_DKIM_REVOKED,    /* p= is empty */
    MAIL_DKIM_RESTRICTED, /* the key, but h= or s= forbid what we use it for */
};
/* What a TXT record in DNS, its strings joined, is for one of ours. Order of
 * the tags, blanks and tags that don't matter are no difference. */
enum mail_dkim_match mail_dkim_compare(struct slice ours, struct slice found);
const char *mail_dkim_match_text(enum mail_dkim_match m);

#endif
