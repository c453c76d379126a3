/* tests/unit/tls_certs.h - certificates made for a test. */
#ifndef TESTS_UNIT_TLS_CERTS_H
#define TESTS_UNIT_TLS_CERTS_H

#include "tests/unit/check.h"

#include "net/tls.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

struct cert {
    X509 *x;
    EVP_PKEY *key;
    struct buf pem, key_pem;
};

struct cert_plan {
    const char *name;         /* common name */
    const char *alternatives; /* "DNS:a,DNS:b"; NULL: none */
    const struct cert *by;    /* NULL: itself */
    long begins_s, ends_s;    /* from now; 0, 0: valid for a day */
    bool ca, rsa;
};

static inline void cert_take(BIO *b, struct buf *out)
{
    char *text;
    long len = BIO_get_mem_data(b, &text);

    buf_add(out, slice_make(text, (size_t)len));
    BIO_free(b);
}

static inline void cert_extension(X509 *x, X509 *by, int nid, const char *value)
{
    X509V3_CTX v3;
    X509_EXTENSION *e;

    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, by, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

static inline struct cert cert_make(struct cert_plan p)
{
    static long serial = 1;
    struct cert c = { .x = X509_new(), .key = p.rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256") };
    X509_NAME *name = X509_get_subject_name(c.x);
    X509 *by = p.by != NULL ? p.by->x : c.x;
    BIO *b = BIO_new(BIO_s_mem());

    X509_set_version(c.x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.x), p.ends_s != 0 ? p.begins_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x), p.ends_s != 0 ? p.ends_s : 86400);
    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)p.name, -1, -1, 0);
    X509_set_issuer_name(c.x, X509_get_subject_name(by));
    X509_set_pubkey(c.x, c.key);
    cert_extension(c.x, by, NID_basic_constraints, p.ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (p.alternatives != NULL)
        cert_extension(c.x, by, NID_subject_alt_name, p.alternatives);
    assert_true(X509_sign(c.x, p.by != NULL ? p.by->key : c.key, EVP_sha256()) > 0);
    PEM_write_bio_X509(b, c.x);
    cert_take(b, &c.pem);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, c.key, NULL, NULL, 0, NULL, NULL);
    cert_take(b, &c.key_pem);
    return c;
}

static inline void cert_free(struct cert *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
    buf_release(&c->pem);
    buf_release(&c->key_pem);
}

static inline struct tls_pair cert_pair(const struct cert *c)
{
    return (struct tls_pair){ buf_bytes(&c->pem), buf_bytes(&c->key_pem) };
}

/* A client whose only CAs are these. */
static inline struct tls_client *cert_client(struct slice ca_pem)
{
    char path[] = "/tmp/relayd-test-ca-XXXXXX";
    int fd = mkstemp(path);
    struct tls_client *t = NULL;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, ca_pem.ptr, ca_pem.len), ca_pem.len);
    close(fd);
    setenv("SSL_CERT_FILE", path, 1);
    unsetenv("SSL_CERT_DIR");
    assert_ok(tls_client_new(&clock_system, &t));
    unsetenv("SSL_CERT_FILE");
    unlink(path);
    return t;
}

#endif
