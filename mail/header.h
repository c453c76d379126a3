/* mail/header.h - the header of a message: where it ends, what it holds. Pure. */
#ifndef MAIL_HEADER_H
#define MAIL_HEADER_H

#include "base/buf.h"

#define MAIL_HEADER_MAX (256u * KIB)

/* Finds the end of the header while content arrives: the empty line, a line
 * that can't be a header field (then the header ends before it), or the end.
 * Zero-initialise. */
struct mail_header_scan {
    size_t size;        /* bytes of the header with the empty line, once done */
    bool done;
    bool malformed;     /* ended by a line that is no field: there is no empty line */
    unsigned received;  /* Received fields */
    unsigned delivered_to;
    unsigned state;     /* private, as are the rest */
    size_t line_start;
    size_t at;
    size_t name_len;
};

/* `all` is the content from its first byte on, growing from call to call.
 * True when the header's end is known: all[0..size) is the header. */
bool mail_header_scan(struct mail_header_scan *s, struct slice all, bool is_end);

/* Walks the fields of a header. Zero-initialise `at`. */
struct mail_field {
    struct slice name;  /* without colon and blanks */
    struct slice value; /* raw: folds and final CR LF kept */
    struct slice whole; /* the field with its name and line ends */
};
bool mail_header_next(struct slice header, size_t *at, struct mail_field *out);
bool mail_header_find(struct slice header, const char *name, struct mail_field *out); /* first of that name */

/* Value on one line: folds removed, blanks squeezed, control bytes dropped. */
void mail_field_unfold(struct slice value, struct buf *out);
/* The <…> of Message-ID, without brackets; empty if there is none, or if it
 * holds a fold or a control byte. */
struct slice mail_header_message_id(struct slice header);

/* "Mon, 23 Nov 2026 16:05:12 +0000" (RFC 5322 section 3.3), in UTC. */
#define MAIL_DATE_MAX 40
const char *mail_date_format(uint64_t wall_ms, char out[MAIL_DATE_MAX]);

/* What a session is called in Received, logs and records: SMTP, ESMTP,
 * ESMTPS, ESMTPSA… (RFC 3848), UTF8SMTPSA… for a message that came with
 * SMTPUTF8 (RFC 6531 section 4.3). */
const char *mail_protocol_name(bool esmtp, bool tls, bool login, bool smtputf8);

/* Our Received field (RFC 5321 section 4.4), folded, with CR LF at its end. */
struct mail_received {
    const char *helo;        /* what the client called itself; "" if nothing */
    const char *client_name; /* its verified host name, or "" */
    const char *client_addr; /* "192.0.2.1" or "IPv6:2001:db8::1"; "" leaves the client out */
    const char *by;          /* our hostname */
    const char *with;        /* mail_protocol_name(), LMTP… */
    const char *tls;         /* "TLSv1.3 TLS_AES_256_GCM_SHA384" or "" */
    const char *id;          /* queue id */
    const char *for_;        /* the only recipient, or "" */
    uint64_t wall_ms;
};
void mail_received_format(const struct mail_received *r, struct buf *out);

#endif
