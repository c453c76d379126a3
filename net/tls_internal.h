/* net/tls_internal.h - what the files behind net/tls.h share. */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include "net/tls.h"

#include <openssl/ssl.h>

struct tls_stream {
    struct stream stream;  /* out: in the clear, not yet encrypted */
    struct stream *inner;  /* NULL: finished, or the handshake failed */
    SSL *ssl;
    struct tls_info info;
    struct tls_server *server; /* the one of the two that made it */
    struct tls_client *client;
    char *cache_key;
    bool must_verify;
    struct slice in;       /* encrypted input under way */
    struct buf held;       /* encrypted input that waits for the owner, or for its turn */
    struct timer work;     /* armed while something is to be done in this turn */
    unsigned busy;         /* calls under way that still look at this struct */
    unsigned char first_byte;
    bool heard;            /* first_byte is set */
    bool wrote;            /* records were appended to the inner stream */
    bool paused;           /* the owner wants no input */
    bool choked;           /* too much is on its way out to answer more */
    bool flush_due;
    bool owed;             /* output of the owner's is with the inner stream */
    bool told;             /* closed() was called */
    bool dead;             /* and output is dropped */
    bool closing;
};

/* tls_stream.c */
struct err tls_stream_new(struct stream *inner, SSL_CTX *ctx, bool server, struct tls_stream **out);
void tls_stream_start(struct tls_stream *s); /* the client speaks first */

/* tls_info.c */
void tls_info_fill(struct tls_stream *s);
void tls_info_release(struct tls_info *i);
char *tls_explain(const struct tls_stream *s); /* why OpenSSL failed just now; from its error queue */
void tls_name_of(X509 *cert, char *buf, size_t size); /* the first host name it is for */

/* tls_cert.c */
struct err tls_context_new(const SSL_METHOD *method, SSL_CTX **out); /* with the rules both sides keep */
struct err tls_context_add_pair(SSL_CTX *ctx, const struct tls_pair *pair, struct buf *why);
struct err tls_store_add(X509_STORE *store, struct slice pem, size_t *count, struct buf *why);
struct err tls_names_add(STACK_OF(X509_NAME) *names, struct slice pem);

/* tls_tickets.c */
int tls_tickets_use(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypt);

struct tls_server *tls_server_of(SSL_CTX *ctx);
struct tls_tickets *tls_server_tickets(struct tls_server *t);

#endif
