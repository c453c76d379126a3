/* smtp/client.h - the SMTP client's side of a session, without I/O (RFC 5321).
 *
 * One connection, one transaction at a time. With PIPELINING MAIL, all RCPT
 * and DATA go out in one write (RFC 2920). A large message goes in chunks
 * (BDAT, RFC 3030) where that is offered too, without waiting for the reply to
 * each; when the last has been sent it is in doubt as after a final dot. Handler functions run inside
 * smtp_client_feed() or the call that caused them; they may start the next
 * transaction, but not free the client.
 */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include "auth/sasl_client.h"
#include "base/buf.h"
#include "mail/param.h"
#include "mail/path.h"
#include "mail/reply.h"

struct smtp_client;

enum smtp_client_tls {
    SMTP_CLIENT_TLS_NONE,
    SMTP_CLIENT_TLS_OPTIONAL, /* where it is offered */
    SMTP_CLIENT_TLS_REQUIRED, /* or nothing is sent; whether the certificate will do the owner decides */
};

struct smtp_client_options {
    const char *helo;             /* our name */
    /* Time-outs of RFC 5321 section 4.5.3.2, in ms. */
    uint64_t greeting_timeout_ms; /* 5 min */
    uint64_t command_timeout_ms;  /* EHLO, MAIL, RCPT, RSET: 5 min */
    uint64_t data_timeout_ms;     /* DATA 2 min; pieces of content 3 min */
    uint64_t final_timeout_ms;    /* the reply to the final dot: 10 min */
    uint64_t quit_timeout_ms;     /* 5 s: nobody's mail depends on it */
    /* Below: of one next hop. */
    enum smtp_client_tls tls;
    struct sasl_login *login;     /* NULL = none; lent */
    bool login_in_clear;          /* may be sent without TLS: the next hop is on this machine */
};

/* What the next hop offered in EHLO. */
struct smtp_client_offer {
    bool esmtp, pipelining, eightbitmime, size, chunking, starttls, enhanced, dsn, smtputf8;
    uint64_t size_max;       /* 0: not told or no limit */
    unsigned recipients_max; /* LIMITS RCPTMAX, 0: not told */
    unsigned messages_max;   /* LIMITS MAILMAX, 0: not told */
    bool auth;
    unsigned auth_mechanisms; /* of ours, SASL_BIT()s */
    char auth_text[128];      /* all it names, printable, cut */
};

enum smtp_stage { /* where in the dialogue something happened */
    SMTP_STAGE_CONNECT,
    SMTP_STAGE_GREETING,
    SMTP_STAGE_EHLO,
    SMTP_STAGE_TLS,
    SMTP_STAGE_AUTH,
    SMTP_STAGE_MAIL,
    SMTP_STAGE_RCPT,
    SMTP_STAGE_DATA,
    SMTP_STAGE_CONTENT, /* content going out */
    SMTP_STAGE_END,     /* final dot sent, no reply yet */
    SMTP_STAGE_IDLE,
};
const char *smtp_stage_text(enum smtp_stage st); /* "end of DATA", … */

enum smtp_verdict {
    SMTP_DELIVERED, /* 2xx to the final dot */
    SMTP_DEFERRED,  /* 4xx, or the connection failed before the final dot */
    SMTP_FAILED,    /* 5xx */
    SMTP_IN_DOUBT,  /* connection lost after the final dot was sent */
};

struct smtp_outcome {
    enum smtp_verdict verdict;
    enum smtp_stage stage;
    unsigned code;             /* 0 when no reply was the cause */
    struct mail_status status;
    struct slice text;         /* the reply's text or our words; valid during the call only */
};

struct smtp_transaction {
    struct slice reverse_path;       /* canonical, without brackets */
    const struct slice *recipients;  /* canonical; all stay valid until the transaction ends */
    unsigned recipient_count;
    uint64_t size_bytes;             /* content, for SIZE= */
    bool eight_bit;                  /* content has 8-bit bytes: BODY=8BITMIME */
    bool smtputf8;                   /* its header is in UTF-8: only to who takes SMTPUTF8, else it fails */
    /* For a next hop with DSN; from another nothing is asked. */
    const struct mail_wish *wishes;  /* per recipient; or NULL: none; valid as long as recipients */
    struct slice envelope_id;
    enum mail_return ret;
};

