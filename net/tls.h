/* net/tls.h - TLS 1.2 and 1.3 around a stream, on either side.
 *
 * A TLS stream is a struct stream like any other and wraps one that is in use
 * (STARTTLS), fresh (implicit TLS) or still connecting. Deadlines, pauses,
 * backlog and the rules of every event are those of net/stream.h, with these
 * words of their own:
 *
 * - `opened` comes on both sides when the handshake is done; output flushed
 *   before waits for it, and stream_finish() before it is stream_close().
 * - Failing TLS is `closed` with ERR_TLS and sys EPROTO: the handshake, or
 *   later bytes that are none of the peer's. stream_tls(s)->error says why in
 *   words for the log. A deadline that ends the handshake is ERR_TIMEOUT with
 *   sys ETIMEDOUT.
 * - The peer's close_notify is an end of file. A connection that ends without
 *   it is one too, as half the world does it, but stream_tls(s)->truncated
 *   tells that somebody may have cut it: who relies on the end of file as the
 *   end of a message must look.
 * - stream_finish() sends close_notify behind what waits.
 *
 * A stream must be closed before its loop is freed.
 *
 * Servers and clients are immutable, counted and for any thread, and are made
 * of PEM bytes, never of paths.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "net/stream.h"

struct tls_server;
struct tls_client;
struct tls_tickets;

/* ---- what is known of a session ---- */

#define TLS_BINDING_BYTES 32

struct tls_info {
    bool established;        /* the handshake is done; before that only error says something */
    bool resumed;
    bool truncated;          /* the end of file came without close_notify */
    bool peer_certified;     /* the peer has shown a certificate */
    bool verified;           /* ... that a CA of ours vouches for and, on the client side, with the name wanted */
    bool has_binding;
    const char *version;     /* "TLSv1.3" */
    const char *cipher;      /* "TLS_AES_256_GCM_SHA384" */
    int bits, cipher_bits;   /* secret bits used, and those of the cipher */
    const char *why_not;     /* why not verified ("certificate has expired"), or NULL */
    char *server_name;       /* SNI, lower case; NULL when none was sent */
    char *peer_name;         /* server side, verified: the certificate's rfc822 name or common name; else NULL */
    char *error;             /* why `closed` came with ERR_TLS, or NULL */
    unsigned char binding[TLS_BINDING_BYTES]; /* tls-exporter (RFC 9266) */
};

/* NULL: in the clear. */
static inline const struct tls_info *stream_tls(const struct stream *s)
{
    return s->tls;
}

const char *tls_error_text(const struct stream *s); /* never NULL; "" when there is no error */

/* ---- certificates ---- */

struct tls_pair { /* PEM */
    struct slice certificate; /* the leaf first, then what leads up to its CA */
    struct slice key;         /* may be the same bytes */
};

struct tls_pair_facts {
    int64_t begins_s, expires_s; /* wall clock, seconds since 1970 */
    bool self_signed;
    char name[256]; /* the first it is for, "" when it names none */
};

/* Can a server use it? On failure `why` tells in one line what is wrong. */
MUST_CHECK struct err tls_pair_check(const struct tls_pair *pair, struct tls_pair_facts *facts,
                                     struct buf *why);

/* PEM of at least one CA certificate? */
MUST_CHECK struct err tls_ca_check(struct slice pem, struct buf *why);

/* A key and a certificate for `hostname` signed by itself, good for ten years
 * from wall_ms. `key` is a secret: buf_wipe() it. */
MUST_CHECK struct err tls_self_signed(const char *hostname, uint64_t wall_ms, struct buf *certificate,
                                      struct buf *key);

/* ---- servers ---- */

/* Keys under which clients keep their sessions themselves. All servers of a
 * process share one, so that a client resumes on any loop and after a reload.
 * Who made it rotates it on a timer; sessions of the key before are still
 * taken, and get a new ticket. */
#define TLS_TICKETS_ROTATE_MS (4 * HOUR_MS)
struct tls_tickets *tls_tickets_new(void);
void tls_tickets_rotate(struct tls_tickets *t); /* any thread */
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t);
void tls_tickets_unref(struct tls_tickets *t); /* NULL is fine */

struct tls_server_options {
    const struct tls_pair *pairs; /* the first is for clients that ask for no name, or for none of ours */
    size_t pair_count;
    struct tls_tickets *tickets;
    /* PEM of the CAs whose client certificates count; empty: none is asked
     * for. A client without one, or with another CA's, is served all the same
     * but has no peer_name. */
    struct slice client_ca;
};

MUST_CHECK struct err tls_server_new(const struct tls_server_options *opt, struct buf *why,
                                     struct tls_server **out);
struct tls_server *tls_server_ref(struct tls_server *t);
void tls_server_unref(struct tls_server *t); /* NULL is fine */

/* Takes `inner` over, whatever happens; on an error it is closed. What was
 * appended to its output goes out first, in the clear. Set the new stream's
 * events at once; its deadline is set anew or stays that of `inner`. */
MUST_CHECK struct err tls_accept(struct stream *inner, struct tls_server *t, struct stream **out);

/* ---- clients ---- */

/* Loads the CAs of the system, or those that SSL_CERT_FILE and SSL_CERT_DIR
 * name: tens of milliseconds and disk reads, so once per process and not on a
 * loop. Without any CA found nothing verifies; ca_count tells. */
MUST_CHECK struct err tls_client_new(const struct clock *clock, struct tls_client **out);
struct tls_client *tls_client_ref(struct tls_client *t);
void tls_client_unref(struct tls_client *t); /* NULL is fine */
size_t tls_client_ca_count(const struct tls_client *t);

enum tls_verify {
    TLS_ANY,  /* any certificate; info tells what it was worth */
    TLS_NAME, /* a trusted one for `name`, or the handshake fails */
};

struct tls_target {
    const char *name; /* host name (A-labels) or address; NULL: no SNI, and only TLS_ANY */
    enum tls_verify verify;
    /* Sessions are resumed among connections with the same key: it must tell
     * apart host, address, port and policy. NULL: never. */
    const char *cache_key;
};

/* The same for the client's side; may be called before `opened` of `inner`,
 * whose failure to connect is then told as it is. By way of the loop, for
 * under the simulator nothing is encrypted. */
MUST_CHECK struct err tls_connect(struct stream *inner, struct tls_client *t,
                                  const struct tls_target *to, struct stream **out);

static inline MUST_CHECK struct err stream_secure(struct stream *inner, struct tls_client *t,
                                                  const struct tls_target *to, struct stream **out)
{
    return inner->loop->ops->secure(inner, t, to, out);
}

#endif
