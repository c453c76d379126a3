/* auth/accounts_server.h - the inside of the accounts process.
 *
 * Serves one link at a time (the engine's) on a loop: SASL dialogues, rates,
 * and what the admin asks. It alone opens the users. Hashing, external
 * commands and changes run in threads of its own.
 *
 * What it opens while it serves: files in STATE_DIR/accounts (LMDB's, and
 * those are open already), the configured passwd file each time that
 * changes, /dev/null and the program of the configured command for each run
 * of it. Nothing else.
 */
#ifndef AUTH_ACCOUNTS_SERVER_H
#define AUTH_ACCOUNTS_SERVER_H

#include "net/loop.h"

struct accounts_config { /* all of it is copied */
    const char *domain;              /* of names without one */
    const char *file;                /* passwd-style, or NULL */
    const char *const *command;      /* and its arguments, a NULL at the end; or NULL */
    uint64_t command_timeout_ms;
    unsigned command_processes;      /* at a time; as it was at accounts_server_new() */
    uint64_t failure_delay_ms;       /* 0: BANS_DELAY_MS; as it was at accounts_server_new() */
    unsigned messages_per_hour, recipients_per_hour; /* of users without their own; 0 = unlimited */
};

/* On the loop: the link broke, or could not be taken. */
typedef void accounts_server_unlinked(void *ctx);

struct accounts_server;

/* Opens the users and waits for their lock for as long as lock_wait_ms. threads:
 * for hashing; 0 = one for two cores. */
MUST_CHECK struct err accounts_server_new(struct loop *loop, const char *state_dir, const struct accounts_config *c,
                                          unsigned threads, uint64_t lock_wait_ms, struct accounts_server **out);
void accounts_server_configure(struct accounts_server *s, const struct accounts_config *c);
void accounts_server_when_unlinked(struct accounts_server *s, accounts_server_unlinked *tell, void *ctx);
/* Takes the descriptor over; a link before it is closed, with its dialogues. */
void accounts_server_link(struct accounts_server *s, int fd);
bool accounts_server_linked(const struct accounts_server *s);
/* After the loop's last turn and before it is freed. NULL is fine. */
void accounts_server_free(struct accounts_server *s);

#endif
