/* auth/accounts_admin.h - what an admin asks of the users, as bytes and as deeds.
 *
 * A request is an operation and named texts; an answer is a status, a text for
 * people, and rows of named values. The control API turns them from and into
 * JSON and passes them to the accounts process; relayctl, with the daemon
 * down, does the same deeds on the store itself.
 *
 *   op            fields                                      rows
 *   user-list     [after] [limit]                             user…; the last may be { next }
 *   user-show     user                                        user with all of it; then app…
 *   user-add      user [password] [senders] [services] [messages_per_hour] [recipients_per_hour]
 *   user-change   user and any of the above, disabled         (all that is not given stays)
 *   user-delete   user
 *   app-add       user name                                   password: shown this once
 *   app-list      user                                        app…
 *   app-delete    user name
 *   bans-list                                                 what…
 *   bans-lift     what
 */
#ifndef AUTH_ACCOUNTS_ADMIN_H
#define AUTH_ACCOUNTS_ADMIN_H

#include "auth/users.h"

#define ADMIN_FIELDS_MAX 16u
#define ADMIN_TEXT_MAX   (32u * KIB)

enum admin_status {
    ADMIN_OK,
    ADMIN_NOT_FOUND,
    ADMIN_EXISTS,
    ADMIN_BAD,    /* the request */
    ADMIN_FAILED, /* the store */
    ADMIN_BUSY,   /* try again */
};

enum admin_kind {
    ADMIN_TEXT,
    ADMIN_NUMBER,
    ADMIN_SWITCH,
    ADMIN_LIST, /* texts, each ended by a NUL */
    ADMIN_TIME, /* milliseconds since 1970; 0 = never */
};

struct admin_field {
    struct slice name;
    enum admin_kind kind;
    struct slice text;
    uint64_t number;
};

struct admin_fields { /* a request, or a row */
    struct admin_field list[ADMIN_FIELDS_MAX];
    size_t count;
};

struct admin_request {
    struct slice op;
    struct admin_fields fields; /* texts */
};

struct admin_answer {
    enum admin_status status;
    struct slice text;
    struct slice rows; /* for admin_row_next() */
};

/* Requests. Slices point into the bytes. */
void admin_request_put(struct buf *b, const struct admin_request *r);
MUST_CHECK struct err admin_request_get(struct slice bytes, struct admin_request *out);
bool admin_has(const struct admin_fields *f, const char *name);
struct slice admin_text(const struct admin_fields *f, const char *name); /* empty when missing */

/* Answers: the head first, then rows. */
void admin_answer_begin(struct buf *b, enum admin_status status, const char *fmt, ...) PRINTF_LIKE(3, 4);
void admin_row_put(struct buf *b, const struct admin_fields *row);
MUST_CHECK struct err admin_answer_get(struct slice bytes, struct admin_answer *out);
bool admin_row_next(struct slice *rows, struct admin_fields *out); /* false at the end, or when damaged */

void admin_add_text(struct admin_fields *f, const char *name, struct slice text);
void admin_add_number(struct admin_fields *f, const char *name, uint64_t n);
void admin_add_switch(struct admin_fields *f, const char *name, bool on);
void admin_add_time(struct admin_fields *f, const char *name, uint64_t wall_ms);
void admin_add_list(struct admin_fields *f, const char *name, struct slice texts);

/* Does it, for all but the bans; waits for hashing and for the commit. What
 * the user has sent this hour is known to the accounts process only. */
struct admin_context {
    struct users *users;
    const struct clock *clock;
    const char *domain;  /* completes a name without "@"; or NULL */
    bool counted;
    uint64_t messages, recipients;
};
void admin_run(const struct admin_context *c, const struct admin_request *r, struct buf *answer);

#endif
