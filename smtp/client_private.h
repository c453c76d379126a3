/* smtp/client_private.h - what the files of the client engine share.
 *
 * client.c holds the session: replies to the step that waits for them,
 * greeting to QUIT, and its failures; client_transaction.c takes a message
 * through MAIL, RCPT, DATA and content; client_offer.c reads EHLO's reply;
 * client_tls.c and client_auth.c stand between EHLO and the first message.
 */
#ifndef SMTP_CLIENT_PRIVATE_H
#define SMTP_CLIENT_PRIVATE_H

#include "mail/body.h"
#include "smtp/client.h"

/* What the next reply answers. */
enum client_wait {
    WAIT_GREETING,
    WAIT_EHLO,
    WAIT_HELO,
    WAIT_STARTTLS,
    WAIT_TLS,     /* nothing: the owner does the handshake */
    WAIT_AUTH,
    WAIT_RSET,
    WAIT_MAIL,
    WAIT_RCPT,    /* of recipient c->at */
    WAIT_DATA,
    WAIT_CONTENT, /* nothing: content goes out */
    WAIT_END,
    WAIT_NOTHING, /* idle */
    WAIT_QUIT,
    WAIT_CLOSED,  /* over; failed() or quit_done() was called */
};

enum { /* of a recipient, in c->recipients */
    RECIPIENT_WANTED = 1, /* has its RCPT in this transaction */
    RECIPIENT_DONE = 2,   /* its outcome was told */
};

struct smtp_client {
    const struct smtp_client_options *opt;
    const struct smtp_client_handler *handler;
    void *ctx;

    struct buf out;
    struct mail_reply_reader reader;
    struct smtp_client_offer offer;
    char *greeting;

    enum client_wait wait;
    bool feeding, turning;
    bool ready_due;      /* the handler is to hear that we are idle */
    bool quit_wanted;
    bool unsent;         /* the end mark may still be on this side */
    bool unasked;        /* bytes came that answer nothing: the session ends with them */

    bool secured;        /* what comes and goes is encrypted */
    bool tls_due;        /* the handler is to hear that TLS starts */
    char binding[64];    /* of the TLS session */
    size_t binding_len;
    enum sasl_mechanism mechanism; /* the one being tried */
    unsigned auth_left;  /* the others, bits */
    struct sasl_client *sasl;
    unsigned auth_rounds;
    bool auth_first;     /* the initial response waits for its 334 */
    bool auth_cancelled; /* "*" was said */
    bool auth_malformed;
    struct buf auth_initial, auth_said; /* wiped */

    struct smtp_transaction t;
    unsigned char *recipients; /* RECIPIENT_*, t.recipient_count of them */
    unsigned recipients_cap;
    unsigned at;               /* the recipient whose reply is next */
    unsigned accepted;         /* recipients that got a 2xx */
    unsigned transactions;
    bool in_transaction;
    bool burst;                /* all up to DATA is sent; to the last RCPT when chunked */
    bool utf8;
    bool mail_accepted;        /* the server holds a sender: RSET before the next MAIL */
    bool mail_refused;         /* for good, and the replies behind it in the burst don't gainsay it yet */
    struct smtp_outcome refusal; /* that */
    struct buf refusal_text;
    bool at_line_start;        /* of content */
    bool chunked;              /* content goes by BDAT (RFC 3030) */
    unsigned chunks_open;      /* sent, and without a reply yet */
};

/* Content from this size on goes by BDAT where that is offered, each piece a
 * chunk of its own: it is counted and not searched for dots. With less the
 * search costs 10 µs at most (measured: 11 µs for 64 KiB, a mere copy 2), and
 * DATA is what every server does every day. */
#define CLIENT_BDAT_MIN (64u * KIB)

/* client.c */
void client_say_ehlo(struct smtp_client *c);
void client_after_tls(struct smtp_client *c); /* encrypted or not: the login, or idle */
void client_idle(struct smtp_client *c); /* after greeting or transaction */
void client_turn(struct smtp_client *c); /* calls ready(), or says QUIT, when that is due */
/* The end of the session: outcomes of what is under way, then failed(). */
void client_fail(struct smtp_client *c, const struct smtp_outcome *o);
void client_fail_protocol(struct smtp_client *c, const char *text);
enum smtp_stage client_stage(const struct smtp_client *c);
struct smtp_outcome client_outcome_of(const struct smtp_client *c, const struct mail_reply *reply);

/* client_transaction.c */
/* The reply to come is the last of what was sent in one go: nothing may follow it. */
bool client_last_awaited(const struct smtp_client *c);
void client_rset_replied(struct smtp_client *c, const struct mail_reply *reply);
void client_mail_replied(struct smtp_client *c, const struct mail_reply *reply);
void client_rcpt_replied(struct smtp_client *c, const struct mail_reply *reply);
void client_data_replied(struct smtp_client *c, const struct mail_reply *reply);
void client_content_replied(struct smtp_client *c, const struct mail_reply *reply);
void client_end_replied(struct smtp_client *c, const struct mail_reply *reply);
/* Gives each recipient without one this outcome. */
void client_settle(struct smtp_client *c, const struct smtp_outcome *o);
/* The session ends in the middle of one, for this reason. */
void client_transaction_cut(struct smtp_client *c, const struct smtp_outcome *o);
void client_transaction_over(struct smtp_client *c);

/* client_tls.c, client_auth.c. begin: true when the session goes on there, or
 * has failed there. */
bool client_tls_begin(struct smtp_client *c);
void client_starttls_replied(struct smtp_client *c, const struct mail_reply *reply);
bool client_auth_begin(struct smtp_client *c);
void client_auth_replied(struct smtp_client *c, const struct mail_reply *reply);
void client_auth_release(struct smtp_client *c);

/* client_offer.c */
void client_offer_read(struct smtp_client_offer *offer, struct slice ehlo_text);

#endif
