/* The admin API as its users see it: libcurl, a real server, a real socket,
 * the queue's store in threads, and a thread that is loop 0. */
#include "tests/unit/store_fake.h"

#include "control/control.h"
#include "control/socket.h"
#include "control/view.h"
#include "net/ipc.h"
#include "net/uvloop.h"

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/stat.h>

struct fix {
    char *path;
    struct loop *loop;
    struct resolver *resolver; /* nothing is looked up: every route holds */
    pthread_t thread;
    struct queue *queue;
    struct delivery_policy *policy;
    struct dispatch *dispatch;
    struct signers *signers;
    struct control *control;
    bool running;
    unsigned reloads;
    struct err reload_result;
    unsigned lookups;
    int txt_state;
    struct slice txt; /* each with its NUL */
    uint64_t ids[5];
    unsigned added;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static struct err reload(void *ctx, struct buf *answer)
{
    struct fix *f = ctx;

    f->reloads++;
    buf_add_str(answer, "line 3 is odd");
    return f->reload_result;
}

static struct err stop(void *ctx, struct buf *answer)
{
    return ERR_OK;
}

static const struct control_key known_keys[] = {
    { "one.test", "r1", "/keys/r1", "v=DKIM1; k=rsa; p=MIIBabc", NULL },
    { "one.test", "e1", "/keys/e1", "v=DKIM1; k=ed25519; p=c2hvcnQ=", NULL },
    { "two.test", "s", "/keys/s", NULL, "Permission denied" },
    { "three.test", NULL, NULL, NULL, "the folder keys can't be made" },
};

static void each_key(void *ctx, const char *domain, control_key_visitor *visit, void *visit_ctx)
{
    for (size_t i = 0; i < countof(known_keys); i++)
        if (domain == NULL || strcmp(domain, known_keys[i].domain) == 0)
            visit(visit_ctx, &known_keys[i]);
}

/* What DNS has of r1 is the test's; of e1, and of what nobody asks for, nothing. */
static void look_up(void *ctx, const char *name, struct control_txt *out)
{
    struct fix *f = ctx;

    f->lookups++;
    out->state = CONTROL_TXT_NONE;
    if (strcmp(name, "r1._domainkey.one.test") != 0)
        return;
    out->state = f->txt_state;
    snprintf(out->detail, sizeof out->detail, "SERVFAIL");
    buf_add(&out->texts, f->txt);
}

static void arrived(void *ctx, struct message *m)
{
    dispatch_arrived(((struct fix *)ctx)->dispatch, m);
}

static void policy_release(struct delivery_policy *p)
{
    free(p);
}

static struct delivery_policy *hold_everything(void)
{
    struct delivery_policy *p = calloc(1, sizeof *p);

