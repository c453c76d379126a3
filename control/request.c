/* control/request.c - which address of the API does what. A table and the
 * functions behind it; what they say is made in view_*.c and orders.c. */
#include "control/request.h"

#include "control/orders.h"
#include "control/view.h"

#include "mail/path.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_MESSAGES_DEFAULT 50u
#define TRACE_MESSAGES_MAX 1000u

void request_refuse(struct request *r, unsigned status, const char *code, const char *fmt, ...)
{
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    json_decref(r->document);
    r->status = status;
    r->document = json_pack("{s{ssso}}", "error", "code", code, "message", json_of_slice(buf_bytes(&text)));
    buf_release(&text);
}

static void refuse_err(struct request *r, struct err e)
{
    char text[256];

    err_text(e, text, sizeof text);
    switch (e.kind) {
    case ERR_NOT_FOUND:
        request_refuse(r, 404, "not_found", "%s", e.what);
        break;
    case ERR_TIMEOUT:
        request_refuse(r, 503, "busy", "%s within %u s; try again", text, LIVE_WAIT_MS / 1000);
        break;
    case ERR_CANCELLED:
        request_refuse(r, 503, "stopping", "%s", text);
        break;
    default:
        request_refuse(r, 500, "storage", "%s", text);
        break;
    }
}

static void answer(struct request *r, struct err e, json_t *document)
{
    if (err_failed(e)) {
        refuse_err(r, e);
        return;
    }
    r->status = 200;
    r->document = document;
}

void request_release(struct request *r)
{
    buf_wipe(&r->body); /* it may hold a password */
    json_decref(r->document);
    content_close(r->content);
}

/* ---- arguments ------------------------------------------------------------------ */

struct arguments {
    struct request *request;
    struct filter filter;
    uint64_t after;
    uint64_t limit, limit_max;
    char query[1024];
    bool bad; /* the request is answered: refused */
};

static bool refuse_argument(struct arguments *a, const char *name, const char *value, const char *why)
{
    request_refuse(a->request, 400, "bad_argument", "%s \"%.200s\": %s", name, value, why);
    a->bad = true;
    return false;
}

static bool take_query(struct arguments *a, const char *value)
{
    size_t len = strlen(value);

    if (len == 0 || len >= sizeof a->query)
        return refuse_argument(a, "q", value, "neither an id, an address nor a Message-ID");
    memcpy(a->query, value, len + 1);
    return true;
}

static bool take_argument(void *ctx, const char *name, const char *value)
{
    struct arguments *a = ctx;
    const char *why = NULL;

    if (strcmp(name, "after") == 0)
        return queue_id_parse(slice_str(value), &a->after) || refuse_argument(a, name, value, "not a queue id");
    if (strcmp(name, "limit") == 0) {
        if (!slice_u64(slice_str(value), &a->limit) || a->limit == 0)
            return refuse_argument(a, name, value, "not a number above 0");
        if (a->limit > a->limit_max)
            a->limit = a->limit_max;
        return true;
    }
    if (strcmp(name, "q") == 0)
        return take_query(a, value);
    if (filter_set(&a->filter, name, value, &why))
        return true;
    return refuse_argument(a, name, value, why != NULL ? why : "there is no such argument");
}

static struct arguments arguments_of(struct request *r, uint64_t limit, uint64_t limit_max)
{
    struct arguments a = { .request = r, .limit = limit, .limit_max = limit_max };

    r->each_argument(r, take_argument, &a);
    return a;
}

/* The members of a JSON object count as arguments, too. */
static void take_body(struct request *r, struct arguments *a)
{
    json_error_t problem;
    json_t *body, *value;
    const char *name;

    if (a->bad || buf_len(&r->body) == 0)
        return;
    body = json_loadb(buf_bytes(&r->body).ptr, buf_len(&r->body), JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(body)) {
        request_refuse(r, 400, "bad_body", "the body is not a JSON object: %s", body == NULL ? problem.text : "");
        a->bad = true;
    } else {
        json_object_foreach(body, name, value) {
            bool taken = json_is_string(value) ? take_argument(a, name, json_string_value(value))
                         : json_is_true(value) ? take_argument(a, name, "yes")
                                               : refuse_argument(a, name, "", "not a string, nor true");

            if (!taken)
                break;
        }
    }
    json_decref(body);
}

/* ---- what can be asked -------------------------------------------------------------- */

static void do_status(struct request *r, struct slice id, struct slice verb)
{
    json_t *out;
    struct err e = view_status(&r->control->source, &out);

    answer(r, e, out);
}

static void do_sites(struct request *r, struct slice id, struct slice verb)
{
    json_t *out;
    struct err e = view_sites(&r->control->source, &out);

    answer(r, e, out);
}

static void do_queue(struct request *r, struct slice id, struct slice verb)
{
    struct arguments a = arguments_of(r, VIEW_PAGE_DEFAULT, VIEW_PAGE_MAX);
    json_t *out;

    if (!a.bad) {
        struct err e = view_queue(&r->control->source, &a.filter, a.after, a.limit, &out);

        answer(r, e, out);
    }
    filter_release(&a.filter);
}

static void do_trace(struct request *r, struct slice id, struct slice verb)
{
    struct arguments a = arguments_of(r, TRACE_MESSAGES_DEFAULT, TRACE_MESSAGES_MAX);
    json_t *out;

    if (!a.bad && a.query[0] == '\0')
        request_refuse(r, 400, "bad_argument", "q is missing: an id, an address or a Message-ID");
    else if (!a.bad) {
        struct err e = view_trace(&r->control->source, slice_str(a.query), a.limit, &out);

        answer(r, e, out);
    }
    filter_release(&a.filter);
}

