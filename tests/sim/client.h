/* tests/sim/client.h - one program that hands in mail; for clients.c, which
 * sends its messages, and client_login.c, which gets it that far. */
#ifndef TESTS_SIM_CLIENT_H
#define TESTS_SIM_CLIENT_H

#include "tests/sim/sim.h"

enum wait { W_GREETING, W_HELLO, W_STARTTLS, W_AUTH, W_MAIL, W_RCPT, W_DATA, W_DOT, W_RSET, W_QUIT };

enum client_shake { /* how it takes to TLS */
    CSHAKE_GOOD,
    CSHAKE_GARBAGE,
    CSHAKE_SILENT,
    CSHAKE_CUT,
    CSHAKE_INJECTING, /* commands behind STARTTLS */
    CSHAKE_COUNT,
};

struct client {
    struct sim *sim;
    struct wire *wire;
    struct buf in;
    enum wait *waits; /* replies to come, in order */
    unsigned wait_count, wait_cap;
    bool pipelining, dead;
    struct msg *(*source)(struct sim *sim); /* of what it hands in; it is patient then, and stays */
    unsigned messages_left;
    struct msg *msg;
    size_t rcpt_at;
    size_t sent;        /* of the stuffed content */
    struct buf content; /* dot-stuffed */
    size_t leave_at;    /* bytes of content after which it is lost; SIZE_MAX: it stays */
    bool leave_at_dot;
    bool refused; /* this transaction was, as it had to be */
    struct timer timer;

    const struct settings_listen *listen;
    bool trusted;       /* its address is */
    bool wants_tls, secured;
    enum client_shake shake;
    unsigned tries_left; /* logins */
    unsigned login_steps;
    bool guesses;        /* its passwords are wrong */
    bool last_is_right;  /* the one under way is not */
    struct user *login;  /* who it says it is; NULL: nobody we know */
    struct user *user;   /* who it is, once told so */
    struct timer patience;
};

/* clients.c */
void client_expect(struct client *c, enum wait w);
void client_say(struct client *c, enum wait w, const char *fmt, ...) PRINTF_LIKE(3, 4);
void client_leave(struct client *c);
void client_next_message(struct client *c);

/* client_login.c */
void client_plan(struct client *c, struct net_addr *from); /* where it connects, and as what */
void client_proceed(struct client *c);                 /* after the reply to EHLO */
void client_starttls_answered(struct client *c, unsigned code, const char *line);
void client_auth_answered(struct client *c, unsigned code, const char *line);
enum shake client_secure(void *ctx, bool verify);
/* May a message go from here? Otherwise the reply must be a refusal, and it
 * comes at this step. */
const char *client_forbidden(const struct client *c);
bool client_may_have_to_wait(const struct client *c, enum wait w, unsigned code);

#endif
