/* relayctl/tool.h - one run of relayctl: what was asked, and of whom. */
#ifndef RELAYCTL_TOOL_H
#define RELAYCTL_TOOL_H

#include "control/filter.h"
#include "control/source.h"
#include "relayd/settings.h"

#include <jansson.h>
#include <sysexits.h>

struct tool_criterion {
    const char *name;  /* as filter_set() knows it */
    const char *value;
};

#define TOOL_CRITERIA_MAX 16

#define TOOL_WISHES_MAX 8

struct tool {
    const char *config_path;
    bool json, yes, all;
    uint64_t limit; /* 0: none was given */
    struct tool_criterion criteria[TOOL_CRITERIA_MAX];
    size_t criterion_count;
    struct filter filter; /* the same, checked */
    struct tool_criterion wishes[TOOL_WISHES_MAX]; /* of user add and set: name of the API, value */
    size_t wish_count;
    bool password_stdin, no_password;
    char **args;          /* after the command */
    size_t arg_count;

    bool color;
    size_t line_max;
    struct settings *settings;

    bool offline;         /* the engine is down and its store is open */
    int lock_fd;
    struct source source; /* offline */
};

/* Every function below that returns an int returns an exit code of
 * sysexits.h, and has told the person why when it is not EX_OK. */

void tool_complain(const char *fmt, ...) PRINTF_LIKE(1, 2); /* "relayctl: …" to standard error */
bool tool_queue_id(const char *text, uint64_t *id); /* false: it was told that it is none */
int tool_settings(struct tool *t); /* once; before anything is asked */
void tool_release(struct tool *t);

/* ---- api.c: the engine's control socket ------------------------------------- */

enum api_result {
    API_OK,
    API_REFUSED, /* it answered with an error, which was told: *exit_code */
    API_DOWN,    /* nobody listens; nothing was told */
};

#define API_WAIT_MS 4700        /* a person waits 5 s at most for "it hangs" */
#define API_RELOAD_WAIT_MS 60000

/* path begins with "/v1/…" and is encoded. body: JSON, or NULL. */
enum api_result api_ask(struct tool *t, const char *method, const char *path, const char *body, long wait_ms,
                        json_t **out, int *exit_code);
/* Octets rather than a document: each piece of them goes to `take` as it comes. A
 * large answer may take its time, as long as something comes. */
typedef void api_taker(void *ctx, struct slice piece);
enum api_result api_stream(struct tool *t, const char *path, api_taker *take, void *ctx, int *exit_code);
/* Adds "name=value" with the value encoded, after "?" or "&". */
void api_add_argument(struct buf *path, const char *name, const char *value);
/* The same for commands that need an engine: tells when it is down. */
int api_command(struct tool *t, const char *method, const char *path, const char *body, long wait_ms, json_t **out);

/* ---- fetch.c: documents, from the engine or from its store ------------------- */

/* Each an exit code: with EX_OK *out is the document, the caller's; with any other
 * the person has been told why. */
int fetch_status(struct tool *t, json_t **out);
int fetch_queue(struct tool *t, uint64_t after, uint64_t limit, json_t **out);
int fetch_message(struct tool *t, uint64_t id, json_t **out);
int fetch_trace(struct tool *t, const char *query, json_t **out);
int fetch_content(struct tool *t, uint64_t id, api_taker *take, void *ctx); /* header and body, in pieces */

/* ---- commands -------------------------------------------------------------------- */

/* Each does all that its word on the command line asks for; its exit code. */
int command_status(struct tool *t);
int command_queue(struct tool *t);
int command_show(struct tool *t);
int command_trace(struct tool *t);
int command_cat(struct tool *t);
int command_order(struct tool *t, const char *order); /* retry, hold, release, delete, bounce */
int command_user(struct tool *t);
int command_bans(struct tool *t);
int command_check(struct tool *t);
int command_salvage(struct tool *t);
int command_dkim(struct tool *t);
int command_reload(struct tool *t);
int command_stop(struct tool *t);

#endif
