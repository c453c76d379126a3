/* control/control.c - the admin's door to queue and scheduler: HTTP by
 * libmicrohttpd on a Unix socket, a thread for each of a few connections. */
#include "control/control.h"

#include "control/request.h"
#include "control/socket.h"

#include "base/log.h"
#include "base/mem.h"

#include <microhttpd.h>

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 32u
#define CONNECTION_MEMORY (32u * KIB) /* request line and header */
#define BODY_MAX (64u * KIB)
#define CONTENT_PIECE (64u * KIB)
#define IDLE_SECONDS 15u
#define QUIET_MS 2000 /* at the end, for answers under way */

static void each_argument(struct request *r, request_visitor *visit, void *ctx);

/* ---- who asks --------------------------------------------------------------------- */

static bool peer_is_allowed(struct MHD_Connection *http)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(http, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid();
}

/* ---- one request --------------------------------------------------------------------- */

static struct request *request_new(struct control *c, struct MHD_Connection *http, const char *path,
                                   const char *method)
{
    struct request *r = mem_new(struct request);

    pthread_mutex_lock(&c->lock);
    c->active++;
    pthread_mutex_unlock(&c->lock);
    r->control = c;
    r->http = http;
    r->each_argument = each_argument;
    r->method = mem_str(method);
    r->path = slice_make(mem_str(path), strlen(path));
    return r;
}

static void request_ended(void *cls, struct MHD_Connection *http, void **con_cls,
                          enum MHD_RequestTerminationCode why)
{
    struct request *r = *con_cls;
    struct control *c;

    if (r == NULL)
        return;
    c = r->control;
    request_release(r);
    free((char *)r->method);
    free((char *)r->path.ptr);
    free(r);
    *con_cls = NULL;
    pthread_mutex_lock(&c->lock);
    if (--c->active == 0)
        pthread_cond_signal(&c->quiet);
    pthread_mutex_unlock(&c->lock);
}

struct argument_walk {
    request_visitor *visit;
    void *ctx;
};

static enum MHD_Result visit_argument(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct argument_walk *w = cls;

    return w->visit(w->ctx, name, value != NULL ? value : "") ? MHD_YES : MHD_NO;
}

static void each_argument(struct request *r, request_visitor *visit, void *ctx)
{
    struct argument_walk w = { visit, ctx };

    MHD_get_connection_values(r->http, MHD_GET_ARGUMENT_KIND, visit_argument, &w);
}

static struct MHD_Response *document_response(const json_t *document)
{
    char *text = json_dumps(document, JSON_COMPACT | JSON_PRESERVE_ORDER);
    struct MHD_Response *response;

    if (text == NULL)
        return NULL;
    response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        free(text);
    return response;
}

/* The library asks in order. An error breaks the answer off: whoever asked sees
 * that bytes are missing. */
static ssize_t next_of_content(void *cls, uint64_t at, char *room, size_t max)
{
    struct err e;
    size_t got;

    e = content_next(cls, room, max, &got);
    if (err_failed(e))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    return got > 0 ? (ssize_t)got : MHD_CONTENT_READER_END_OF_STREAM;
}

static void content_sent(void *cls)
{
    content_close(cls);
}

static struct MHD_Response *content_response(struct request *r)
{
    struct MHD_Response *response = MHD_create_response_from_callback(content_size(r->content), CONTENT_PIECE,
                                                                      next_of_content, r->content, content_sent);

    if (response != NULL)
        r->content = NULL; /* the response's now */
    return response;
}

static enum MHD_Result send_answer(struct request *r)
{
    bool document = r->content == NULL;
    struct MHD_Response *response = document ? document_response(r->document) : content_response(r);
    enum MHD_Result result;

    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, document ? "application/json" : "message/rfc822");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    result = MHD_queue_response(r->http, r->status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called once with the header, then for each piece of the body, then at its end. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *http, const char *path, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **con_cls)
{
    struct request *r = *con_cls;

    if (r == NULL) {
        *con_cls = r = request_new(cls, http, path, method);
        if (peer_is_allowed(http))
            return MHD_YES;
        request_refuse(r, 403, "denied", "only root and the user of the engine may ask");
        return send_answer(r);
    }
    if (*upload_size > 0) {
        if (buf_len(&r->body) + *upload_size <= BODY_MAX)
            buf_add(&r->body, slice_make(upload, *upload_size));
        else
            r->status = 413;
        *upload_size = 0;
        return MHD_YES;
    }
    if (r->status == 413)
        request_refuse(r, 413, "too_large", "the body is larger than %u bytes", BODY_MAX);
    else
        request_serve(r);
    return send_answer(r);
}

static void log_from_library(void *cls, const char *fmt, va_list ap)
{
    log_vwrite(LOG_LEVEL_DEBUG, "control", fmt, ap);
}

/* ---- life ------------------------------------------------------------------------------ */

static struct err serve(struct control *c, int fd)
{
    c->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
                                     MHD_USE_ITC | MHD_USE_ERROR_LOG,
                                 0, NULL, NULL, handle, c,
                                 MHD_OPTION_EXTERNAL_LOGGER, log_from_library, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, fd,
                                 MHD_OPTION_NOTIFY_COMPLETED, request_ended, NULL,
                                 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                 MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
                                 MHD_OPTION_END);
    return c->daemon != NULL ? ERR_OK : err_make(ERR_SYSTEM, "start control server");
}

struct err control_start(const struct control_options *opt, struct control **out, struct buf *why)
{
    struct control *c = mem_new(struct control);
    char text[256];
    int fd;
    struct err e;

    pthread_mutex_init(&c->lock, NULL);
    cond_init(&c->quiet);
    c->opt = *opt;
    c->hostname = mem_str(opt->hostname);
    c->runtime_dir = mem_str(opt->runtime_dir);
    c->source = (struct source){
        .queue = opt->queue,
        .live = live_new(opt->home, opt->dispatch),
        .signers = opt->signers,
        .clock = opt->clock,
        .hostname = c->hostname,
        .version = opt->version,
        .started_wall_ms = clock_wall_ms(opt->clock),
    };
    e = control_socket_listen(opt->runtime_dir, &fd);
    if (!err_failed(e)) {
        e = serve(c, fd);
        if (err_failed(e)) {
            close(fd);
            control_socket_remove(opt->runtime_dir);
        }
    }
    if (err_failed(e)) {
        if (why != NULL)
            buf_printf(why, "%s/" CONTROL_SOCKET_NAME ": %s", opt->runtime_dir, err_text(e, text, sizeof text));
        control_free(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

/* Lets those who asked have their answer: "stop" among them. */
static void wait_quiet(struct control *c)
{
    uint64_t until = cond_deadline_ms(QUIET_MS);
    bool in_time = true;

    pthread_mutex_lock(&c->lock);
    while (c->active > 0 && in_time)
        in_time = cond_wait_until(&c->quiet, &c->lock, until);
    pthread_mutex_unlock(&c->lock);
}

void control_stop(struct control *c)
{
    int fd;

    if (c->daemon == NULL)
        return;
    control_socket_remove(c->runtime_dir);
    fd = MHD_quiesce_daemon(c->daemon);
    if (fd >= 0)
        close(fd);
    live_close(c->source.live); /* whoever waits for loop 0 waits no more */
    wait_quiet(c);
    MHD_stop_daemon(c->daemon); /* joins its threads */
    c->daemon = NULL;
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    live_free(c->source.live);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->quiet);
    free(c->hostname);
    free(c->runtime_dir);
    free(c);
}
