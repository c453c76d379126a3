/* smtp/server.h - the SMTP server's side of a session, without I/O (RFC 5321).
 *
 * Bytes go in by smtp_server_feed(); replies come out in smtp_server_out();
 * what it can't decide alone it asks its handler, one question at a time, and
 * stands still (parked) until smtp_server_answer(). Pipelined commands wait
 * meanwhile in a bounded buffer; when smtp_server_wants_input() turns false
 * the owner stops reading.
 *
 * A handler function may answer at once, from inside the call, or later. One
 * thread. The engine never reads a clock; the owner sets deadlines from
 * smtp_server_timeout_ms().
 */
#ifndef SMTP_SERVER_H
#define SMTP_SERVER_H

#include "base/buf.h"
#include "base/clock.h"
#include "mail/param.h"
#include "mail/path.h"
#include "mail/reply.h"

struct smtp_server;

struct smtp_server_options { /* shared by many sessions, outlives them */
    const char *hostname;
    /* Counts: 0 is no limit. */
    uint64_t message_size_max;   /* bytes */
    unsigned recipients_max;     /* per message; further ones get 452 4.5.3 */
    unsigned errors_max;         /* 5xx since the last message; then 421 4.7.0 and the end */
    unsigned commands_idle_max;  /* NOOP, RSET, VRFY, HELP, EHLO since the last message; then 421 */
    unsigned messages_max;       /* MAILs per session; 0 = no limit; told by LIMITS MAILMAX (RFC 9422) */
    unsigned received_max;       /* more Received fields are a loop: 554 5.4.6 */
    uint64_t command_timeout_ms; /* 5 minutes */
    uint64_t data_timeout_ms;    /* between pieces of content: 3 minutes */
    bool repair_line_ends;       /* bare LF ends a line, in commands too */
};

/* AUTH (RFC 4954) as it stands for one session now; see smtp_server_set_auth. */
struct smtp_server_auth {
    const char *mechanisms; /* offered: "SCRAM-SHA-256 PLAIN LOGIN"; "" is none */
    const char *under_tls;  /* would be once the session is encrypted: 538 tells so; "" is none */
    bool required;          /* no MAIL without a login: 530 */
};

/* STARTTLS (RFC 3207) as it stands for one session; see smtp_server_set_tls. */
enum smtp_server_tls {
    SMTP_SERVER_TLS_NONE,     /* there is none */
    SMTP_SERVER_TLS_OFFERED,
    SMTP_SERVER_TLS_REQUIRED, /* offered, and before it no MAIL and no AUTH: 530 */
    SMTP_SERVER_TLS_ON,       /* the session is encrypted */
};

enum smtp_body { SMTP_BODY_UNSPECIFIED, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };

struct smtp_sender { /* MAIL FROM */
    struct mail_path path;
    uint64_t size; /* SIZE=, 0 if not said */
    enum smtp_body body;
    bool smtputf8;            /* addresses and header may be in UTF-8 (RFC 6531) */
    enum mail_return ret;     /* RET= (RFC 3461) */
    struct slice envelope_id; /* ENVID=, in xtext as given, or empty */
    uint64_t release_wall_ms; /* HOLDFOR=, HOLDUNTIL=: not before; 0: at once */
};

struct smtp_recipient { /* RCPT TO */
    struct mail_path path;
    struct mail_wish wish; /* NOTIFY=, ORCPT= (RFC 3461) */
};

struct net_addr;

struct smtp_xclient { /* XCLIENT: whom a front end speaks for */
    const struct net_addr *addr; /* NULL: as before; of family 0: the front end does not know */
    uint16_t port;
    char helo[256];              /* until the next EHLO; "" if not said */
};

/* What the engine knows when content begins or ends. */
struct smtp_content {
    uint64_t size_bytes;  /* canonical bytes given to message_bytes */
    bool eight_bit;
    size_t header_bytes;  /* of these, the header with its empty line, if any */
};

/* After sender() comes exactly one of these: a message_end answered 2xx, or
 * transaction_reset. What the functions are given is valid during the call. */
struct smtp_server_handler {
    /* MAIL and RCPT, well-formed: accept with smtp_server_answer 250, or refuse. */
    void (*sender)(void *ctx, const struct smtp_sender *from);
    void (*recipient)(void *ctx, const struct smtp_recipient *to);
    /* DATA, or the first BDAT: make ready to take content; answer 354 (any
     * 2xx or 3xx) or refuse. */
    void (*message_begin)(void *ctx);
    /* Canonical content; the first piece has the whole header. Not answered. To slow the client down
     * call smtp_server_hold(). Not called for content already refused. */
    void (*message_bytes)(void *ctx, struct slice bytes);
    /* All of it is there and sound: answer 250 once it is durable, or refuse. */
    void (*message_end)(void *ctx, const struct smtp_content *content);
    /* The transaction is over without message_end (RSET, refused content,
     * EHLO, the end of the session): forget sender, recipients, content. Also
     * after a refused sender, message_begin or message_end. Not answered. */
    void (*transaction_reset)(void *ctx);
    /* A declared front end says who its client is; answer 220 when that counts
     * from now on: the session then begins anew. Logins are over. NULL where
     * XCLIENT is never offered. */
    void (*xclient)(void *ctx, const struct smtp_xclient *x);
    /* Each refusal as it goes out, for the log; may be NULL. `command` is the
     * line as received, cut to a bound; of AUTH and what could belong to it,
     * the word alone. */
    void (*refused)(void *ctx, unsigned code, struct slice reply, struct slice command);

