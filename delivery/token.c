/* delivery/token.c - where a smart host's token comes from. */
#include "delivery/token.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOOD_FOR_MAX_S (30u * 24 * 3600)

struct token {
    struct token_options opt;
    char *title, *file;
    char **command;
    char *value;             /* or NULL */
    unsigned serial;
    uint64_t refresh_at_ms, good_until_ms;
    struct command *running;
    unsigned failures;       /* in a row */
    uint64_t retry_at_ms;
    char why[400];           /* the last failure */
};

/* ---- reading ----------------------------------------------------------------------- */

/* RFC 6750 section 2.1: b68token; anything else would be another field. */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_alnum(s.ptr[i]) && (s.ptr[i] == '\0' || strchr("-._~+/=", s.ptr[i]) == NULL))
            return false;
    }
    return s.len > 0 && s.len <= TOKEN_BYTES_MAX;
}

/* What stands behind "name": in flat JSON; empty when it is not there. */
static struct slice member(struct slice json, const char *name)
{
    char quoted[32];
    size_t len = (size_t)snprintf(quoted, sizeof quoted, "\"%s\"", name);
    const char *at = memmem(json.ptr, json.len, quoted, len);
    struct slice rest;

    if (at == NULL)
        return SLICE_EMPTY;
    rest = slice_from(json, (size_t)(at - json.ptr) + len);
    while (rest.len > 0 && strchr(" \t\r\n:", rest.ptr[0]) != NULL && rest.ptr[0] != '\0')
        rest = slice_from(rest, 1);
    return rest;
}

static struct slice json_string(struct slice json, const char *name)
{
    struct slice rest = member(json, name);

    if (rest.len == 0 || rest.ptr[0] != '"')
        return SLICE_EMPTY;
    rest = slice_from(rest, 1);
    return slice_head(rest, slice_find(rest, '"'));
}

static struct slice json_number(struct slice json, const char *name)
{
    struct slice rest = member(json, name);
    size_t n = 0;

    while (n < rest.len && ascii_is_digit(rest.ptr[n]))
        n++;
    return slice_head(rest, n);
}

static struct slice take_line(struct slice *text)
{
    struct slice line = SLICE_EMPTY;

    slice_split(text, '\n', &line);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return slice_trim(line);
}

bool token_parse(struct slice text, struct buf *out, uint64_t *good_for_ms, const char **why)
{
    bool json = text.len > 0 && text.ptr[0] == '{';
    struct slice token, seconds;
    uint64_t n = 0;

    if (json) {
        token = json_string(text, "access_token");
        seconds = json_number(text, "expires_in");
    } else {
        token = take_line(&text);
        seconds = take_line(&text);
    }
    *why = json ? "its JSON has no \"access_token\" that could be one" : "its first line is no token";
    if (!is_token(token))
        return false;
    *why = "its second line is no number of seconds";
    if (seconds.len > 0 && (!slice_u64(seconds, &n) || n == 0))
        return false;
    *good_for_ms = (n < GOOD_FOR_MAX_S ? n : GOOD_FOR_MAX_S) * SECOND_MS;
    buf_add(out, token);
    return true;
}

/* ---- the token ----------------------------------------------------------------------- */

static void drop(struct token *t)
{
    if (t->value != NULL) {
        explicit_bzero(t->value, strlen(t->value));
        free(t->value);
    }
    t->value = NULL;
    t->good_until_ms = 0;
}

struct token *token_new(const struct token_options *opt)
{
    struct token *t = mem_new(struct token);
    size_t n = 0;

    t->opt = *opt;
    t->title = mem_str(opt->title);
    if (opt->file != NULL)
        t->file = mem_str(opt->file);
    while (opt->command != NULL && opt->command[n] != NULL)
        n++;
    if (n > 0) {
        t->command = mem_zero(n + 1, sizeof *t->command);
        for (size_t i = 0; i < n; i++)
            t->command[i] = mem_str(opt->command[i]);
    }
    return t;
}

void token_free(struct token *t)
{
    if (t == NULL)
        return;
    command_cancel(t->running);
    drop(t);
    for (char **at = t->command; at != NULL && *at != NULL; at++)
        free(*at);
    free(t->command);
    free(t->file);
    free(t->title);
    free(t);
}

static void failed(struct token *t)
{
    uint64_t wait = TOKEN_RETRY_MS << (t->failures < 6 ? t->failures : 6);

    t->failures++;
    t->retry_at_ms = t->opt.loop->now_ms + (wait < TOKEN_RETRY_MAX_MS ? wait : TOKEN_RETRY_MAX_MS);
    log_warning("smtp", "smarthost %s: no token: %s", t->title, t->why);
}

