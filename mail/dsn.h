/* mail/dsn.h - delivery status notifications (RFC 3461, 3464, 6522). Pure. */
#ifndef MAIL_DSN_H
#define MAIL_DSN_H

#include "base/buf.h"
#include "mail/reply.h"

enum mail_dsn_action { MAIL_DSN_FAILED, MAIL_DSN_DELAYED, MAIL_DSN_DELIVERED, MAIL_DSN_RELAYED, MAIL_DSN_EXPANDED };

struct mail_dsn_recipient {
    struct slice final_recipient;    /* canonical address */
    struct slice original_recipient; /* ORCPT as given ("rfc822;…"), or empty */
    struct mail_status status;
    unsigned code;             /* remote's reply code, 0 if there was none */
    struct slice reply_text;   /* what the remote said, or what went wrong here */
    struct slice remote_mta;   /* host name of the next hop, or empty */
    uint64_t last_attempt_wall_ms; /* 0: none */
    uint64_t retry_until_wall_ms;  /* delayed only */
};

struct mail_dsn {
    enum mail_dsn_action action;
    const char *reporting_mta;  /* our hostname */
    const char *queue_id;       /* of the message this tells about */
    const char *dsn_id;         /* for Message-ID and boundary: unique */
    struct slice sender;        /* where the DSN goes: the message's reverse-path */
    struct slice envelope_id;   /* ENVID as given, in xtext, or empty */
    uint64_t arrival_wall_ms;
    uint64_t now_wall_ms;
    struct slice original_header; /* the message's header as stored */
    struct slice original_body;   /* given: RET=FULL, the whole message is returned; ptr NULL: header only */
    bool smtputf8; /* the message came with SMTPUTF8: so may its notice go */
    const struct mail_dsn_recipient *recipients;
    size_t recipient_count;
};

/* Appends header (with its empty line) and body, canonical CR LF, 7-bit
 * unless the returned content is not. The first part is words a person
 * understands: what happened to which address, why, what to do. Hostile bytes
 * in any slice can't add a header field or leave their part. */
void mail_dsn_format(const struct mail_dsn *d, struct buf *header, struct buf *body);

#endif