    p->refs = 1;
    p->release = policy_release;
    p->hostname = "mx.test";
    p->fallback.action = ROUTE_HOLD;
    p->retry.expire_ms = DAY_MS;
    return p;
}

static void *loop_main(void *arg)
{
    uvloop_run(arg);
    return NULL;
}

/* ---- mail, put in on the loop's thread ---------------------------------------- */

struct addition {
    struct post post;
    struct fix *fix;
    unsigned number;
};

static void committed(void *ctx, struct err e, struct message *m)
{
    struct fix *f = ctx;

    pthread_mutex_lock(&f->lock);
    f->added += !err_failed(e);
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void add_run(struct post *p)
{
    struct addition *a = container_of(p, struct addition, post);
    struct fix *f = a->fix;
    struct queue_draft *d = queue_draft_new(f->queue, f->loop);
    struct buf sender = { 0 }, content = { 0 }, first = { 0 };
    struct slice to[2];
    struct envelope env = { .recipients = to, .recipient_count = 1 + a->number % 2, .client_addr = SLICE("192.0.2.7"),
                            .protocol = SLICE("ESMTP") };

    buf_printf(&sender, "s%u@from.example", a->number);
    buf_printf(&first, "r%u@dest.example", a->number);
    buf_printf(&content, "Message-ID: <m%u@from.example>\r\nSubject: \xff\x01\xc3\xa9\r\n\r\nbody\r\n", a->number);
    env.reverse_path = a->number == 4 ? SLICE_EMPTY : buf_bytes(&sender);
    to[0] = buf_bytes(&first);
    to[1] = SLICE("other@else.example");
    f->ids[a->number] = queue_draft_id(d);
    queue_draft_append(d, buf_bytes(&content));
    queue_draft_commit(d, &env, committed, f);
    buf_release(&sender);
    buf_release(&content);
    buf_release(&first);
    free(a);
}

static void add_mail(struct fix *f)
{
    for (unsigned i = 0; i < countof(f->ids); i++) {
        struct addition *a = calloc(1, sizeof *a);

        *a = (struct addition){ .post = { .run = add_run }, .fix = f, .number = i };
        loop_post(f->loop, &a->post);
        pthread_mutex_lock(&f->lock);
        while (f->added <= i)
            pthread_cond_wait(&f->changed, &f->lock);
        pthread_mutex_unlock(&f->lock);
    }
}

/* ---- set-up ----------------------------------------------------------------------- */

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);
    struct queue_options qopt = { .clock = &clock_system, .draft_memory_max = MIB, .body_file_min = 64 * KIB,
                                  .arrived = arrived, .ctx = f };
    struct dispatch_options dopt = { .loops = &f->loop, .resolvers = &f->resolver, .loop_count = 1,
                                     .hot_memory_max = MIB };
    struct control_options copt = { .clock = &clock_system, .hostname = "mx.test", .version = "1", .reload = reload,
                                    .stop = stop, .keys = each_key, .txt = look_up, .ctx = f };

    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->path = scratch_make();
    qopt.state_dir = copt.runtime_dir = f->path;
    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    assert_ok(queue_open(&qopt, &f->queue));
    dopt.home = copt.home = f->loop;
    dopt.queue = copt.queue = f->queue;
    dopt.policy = f->policy = hold_everything();
    copt.dispatch = f->dispatch = dispatch_new(&dopt);
    copt.signers = f->signers = signers_new(f->loop);
    assert_ok(control_start(&copt, &f->control, NULL));
    pthread_create(&f->thread, NULL, loop_main, f->loop);
    f->running = true;
    add_mail(f);
    *state = f;
    return 0;
}

static void end_loop(struct fix *f)
{
    if (!f->running)
        return;
    uvloop_stop(f->loop);
    pthread_join(f->thread, NULL);
    f->running = false;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    if (f->control != NULL)
        control_stop(f->control);
    end_loop(f);
    control_free(f->control);
    dispatch_free(f->dispatch);
    signers_free(f->signers);
    policy_unref(f->policy);
    queue_close(f->queue);
    uvloop_free(f->loop);
    scratch_remove(f->path);
    free(f->path);
    free(f);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------ */

static size_t take(char *bytes, size_t size, size_t count, void *ctx)
{
    buf_add(ctx, slice_make(bytes, size * count));
    return size * count;
}

static json_t *ask(struct fix *f, const char *method, const char *path, const char *body, long want)
{
    struct buf url = { 0 }, answer = { 0 }, socket = { 0 };
    CURL *curl = curl_easy_init();
    json_t *doc;
    long status = 0;
    int dir = -1;

    assert_ok(control_socket_path(f->path, &socket, &dir));
    buf_printf(&url, "http://x%s", path);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, buf_cstr(&socket));
    curl_easy_setopt(curl, CURLOPT_URL, buf_cstr(&url));
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != want)
        fail_msg("%s %s: %ld, not %ld: %s", method, path, status, want, buf_cstr(&answer));
    doc = json_loadb(buf_bytes(&answer).ptr, buf_len(&answer), 0, NULL);
    assert_non_null(doc);
    curl_easy_cleanup(curl);
    close(dir);
    buf_release(&url);
    buf_release(&answer);
    buf_release(&socket);
    return doc;
}

/* The numbers of the messages in a page: "0 2". */
static const char *listed(struct fix *f, const char *query, json_t **page_out)
{
    static char text[64];
    struct buf path = { 0 };
    json_t *page, *message;
    size_t i;

    buf_printf(&path, "/v1/queue%s", query);
    page = ask(f, "GET", buf_cstr(&path), NULL, 200);
    text[0] = '\0';
    json_array_foreach(json_object_get(page, "messages"), i, message) {
        uint64_t id;

        assert_true(queue_id_parse(slice_str(json_string_value(json_object_get(message, "id"))), &id));
        for (unsigned k = 0; k < countof(f->ids); k++)
            if (f->ids[k] == id)
                snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u", i > 0 ? " " : "", k);
    }
    buf_release(&path);
    if (page_out != NULL)
        *page_out = page;
    else
        json_decref(page);
    return text;
}

