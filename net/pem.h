/* net/pem.h - a private key out of its text, for whatever is done with it in
 * net/: TLS, DKIM's public half, the keyring.
 */
#ifndef NET_PEM_H
#define NET_PEM_H

#include "base/err.h"
#include "base/slice.h"

#include <openssl/evp.h>

/* ERR_SYNTAX: it is none, or behind a passphrase; `what` says which, to be
 * read behind the name of its file. Want of memory is ERR_SYSTEM and says
 * nothing about the key. */
MUST_CHECK struct err pem_read_key(struct slice pem, EVP_PKEY **out);

/* Why OpenSSL could not use what it was given, after errno was 0: `what`, or
 * that it had no memory. Empties its queue of errors. */
struct err pem_error(const char *what);

#endif