static void take(struct token *t, struct slice text, const char *from)
{
    struct buf value = { 0 };
    uint64_t good_for = 0, now = t->opt.loop->now_ms;
    const char *why;

    if (!token_parse(text, &value, &good_for, &why)) {
        snprintf(t->why, sizeof t->why, "%s: %s", from, why);
        failed(t);
        buf_wipe(&value);
        return;
    }
    drop(t);
    t->serial++;
    t->value = mem_dup(buf_bytes(&value).ptr, buf_len(&value));
    buf_wipe(&value);
    if (t->file != NULL)
        good_for = TOKEN_FILE_MS;
    else if (good_for == 0)
        good_for = TOKEN_UNKNOWN_MS;
    t->good_until_ms = now + good_for;
    t->refresh_at_ms = now + good_for * 4 / 5;
    if (t->failures > 0)
        log_info("smtp", "smarthost %s: there is a token again", t->title);
    t->failures = 0;
}

/* ---- from a command ------------------------------------------------------------------- */

/* The first line of what it complained about, printable. */
static void add_complaint(struct token *t, struct slice errors)
{
    struct slice line = take_line(&errors);
    size_t n = strlen(t->why);

    if (line.len == 0 || n + 4 >= sizeof t->why)
        return;
    n += (size_t)snprintf(t->why + n, sizeof t->why - n, ": ");
    for (size_t i = 0; i < line.len && i < 160 && n + 1 < sizeof t->why; i++)
        t->why[n++] = line.ptr[i] >= ' ' && line.ptr[i] <= '~' ? line.ptr[i] : '?';
    t->why[n] = '\0';
}

static void command_ended(void *ctx, const struct command_result *r)
{
    struct token *t = ctx;
    char text[128];

    t->running = NULL;
    if (!err_failed(r->failed) && r->exit_status == 0 && r->signal == 0) {
        take(t, r->output, t->command[0]);
    } else {
        if (r->failed.kind == ERR_TIMEOUT)
            snprintf(t->why, sizeof t->why, "%s did not end within %u s and was killed", t->command[0],
                     (unsigned)(TOKEN_COMMAND_MS / 1000));
        else if (r->failed.kind == ERR_LIMIT)
            snprintf(t->why, sizeof t->why, "%s printed more than %u KiB", t->command[0], COMMAND_OUTPUT_MAX / 1024);
        else if (err_failed(r->failed))
            snprintf(t->why, sizeof t->why, "%s can't be run: %s", t->command[0],
                     err_text((struct err){ r->failed.kind, r->failed.sys, NULL }, text, sizeof text));
        else if (r->signal != 0)
            snprintf(t->why, sizeof t->why, "%s was ended by signal %d", t->command[0], r->signal);
        else
            snprintf(t->why, sizeof t->why, "%s ended with status %d", t->command[0], r->exit_status);
        add_complaint(t, r->errors);
        failed(t);
    }
    if (t->opt.changed != NULL)
        t->opt.changed(t->opt.ctx);
}

/* ---- from a file ------------------------------------------------------------------------ */

static void read_file(struct token *t)
{
    char text[16 * KIB];
    struct stat st;
    ssize_t n = -1;
    int fd = open(t->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int sys = errno;

    if (fd >= 0) {
        sys = fstat(fd, &st) != 0 ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
        if (sys == 0) {
            n = read(fd, text, sizeof text);
            sys = errno;
        }
        close(fd);
    }
    if (n < 0) {
        snprintf(t->why, sizeof t->why, "%s can't be read: %s", t->file, strerror(sys));
        failed(t);
        return;
    }
    take(t, slice_make(text, (size_t)n), t->file);
    explicit_bzero(text, sizeof text);
}

static void fetch(struct token *t)
{
    if (t->file != NULL)
        read_file(t);
    else if (t->running == NULL)
        t->running = command_run(t->opt.loop, (const char *const *)t->command, TOKEN_COMMAND_MS, command_ended, t);
}

enum token_state token_ask(struct token *t, const char **token, const char **why)
{
    uint64_t now = t->opt.loop->now_ms;
    bool good = t->value != NULL && now < t->good_until_ms;

    if ((!good || now >= t->refresh_at_ms) && now >= t->retry_at_ms) {
        fetch(t);
        good = t->value != NULL && now < t->good_until_ms;
    }
    *token = good ? t->value : NULL;
    *why = t->why;
    if (good)
        return TOKEN_READY;
    return t->running != NULL ? TOKEN_WAIT : TOKEN_FAILED;
}

unsigned token_serial(const struct token *t)
{
    return t->serial;
}

void token_refused(struct token *t, unsigned serial)
{
    if (t->serial == serial)
        drop(t);
}