/* ---- tests ------------------------------------------------------------------------- */

static void test_queue(void **state)
{
    static const struct {
        const char *query, *found;
    } rows[] = {
        { "", "0 1 2 3 4" },
        { "?sender=s1@from.example", "1" },
        { "?sender=S1@FROM.example", "1" },
        { "?sender=from.example", "0 1 2 3" },
        { "?sender=%3C%3E", "4" },
        { "?recipient=r2@dest.example", "2" },
        { "?recipient=other@", "1 3" },
        { "?domain=else.example", "1 3" },
        { "?domain=dest.example&sender=s0@from.example", "0" },
        { "?domain=nowhere.example", "" },
        { "?state=held", "0 1 2 3 4" },
        { "?state=queued", "" },
        { "?state=waiting", "" },
        { "?state=deferred", "" },
        { "?older=1h", "" },
        { "?newer=1h", "0 1 2 3 4" },
        { "?limit=2", "0 1" },
        { "?limit=99999", "0 1 2 3 4" },
    };
    struct fix *f = *state;

    for (unsigned i = 0; i < countof(rows); i++) {
        const char *found = listed(f, rows[i].query, NULL);

        if (strcmp(found, rows[i].found) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", rows[i].query, found, rows[i].found);
    }
}

static void test_pages(void **state)
{
    static const char *const pages[] = { "0 1", "2 3", "4" };
    struct fix *f = *state;
    char query[64] = "?limit=2";

    for (unsigned i = 0; i < countof(pages); i++) {
        json_t *page, *next;

        assert_string_equal(listed(f, query, &page), pages[i]);
        next = json_object_get(page, "next");
        assert_int_equal(json_is_null(next), i == 2);
        if (i < 2)
            snprintf(query, sizeof query, "?limit=2&after=%s", json_string_value(next));
        json_decref(page);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *method, *path, *body;
        long status;
        const char *code;
    } rows[] = {
        { "GET", "/", NULL, 404, "no_such_address" },
        { "GET", "/v1", NULL, 404, "no_such_address" },
        { "GET", "/v1/queue/", NULL, 200, NULL },
        { "GET", "/v1/status/x", NULL, 404, "no_such_address" },
        { "PUT", "/v1/status", NULL, 405, "bad_method" },
        { "GET", "/v1/reload", NULL, 405, "bad_method" },
        { "GET", "/v1/queue?colour=red", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?state=asleep", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?older=5", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?sender=", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?domain=a@b", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?limit=0", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?limit=x", NULL, 400, "bad_argument" },
        { "GET", "/v1/queue?after=12", NULL, 400, "bad_argument" },
        { "GET", "/v1/messages/zz", NULL, 400, "bad_id" },
        { "GET", "/v1/messages/0123456789abcdef", NULL, 404, "not_found" },
        { "GET", "/v1/messages/zz/content", NULL, 400, "bad_id" },
        { "GET", "/v1/messages/0123456789abcdef/content", NULL, 404, "not_found" },
        { "POST", "/v1/messages/0123456789abcdef/hold", "", 404, "not_found" },
        { "POST", "/v1/messages/0123456789abcdef/eat", "", 404, "no_such_address" },
        { "POST", "/v1/queue/delete", "", 400, "bad_argument" },
        { "POST", "/v1/queue/delete", "{}", 400, "bad_argument" },
        { "POST", "/v1/queue/delete", "{\"all\": false}", 400, "bad_argument" },
        { "POST", "/v1/queue/delete", "{\"sender\": 5}", 400, "bad_argument" },
        { "POST", "/v1/queue/delete", "[]", 400, "bad_body" },
        { "POST", "/v1/queue/delete", "{", 400, "bad_body" },
        { "POST", "/v1/queue/eat", "{\"all\": true}", 404, "no_such_address" },
        { "GET", "/v1/dkim?colour=red", NULL, 400, "bad_argument" },
        { "GET", "/v1/dkim?check=perhaps", NULL, 400, "bad_argument" },
        { "GET", "/v1/dkim?domain=four.test", NULL, 404, "not_found" },
        { "GET", "/v1/dkim?domain=four.test&check=yes", NULL, 404, "not_found" },
        { "GET", "/v1/dkim/one.test", NULL, 404, "no_such_address" },
        { "POST", "/v1/dkim", "", 405, "bad_method" },
        { "GET", "/v1/trace", NULL, 400, "bad_argument" },
        { "GET", "/v1/trace?q=", NULL, 400, "bad_argument" },
    };
    struct fix *f = *state;

    for (unsigned i = 0; i < countof(rows); i++) {
        json_t *doc = ask(f, rows[i].method, rows[i].path, rows[i].body, rows[i].status);
        const char *code = json_string_value(json_object_get(json_object_get(doc, "error"), "code"));

        if (rows[i].code != NULL && (code == NULL || strcmp(code, rows[i].code) != 0))
            fail_msg("%s %s: %s", rows[i].method, rows[i].path, code);
        json_decref(doc);
    }
    assert_string_equal(listed(f, "", NULL), "0 1 2 3 4"); /* nothing was done */
}

static void test_body_too_large(void **state)
{
    struct fix *f = *state;
    struct buf body = { 0 };

    buf_add_str(&body, "{\"sender\": \"");
    for (unsigned i = 0; i < 100000; i++)
        buf_add_byte(&body, 'a');
    buf_add_str(&body, "\"}");
    json_decref(ask(f, "POST", "/v1/queue/delete", buf_cstr(&body), 413));
    buf_release(&body);
}

static char *path_of(uint64_t id, const char *verb)
{
    char text[QUEUE_ID_TEXT_MAX];
    struct buf path = { 0 };

    buf_printf(&path, "/v1/messages/%s%s", queue_id_format(id, text), verb);
    return buf_detach(&path);
}

static void test_message(void **state)
{
    struct fix *f = *state;
    char *path = path_of(f->ids[1], "");
    json_t *doc = ask(f, "GET", path, NULL, 200);
    json_t *recipients = json_object_get(doc, "recipients");

    assert_string_equal(json_string_value(json_object_get(doc, "sender")), "s1@from.example");
    assert_int_equal(json_array_size(recipients), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(recipients, 1), "address")),
                        "other@else.example");
    assert_string_equal(json_string_value(json_object_get(json_array_get(recipients, 1), "state")), "held");
    /* Bytes that are no UTF-8 become U+FFFD; control characters were dropped. */
    assert_string_equal(json_string_value(json_object_get(json_object_get(doc, "header"), "Subject")),
                        "\xef\xbf\xbd\xc3\xa9");
    json_decref(doc);
    free(path);
}

