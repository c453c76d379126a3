/* relayd/session_internal.h - one SMTP client: between its stream, the protocol
 * engine and the queue; for session*.c alone.
 *
 * session.c opens, pumps and ends sessions, session_envelope.c decides who may
 * send to whom and collects the envelope, session_content.c feeds the draft
 * and answers 250 from the completion of the commit.
 */
#ifndef RELAYD_SESSION_INTERNAL_H
#define RELAYD_SESSION_INTERNAL_H

#include "relayd/acceptor.h"

struct commit { /* outlives a session that ends while its message is stored */
    struct session *session;
    char client[NET_ADDR_TEXT_MAX];
};

struct session {
    struct list link;
    struct acceptor *acceptor;
    struct acceptor_config *config;
    struct stream *stream;
    struct smtp_server *engine;
    bool trusted;
    bool counted;     /* among the clients */
    bool held;        /* the draft waits for the disk */
    bool flooded;     /* too much unread output */
    bool lost;        /* the client sends no more */
    struct net_addr client_addr;
    char client[NET_ADDR_TEXT_MAX];

    struct mail_path sender;
    uint32_t message_flags;   /* of MAIL: MESSAGE_SMTPUTF8, MESSAGE_RETURN_* */
    struct buf envelope_id;
    uint64_t release_wall_ms;
    struct buf recipient_text;
    uint32_t *recipient_ends; /* in recipient_text */
    bool *recipient_held;     /* by a route */
    struct mail_wish *wishes; /* of the recipients; each original is a copy */
    uint32_t recipient_count, recipient_cap;
    struct queue_draft *draft;
    uint64_t message_begun_ms;
    struct commit *commit;    /* a message of ours is being stored */
};

/* session.c */
/* After anything happened: sends replies, reads on or not, sets the deadline,
 * ends the session when its engine is done. The session may be gone then. */
void session_after(struct session *s);

/* session_envelope.c: the handler's part, and what content needs of it */
void session_sender(void *ctx, const struct smtp_sender *from);
void session_recipient(void *ctx, const struct smtp_recipient *to);
bool session_store_refuses(struct session *s); /* the client was told so */
struct slice session_recipient_at(const struct session *s, uint32_t i);
void session_forget_envelope(struct session *s);
const char *session_protocol(const struct session *s); /* of this message: ESMTP, UTF8SMTP… */

/* session_content.c: likewise */
void session_message_begin(void *ctx);
void session_message_bytes(void *ctx, struct slice bytes);
void session_message_end(void *ctx, const struct smtp_content *content);
void session_transaction_reset(void *ctx);

#endif
