/* mail/body.h - message content on the wire: end of data, dots, line ends. Pure. */
#ifndef MAIL_BODY_H
#define MAIL_BODY_H

#include "base/buf.h"

#define MAIL_LINE_MAX (64u * KIB) /* longest content line that passes unchanged */

/* Faults of content; they are noted while all is consumed to its true end. */
enum {
    MAIL_FAULT_BARE_CR = 1,
    MAIL_FAULT_BARE_LF = 2,
    MAIL_FAULT_LONG_LINE = 4, /* over MAIL_LINE_MAX */
    MAIL_FAULT_NUL = 8,       /* noted only; not by itself an error */
};

/* Reads DATA content (RFC 5321 section 4.5.2). Only CR LF . CR LF ends it; a
 * message of no lines (".CRLF" first) is empty. Zero-initialise, then set
 * repair_line_ends for clients that may send bare LF or CR: each becomes CR LF
 * and is not noted as a fault. The end mark stays true CR LF . CR LF even so: a
 * line of one dot with a repaired end before or behind it is content. */
struct mail_data_reader {
    bool repair_line_ends;
    bool chunked;         /* BDAT: no dots, no end mark; only checks (and repairs) line ends */
    unsigned state;       /* private */
    unsigned faults;      /* MAIL_FAULT_* seen so far */
    bool eight_bit;       /* some byte over 127 was seen */
    uint64_t size_bytes;  /* canonical bytes given out so far */
    size_t line_bytes;    /* of the current line */
};

typedef void mail_data_sink(void *ctx, struct slice bytes);

/* Consumes from `in`, giving canonical content (CR LF lines, dots unstuffed)
 * to the sink in as few pieces as possible, pointing into `in` where it can.
 * Returns true when the end was reached; *used is then the number of bytes up
 * to and with the end mark. */
bool mail_data_feed(struct mail_data_reader *r, struct slice in, size_t *used, mail_data_sink *sink, void *ctx);
/* BDAT LAST: what was held back (a CR at the very end) comes out or is a fault. */
void mail_data_finish(struct mail_data_reader *r, mail_data_sink *sink, void *ctx);

/* Writes DATA content: appends canonical bytes with dots stuffed.
 * `at_line_start` carries over between pieces; begin with true. Whatever the
 * bytes, no lone CR or LF and no end mark comes out, and pieces may be cut
 * anywhere, between CR and LF too. */
void mail_data_stuff(struct buf *out, struct slice bytes, bool *at_line_start);
/* The end mark: adds CR LF first if the content did not end with one. */
void mail_data_end(struct buf *out, bool at_line_start);

/* In BDAT and in stores content without a final CR LF stays as it is. */

#endif