static void test_trace(void **state)
{
    struct fix *f = *state;
    static const struct {
        const char *query;
        size_t events;
    } rows[] = {
        { "s1@from.example", 1 },     { "other@else.example", 2 }, { "m3@from.example", 1 },
        { "%3Cm3@from.example%3E", 1 }, { "nobody@from.example", 0 }, { "0123456789abcdef", 0 },
        { "other@else.example&limit=1", 1 },
    };

    for (unsigned i = 0; i < countof(rows); i++) {
        struct buf path = { 0 };
        json_t *doc;

        buf_printf(&path, "/v1/trace?q=%s", rows[i].query);
        doc = ask(f, "GET", buf_cstr(&path), NULL, 200);
        if (json_array_size(json_object_get(doc, "events")) != rows[i].events)
            fail_msg("%s: %zu events", rows[i].query, json_array_size(json_object_get(doc, "events")));
        json_decref(doc);
        buf_release(&path);
    }
}

static void test_orders(void **state)
{
    struct fix *f = *state;
    char *hold = path_of(f->ids[1], "/hold"), *drop = path_of(f->ids[1], "/delete");
    json_t *doc = ask(f, "POST", hold, "", 200);

    assert_int_equal(json_integer_value(json_object_get(doc, "recipients")), 2);
    json_decref(doc);
    doc = ask(f, "POST", hold, "", 200); /* it is already */
    assert_int_equal(json_integer_value(json_object_get(doc, "recipients")), 0);
    json_decref(doc);
    json_decref(ask(f, "POST", drop, "", 200));
    assert_string_equal(listed(f, "", NULL), "0 2 3 4"); /* when the answer comes it is done */
    json_decref(ask(f, "POST", drop, "", 404));
    doc = ask(f, "POST", "/v1/queue/delete", "{\"domain\": \"else.example\"}", 200);
    assert_int_equal(json_integer_value(json_object_get(doc, "messages")), 1);
    assert_true(json_is_null(json_object_get(doc, "next")));
    json_decref(doc);
    doc = ask(f, "POST", "/v1/queue/delete", "{\"all\": true}", 200);
    assert_int_equal(json_integer_value(json_object_get(doc, "messages")), 3);
    json_decref(doc);
    while (strcmp(listed(f, "", NULL), "") != 0)
        usleep(1000);
    free(hold);
    free(drop);
}

