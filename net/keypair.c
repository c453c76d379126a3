/* net/keypair.c - key files by OpenSSL. */
#include "net/keypair.h"

#include "net/pem.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static struct err write_pem(EVP_PKEY *key, struct buf *pem)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *bytes;
    long len;
    struct err e = ERR_OK;

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        e = err_make(ERR_SYSTEM, "write the key as PEM");
    } else {
        len = BIO_get_mem_data(bio, &bytes);
        buf_add(pem, slice_make(bytes, (size_t)len));
    }
    BIO_free(bio); /* secmem wipes */
    return e;
}

struct err keypair_generate(enum keypair_kind kind, unsigned bits, struct buf *pem)
{
    EVP_PKEY *key = kind == KEYPAIR_RSA ? EVP_RSA_gen(bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    struct err e = key != NULL ? write_pem(key, pem) : err_make(ERR_SYSTEM, "make a key");

    EVP_PKEY_free(key);
    ERR_clear_error();
    return e;
}

static void add_base64(struct buf *out, const unsigned char *bytes, size_t len)
{
    char *room = buf_reserve(out, 4 * ((len + 2) / 3) + 1);

    buf_extend(out, (size_t)EVP_EncodeBlock((unsigned char *)room, bytes, (int)len));
}

static struct err read_public(EVP_PKEY *key, struct keypair_public *out)
{
    unsigned char raw[32];
    unsigned char *der = NULL;
    size_t raw_len = sizeof raw;
    int len;

    errno = 0;
    out->bits = (unsigned)EVP_PKEY_get_bits(key);
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) {
        out->kind = KEYPAIR_ED25519;
        if (EVP_PKEY_get_raw_public_key(key, raw, &raw_len) != 1)
            return pem_error("its public half can't be read");
        add_base64(&out->base64, raw, raw_len);
        return ERR_OK;
    }
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
        return err_make(ERR_SYNTAX, "it is neither an RSA nor an Ed25519 key");
    out->kind = KEYPAIR_RSA;
    len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return pem_error("its public half can't be read");
    add_base64(&out->base64, der, (size_t)len);
    OPENSSL_free(der);
    return ERR_OK;
}

struct err keypair_read(struct slice pem, struct keypair_public *out)
{
    EVP_PKEY *key;
    struct err e = pem_read_key(pem, &key);

    *out = (struct keypair_public){ 0 };
    if (!err_failed(e))
        e = read_public(key, out);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return e;
}
