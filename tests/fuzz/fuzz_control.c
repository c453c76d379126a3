/* Requests to the admin API, behind the HTTP library: "METHOD /path?name=value&…"
 * on the first line, the body behind it. The queue holds a few messages; a
 * request that reads is answered as for an engine that is down, one that
 * orders, or asks about sites, as by one that is stopping: nothing changes.
 *
 * Every request gets a status that fits it and a document that can be sent.
 * Bodies are also read as requests about users, and the whole as an answer of
 * the accounts process.
 */
#include "control/accounts_json.h"
#include "control/request.h"
#include "tests/fuzz/check.h"

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char scratch[] = "/tmp/fuzz-control-XXXXXX";
static struct control control;
static struct live *stopping;

/* ---- a queue with mail --------------------------------------------------------- */

struct commit {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool over;
};

static void on_commit(void *ctx, struct err e, struct message *m)
{
    struct commit *c = ctx;

    CHECK(!err_failed(e));
    pthread_mutex_lock(&c->lock);
    c->over = true;
    pthread_cond_signal(&c->done);
    pthread_mutex_unlock(&c->lock);
}

static void on_arrived(void *ctx, struct message *m)
{
    (void)m;
}

static void add_mail(struct queue *q, struct loop *home, unsigned number)
{
    struct commit c = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
    struct queue_draft *d = queue_draft_new(q, home);
    struct slice to[2] = { SLICE("r@dest.example"), SLICE("other@else.example") };
    bool held[2] = { false, true };
    struct envelope env = { .reverse_path = number == 0 ? SLICE_EMPTY : SLICE("s@from.example"), .recipients = to,
                            .held = held, .recipient_count = 1 + number % 2, .client_addr = SLICE("192.0.2.7"),
                            .protocol = SLICE("ESMTP") };

    queue_draft_append(d, SLICE("Message-ID: <m@from.example>\r\nSubject: \xff\x01\r\n\r\nbody\r\n"));
    queue_draft_commit(d, &env, on_commit, &c);
    pthread_mutex_lock(&c.lock);
    while (!c.over)
        pthread_cond_wait(&c.done, &c.lock);
    pthread_mutex_unlock(&c.lock);
}

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_scratch(void)
{
    nftw(scratch, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Completions run where they arise: the store's writer, while we wait. */
static void post_at_once(struct loop *l, struct post *p)
{
    p->run(p);
}

static struct err on_reload(void *ctx, struct buf *answer)
{
    buf_add_str(answer, "line 3 is odd");
    return err_make(ERR_SYNTAX, "refused");
}

static struct err on_stop(void *ctx, struct buf *answer)
{
    return ERR_OK;
}

static void each_key(void *ctx, const char *domain, control_key_visitor *visit, void *visit_ctx)
{
    static const struct control_key good = { "example.com", "s1", "/etc/k", "v=DKIM1; k=rsa; p=AAAA", NULL };
    static const struct control_key bad = { "example.net", NULL, "/etc/n", NULL, "it can't be read" };

    visit(visit_ctx, &good);
    if (domain == NULL)
        visit(visit_ctx, &bad);
}

static void txt_of(void *ctx, const char *name, struct control_txt *out)
{
    out->state = CONTROL_TXT_FOUND;
    buf_add(&out->texts, SLICE("v=DKIM1; p=\0"));
}

static void make_once(void)
{
    static const struct loop_ops ops = { .post = post_at_once };
    static struct loop home = { .ops = &ops, .clock = &clock_system };
    struct queue_options opt = { .state_dir = scratch, .clock = &clock_system, .draft_memory_max = MIB,
                                 .body_file_min = 64 * KIB, .arrived = on_arrived, .map_bytes = 64 * MIB };
    struct queue *q;

    CHECK(mkdtemp(scratch) != NULL);
    atexit(remove_scratch);
    CHECK(!err_failed(queue_open(&opt, &q)));
    for (unsigned i = 0; i < 3; i++)
        add_mail(q, &home, i);
    stopping = live_new(&home, NULL);
    live_close(stopping);
    control.opt.reload = on_reload;
    control.opt.stop = on_stop;
    control.opt.keys = each_key;
    control.opt.txt = txt_of;
    control.source = (struct source){ .queue = q, .clock = &clock_system, .hostname = "mx.test", .version = "1" };
}

/* ---- one request ------------------------------------------------------------------ */

static void each_argument(struct request *r, request_visitor *visit, void *ctx)
{
    struct slice rest = *(struct slice *)r->http, name, value;
    bool goes_on = true;

    while (goes_on && slice_split(&rest, '&', &value)) {
        struct buf name_text = { 0 }, value_text = { 0 };

        if (!slice_split(&value, '=', &name))
            name = SLICE_EMPTY;
        buf_add(&name_text, slice_head(name, slice_find(name, '\0')));
        buf_add(&value_text, slice_head(value, slice_find(value, '\0')));
        goes_on = visit(ctx, buf_cstr(&name_text), buf_cstr(&value_text));
        buf_release(&name_text);
        buf_release(&value_text);
    }
}

static void check_answer(const struct request *r)
{
    char *text;

    CHECK(r->status >= 200 && r->status <= 599 && json_is_object(r->document));
    CHECK((r->status == 200) == (json_object_get(r->document, "error") == NULL));
    if (r->status != 200) {
        const json_t *error = json_object_get(r->document, "error");

        CHECK(json_string_length(json_object_get(error, "code")) > 0);
        CHECK(json_string_length(json_object_get(error, "message")) > 0);
    }
    text = json_dumps(r->document, JSON_COMPACT);
    CHECK(text != NULL);
    free(text);
}

static void serve(struct slice head, struct slice body)
{
    struct request r = { .control = &control, .each_argument = each_argument };
    struct buf method = { 0 };
    struct slice arguments, word = SLICE_EMPTY, path = SLICE_EMPTY;

    slice_split(&head, ' ', &word);
    arguments = head;
    slice_split(&arguments, '?', &path);
    buf_add(&method, slice_head(word, slice_find(word, '\0')));
    r.method = buf_cstr(&method);
    r.path = path;
    r.http = &arguments;
    buf_add(&r.body, body);
    control.source.live = strcmp(r.method, "POST") == 0 || slice_eq(path, SLICE("/v1/sites")) ? stopping : NULL;
    request_serve(&r);
    check_answer(&r);
    request_release(&r);
    buf_release(&method);
}

static void about_users(struct slice path, struct slice body)
{
    json_error_t problem;
    json_t *json = body.len != 0 ? json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &problem) : json_object();
    struct buf request = { 0 };
    struct slice op = SLICE_EMPTY;
    const char *why = NULL;
    struct admin_request got;

    while (slice_split(&path, '/', &op)) {
    }
    if (json != NULL) {
        if (accounts_request_of_json(op, json, &request, &why))
            CHECK(!err_failed(admin_request_get(buf_bytes(&request), &got)));
        else
            CHECK(why != NULL);
        accounts_wipe_json(json);
    }
    json_decref(json);
    buf_wipe(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_make(data, size), head = SLICE_EMPTY;
    enum admin_status status;

    if (control.source.queue == NULL)
        make_once();
    json_decref(accounts_answer_json(body, &status));
    slice_split(&body, '\n', &head);
    serve(head, body);
    about_users(slice_from(head, slice_find(head, ' ')), body);
    return 0;
}