static void test_reload(void **state)
{
    struct fix *f = *state;
    json_t *doc = ask(f, "POST", "/v1/reload", "", 200);

    assert_string_equal(json_string_value(json_object_get(doc, "text")), "line 3 is odd");
    json_decref(doc);
    f->reload_result = err_make(ERR_SYNTAX, "reload");
    doc = ask(f, "POST", "/v1/reload", "", 422);
    assert_string_equal(json_string_value(json_object_get(json_object_get(doc, "error"), "message")),
                        "line 3 is odd");
    json_decref(doc);
    f->reload_result = err_make(ERR_TIMEOUT, "reload");
    json_decref(ask(f, "POST", "/v1/reload", "", 503));
    assert_int_equal(f->reloads, 3);
}

static void test_status_and_sites(void **state)
{
    struct fix *f = *state;
    json_t *doc = ask(f, "GET", "/v1/status", NULL, 200);

    assert_true(json_is_true(json_object_get(doc, "running")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "queue"), "recipients")), 7);
    json_decref(doc);
    doc = ask(f, "GET", "/v1/sites", NULL, 200);
    assert_true(json_is_array(json_object_get(doc, "sites")));
    json_decref(doc);
}

static const char *text_in(json_t *keys, size_t n, const char *name)
{
    return json_string_value(json_object_get(json_array_get(keys, n), name));
}

static void test_dkim_keys(void **state)
{
    struct fix *f = *state;
    json_t *doc = ask(f, "GET", "/v1/dkim", NULL, 200), *found = json_object_get(doc, "keys");

    assert_int_equal(json_array_size(found), 4);
    assert_string_equal(text_in(found, 0, "domain"), "one.test");
    assert_string_equal(text_in(found, 0, "selector"), "r1");
    assert_string_equal(text_in(found, 0, "name"), "r1._domainkey.one.test");
    assert_string_equal(text_in(found, 0, "path"), "/keys/r1");
    assert_string_equal(text_in(found, 0, "algorithm"), "rsa-sha256");
    assert_string_equal(text_in(found, 0, "record"), "v=DKIM1; k=rsa; p=MIIBabc");
    assert_null(text_in(found, 0, "problem"));
    assert_null(text_in(found, 0, "dns"));
    assert_string_equal(text_in(found, 1, "algorithm"), "ed25519-sha256");
    assert_string_equal(text_in(found, 2, "problem"), "Permission denied");
    assert_null(text_in(found, 2, "record"));
    assert_null(text_in(found, 3, "selector"));
    json_decref(doc);
    doc = ask(f, "GET", "/v1/dkim?domain=two.test", NULL, 200);
    found = json_object_get(doc, "keys");
    assert_int_equal(json_array_size(found), 1);
    assert_string_equal(text_in(found, 0, "selector"), "s");
    json_decref(doc);
    assert_int_equal(f->lookups, 0); /* nobody asked for them */
}

