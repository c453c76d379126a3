/* auth/accounts_inside.h - what the files of the accounts process share. */
#ifndef AUTH_ACCOUNTS_INSIDE_H
#define AUTH_ACCOUNTS_INSIDE_H

#include "auth/accounts_admin.h"
#include "auth/accounts_server.h"
#include "auth/accounts_wire.h"
#include "auth/bans.h"
#include "auth/hash_pool.h"
#include "auth/passwd_file.h"
#include "auth/rates.h"
#include "auth/sasl.h"
#include "auth/users.h"
#include "auth/verified.h"
#include "base/hash.h"
#include "base/list.h"
#include "net/ipc.h"

#include <stdatomic.h>

#define DIALOGUES_MAX 16384u

struct held_config { /* shared with jobs that run in threads */
    atomic_int refs;
    struct accounts_config c;
};

struct held_config *held_config_new(const struct accounts_config *c);
struct held_config *held_config_ref(struct held_config *h);
void held_config_unref(struct held_config *h);

struct dialogue;

struct accounts_server {
    struct loop *loop;
    struct users *users;
    struct sasl *sasl;
    struct bans *bans;
    uint64_t failure_delay_ms; /* of a first one, and of a refusal */
    uint64_t command_pace_ms, command_paced_ms; /* see accounts_dialogue.c; when it was found */
    struct verified *verified;
    struct rates *rates;
    struct passwd_file *file; /* NULL: none configured */
    struct held_config *config;
    struct hash_pool *pool, *commands;
    struct ipc *ipc;
    uint64_t link_serial, generation_told;
    accounts_server_unlinked *unlinked; /* NULL: nobody wants to know */
    void *unlinked_ctx;
    struct dialogue *dialogues;
    struct list admin_jobs;
    struct timer keep; /* counters and times of login go to the store */
};

void accounts_server_send(struct accounts_server *s, const struct accounts_wire *w);

/* ---- accounts_dialogue.c ------------------------------------------------------------------- */

void dialogue_begin(struct accounts_server *s, const struct accounts_wire *w);
void dialogue_step(struct accounts_server *s, const struct accounts_wire *w);
void dialogue_cancel(struct accounts_server *s, uint64_t id);
void dialogue_cancel_all(struct accounts_server *s);
void dialogue_free_all(struct accounts_server *s); /* no thread runs any more */

/* ---- accounts_lookup.c: who is he? ----------------------------------------------------------- */

enum account_source {
    ACCOUNT_NONE,
    ACCOUNT_STORE,
    ACCOUNT_FILE,
    ACCOUNT_COMMAND,
    ACCOUNT_UNREADABLE /* nobody knows now: no reason to say that a password is wrong */
};

struct account {
    enum account_source source;
    char key[USER_ADDRESS_MAX + 1];     /* "" when the name is no address */
    char address[USER_ADDRESS_MAX + 1];
    struct user user;   /* STORE */
    const char *hash;   /* STORE, FILE: lent by this struct or by the file's table; "" = none */
};

#define ACCOUNT_COMMAND_HASH "{COMMAND}"

void account_find(struct accounts_server *s, const char *name, struct account *out);
void account_release(struct account *a);
/* Why he may not log in although he is who he says; NULL: he may. */
const char *account_refusal(const struct account *a, const char *service);
/* Never tells whether he exists. */
void account_scram(struct accounts_server *s, const struct account *a, const char *name, struct scram_keys *out);
void account_rates(struct accounts_server *s, const struct account *a, unsigned *messages, unsigned *recipients);

#endif
