/* auth/accounts_call.h - a question to the accounts process, as the two files
 * of the engine's side see it: accounts.c, where its owner asks and hears, and
 * accounts_link.c, which has the link.
 *
 * A call has two sides: its owner's loop, and loop 0. What crosses between them
 * is under the lock of struct accounts, one frame and one answer at a time; the
 * two posts only say "look again". A call is freed on its owner's loop, after
 * loop 0 has forgotten it.
 */
#ifndef AUTH_ACCOUNTS_CALL_H
#define AUTH_ACCOUNTS_CALL_H

#include "auth/accounts_wire.h"
#include "base/hash.h"
#include "net/ipc.h"

#include <pthread.h>
#include <stdlib.h>

enum call_kind { CALL_LOGIN, CALL_CHARGE, CALL_ADMIN };

struct answer { /* an ACCOUNTS_WIRE message of our own */
    struct accounts_wire wire;
    char *bytes;
};

struct call {
    struct accounts *a;
    enum call_kind kind;
    uint64_t id;
    struct loop *home;
    struct call *prev, *next; /* all that live; under the lock */

    /* home */
    bool gone; /* its owner wants to hear no more */
    unsigned steps;
    void *ctx;
    void (*login_done)(void *ctx, const struct accounts_answer *answer);
    void (*charge_done)(void *ctx, bool ok, const char *why);
    struct accounts_wire first; /* LOGIN: who and how; its slices are in names */
    char *names;

    /* crossing, under the lock */
    struct post to_zero, to_home;
    bool zero_posted, home_posted;
    struct buf frame;  /* to be sent; kept until answered */
    bool asked, cancelled, forgotten;
    bool answered;
    struct answer answer;

    /* loop 0 */
    bool pending;       /* waits for a link or an answer */
    bool begun;         /* LOGIN: beyond its first step */
    uint64_t link;      /* that the frame went out by; 0 = none yet */
    uint64_t home_link; /* LOGIN: the one that knows the dialogue; 0 = none */
    struct timer timer;
    UT_hash_handle hh;
};

struct accounts {
    struct loop *home;
    pthread_mutex_t lock;
    pthread_cond_t told; /* for accounts_admin_ask */
    struct call *live;
    _Atomic uint64_t next_id, generation;
    atomic_bool scram, expected;
    /* home */
    struct ipc *ipc;
    uint64_t link_serial;
    bool down_told;
    struct call *by_id; /* pending ones */
};

/* accounts.c */
void call_home_look(struct post *p);
void call_answer_release(struct answer *an);

/* accounts_link.c, on loop 0 */
void call_zero_look(struct post *p);
void accounts_link_free(struct accounts *a); /* the link, and what it knows of calls that live */

#endif