static void test_dkim_in_dns(void **state)
{
    static const struct {
        int state;
        struct slice txt;
        const char *dns;
    } rows[] = {
        { CONTROL_TXT_FOUND, SLICE("v=DKIM1; k=rsa; p=MIIBabc\0"), "ok" },
        { CONTROL_TXT_FOUND, SLICE("v=spf1 -all\0p=MIIBabc\0"), "ok" },
        { CONTROL_TXT_FOUND, SLICE("v=spf1 -all\0"), "missing" },
        { CONTROL_TXT_FOUND, SLICE("v=DKIM1; p=MIIBxyz\0"), "other" },
        { CONTROL_TXT_FOUND, SLICE("p=MIIBabc\0p=MIIBxyz\0"), "other" },
        { CONTROL_TXT_FOUND, SLICE("v=DKIM1; p=\0"), "revoked" },
        { CONTROL_TXT_FOUND, SLICE("v=DKIM1; h=sha1; p=MIIBabc\0"), "restricted" },
        { CONTROL_TXT_NONE, SLICE(""), "missing" },
        { CONTROL_TXT_UNKNOWN, SLICE(""), "unknown" },
    };
    struct fix *f = *state;
    json_t *without;

    for (size_t i = 0; i < countof(rows); i++) {
        json_t *doc, *found;

        f->txt_state = rows[i].state;
        f->txt = rows[i].txt;
        doc = ask(f, "GET", "/v1/dkim?domain=one.test&check=yes", NULL, 200);
        found = json_object_get(doc, "keys");
        if (strcmp(text_in(found, 0, "dns"), rows[i].dns) != 0)
            fail_msg("row %zu: %s", i, text_in(found, 0, "dns"));
        assert_true(strlen(text_in(found, 0, "detail")) > 0);
        assert_int_equal(strstr(text_in(found, 0, "detail"), "SERVFAIL") != NULL,
                         rows[i].state == CONTROL_TXT_UNKNOWN);
        assert_string_equal(text_in(found, 1, "dns"), "missing"); /* each has its own answer */
        json_decref(doc);
    }
    assert_int_equal(f->lookups, 2 * countof(rows));
    without = ask(f, "GET", "/v1/dkim?domain=two.test&check=yes", NULL, 200);
    assert_string_equal(text_in(json_object_get(without, "keys"), 0, "dns"), "no_key");
    assert_string_equal(text_in(json_object_get(without, "keys"), 0, "detail"), "Permission denied");
    assert_int_equal(f->lookups, 2 * countof(rows)); /* there is nothing to compare with */
    json_decref(without);
}

struct linking {
    struct post post;
    struct fix *fix;
    int fd;
};

static void linking_run(struct post *p)
{
    struct linking *l = container_of(p, struct linking, post);

    signers_link(l->fix->signers, 2, l->fd);
}

static json_int_t figure(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

/* Nothing is said of signatures until there was somebody to make them. */
static void test_status_of_sign_workers(void **state)
{
    struct fix *f = *state;
    struct linking l = { .post = { .run = linking_run }, .fix = f };
    json_t *doc = ask(f, "GET", "/v1/status", NULL, 200), *signing, *workers, *last;
    int ends[2];

    assert_null(json_object_get(doc, "signing"));
    json_decref(doc);
    assert_ok(ipc_pair(ends));
    l.fd = ends[0];
    loop_post(f->loop, &l.post);
    doc = ask(f, "GET", "/v1/status", NULL, 200); /* posted later */
    signing = json_object_get(doc, "signing");
    workers = json_object_get(signing, "workers");
    assert_int_equal(json_array_size(workers), 3);
    last = json_array_get(workers, 2);
    assert_true(json_is_false(json_object_get(json_array_get(workers, 0), "running")));
    assert_true(json_is_true(json_object_get(last, "running")));
    assert_int_equal(figure(last, "worker"), 2);
    assert_int_equal(figure(last, "lost"), 0);
    assert_int_equal(figure(signing, "waiting"), 0);
    json_decref(doc);
    close(ends[1]); /* it died */
    do {
        doc = ask(f, "GET", "/v1/status", NULL, 200);
        signing = json_object_get(doc, "signing");
        last = json_array_get(json_object_get(signing, "workers"), 2);
        if (json_is_false(json_object_get(last, "running")))
            break;
        json_decref(doc);
    } while (true);
    assert_int_equal(figure(last, "lost"), 1);
    assert_int_equal(figure(signing, "lost"), 1);
    assert_int_equal(figure(signing, "recycled"), 0);
    json_decref(doc);
}

/* A scheduler that is stuck is told of within the time that relayctl waits. */
static void test_stuck_scheduler(void **state)
{
    struct fix *f = *state;

    end_loop(f);
    json_decref(ask(f, "GET", "/v1/status", NULL, 503));
}

/* What must be the same with the engine at work and with it down. */
static char *lasting(json_t *doc)
{
    static const char *const moving[] = { "age_ms" };
    json_t *recipient;
    size_t i;
    char *text;

    for (size_t k = 0; k < countof(moving); k++)
        json_object_del(doc, moving[k]);
    json_array_foreach(json_object_get(doc, "recipients"), i, recipient) {
        json_object_del(recipient, "state"); /* a hold route is the scheduler's knowledge */
        json_object_del(recipient, "next_attempt");
        json_object_del(recipient, "next_attempt_ms");
        json_object_del(recipient, "next_in_ms");
    }
    text = json_dumps(doc, JSON_SORT_KEYS);
    json_decref(doc);
    return text;
}

static void test_engine_down(void **state)
{
    struct fix *f = *state;
    struct queue_options qopt = { .state_dir = f->path, .clock = &clock_system, .read_only = true };
    struct source source = { .clock = &clock_system, .hostname = "mx.test", .version = "1" };
    const struct filter none = { 0 };
    char *path = path_of(f->ids[3], "");
    char *up = lasting(ask(f, "GET", path, NULL, 200)), *down;
    char *trace_up, *trace_down;
    json_t *doc = ask(f, "GET", "/v1/trace?q=s3@from.example", NULL, 200);

    trace_up = json_dumps(doc, JSON_SORT_KEYS);
    json_decref(doc);
    control_stop(f->control);
    control_stop(f->control);
    end_loop(f);
    control_free(f->control);
    dispatch_free(f->dispatch);
    queue_close(f->queue);
    f->control = NULL;
    f->dispatch = NULL;
    assert_ok(queue_open(&qopt, &f->queue));
    source.queue = f->queue;

    assert_ok(view_message(&source, f->ids[3], &doc));
    down = lasting(doc);
    assert_string_equal(down, up);
    assert_ok(view_trace(&source, SLICE("s3@from.example"), 10, &doc));
    trace_down = json_dumps(doc, JSON_SORT_KEYS);
    json_decref(doc);
    assert_string_equal(trace_down, trace_up);
    assert_ok(view_queue(&source, &none, 0, 3, &doc));
    assert_int_equal(json_array_size(json_object_get(doc, "messages")), 3);
    assert_true(json_is_string(json_object_get(doc, "next")));
    json_decref(doc);
    assert_ok(view_status(&source, &doc));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "queue"), "messages")), 5);
    assert_true(json_is_false(json_object_get(doc, "running")));
    json_decref(doc);
    assert_err(view_message(&source, 1, &doc), ERR_NOT_FOUND);
    free(path);
    free(up);
    free(down);
    free(trace_up);
    free(trace_down);
}

