/* net/command.c - a helper program, its output and its end. */
#include "net/command.h"

#include "base/mem.h"
#include "net/uvinside.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

struct command {
    struct loop *loop;
    uv_process_t process;
    uv_pipe_t out, err;
    struct timer timer; /* time is up; or, when it never ran, done() is due */
    command_done *done; /* NULL: cancelled, or told */
    void *ctx;
    struct buf output, errors;
    struct err failed;
    int exit_status, signal;
    bool running;
    unsigned open; /* handles that are not closed */
    unsigned waiting; /* for its end and that of both pipes */
    char chunk[4096];
};

static void closed(struct command *c)
{
    if (--c->open > 0)
        return;
    buf_wipe(&c->output);
    buf_release(&c->errors);
    explicit_bzero(c->chunk, sizeof c->chunk);
    free(c);
}

static void process_closed(uv_handle_t *h)
{
    closed(container_of((uv_process_t *)h, struct command, process));
}

static void out_closed(uv_handle_t *h)
{
    closed(container_of((uv_pipe_t *)h, struct command, out));
}

static void err_closed(uv_handle_t *h)
{
    closed(container_of((uv_pipe_t *)h, struct command, err));
}

static void close_handle(uv_handle_t *h, uv_close_cb done)
{
    if (!uv_is_closing(h))
        uv_close(h, done);
}

static void close_all(struct command *c)
{
    loop_disarm(c->loop, &c->timer);
    close_handle((uv_handle_t *)&c->out, out_closed);
    close_handle((uv_handle_t *)&c->err, err_closed);
    if (!c->running)
        close_handle((uv_handle_t *)&c->process, process_closed);
}

static void tell(struct command *c)
{
    command_done *done = c->done;
    struct command_result r = {
        .failed = c->failed,
        .exit_status = c->exit_status,
        .signal = c->signal,
        .output = buf_bytes(&c->output),
        .errors = buf_bytes(&c->errors),
    };

    c->done = NULL;
    if (done != NULL)
        done(c->ctx, &r);
    close_all(c);
}

static void one_ended(struct command *c)
{
    if (--c->waiting == 0)
        tell(c);
}

/* It and its children; a grandchild that keeps a pipe open does not keep us. */
static void cut_short(struct command *c, struct err why)
{
    if (!err_failed(c->failed))
        c->failed = why;
    if (c->running)
        kill(-c->process.pid, SIGKILL);
    tell(c);
}

static void on_timer(struct timer *t)
{
    struct command *c = container_of(t, struct command, timer);

    if (err_failed(c->failed))
        tell(c);
    else
        cut_short(c, err_make(ERR_TIMEOUT, "run command"));
}

static void on_ended(uv_process_t *p, int64_t status, int sig)
{
    struct command *c = container_of(p, struct command, process);

    uvloop_enter(c->loop);
    c->running = false;
    c->exit_status = (int)status;
    c->signal = sig;
    close_handle((uv_handle_t *)p, process_closed);
    if (c->done != NULL)
        one_ended(c);
}

static void alloc_out(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct command *c = container_of((uv_pipe_t *)h, struct command, out);

    *buf = uv_buf_init(c->chunk, sizeof c->chunk);
}

static void alloc_err(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct command *c = container_of((uv_pipe_t *)h, struct command, err);

    *buf = uv_buf_init(c->chunk, sizeof c->chunk);
}

static void read_out(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct command *c = container_of((uv_pipe_t *)s, struct command, out);

    uvloop_enter(c->loop);
    if (n < 0) {
        close_handle((uv_handle_t *)s, out_closed);
        one_ended(c);
        return;
    }
    buf_add(&c->output, slice_make(buf->base, (size_t)n));
    if (buf_len(&c->output) > COMMAND_OUTPUT_MAX)
        cut_short(c, err_make(ERR_LIMIT, "run command"));
}

static void read_err(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct command *c = container_of((uv_pipe_t *)s, struct command, err);

    uvloop_enter(c->loop);
    if (n < 0) {
        close_handle((uv_handle_t *)s, err_closed);
        one_ended(c);
        return;
    }
    buf_add(&c->errors, slice_head(slice_make(buf->base, (size_t)n), COMMAND_ERRORS_MAX - buf_len(&c->errors)));
}

static int start(struct command *c, const char *const *argv)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *env[] = { path, NULL };
    uv_stdio_container_t stdio[3] = {
        { .flags = UV_IGNORE },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->out },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->err },
    };
    uv_process_options_t opt = {
        .exit_cb = on_ended,
        .file = argv[0],
        .args = (char **)(uintptr_t)argv,
        .env = env,
        .cwd = "/",
        .flags = UV_PROCESS_DETACHED, /* its own session, so that all of it can be killed */
        .stdio_count = 3,
        .stdio = stdio,
    };
    int rc = uv_spawn(uvloop_uv(c->loop), &c->process, &opt);

    if (rc != 0)
        return rc;
    c->running = true;
    rc = uv_read_start((uv_stream_t *)&c->out, alloc_out, read_out);
    return rc != 0 ? rc : uv_read_start((uv_stream_t *)&c->err, alloc_err, read_err);
}

struct command *command_run(struct loop *l, const char *const *argv, uint64_t timeout_ms, command_done *done,
                            void *ctx)
{
    struct command *c = mem_new(struct command);
    int rc;

    c->loop = l;
    c->done = done;
    c->ctx = ctx;
    c->open = c->waiting = 3;
    c->timer.fire = on_timer;
    uv_pipe_init(uvloop_uv(l), &c->out, 0);
    uv_pipe_init(uvloop_uv(l), &c->err, 0);
    rc = start(c, argv);
    if (rc != 0) {
        c->failed = err_sys(-rc, "run command");
        if (c->running)
            kill(-c->process.pid, SIGKILL);
        timeout_ms = 0;
    }
    loop_arm(l, &c->timer, timeout_ms);
    return c;
}

void command_drop(uv_handle_t *h)
{
    struct command *c = container_of((uv_process_t *)h, struct command, process);

    if (c->running) {
        kill(-c->process.pid, SIGKILL);
        while (waitpid(c->process.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    c->running = false;
    c->done = NULL;
    close_all(c);
}

void command_cancel(struct command *c)
{
    if (c == NULL)
        return;
    c->done = NULL;
    if (c->running)
        kill(-c->process.pid, SIGKILL);
    close_all(c);
}
