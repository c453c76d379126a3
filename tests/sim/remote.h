/* tests/sim/remote.h - one session of a server of the world; for remote.c, which
 * reads what comes, remote_mail.c, which takes mail, and remote_talk.c, which
 * answers, or fails to. */
#ifndef TESTS_SIM_REMOTE_H
#define TESTS_SIM_REMOTE_H

#include "tests/sim/sim.h"

enum fault { F_NONE, F_4XX, F_5XX, F_421, F_CLOSE, F_RESET, F_HANG, F_HOLE };
/* What comes of TLS on one connection. */
enum fate { FATE_GOOD, FATE_STRIPPED, FATE_REFUSED, FATE_NO_HANDSHAKE, FATE_SILENT, FATE_BAD_CERT, FATE_INJECTED };
enum stage { ST_GREETING, ST_HELLO, ST_MAIL, ST_RCPT, ST_DATA, ST_CONTENT, ST_DOT };

struct remote {
    struct host *host;
    struct sim *sim;
    struct wire *wire;
    struct buf in;
    bool hello, in_data, dead; /* dead: nothing more is said or heard */
    enum fate fate;
    bool secured, injected;
    bool dsn, chunking;        /* were offered */
    bool in_chunk, chunk_last, chunk_unwanted;
    uint64_t chunk_left;
    unsigned chunks;           /* of this message, so far */
    bool closing;
    bool pending; /* the final dot has come and its reply has not arrived */
    bool doubt_told;
    bool garbled; /* a reply was a hostile one, or one that nobody asked for */
    bool one_ahead; /* it has answered before it was asked, from the start on */
    bool used;      /* a MAIL has come before */
    bool hello_refused; /* for good: a client that is an answer behind takes it for MAIL's */
    bool data_answered; /* and DATA as well, before it came */
    struct buf from;
    bool has_from;
    struct rcpt **rcpts;
    size_t count;
    bool *refused;     /* unused recipients keep their place out */
    struct buf dsn_to; /* the recipient of a null reverse-path message of no rcpt */
    bool has_dsn_to;
    struct buf data;
    size_t cut_at; /* content after which the connection is lost; 0 = none */
    bool nameless; /* a null reverse-path: what a refused MAIL is about can't be told */
};

/* remote_talk.c */
void remote_say(struct remote *r, const char *text);
void remote_hang_up(struct remote *r);
void remote_lose(struct remote *r, enum fault f);
/* Now it answers what has not been said yet. */
bool remote_is_hasty(struct remote *r);
enum fault remote_fault(struct remote *r, enum stage st);
/* Carries out a fault at a stage; F_NONE: go on as if nothing were. */
enum fault remote_suffers(struct remote *r, enum stage st, struct rcpt **about, size_t count);
/* When the engine has been given all that was said so far, for these recipients. */
void remote_mark(struct remote *r, void (*reached)(struct sim *sim, struct mark *m), struct rcpt **about,
                 size_t count, uint64_t n);
void remote_deferred(struct sim *sim, struct mark *m);

/* remote_mail.c */
void remote_forget(struct remote *r); /* the transaction */
void remote_mail(struct remote *r, struct slice line);
void remote_rcpt(struct remote *r, struct slice line);
void remote_data_wanted(struct remote *r);
void remote_dot(struct remote *r, struct slice content);
void remote_bdat(struct remote *r, struct slice line);
bool remote_chunk(struct remote *r); /* takes what is there of one; false when more must come */

#endif
