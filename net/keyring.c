/* net/keyring.c - keys by their text, and the function that gives them out. */
#include "net/keyring.h"

#include "base/leaks.h"
#include "base/mem.h"
#include "net/pem.h"

#include <dlfcn.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

struct held {
    char *text;
    size_t len;
    EVP_PKEY *key;
};

static struct {
    struct held *keys;
    size_t count;
    unsigned long uses;
} ring;

typedef EVP_PKEY *read_key(BIO *, EVP_PKEY **, pem_password_cb *, void *);

static read_key *libcryptos(void)
{
    union {
        void *object;
        read_key *function; /* ISO C has no cast from one to the other */
    } found = { dlsym(RTLD_NEXT, "PEM_read_bio_PrivateKey") };

    return found.function;
}

static EVP_PKEY *find(const char *text, size_t len)
{
    for (size_t i = 0; i < ring.count; i++)
        if (ring.keys[i].len == len && memcmp(ring.keys[i].text, text, len) == 0)
            return ring.keys[i].key;
    return NULL;
}

/* The text of a memory BIO; libopendkim's counts its final NUL in. */
static size_t text_of(BIO *b, const char **text)
{
    char *bytes = NULL;
    long len = BIO_method_type(b) == BIO_TYPE_MEM ? BIO_get_mem_data(b, &bytes) : 0;

    *text = bytes;
    return len > 0 ? strnlen(bytes, (size_t)len) : 0;
}

EVP_PKEY *PEM_read_bio_PrivateKey(BIO *b, EVP_PKEY **out, pem_password_cb *password, void *ctx)
{
    const char *text;
    size_t len = ring.count > 0 ? text_of(b, &text) : 0;
    EVP_PKEY *key = len > 0 ? find(text, len) : NULL;

    if (key == NULL || out != NULL)
        return libcryptos()(b, out, password, ctx);
    ring.uses++;
    EVP_PKEY_up_ref(key);
    return key;
}

struct err keyring_add(struct slice pem)
{
    EVP_PKEY *key;
    struct err e;

    LEAKS_BEGIN(); /* libopendkim keeps a reference for each signature: such a key is never freed */
    e = pem_read_key(pem, &key);
    LEAKS_END();
    if (err_failed(e))
        return e;
    ring.keys = mem_grow(ring.keys, ring.count + 1, sizeof *ring.keys);
    ring.keys[ring.count++] = (struct held){ mem_dup(pem.ptr, pem.len), pem.len, key };
    return ERR_OK;
}

void keyring_clear(void)
{
    for (size_t i = 0; i < ring.count; i++) {
        explicit_bzero(ring.keys[i].text, ring.keys[i].len);
        free(ring.keys[i].text);
        EVP_PKEY_free(ring.keys[i].key);
    }
    free(ring.keys);
    ring.keys = NULL;
    ring.count = 0;
}

unsigned long keyring_uses(void)
{
    return ring.uses;
}
