/* net/tls_tickets.c - the keys of session tickets (RFC 5077): the one in use,
 * and the one before, whose sessions are renewed. */
#include "net/tls_internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct ticket_key {
    unsigned char name[16]; /* which of them a ticket is under; no secret */
    unsigned char cipher[32];
    unsigned char mac[32];
};

struct tls_tickets {
    atomic_uint refs;
    pthread_mutex_t lock;
    struct ticket_key now, before;
};

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = mem_new(struct tls_tickets);

    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    random_secret(&t->now, sizeof t->now);
    random_secret(&t->before, sizeof t->before); /* nobody's */
    return t;
}

void tls_tickets_rotate(struct tls_tickets *t)
{
    struct ticket_key fresh;

    random_secret(&fresh, sizeof fresh);
    pthread_mutex_lock(&t->lock);
    t->before = t->now;
    t->now = fresh;
    pthread_mutex_unlock(&t->lock);
    OPENSSL_cleanse(&fresh, sizeof fresh);
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_tickets_unref(struct tls_tickets *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t, sizeof *t);
    free(t);
}

static bool set_up(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int encrypt)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac, sizeof k->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, encrypt) == 1;
}

/* OpenSSL's ticket callback: 1 use it, 2 use it and give a new one, 0 not
 * ours (a full handshake follows), -1 an error. */
int tls_tickets_use(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypt)
{
    struct tls_tickets *t = tls_server_tickets(tls_server_of(SSL_get_SSL_CTX(ssl)));
    struct ticket_key key;
    int rc = 1;

    pthread_mutex_lock(&t->lock);
    key = t->now;
    if (!encrypt && memcmp(name, t->now.name, sizeof key.name) != 0) {
        rc = memcmp(name, t->before.name, sizeof key.name) == 0 ? 2 : 0;
        key = t->before;
    } else if (!encrypt && SSL_version(ssl) >= TLS1_3_VERSION) {
        rc = 2; /* of TLS 1.3 a ticket is for one connection (RFC 8446 appendix C.4) */
    }
    pthread_mutex_unlock(&t->lock);
    if (encrypt) {
        memcpy(name, key.name, sizeof key.name);
        random_secret(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
    }
    if (rc != 0 && !set_up(&key, iv, cipher, mac, encrypt))
        rc = -1;
    OPENSSL_cleanse(&key, sizeof key);
    return rc;
}