struct smtp_client_handler {
    /* Greeting, EHLO, TLS and login are done: smtp_client_send() may be called. Again
     * after each transaction ends, when the connection can take another. Once
     * it has taken as many as its MAILMAX allows the engine says QUIT by
     * itself, and quit_done() comes instead. */
    void (*ready)(void *ctx);
    /* 354 has come, or content goes in chunks: it is wanted. Give it with smtp_client_content(),
     * in pieces, as output drains. */
    void (*content)(void *ctx);
    /* How recipient n (its index) fared; exactly once each per transaction,
     * before transaction_done. A message refused before RCPT (or at the final
     * dot) gives every recipient that outcome. That a sender is refused for good
     * is believed when the replies behind it agree or, step by step, in the
     * first transaction; else the session fails and nobody bounces. */
    void (*recipient_done)(void *ctx, unsigned n, const struct smtp_outcome *o);
    void (*transaction_done)(void *ctx);
    /* The session can't go on: refused greeting, EHLO or login, TLS that is
     * required and can't be had, protocol error, lost
     * connection, 421, a reply nobody asked for. Comes last, after the outcomes of a transaction under
     * way. The owner closes the connection. */
    void (*failed)(void *ctx, const struct smtp_outcome *o);
    /* STARTTLS was taken: do the handshake now, on the bytes from here on, and
     * say smtp_client_secured() or smtp_client_lost(). Only with options.tls. */
    void (*start_tls)(void *ctx);
    /* QUIT was answered (or its time was up): close. */
    void (*quit_done)(void *ctx);
};

struct smtp_client *smtp_client_new(const struct smtp_client_options *opt,
                                    const struct smtp_client_handler *handler, void *ctx);
void smtp_client_free(struct smtp_client *c); /* NULL is fine; calls no handler */

void smtp_client_feed(struct smtp_client *c, struct slice in); /* takes all of it */
/* The handshake is done: after start_tls(), or before the first byte where TLS
 * comes first. `binding`: the tls-exporter channel binding, empty if none. */
void smtp_client_secured(struct smtp_client *c, struct slice binding);
/* The connection ended or timed out: gives the outcomes and failed().
 * `text` says why ("connection lost", "timed out"). */
void smtp_client_lost(struct smtp_client *c, const char *text);
/* Send and buf_take it, as the connection accepts it: while the end of a
 * message is still in here, a lost connection can't leave it in doubt. */
struct buf *smtp_client_out(struct smtp_client *c);
/* Before smtp_client_lost(): some of what was taken from out never left. */
void smtp_client_unsent(struct smtp_client *c);
uint64_t smtp_client_timeout_ms(const struct smtp_client *c);  /* for the next input; 0 = none while idle */

const struct smtp_client_offer *smtp_client_offer(const struct smtp_client *c);
const char *smtp_client_greeting(const struct smtp_client *c); /* the server's name in its greeting, or "" */
bool smtp_client_idle(const struct smtp_client *c);            /* ready and without a transaction */

/* Starts a transaction; only when idle. A message larger than the offered
 * SIZE fails at once with 5.3.4, through the handler; recipients beyond the
 * offered RCPTMAX are deferred with 4.5.3 (better, share them out before). */
void smtp_client_send(struct smtp_client *c, const struct smtp_transaction *t);
/* A piece of content (canonical CR LF); dots are stuffed here, or it becomes a
 * chunk. `last` ends it. */
void smtp_client_content(struct smtp_client *c, struct slice bytes, bool last);
/* Content can't be supplied (read error): the connection must be dropped
 * without a final dot. Recipients are deferred with `text`; failed() follows. */
void smtp_client_abort(struct smtp_client *c, const char *text);
/* Says QUIT, or will when the greeting or the transaction under way is over. */
void smtp_client_quit(struct smtp_client *c);

#endif
