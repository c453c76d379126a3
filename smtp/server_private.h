/* smtp/server_private.h - what the files of the server engine share.
 *
 * server.c pumps bytes through the phases, server_verbs.c holds the table of
 * commands, server_envelope.c reads MAIL and RCPT, server_params.c what stands
 * behind their paths, server_content.c takes DATA and BDAT, server_auth.c
 * carries a login's bytes, server_tls.c turns to TLS, server_reply.c writes what goes out.
 */
#ifndef SMTP_SERVER_PRIVATE_H
#define SMTP_SERVER_PRIVATE_H

#include "mail/body.h"
#include "mail/header.h"
#include "smtp/server.h"

/* RFC 5321 section 4.5.3.1.4 asks for 512; parameters of extensions add to
 * it, and nothing honest comes near this. With its CR LF. */
#define SERVER_LINE_MAX 2048u
/* Input that waits while a question is out; with more the owner stops reading. */
#define SERVER_WAITING_MAX (4u * KIB)
/* A response of the AUTH exchange, with its CR LF (RFC 4954 section 4). */
#define SERVER_AUTH_LINE_MAX 12288u
#define SERVER_HELO_MAX 255u
#define SERVER_COMMAND_KEPT 256u /* of a command line, for the log */

enum server_phase {
    PH_NEW = 1,      /* before the greeting */
    PH_GREETED = 2,  /* no EHLO or HELO yet */
    PH_READY = 4,
    PH_MAIL = 8,     /* a sender, no recipient yet */
    PH_RCPT = 16,    /* and at least one recipient */
    PH_BDAT = 32,    /* between the chunks of a message */
    PH_DATA = 64,    /* content until CR LF . CR LF */
    PH_CHUNK = 128,  /* content of counted length */
    PH_CLOSING = 256,
    PH_AUTH = 512,   /* the next line is a response to our challenge */
    PH_TLS = 1024,   /* between 220 and the end of the handshake */
};
#define PH_COMMAND (PH_GREETED | PH_READY | PH_MAIL | PH_RCPT | PH_BDAT)
#define PH_CONTENT (PH_DATA | PH_CHUNK)

enum server_question { ASK_NOTHING, ASK_SENDER, ASK_RECIPIENT, ASK_BEGIN, ASK_END, ASK_AUTH, ASK_XCLIENT, ASK_TLS };

enum server_skip {
    SKIP_NOTHING,
    SKIP_THEN_REFUSE, /* a line that is too long: refused at its end */
    SKIP_SILENTLY,    /* the rest of a line that has its reply already */
};

/* A message on its way in; exists from the first DATA or BDAT to its end. */
struct server_content {
    struct mail_data_reader reader;
    struct mail_header_scan scan;
    struct buf header;         /* kept back until its end is known */
    bool header_checked;
    bool too_large;            /* by what BDAT or SIZE announce, or by count */
    bool header_too_large;
    bool loop;                 /* too many Received fields */
};

struct smtp_server {
    const struct smtp_server_options *opt;
    const struct smtp_server_handler *handler;
    void *ctx;
    const struct smtp_server_auth *auth; /* NULL: no AUTH here */

    struct buf out;
    struct buf in;              /* an unfinished line, or what waits while parked */
    struct slice view;          /* input under way: of the caller or of `in` */
    struct slice command;       /* the line under way, for refused() */
    char *command_kept;         /* its copy while a question is out or a line is skipped */
    char *helo;
    const char *stage;          /* for smtp_server_stage */
    char *shutdown_text;        /* a 421 to say as soon as nothing is parked */
    struct server_content *content;

    /* A chunk that is consumed and then refused: by this text. */
    char *chunk_refusal;
    unsigned chunk_refusal_code;
    bool chunk_last;
    bool chunk_only_skipped;    /* it belongs to no message */
    uint16_t chunk_phase;       /* where it leads back to */
    uint64_t chunk_left;