static bool take_id(struct request *r, struct slice text, uint64_t *id)
{
    if (queue_id_parse(text, id))
        return true;
    request_refuse(r, 400, "bad_id", "\"%.*s\" is no queue id: 16 hex digits", (int)slice_head(text, 64).len,
                   text.ptr);
    return false;
}

static void do_message(struct request *r, struct slice id_text, struct slice verb)
{
    json_t *out;
    uint64_t id;
    struct err e;

    if (!take_id(r, id_text, &id))
        return;
    e = view_message(&r->control->source, id, &out);
    answer(r, e, out);
}

static void do_content(struct request *r, struct slice id_text, struct slice verb)
{
    uint64_t id;
    struct err e;

    if (!take_id(r, id_text, &id))
        return;
    e = content_open(&r->control->source, id, &r->content);
    if (err_failed(e))
        refuse_err(r, e);
    else
        r->status = 200;
}

static bool take_order(struct request *r, struct slice verb, enum dispatch_order *order)
{
    if (order_parse(verb, order))
        return true;
    request_refuse(r, 404, "no_such_address", "no such order: retry, hold, release, delete or bounce");
    return false;
}

static void do_message_order(struct request *r, struct slice id_text, struct slice verb)
{
    enum dispatch_order order;
    json_t *out;
    uint64_t id;
    struct err e;

    if (!take_id(r, id_text, &id) || !take_order(r, verb, &order))
        return;
    e = order_message(&r->control->source, id, order, &out);
    answer(r, e, out);
}

static void do_queue_order(struct request *r, struct slice id, struct slice verb)
{
    struct arguments a = arguments_of(r, VIEW_PAGE_DEFAULT, VIEW_PAGE_MAX);
    enum dispatch_order order;
    json_t *out;

    take_body(r, &a);
    if (!a.bad && take_order(r, verb, &order)) {
        if (filter_is_empty(&a.filter) && !a.filter.all) {
            request_refuse(r, 400, "bad_argument", "nothing says which messages are meant; \"all\" means all");
        } else {
            struct err e = order_selection(&r->control->source, &a.filter, a.after, order, &out);

            answer(r, e, out);
        }
    }
    filter_release(&a.filter);
}

/* ---- the process -------------------------------------------------------------------- */

static void tell(struct request *r, struct err e, struct buf *text, const char *refused_code)
{
    if (!err_failed(e)) {
        r->status = 200;
        r->document = json_pack("{so}", "text", json_of_slice(buf_bytes(text)));
    } else if (e.kind == ERR_TIMEOUT || e.kind == ERR_CANCELLED || e.kind == ERR_CLOSED) {
        refuse_err(r, err_make(ERR_CANCELLED, e.what));
    } else {
        request_refuse(r, 422, refused_code, "%s", buf_len(text) != 0 ? buf_cstr(text) : e.what);
    }
    buf_release(text);
}

static void do_reload(struct request *r, struct slice id, struct slice verb)
{
    struct buf text = { 0 };

    tell(r, r->control->opt.reload(r->control->opt.ctx, &text), &text, "refused");
}

static void do_stop(struct request *r, struct slice id, struct slice verb)
{
    struct buf text = { 0 };

    tell(r, r->control->opt.stop(r->control->opt.ctx, &text), &text, "refused");
}

/* ---- the table ------------------------------------------------------------------------ */

static const struct {
    const char *method;
    const char *path; /* "*" stands for any one part: the id, then the verb */
    void (*run)(struct request *r, struct slice id, struct slice verb);
} routes[] = {
    { "GET", "v1/status", do_status },
    { "GET", "v1/sites", do_sites },
    { "GET", "v1/queue", do_queue },
    { "POST", "v1/queue/+", do_queue_order },
    { "GET", "v1/messages/*", do_message },
    { "GET", "v1/messages/*/content", do_content },
    { "POST", "v1/messages/*/+", do_message_order },
    { "GET", "v1/trace", do_trace },
    { "POST", "v1/accounts/+", request_accounts },
    { "GET", "v1/dkim", request_dkim },
    { "POST", "v1/reload", do_reload },
    { "POST", "v1/stop", do_stop },
};

/* "*" matches the id and "+" the verb. */
static bool path_matches(struct slice path, struct slice pattern, struct slice *id, struct slice *verb)
{
    struct slice part, want;

    while (slice_split(&pattern, '/', &want)) {
        if (!slice_split(&path, '/', &part))
            return false;
        if (slice_eq(want, SLICE("*")))
            *id = part;
        else if (slice_eq(want, SLICE("+")))
            *verb = part;
        else if (!slice_eq(want, part))
            return false;
    }
    return path.len == 0;
}

void request_serve(struct request *r)
{
    struct slice path = r->path.len > 0 && r->path.ptr[0] == '/' ? slice_from(r->path, 1) : r->path;
    bool known_path = false;

    for (size_t i = 0; i < countof(routes); i++) {
        struct slice id = SLICE_EMPTY, verb = SLICE_EMPTY;

        if (!path_matches(path, slice_str(routes[i].path), &id, &verb))
            continue;
        known_path = true;
        if (strcmp(r->method, routes[i].method) == 0) {
            routes[i].run(r, id, verb);
            return;
        }
    }
    if (known_path)
        request_refuse(r, 405, "bad_method", "%.16s is not for this address", r->method);
    else
        request_refuse(r, 404, "no_such_address", "there is nothing at this address");
}
