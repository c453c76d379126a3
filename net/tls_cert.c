/* net/tls_cert.c - certificates and keys from PEM, what is wrong with them in
 * words, the rules every session keeps, and a certificate of our own making
 * for a server that was given none. */
#include "net/pem.h"
#include "net/tls_internal.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* Mozilla's "intermediate" list, of which TLS 1.2 uses these. */
#define CIPHERS                                                                                    \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"

#define SELF_SIGNED_DAYS 3650

/* ---- PEM ---- */

static BIO *memory(struct slice bytes)
{
    return BIO_new_mem_buf(bytes.ptr != NULL ? bytes.ptr : "", (int)bytes.len);
}

/* The next certificate; NULL at the end, or with *bad at one that is broken. */
static X509 *next_certificate(BIO *b, bool *bad)
{
    X509 *cert;

    ERR_clear_error();
    cert = PEM_read_bio_X509(b, NULL, NULL, NULL);
    *bad = cert == NULL && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    ERR_clear_error();
    return cert;
}

static X509 *read_leaf(BIO *b, struct buf *why)
{
    bool bad = b == NULL;
    X509 *cert = b != NULL ? next_certificate(b, &bad) : NULL;

    if (cert == NULL)
        buf_add_str(why, bad ? "the certificate is damaged" : "no certificate in PEM found");
    return cert;
}

static struct err unusable(struct buf *why, const char *text)
{
    buf_add_str(why, text);
    return err_make(ERR_SYNTAX, "certificate");
}

/* ---- a server's pair ---- */

static struct err add_chain(SSL_CTX *ctx, BIO *b, struct buf *why)
{
    bool bad;
    X509 *cert;

    SSL_CTX_clear_chain_certs(ctx);
    while ((cert = next_certificate(b, &bad)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            return unusable(why, "a certificate of its chain can't be used");
        }
    }
    return bad ? unusable(why, "a certificate of its chain is damaged") : ERR_OK;
}

struct err tls_context_add_pair(SSL_CTX *ctx, const struct tls_pair *pair, struct buf *why)
{
    EVP_PKEY *key = NULL;
    BIO *b = memory(pair->certificate);
    X509 *cert = read_leaf(b, why);
    struct err e = err_make(ERR_SYNTAX, "certificate");
    char text[128];

    if (cert == NULL)
        goto out;
    e = pem_read_key(pair->key, &key);
    if (err_failed(e)) {
        buf_printf(why, "the key: %s", e.kind == ERR_SYNTAX ? e.what : err_text(e, text, sizeof text));
        goto out;
    }
    e = err_make(ERR_SYNTAX, "certificate");
    if (X509_check_private_key(cert, key) != 1) {
        buf_add_str(why, "the key is not the certificate's");
        goto out;
    }
    if (SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        const char *reason = ERR_reason_error_string(ERR_peek_error());

        buf_printf(why, "OpenSSL does not take it: %s", reason != NULL ? reason : "no reason given");
        goto out;
    }
    e = add_chain(ctx, b, why);
out:
    BIO_free(b);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return e;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0;

    if (epoch != NULL)
        ASN1_TIME_diff(&days, &seconds, epoch, t);
    ASN1_TIME_free(epoch);
    return (int64_t)days * 86400 + seconds;
}

struct err tls_pair_check(const struct tls_pair *pair, struct tls_pair_facts *facts, struct buf *why)
{
    SSL_CTX *ctx = NULL;
    struct err e = tls_context_new(TLS_server_method(), &ctx);
    X509 *cert;

    if (!err_failed(e))
        e = tls_context_add_pair(ctx, pair, why);
    if (!err_failed(e)) {
        cert = SSL_CTX_get0_certificate(ctx);
        facts->begins_s = seconds_of(X509_get0_notBefore(cert));
        facts->expires_s = seconds_of(X509_get0_notAfter(cert));
        facts->self_signed = (X509_get_extension_flags(cert) & EXFLAG_SS) != 0;
        tls_name_of(cert, facts->name, sizeof facts->name);
    }
    SSL_CTX_free(ctx);
    return e;
}

/* ---- CAs ---- */

struct err tls_store_add(X509_STORE *store, struct slice pem, size_t *count, struct buf *why)
{
    BIO *b = memory(pem);
    bool bad = b == NULL;
    X509 *cert;

