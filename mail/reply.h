/* mail/reply.h - replies of SMTP servers and enhanced status codes. Pure. */
#ifndef MAIL_REPLY_H
#define MAIL_REPLY_H

#include "base/buf.h"

/* RFC 3463: class.subject.detail; all zero when there is none. */
struct mail_status {
    uint16_t class_, subject, detail;
};

/* "5.1.10" at the front of text; *used says how far it went. False if none. */
bool mail_status_parse(struct slice text, struct mail_status *out, size_t *used);
const char *mail_status_format(struct mail_status st, char out[16]); /* "5.1.10" */
/* The enhanced code that a bare three-digit reply stands for ("5.0.0", "4.0.0", "2.0.0"). */
struct mail_status mail_status_of_code(unsigned code);

/* A whole reply as a client read it. */
struct mail_reply {
    unsigned code;             /* 200–599 */
    struct mail_status status; /* from the text, or of the code */
    struct buf text;           /* lines joined by '\n', codes and control bytes removed */
};

#define MAIL_REPLY_TEXT_MAX 4096u  /* the rest of a longer reply is read and dropped */
#define MAIL_REPLY_LINE_MAX 4096u  /* a longer line is a protocol error */
#define MAIL_REPLY_LINES_MAX 20000u/* more lines are a protocol error */

enum mail_reply_result { MAIL_REPLY_MORE, MAIL_REPLY_DONE, MAIL_REPLY_BAD };

/* Incremental reader: feed bytes as they come. Zero-initialise; take the
 * reply when DONE and mail_reply_reader_next() before the next. */
struct mail_reply_reader {
    struct buf line;
    struct mail_reply reply;
    unsigned lines;
    bool complete;
};

/* Consumes up to the end of one reply; *used bytes were taken. */
enum mail_reply_result mail_reply_feed(struct mail_reply_reader *r, struct slice in, size_t *used);
void mail_reply_reader_next(struct mail_reply_reader *r); /* forgets the reply, keeps memory */
void mail_reply_reader_release(struct mail_reply_reader *r);
void mail_reply_release(struct mail_reply *r);

#endif