static void *stop_soon(void *arg)
{
    usleep(200000);
    control_stop(arg);
    return NULL;
}

/* Stopping does not wait for a scheduler that no longer answers. */
static void test_stop_while_asked(void **state)
{
    struct fix *f = *state;
    pthread_t stopper;
    uint64_t begun = clock_mono_ms(&clock_system);

    end_loop(f);
    pthread_create(&stopper, NULL, stop_soon, f->control);
    json_decref(ask(f, "GET", "/v1/status", NULL, 503));
    pthread_join(stopper, NULL);
    assert_true(clock_mono_ms(&clock_system) - begun < 3000);
    control_free(f->control);
    f->control = NULL;
}

static void test_socket(void **state)
{
    struct fix *f = *state;
    struct control_options opt = { .runtime_dir = f->path, .queue = f->queue, .dispatch = f->dispatch,
                                   .home = f->loop, .clock = &clock_system, .hostname = "second", .version = "1" };
    struct control *second = NULL;
    struct buf why = { 0 }, name = { 0 };
    struct stat st;

    assert_err(control_start(&opt, &second, &why), ERR_BUSY);
    assert_true(buf_len(&why) > 0);
    buf_printf(&name, "%s/" CONTROL_SOCKET_NAME, f->path);
    assert_int_equal(stat(buf_cstr(&name), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    control_stop(f->control);
    assert_int_not_equal(stat(buf_cstr(&name), &st), 0);
    control_free(f->control);
    f->control = NULL;
    fclose(fopen(buf_cstr(&name), "w")); /* left behind by a dead one */
    assert_ok(control_start(&opt, &f->control, &why));
    json_decref(ask(f, "GET", "/v1/status", NULL, 200));
    buf_release(&why);
    buf_release(&name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_orders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_and_sites, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dkim_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dkim_in_dns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_of_sign_workers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuck_scheduler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_while_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_down, setup, teardown),
        cmocka_unit_test_setup_teardown(test_socket, setup, teardown),
    };

    curl_global_init(CURL_GLOBAL_NOTHING);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
