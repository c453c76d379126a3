/* relayd/session_internal.h - one SMTP client: between its stream, the protocol
 * engine and the queue; for session*.c alone.
 *
 * session.c opens, pumps and ends sessions, session_tls.c turns them to TLS,
 * session_envelope.c begins and ends the envelope, session_recipient.c decides who may send to whom,
 * session_content.c feeds the draft and answers 250 from the completion of the
 * commit, session_auth.c logs clients in and knows what a user may.
 */
#ifndef RELAYD_SESSION_INTERNAL_H
#define RELAYD_SESSION_INTERNAL_H

#include "mail/complete.h"
#include "relayd/acceptor.h"
#include "relayd/recipients.h"

struct commit { /* outlives a session that ends while its message is stored */
    struct session *session;
    char client[NET_ADDR_TEXT_MAX];
    char *login; /* ", sasl_method=PLAIN, sasl_username=…", or "" */
};

struct session_charge;

/* A client from its AUTH on. */
struct session_user {
    struct accounts_login *login; /* the exchange, while it lasts */
    char mechanism[24];
    char *name;                   /* NULL until it is over and good */
    char **senders;               /* patterns he may send from; his own address among them */
    size_t sender_count;
    bool sender_any;
    bool limited;                 /* by the hour */
    uint64_t generation;          /* of the users, when that was so */
};

struct session {
    struct list link;
    struct acceptor *acceptor;
    struct acceptor_config *config;
    struct stream *stream;
    struct smtp_server *engine;
    bool trusted;     /* may send anywhere: by its address or a login */
    bool trusted_address;
    bool submission;  /* the listener's role */
    bool login_in_clear;
    bool named_in_clear; /* by XCLIENT, before TLS */
    bool from_owned;
    bool hide_client;
    bool header_due;  /* of the message under way */
    bool from_foreign; /* and its From is not its user's: it is not signed for that, */
    bool from_refused; /* or even turned away */
    uint8_t login;    /* enum settings_login */
    struct tls_server *tls; /* of the config; NULL: this listener has none */
    bool shaking_hands;
    bool counted;     /* among the clients */
    bool held;        /* the draft waits for the disk */
    bool flooded;     /* too much unread output */
    bool lost;        /* the client sends no more */
    struct net_addr client_addr;
    char client[NET_ADDR_TEXT_MAX];

    const struct settings_rewrite *rewrites; /* the listener's */
    struct smtp_server_auth auth;
    struct session_user *user;
    struct session_charge *charge;

    struct mail_path sender;
    uint32_t message_flags;   /* of MAIL: MESSAGE_SMTPUTF8, MESSAGE_RETURN_* */
    struct buf envelope_id;
    struct buf signer;        /* of the envelope: who signs, where From does not tell */
    uint64_t release_wall_ms;
    struct recipients recipients;
    struct queue_draft *draft;
    uint64_t message_begun_ms;
    struct commit *commit;    /* a message of ours is being stored */
};

enum session_way { /* how the client came */
    SESSION_DIRECT,
    SESSION_FRONTED,     /* a front end names it */
    SESSION_FRONTED_TLS, /* and says that it speaks TLS there */
    SESSION_UNKNOWN,     /* a front end does not: its own affair */
};

/* session.c */
/* Takes over the stream, whose `remote` is the client. The session may be over
 * when this returns. */
void session_open(struct acceptor *a, struct acceptor_config *config, const struct settings_listen *listen,
                  struct stream *stream, enum session_way way);
const char *session_count_client(struct session *s); /* NULL, or why it is one too many */
/* After anything happened: sends replies, reads on or not, sets the deadline,
 * ends the session when its engine is done. The session may be gone then. */
void session_after(struct session *s);

extern const struct stream_events session_events;

/* session_tls.c */
void session_tls_set_up(struct session *s, const struct settings_listen *listen);
void session_starttls(void *ctx); /* the handler's */
/* The stream turns to TLS: shaking_hands until session_tls_opened. False: it
 * is closed, and the session has none any more. */
bool session_tls_begin(struct session *s);
void session_tls_opened(void *ctx);        /* the stream's event: the handshake is done */
void session_tls_failed(struct session *s, struct err why); /* for the log */
const char *session_tls_words(const struct session *s, char buf[128]); /* for Received: "TLSv1.3 CIPHER", or "" */

/* session_envelope.c: the handler's part, and what content needs of it */
void session_sender(void *ctx, const struct smtp_sender *from);
bool session_store_refuses(struct session *s); /* the client was told so */
void session_forget_envelope(struct session *s);
const char *session_protocol(const struct session *s); /* of this message: ESMTP, UTF8SMTP… */

/* session_auth.c: likewise */
void session_auth_begin(void *ctx, const char *mechanism, struct slice initial, bool has_initial);
void session_auth_continue(void *ctx, struct slice response);
void session_auth_cancelled(void *ctx);
/* At the start, and again when the line is encrypted. */
void session_offer_login(struct session *s);
void session_forget_login(struct session *s); /* also one under way, and a charge */
bool session_logged_in(const struct session *s);
/* Is this mail of our own people and programs? That of trusted networks on a
 * relay listener is let through untouched, unless it is to be rewritten. */
bool session_is_submission(const struct session *s);
/* As sender_rewrite says. */
void session_rewrite_sender(const struct session *s, struct mail_path *sender);
bool session_sender_refused(struct session *s, struct slice sender); /* the client was told so */
/* The header as it is stored: completed, its senders rewritten. */
void session_complete_header(const struct session *s, struct slice header, bool malformed, struct buf *out);
/* Is every address in From one the user may send from? `foreign` gets the first
 * that is not. Without a login there is no such question: true. */
bool session_owns_from(const struct session *s, struct slice header, struct buf *foreign);
/* Such a message leaves in the name of the envelope's sender: says so in s->signer
 * if a domain that signs is concerned. */
void session_note_signer(struct session *s, struct slice header, struct slice foreign);
/* Asks whether the user may send to so many now: then() runs, or the client
 * is told no. False: there is nothing to ask. */
bool session_charge_user(struct session *s, void (*then)(struct session *s));
char *session_login_text(const struct session *s); /* for the log; the caller frees it */

/* session_xclient.c: who the client is, and whether that makes it trusted */
void session_set_way(struct session *s, const struct settings_listen *listen, enum session_way way);
void session_xclient(void *ctx, const struct smtp_xclient *x);
void session_forget_name(struct session *s); /* TLS begins */

/* session_recipient.c: the handler's part */
void session_recipient(void *ctx, const struct smtp_recipient *to);

/* session_content.c: likewise */
bool session_memory_refuses(struct session *s); /* the client was told so */
void session_message_begin(void *ctx);
void session_message_bytes(void *ctx, struct slice bytes);
void session_message_end(void *ctx, const struct smtp_content *content);
void session_transaction_reset(void *ctx);

#endif