    *count = 0;
    while (b != NULL && (cert = next_certificate(b, &bad)) != NULL) {
        if (X509_STORE_add_cert(store, cert) == 1) /* one that is there already is fine */
            (*count)++;
        X509_free(cert);
    }
    BIO_free(b);
    if (bad)
        return unusable(why, "a certificate is damaged");
    return *count > 0 ? ERR_OK : unusable(why, "no certificate in PEM found");
}

/* Their names are told to clients, which choose by them. */
struct err tls_names_add(STACK_OF(X509_NAME) *names, struct slice pem)
{
    BIO *b = memory(pem);
    bool bad = b == NULL;
    X509 *cert;

    while (b != NULL && (cert = next_certificate(b, &bad)) != NULL) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));

        X509_free(cert);
        bad = name == NULL || sk_X509_NAME_push(names, name) == 0;
        if (!bad)
            continue;
        X509_NAME_free(name);
        break;
    }
    BIO_free(b);
    return bad ? err_make(ERR_SYNTAX, "names of CAs") : ERR_OK;
}

struct err tls_ca_check(struct slice pem, struct buf *why)
{
    X509_STORE *store = X509_STORE_new();
    size_t count;
    struct err e = store != NULL ? tls_store_add(store, pem, &count, why) : err_make(ERR_LIMIT, "check CAs");

    X509_STORE_free(store);
    return e;
}

/* ---- the rules of both sides ---- */

/* No read-ahead: a record is read into OpenSSL's buffer only once its bytes
 * are there, and with MODE_RELEASE_BUFFERS that buffer goes with the record. */
struct err tls_context_new(const SSL_METHOD *method, SSL_CTX **out)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1) {
        SSL_CTX_free(ctx);
        ERR_clear_error();
        return err_make(ERR_SYSTEM, "set TLS up");
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_dh_auto(ctx, 1);
    *out = ctx;
    return ERR_OK;
}

/* ---- a certificate of our own ---- */

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX v3;
    X509_EXTENSION *x;
    bool done;

    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
    x = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    done = x != NULL && X509_add_ext(cert, x, -1) == 1;
    X509_EXTENSION_free(x);
    return done;
}

static bool fill_certificate(X509 *cert, EVP_PKEY *key, const char *hostname, uint64_t wall_ms)
{
    time_t now = (time_t)(wall_ms / SECOND_MS);
    X509_NAME *name = X509_get_subject_name(cert);
    unsigned char serial[16];
    BIGNUM *n = NULL;
    char names[300];
    bool done;

    random_secret(serial, sizeof serial);
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and of that length */
    n = BN_bin2bn(serial, sizeof serial, NULL);
    snprintf(names, sizeof names, "DNS:%s", hostname);
    done = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL &&
           X509_set_version(cert, X509_VERSION_3) == 1 &&
           ASN1_TIME_adj(X509_getm_notBefore(cert), now, -1, 0) != NULL && /* clocks differ */
           ASN1_TIME_adj(X509_getm_notAfter(cert), now, SELF_SIGNED_DAYS, 0) != NULL &&
           /* A common name has at most 64 characters; what counts is the other. */
           (strlen(hostname) > 64 ||
            X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)hostname, -1,
                                       -1, 0) == 1) &&
           X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, NID_subject_alt_name, names) && X509_sign(cert, key, EVP_sha256()) > 0;
    BN_free(n);
    return done;
}

static bool take_pem(BIO *b, struct buf *out)
{
    char *text = NULL;
    long len = b != NULL ? BIO_get_mem_data(b, &text) : 0;

    if (len <= 0)
        return false;
    buf_add(out, slice_make(text, (size_t)len));
    return true;
}

struct err tls_self_signed(const char *hostname, uint64_t wall_ms, struct buf *certificate, struct buf *key)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    BIO *cert_pem = BIO_new(BIO_s_mem());
    BIO *key_pem = BIO_new(BIO_s_secmem());
    bool done = pkey != NULL && cert != NULL && cert_pem != NULL && key_pem != NULL &&
                fill_certificate(cert, pkey, hostname, wall_ms) && PEM_write_bio_X509(cert_pem, cert) == 1 &&
                PEM_write_bio_PrivateKey(key_pem, pkey, NULL, NULL, 0, NULL, NULL) == 1 &&
                take_pem(cert_pem, certificate) && take_pem(key_pem, key);

    BIO_free(cert_pem);
    BIO_free(key_pem);
    X509_free(cert);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return done ? ERR_OK : err_make(ERR_SYSTEM, "make a certificate");
}
