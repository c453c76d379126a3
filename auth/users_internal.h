/* auth/users_internal.h - what the files of the users' environment share. */
#ifndef AUTH_USERS_INTERNAL_H
#define AUTH_USERS_INTERNAL_H

#include "auth/users.h"

#include "base/clock.h"

#include <pthread.h>

#define USERS_SECRET_BYTES 32u

enum { USERS_USER, USERS_APP, USERS_USED, USERS_RATE, USERS_SYSTEM, USERS_TABLES };

struct users_note; /* users_change.c's */

struct users {
    const struct clock *clock;
    struct store *store;
    int lock_fd;
    _Atomic uint64_t generation;
    uint8_t secret[USERS_SECRET_BYTES];
    struct users_note *notes; /* what users_flush() will write */
};

/* A change whose maker waits for its commit. */
struct users_job {
    struct store_job job;
    struct users *users;
    struct err (*run)(struct users_job *w, struct store_txn *t);
    void *ctx;
    const char *key;
    uint64_t generation; /* as it will be */
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished;
    struct err result;
};

/* Runs it, raises the generation in the same transaction, and returns when
 * both are durable. For threads that may wait. */
MUST_CHECK struct err users_commit(struct users *u, const char *key,
                                   struct err (*run)(struct users_job *w, struct store_txn *t), void *ctx);
struct loop *users_nowhere(void); /* home of jobs that complete on the store's thread */

/* A key of the tables app and used: address, NUL, name. No address has a NUL,
 * so those of a user stand together. */
struct users_app_key {
    char bytes[USER_ADDRESS_MAX + 1 + USER_APP_NAME_MAX + 1];
    size_t len;
};
struct users_app_key users_app_key(const char *key, const char *app); /* app NULL: the user's own */
struct slice users_app_key_slice(const struct users_app_key *k);

uint64_t users_get_u64(struct store_txn *t, unsigned table, struct slice key); /* 0: there is none */
MUST_CHECK struct err users_read_record(struct store_txn *t, const char *key, struct user *out);

#endif
