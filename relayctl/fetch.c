/* relayctl/fetch.c - a document from the engine or, when it is down, from its
 * store: under a shared lock, read-only, by the same code that the engine
 * uses. */
#include "relayctl/tool.h"

#include "control/content.h"
#include "control/view.h"
#include "queue/id.h"
#include "relayd/lock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static int tell_lock_failure(struct tool *t, struct err e, struct buf *why)
{
    const char *state_dir = t->settings->state_dir;

    if (e.kind == ERR_NOT_FOUND) {
        tool_complain("relayd is not running, and there is no queue in %s: it has never run with this configuration",
                      state_dir);
        return EX_UNAVAILABLE;
    }
    if (e.kind == ERR_BUSY) {
        tool_complain("%s, but nobody answers at the control socket in %s: relayd is starting or stopping; try again",
                      buf_len(why) != 0 ? buf_cstr(why) : "the queue is in use", t->settings->runtime_dir);
        return EX_TEMPFAIL;
    }
    if (e.sys == EACCES || e.sys == EPERM) {
        tool_complain("relayd is not running, and %s can't be read: permission denied; be root", state_dir);
        return EX_NOPERM;
    }
    tool_complain("%s: %s", state_dir, buf_len(why) != 0 ? buf_cstr(why) : e.what);
    return EX_UNAVAILABLE;
}

static int open_store(struct tool *t)
{
    struct queue_options opt = {
        .state_dir = t->settings->state_dir,
        .clock = &clock_system,
        .read_only = true,
    };
    struct buf why = { 0 };
    char text[256];
    int exit_code = EX_OK;
    struct err e;

    if (t->offline)
        return EX_OK;
    e = lock_share(t->settings->state_dir, &t->lock_fd, &why);
    if (err_failed(e)) {
        exit_code = tell_lock_failure(t, e, &why);
        buf_release(&why);
        return exit_code;
    }
    buf_release(&why);
    e = queue_open(&opt, &t->source.queue);
    if (err_failed(e)) {
        tool_complain("relayd is not running, and its store in %s can't be read: %s", t->settings->state_dir,
                      err_text(e, text, sizeof text));
        return e.kind == ERR_DENIED || e.sys == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
    }
    t->source.clock = &clock_system;
    t->source.hostname = t->settings->hostname;
    t->source.version = RELAYD_VERSION;
    t->offline = true;
    if (!t->json)
        fprintf(stderr, "(relayd is not running: read from its store)\n");
    return EX_OK;
}

/* EX_OK with *out NULL: the engine is down, ask the store. */
static int from_engine(struct tool *t, struct buf *path, json_t **out)
{
    int exit_code = EX_OK;
    enum api_result result = API_DOWN;

    *out = NULL;
    if (!t->offline)
        result = api_ask(t, "GET", buf_cstr(path), NULL, API_WAIT_MS, out, &exit_code);
    buf_release(path);
    return result == API_DOWN ? open_store(t) : exit_code;
}

static int from_store(struct err e)
{
    char text[256];

    if (!err_failed(e))
        return EX_OK;
    tool_complain("%s", e.kind == ERR_NOT_FOUND ? e.what : err_text(e, text, sizeof text));
    return e.kind == ERR_NOT_FOUND ? EX_NOINPUT : EX_SOFTWARE;
}

int fetch_status(struct tool *t, json_t **out)
{
    struct buf path = { 0 };
    int exit_code;

    buf_add_str(&path, "/v1/status");
    exit_code = from_engine(t, &path, out);
    return exit_code == EX_OK && *out == NULL ? from_store(view_status(&t->source, out)) : exit_code;
}

int fetch_queue(struct tool *t, uint64_t after, uint64_t limit, json_t **out)
{
    char number[32];
    struct buf path = { 0 };
    int exit_code;

    buf_add_str(&path, "/v1/queue");
    for (size_t i = 0; i < t->criterion_count; i++)
        api_add_argument(&path, t->criteria[i].name, t->criteria[i].value);
    if (after != 0)
        api_add_argument(&path, "after", queue_id_format(after, number));
    snprintf(number, sizeof number, "%" PRIu64, limit);
    api_add_argument(&path, "limit", number);
    exit_code = from_engine(t, &path, out);
    if (exit_code != EX_OK || *out != NULL)
        return exit_code;
    return from_store(view_queue(&t->source, &t->filter, after, limit, out));
}

int fetch_message(struct tool *t, uint64_t id, json_t **out)
{
    char text[QUEUE_ID_TEXT_MAX];
    struct buf path = { 0 };
    int exit_code;

    buf_printf(&path, "/v1/messages/%s", queue_id_format(id, text));
    exit_code = from_engine(t, &path, out);
    return exit_code == EX_OK && *out == NULL ? from_store(view_message(&t->source, id, out)) : exit_code;
}

int fetch_trace(struct tool *t, const char *query, json_t **out)
{
    uint64_t limit = t->limit != 0 ? t->limit : 50;
    char number[32];
    struct buf path = { 0 };
    int exit_code;

    snprintf(number, sizeof number, "%" PRIu64, limit);
    buf_add_str(&path, "/v1/trace");
    api_add_argument(&path, "q", query);
    api_add_argument(&path, "limit", number);
    exit_code = from_engine(t, &path, out);
    if (exit_code != EX_OK || *out != NULL)
        return exit_code;
    return from_store(view_trace(&t->source, slice_str(query), limit, out));
}

static int content_from_store(struct tool *t, uint64_t id, api_taker *take, void *ctx)
{
    char piece[64 * KIB];
    struct content *c = NULL;
    size_t got = 0;
    struct err e = content_open(&t->source, id, &c);

    while (!err_failed(e)) {
        e = content_next(c, piece, sizeof piece, &got);
        if (err_failed(e) || got == 0)
            break;
        take(ctx, slice_make(piece, got));
    }
    content_close(c);
    return from_store(e);
}

int fetch_content(struct tool *t, uint64_t id, api_taker *take, void *ctx)
{
    char text[QUEUE_ID_TEXT_MAX];
    struct buf path = { 0 };
    int exit_code = EX_OK;
    enum api_result result;

    buf_printf(&path, "/v1/messages/%s/content", queue_id_format(id, text));
    result = api_stream(t, buf_cstr(&path), take, ctx, &exit_code);
    buf_release(&path);
    if (result == API_DOWN)
        exit_code = open_store(t);
    return result == API_DOWN && exit_code == EX_OK ? content_from_store(t, id, take, ctx) : exit_code;
}
