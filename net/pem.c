/* net/pem.c - private keys by OpenSSL, without anybody to type a passphrase. */
#include "net/pem.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdbool.h>

static int no_passphrase(char *to, int size, int writing, void *asked)
{
    *(bool *)asked = true;
    return -1;
}

/* When OpenSSL has no memory to note its errors, errno of malloc() is all there is. */
struct err pem_error(const char *what)
{
    bool memory = errno == ENOMEM;

    for (unsigned long code; (code = ERR_get_error()) != 0;)
        memory = memory || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    return memory ? err_sys(ENOMEM, "read a key") : err_make(ERR_SYNTAX, what);
}

struct err pem_read_key(struct slice pem, EVP_PKEY **out)
{
    bool asked = false;
    BIO *b;
    struct err e = ERR_OK;

    errno = 0;
    b = pem.len != 0 && pem.len < INT_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    *out = b != NULL ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, &asked) : NULL;
    if (*out == NULL && asked)
        e = err_make(ERR_SYNTAX, "it is encrypted with a passphrase, and nobody is there to type it: take that away "
                                 "with \"openssl pkey -in KEY -out NEW_KEY\"");
    else if (*out == NULL)
        e = pem_error("it holds no private key in PEM form");
    BIO_free(b);
    ERR_clear_error();
    return e;
}
