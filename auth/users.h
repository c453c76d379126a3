/* auth/users.h - the users, in an LMDB environment of their own.
 *
 * STATE_DIR/accounts belongs to the accounts process, which holds an flock on
 * users.lock there as long as it lives; relayctl takes it when the daemon is
 * down. Tables and their keys:
 *   user    address in lower case              → struct user
 *   app     address, NUL, name                 → struct user_app
 *   used    a key of user or app               → when it last logged in
 *   rate    a user                             → struct rates_window, see auth/rates.h
 *   system  name                               → format number, generation, secret of the fake salts
 * Each record begins with a version byte and ends with a checksum.
 *
 * Reading is a look into the page cache and may be done on a loop; what
 * changes something waits for its commit, so it is for threads that may.
 */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H

#include "auth/password.h"
#include "store/store.h"

#define USERS_FORMAT        1u
#define USER_ADDRESS_MAX    320u
#define USER_APPS_MAX       100u
#define USER_APP_NAME_MAX   64u
#define USER_SENDERS_MAX    64u
#define USER_RATE_DEFAULT   0u          /* what the configuration says */
#define USER_RATE_UNLIMITED UINT32_MAX

enum user_service { USER_SMTP = 1, USER_IMAP = 2, USER_POP3 = 4, USER_ALL_SERVICES = 7 };

struct user {
    char *address;        /* local part as it was given, domain in A-labels, lower case */
    bool disabled;
    unsigned services;    /* bits of enum user_service */
    bool sender_any;      /* may send as whoever he likes */
    bool sender_own;      /* as his own address */
    char **senders;       /* patterns besides */
    size_t sender_count;
    uint32_t messages_per_hour, recipients_per_hour;
    char *hash;           /* of crypt(3); "" = no password: application passwords or a certificate */
    struct scram_keys scram;
    uint64_t created_wall_ms, changed_wall_ms;
};

struct user_app {
    char *name;
    uint64_t created_wall_ms;
    uint8_t salt[PASSWORD_SALT_BYTES];
    uint8_t digest[PASSWORD_KEY_BYTES];
};

void user_release(struct user *u);
void user_app_release(struct user_app *a);

/* The one spelling of an address as a login name: lower case throughout, the
 * domain in A-labels. A name without "@" gets "@domain" when domain is not
 * NULL. False when it is no address. */
bool user_key(struct slice name, const char *domain, char out[USER_ADDRESS_MAX + 1]);
/* The same but for the case of the local part. */
bool user_address(struct slice name, const char *domain, char out[USER_ADDRESS_MAX + 1]);
const char *user_service_names(unsigned services, char out[32]); /* "smtp,imap,pop3" */
bool user_service_parse(struct slice names, unsigned *services);

struct users;

/* wait_ms: how long to try for the lock. ERR_BUSY: somebody has it; ERR_VERSION:
 * another release's. The folder is made (0700) when it is not there. */
MUST_CHECK struct err users_open(const char *state_dir, const struct clock *clock, uint64_t wait_ms,
                                 struct users **out);
void users_close(struct users *u); /* NULL is fine */

/* Rises with every change below but users_note(). Any thread. */
uint64_t users_generation(struct users *u);
/* 32 bytes that never change, for what must look the same tomorrow. */
struct slice users_secret(const struct users *u);

/* Reading. ERR_NOT_FOUND. `key` is of user_key(). */
MUST_CHECK struct err users_get(struct users *u, const char *key, struct user *out);
MUST_CHECK struct err users_app_find(struct users *u, const char *key, const char normal[PASSWORD_APP_CHARS],
                                     char name[USER_APP_NAME_MAX + 1]);
uint64_t users_last_used(struct users *u, const char *key, const char *app); /* app NULL: any; 0 = never */
/* Those whose key comes after `after` ("": all), until visit says false; then *whole is false. */
MUST_CHECK struct err users_each(struct users *u, const char *after, bool (*visit)(void *ctx, const struct user *user),
                                 void *ctx, bool *whole);
MUST_CHECK struct err users_each_app(struct users *u, const char *key,
                                     bool (*visit)(void *ctx, const struct user_app *app), void *ctx);

/* Changing; each returns when it is durable. change() may run twice and gets
 * the stored user each time; what it allocates belongs to the user. */
MUST_CHECK struct err users_add(struct users *u, const struct user *user); /* ERR_EXISTS */
MUST_CHECK struct err users_change(struct users *u, const char *key,
                                   struct err (*change)(void *ctx, struct user *user), void *ctx);
MUST_CHECK struct err users_delete(struct users *u, const char *key); /* and all that hangs on him */
MUST_CHECK struct err users_app_add(struct users *u, const char *key, const struct user_app *app);
MUST_CHECK struct err users_app_delete(struct users *u, const char *key, const char *name);

/* Small things known only to have happened: kept in memory and written by
 * users_flush(). Loop thread. */
void users_note_used(struct users *u, const char *key, const char *app);
void users_note_rate(struct users *u, const char *key, struct slice window);
/* Does not wait: the commit is some milliseconds later. */
void users_flush(struct users *u);
MUST_CHECK struct err users_each_rate(struct users *u, void (*visit)(void *ctx, const char *key, struct slice window),
                                      void *ctx);

/* Records as bytes. */
void user_put(struct buf *b, const struct user *user);
MUST_CHECK struct err user_get(struct slice record, struct user *out);
void user_app_put(struct buf *b, const struct user_app *app);
MUST_CHECK struct err user_app_get(struct slice record, struct user_app *out);

#endif
