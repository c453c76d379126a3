/* auth/sign_worker.h - the inside of the process `relayd: sign`: answers what
 * the engine asks over its link, one message after another.
 *
 * It is the only one that holds private keys, in memory; it opens no file and
 * no socket. A crash costs its messages another try elsewhere. Since the
 * library leaks about 550 bytes with each Ed25519 signature the worker retires
 * after a number of messages: it says so, the engine hands it no more and
 * closes the link, and then `spent` runs.
 */
#ifndef AUTH_SIGN_WORKER_H
#define AUTH_SIGN_WORKER_H

#include "auth/signer.h"
#include "net/loop.h"

#define SIGN_WORKER_JOBS 20000u /* about 11 MB of leak */

struct sign_worker;

struct sign_worker_key {
    const char *domain, *selector;
    enum sign_algorithm algorithm;
    const char *pem;     /* NULL: it can't be used, */
    const char *problem; /* for this reason */
};

struct sign_worker_options {
    struct loop *loop;
    unsigned jobs_max;         /* SIGN_WORKER_JOBS */
    void (*spent)(void *ctx);  /* retired and of no more use: end the process */
    void (*unlinked)(void *ctx); /* its link broke, or could not be taken; NULL: nobody wants to know */
    void *ctx;
};

MUST_CHECK struct err sign_worker_new(const struct sign_worker_options *opt, struct sign_worker **out);
/* Copied; those from before are wiped. Signs something with a key of each kind,
 * so that the libraries have opened by then whatever they ever need. */
void sign_worker_set_keys(struct sign_worker *w, const struct sign_worker_key *keys, size_t count);
void sign_worker_link(struct sign_worker *w, int fd); /* to the engine, anew; fd is taken over */
bool sign_worker_linked(const struct sign_worker *w);
void sign_worker_free(struct sign_worker *w);         /* NULL is fine */

#endif
