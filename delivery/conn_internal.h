/* delivery/conn_internal.h - what dialling and speaking share. */
#ifndef DELIVERY_CONN_INTERNAL_H
#define DELIVERY_CONN_INTERNAL_H

#include "delivery/conn.h"
#include "net/stream.h"
#include "net/tls.h"

#define CONN_ADDRS_MAX 16u   /* tried per host */
#define CONN_RACE_MS 250u    /* before the next address is tried beside (RFC 8305 section 5) */
#define CONN_OTHER_FAMILY_MS 50u
#define CONN_PIECE (64u * KIB) /* of a body file, read at once */

struct dial { /* one address being tried */
    struct conn *conn;
    struct stream *stream;
    struct net_addr addr;
};

enum conn_state { CONN_NEW, CONN_DIALLING, CONN_OPENING, CONN_IDLE, CONN_BUSY, CONN_QUITTING, CONN_GONE };

struct conn {
    struct conn_options opt;
    struct post gone_post;
    struct post quit_post;
    bool quit_asked;  /* home's */
    atomic_uint refs; /* home's, and that of a quit on its way */
    enum conn_state state;
    struct job *job;
    unsigned jobs_done;
    bool timed_out;   /* the session ended by its deadline */

    /* dialling: conn_dial.c */
    struct next_host *order; /* the site's hosts, equal preferences shuffled */
    size_t host_count, host_at;
    struct dns_query *query_a, *query_aaaa;
    bool waiting_a, waiting_aaaa;
    struct net_addr found_a[CONN_ADDRS_MAX], found_aaaa[CONN_ADDRS_MAX];
    unsigned count_a, count_aaaa;
    struct net_addr addrs[CONN_ADDRS_MAX];
    unsigned addr_count, addr_at;
    struct dial dials[CONN_ADDRS_MAX];
    unsigned dial_count, dials_open;
    struct timer race_timer;
    struct timer names_timer; /* one family's addresses are known, the other's not yet */
    /* why it failed so far: the best reason is told in the end */
    bool met_server;          /* an address was dialled */
    bool saw_loop, saw_temporary, saw_no_address;
    struct smtp_outcome last; /* text in last_text */
    struct buf last_text;
    char host_name[256];      /* of the current host, for the relay's name */
    bool tls_first;           /* the current host: no STARTTLS */

    /* speaking: conn.c */
    struct stream *stream;
    struct smtp_client *client;
    struct smtp_client_options client_opt;
    bool tls_due;             /* the engine wants the handshake */
    char tls_text[96];        /* "TLSv1.3 TLS_AES_256_GCM_SHA384 untrusted"; empty: in the clear */
    struct timer idle_timer;
    struct slice *paths;      /* the transaction's recipients */
    struct mail_wish *wishes; /* and what their sender asked for each */
    struct buf alt_header, alt_body; /* a 7-bit variant */
    bool use_alt;
    struct sign_request sign_request; /* of the variant; its fields go out in front of it */
    struct delivery_policy *sign_policy; /* whose identities it names */
    bool signing;             /* it is under way, and the variant stays until it is answered */
    uint64_t content_at;      /* next byte of a body file */
    struct blob_op read_op;
    bool reading;
    bool want_content;
    bool loading_for_downgrade;
};

/* Tries the next address or host; with none left the job fails. */
void conn_dial_next(struct conn *c);
void conn_dial_begin(struct conn *c);
void conn_dial_again(struct conn *c, const struct net_addr *addr); /* this one first */
void conn_dial_stop(struct conn *c); /* drops queries, attempts, timers */
/* conn_dial.c found an open connection. */
void conn_opened(struct conn *c, struct stream *s);
/* All hosts were tried in vain. */
void conn_unreachable(struct conn *c);
/* Remembers why this address or host was no good. text is copied. */
void conn_note_failure(struct conn *c, const struct smtp_outcome *o);


/* conn_tls.c */
enum smtp_client_tls conn_tls_wish(const struct conn *c);
void conn_tls_begin(struct conn *c); /* on c->stream, not from inside the engine */

/* conn_send.c: the job in c->job, over the session that is ready. */
void conn_begin_job(struct conn *c);
void conn_feed_content(struct conn *c);
void conn_drop_variant(struct conn *c);
void conn_drained(void *ctx); /* a stream event: more of a body file may go */

/* conn.c */
void conn_speak(struct conn *c); /* the session's events from here on */
void conn_send_out(struct conn *c); /* what the engine wrote, to the stream */
void conn_set_all(struct job *j, const struct smtp_outcome *o);
void conn_return_job(struct conn *c, bool usable);
void conn_tell_gone(struct conn *c);

#endif