    uint16_t phase;             /* enum server_phase */
    uint8_t question;           /* enum server_question */
    uint8_t skip;               /* enum server_skip */
    uint8_t tls;                /* enum smtp_server_tls */
    bool skip_cr;               /* the last byte skipped was CR */
    bool pumping, held, eof, esmtp;
    bool spoken;                /* a first command has come */
    bool transaction;           /* the handler was told of a sender and not of an end */
    bool asked_by_bdat;
    bool authenticated;
    bool xclient;               /* offered */
    bool auth_seen;             /* lines that are no command may be a login's */
    bool auth_open;             /* the handler was told of an exchange and not of its end */
    uint64_t release_max_ms;    /* FUTURERELEASE; 0: not offered */
    const struct clock *clock;  /* for it alone */
    bool utf8;                  /* this transaction's MAIL said SMTPUTF8 */
    unsigned recipients;
    unsigned errors, idle_commands, transactions;
};

/* server.c */
void server_pump(struct smtp_server *s); /* goes on with what waits in s->in */
void server_enter(struct smtp_server *s, enum server_phase phase);
/* Call right before the handler's function; the answer may come from inside. */
void server_ask(struct smtp_server *s, enum server_question question);
void server_end_transaction(struct smtp_server *s); /* tells the handler, if one is open */

/* server_reply.c. `text` begins with the enhanced code, if there is one. */
void server_reply(struct smtp_server *s, unsigned code, const char *text);
void server_reply_close(struct smtp_server *s, unsigned code, const char *text);
void server_reply_ehlo(struct smtp_server *s);

/* server_verbs.c */
void server_command(struct smtp_server *s, struct slice line);
void server_line_refused(struct smtp_server *s, const char *text); /* 500, or 421 after too many */
void server_verb_names(struct buf *out);
bool server_verb_known(struct slice name);

/* server_envelope.c */
void server_mail(struct smtp_server *s, struct slice args);
void server_rcpt(struct smtp_server *s, struct slice args);

/* server_auth.c */
void server_auth(struct smtp_server *s, struct slice args);
void server_auth_response(struct smtp_server *s, struct slice line);
void server_auth_answered(struct smtp_server *s, unsigned code, const char *text); /* to ASK_AUTH */
void server_auth_abandon(struct smtp_server *s); /* tells the handler, if an exchange is open */
bool server_auth_refuses_mail(struct smtp_server *s); /* 530; the client was told so */
const char *server_auth_param(struct slice value);    /* MAIL's AUTH=; NULL, or why not */
/* A line as refused() may see it. */
struct slice server_auth_hide(struct smtp_server *s, struct slice line);
/* Input that waits: where it may hold a password, without copies left behind. */
void server_wait_input(struct smtp_server *s, struct slice bytes);
void server_drop_input(struct smtp_server *s);

/* server_xclient.c */
void server_xclient(struct smtp_server *s, struct slice args);
void server_xclient_answered(struct smtp_server *s, unsigned code, const char *text);
bool server_offer_xclient(struct smtp_server *s); /* its line of EHLO */

/* server_tls.c */
void server_starttls(struct smtp_server *s, struct slice args);
void server_tls_answered(struct smtp_server *s, unsigned code, const char *text); /* to ASK_TLS */
void server_tls_injected(struct smtp_server *s); /* 554, and the end */
bool server_tls_refuses(struct smtp_server *s);  /* 530; the client was told so */

/* server_params.c: what stands behind the path; NULL, or why not: code and
 * text of the reply. */
const char *server_mail_params(struct smtp_server *s, struct slice rest, struct smtp_sender *from);
const char *server_rcpt_params(struct smtp_server *s, struct slice rest, struct smtp_recipient *to);

/* server_content.c */
void server_data(struct smtp_server *s, struct slice args);
void server_bdat(struct smtp_server *s, struct slice args);
void server_content_begun(struct smtp_server *s, unsigned code, const char *text); /* the answer to ASK_BEGIN */
void server_content_step(struct smtp_server *s); /* takes some of s->view */
void server_content_free(struct smtp_server *s);

#endif
