/* net/keyring.h - private keys read once, for a library that would read them
 * for every signature.
 *
 * libopendkim takes a key as PEM and parses it anew each time. With OpenSSL 3
 * that costs more than the signature: of 1.68 ms for RSA-2048 reading takes
 * 0.50 and what a key sets up for its first use 0.80; of 0.74 ms for Ed25519,
 * 0.68. The library reads by PEM_read_bio_PrivateKey(), and a program's own
 * function of that name comes before that of libcrypto (ld.so(8)): ours, in
 * keyring.c, gives the key that is in the ring under the same text, and asks
 * libcrypto for any other.
 *
 * One ring for the process, because that function has no room for a context.
 * A process that adds keys uses them, and reads keys at all, in one thread.
 */
#ifndef NET_KEYRING_H
#define NET_KEYRING_H

#include "base/err.h"
#include "base/slice.h"

/* The errors of pem_read_key(). The text is copied. */
MUST_CHECK struct err keyring_add(struct slice pem);

/* Wipes the texts and forgets the keys. libopendkim keeps a reference for each
 * signature it made: a key it used stays in memory until the process ends. */
void keyring_clear(void);

/* How often a key was given out of the ring: for tests. */
unsigned long keyring_uses(void);

#endif