    /* A login, where smtp_server_set_auth offers one. The bytes are decoded
     * and wiped after the call. Each is answered by smtp_server_challenge(),
     * or ends the exchange by smtp_server_answer(): 235, or 535, 454, 421. */
    void (*auth_begin)(void *ctx, const char *mechanism, struct slice initial, bool has_initial);
    void (*auth_continue)(void *ctx, struct slice response);
    /* An exchange ends without an answer: the client gave it up, sent what is
     * not base64, or the session is over; also while a question is out, when
     * the session is freed. Not answered. */
    void (*auth_cancelled)(void *ctx);

    /* STARTTLS, where smtp_server_set_tls offers it: answer 220, or 454. See
     * smtp_server_tls_due. */
    void (*starttls)(void *ctx);
};

/* XCLIENT for this client: offered, and answered by the handler's xclient. */
void smtp_server_offer_xclient(struct smtp_server *s, bool on);

/* opt and handler outlive the session; hostname in opt names us. */
struct smtp_server *smtp_server_new(const struct smtp_server_options *opt,
                                    const struct smtp_server_handler *handler, void *ctx);
void smtp_server_free(struct smtp_server *s); /* calls transaction_reset if one is open. NULL is fine */

/* Before the greeting: FUTURERELEASE (RFC 4865) with holds of at most this; 0:
 * not offered, as without the call. Its times are of this clock. */
void smtp_server_offer_release(struct smtp_server *s, uint64_t max_ms, const struct clock *clock);

/* "220 hostname ESMTP"; or, instead, smtp_server_reject: a 421 or 554 greeting and the end. */
void smtp_server_greet(struct smtp_server *s);
void smtp_server_reject(struct smtp_server *s, unsigned code, const char *text);

void smtp_server_feed(struct smtp_server *s, struct slice in); /* takes all of it */
/* End of input from the peer; an unfinished message is dropped. */
void smtp_server_eof(struct smtp_server *s);
struct buf *smtp_server_out(struct smtp_server *s); /* send and buf_take it */
/* Takes len bytes off the front of out and, once it is empty, frees its memory:
 * an idle session then holds a few hundred bytes. */
void smtp_server_sent(struct smtp_server *s, size_t len);
bool smtp_server_wants_input(const struct smtp_server *s);
bool smtp_server_closing(const struct smtp_server *s); /* send what is in out, then close */
uint64_t smtp_server_timeout_ms(const struct smtp_server *s); /* for the next input; 0 while parked */

/* Answers the question asked. `text` begins with the enhanced code:
 * smtp_server_answer(s, 250, "2.0.0 queued as %s", id). Lines are split at
 * '\n'. A 421 ends the session. */
void smtp_server_answer(struct smtp_server *s, unsigned code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* "334" with these bytes in base64: the client goes on with the exchange. */
void smtp_server_challenge(struct smtp_server *s, struct slice challenge);
bool smtp_server_parked(const struct smtp_server *s);

/* Content flow: while held, fed bytes wait and wants_input() is false. A hold
 * ends with the content it was for, whose last bytes may have caused it. */
void smtp_server_hold(struct smtp_server *s, bool on);

/* The owner ends the session: 421 4.x.x text after the reply under way (at
 * once when none is), e.g. for time-outs ("4.4.2 idle too long") and stopping. */
void smtp_server_shutdown(struct smtp_server *s, const char *text);

/* What AUTH is from now on; NULL, as at first: not there. Lent until the next
 * call or the end of the session. */
void smtp_server_set_auth(struct smtp_server *s, const struct smtp_server_auth *auth);
bool smtp_server_authenticated(const struct smtp_server *s);

/* Before the greeting. */
void smtp_server_set_tls(struct smtp_server *s, enum smtp_server_tls tls);
/* True from the answer 220 to STARTTLS on: the owner sends what is in out, in
 * the clear, turns to TLS and calls smtp_server_tls_begun() when the handshake
 * is done. Input in between is an attack (RFC 3207 section 6 knows it by now):
 * plain text behind STARTTLS is answered 554, and the session ends. */
bool smtp_server_tls_due(const struct smtp_server *s);
/* What was said in the clear is forgotten: EHLO, transaction, login. */
void smtp_server_tls_begun(struct smtp_server *s);

/* For Received, logs and policy. */
const char *smtp_server_helo(const struct smtp_server *s); /* "" before EHLO */
bool smtp_server_esmtp(const struct smtp_server *s);
/* How far the session came, in Postfix's words: CONNECT, the verb last received,
 * UNKNOWN, or END-OF-MESSAGE. */
const char *smtp_server_stage(const struct smtp_server *s);
unsigned smtp_server_recipient_count(const struct smtp_server *s); /* accepted so far in this message */
bool smtp_server_in_transaction(const struct smtp_server *s);

#endif
