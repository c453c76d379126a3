/* delivery/token.h - a bearer token for logging in (XOAUTH2), kept fresh.
 *
 * It comes from a file or from what a command prints: the token on a line of
 * its own, on the next line for how many seconds it is good, if that is known;
 * or the JSON of an OAuth token endpoint ("access_token", "expires_in"). It is
 * kept in memory only, fetched anew before it ends, and asked for again, at
 * growing intervals, when that fails. Loop 0 only.
 */
#ifndef DELIVERY_TOKEN_H
#define DELIVERY_TOKEN_H

#include "net/loop.h"
#include "base/buf.h"

#define TOKEN_BYTES_MAX    8000u
#define TOKEN_COMMAND_MS   (30 * SECOND_MS)
#define TOKEN_UNKNOWN_MS   (5 * MINUTE_MS)  /* good for so long when nothing is said */
#define TOKEN_FILE_MS      (10 * SECOND_MS) /* a file is looked at again after this */
#define TOKEN_RETRY_MS     (5 * SECOND_MS)
#define TOKEN_RETRY_MAX_MS (5 * MINUTE_MS)

struct token;

struct token_options {
    struct loop *loop;
    const char *title;                /* the smart host's, for the log */
    const char *file;                 /* or NULL */
    const char *const *command;       /* or NULL */
    void (*changed)(void *ctx);       /* an answer to token_ask() may be another now */
    void *ctx;
};

struct token *token_new(const struct token_options *opt); /* copies */
void token_free(struct token *t);                         /* NULL is fine */

enum token_state {
    TOKEN_READY,
    TOKEN_WAIT,   /* being fetched: changed() follows */
    TOKEN_FAILED, /* can't be had now */
};

/* The token (good until the next call to the loop) or why there is none. */
enum token_state token_ask(struct token *t, const char **token, const char **why);
/* Which token that is; another one has another number. */
unsigned token_serial(const struct token *t);
/* A server refused it: it is not used again. */
void token_refused(struct token *t, unsigned serial);

/* What a file or command gave. False: no token in it, *why says so. The token
 * is appended to *out; *good_for_ms is 0 when nothing is said. */
bool token_parse(struct slice text, struct buf *out, uint64_t *good_for_ms, const char **why);

#endif
