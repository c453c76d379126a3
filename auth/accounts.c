/* auth/accounts.c - a login's way from its session's loop to the accounts
 * process and back.
 *
 * A question is a struct call with two sides: its owner's loop, and loop 0,
 * which has the link. What crosses between them is under the lock of struct
 * accounts, one frame and one answer at a time; the two posts only say "look
 * again". A call is freed on its owner's loop, after loop 0 has forgotten it.
 */
#include "auth/accounts_wire.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/ipc.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define ANSWER_MS (3u * ACCOUNTS_WAIT_MS) /* it queues, hashes, and lets failures wait */
#define BACKLOG_MAX (8u * MIB)
#define FRAME_REST (4u * ACCOUNTS_NAME_MAX + 256u) /* of a frame, besides response and payload */

enum call_kind { CALL_LOGIN, CALL_CHARGE, CALL_ADMIN };

struct answer { /* an ACCOUNTS_WIRE message of our own */
    struct accounts_wire wire;
    char *bytes;
};

struct call {
    struct accounts *a;
    enum call_kind kind;
    uint64_t id;
    struct loop *home;
    struct call *prev, *next; /* all that live; under the lock */

    /* home */
    bool gone; /* its owner wants to hear no more */
    unsigned steps;
    void *ctx;
    void (*login_done)(void *ctx, const struct accounts_answer *answer);
    void (*charge_done)(void *ctx, bool ok, const char *why);
    struct accounts_wire first; /* LOGIN: who and how; its slices are in names */
    char *names;

    /* crossing, under the lock */
    struct post to_zero, to_home;
    bool zero_posted, home_posted;
    struct buf frame;  /* to be sent; kept until answered */
    bool asked, cancelled, forgotten;
    bool answered;
    struct answer answer;

    /* loop 0 */
    bool pending;       /* waits for a link or an answer */
    bool begun;         /* LOGIN: beyond its first step */
    uint64_t link;      /* that the frame went out by; 0 = none yet */
    uint64_t home_link; /* LOGIN: the one that knows the dialogue; 0 = none */
    struct timer timer;
    UT_hash_handle hh;
};

struct accounts_login {
    struct call call;
};

struct accounts {
    struct loop *home;
    pthread_mutex_t lock;
    pthread_cond_t told; /* for accounts_admin_ask */
    struct call *live;
    _Atomic uint64_t next_id, generation;
    atomic_bool scram, expected;
    /* home */
    struct ipc *ipc;
    uint64_t link_serial;
    bool down_told;
    struct call *by_id; /* pending ones */
};

/* ---- life of a call ------------------------------------------------------------------ */

static void zero_look(struct post *p);
static void home_look(struct post *p);

static void call_init(struct call *c, struct accounts *a, enum call_kind kind, struct loop *home, void *ctx)
{
    c->a = a;
    c->kind = kind;
    c->home = home;
    c->ctx = ctx;
    c->id = atomic_fetch_add(&a->next_id, 1) + 1;
    c->to_zero.run = zero_look;
    c->to_home.run = home_look;
    pthread_mutex_lock(&a->lock);
    c->next = a->live;
    if (a->live != NULL)
        a->live->prev = c;
    a->live = c;
    pthread_mutex_unlock(&a->lock);
}

static void answer_release(struct answer *an)
{
    free(an->bytes);
    an->bytes = NULL;
}

/* With the lock, or when no loop runs any more. */
static void call_free(struct call *c)
{
    struct accounts *a = c->a;

    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        a->live = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    buf_wipe(&c->frame);
    answer_release(&c->answer);
    free(c->names);
    if (c->kind == CALL_LOGIN)
        free(container_of(c, struct accounts_login, call));
    else
        free(c);
}

/* With the lock. */
static void post_zero(struct call *c)
{
    if (!c->zero_posted)
        loop_post(c->a->home, &c->to_zero);
    c->zero_posted = true;
}

static void post_home(struct call *c)
{
    if (!c->home_posted)
        loop_post(c->home, &c->to_home);
    c->home_posted = true;
}

static void call_ask(struct call *c, const struct accounts_wire *w)
{
    pthread_mutex_lock(&c->a->lock);
    buf_wipe(&c->frame);
    buf_reserve(&c->frame, w->response.len + w->payload.len + FRAME_REST); /* growing would leave secrets behind */
    accounts_wire_put(&c->frame, w);
    c->asked = true;
    post_zero(c);
    pthread_mutex_unlock(&c->a->lock);
}

static void call_cancel(struct call *c)
{
    c->gone = true;
    pthread_mutex_lock(&c->a->lock);
    c->cancelled = true;
    post_zero(c);
    pthread_mutex_unlock(&c->a->lock);
}

/* ---- loop 0 ---------------------------------------------------------------------------- */

static void no_longer_pending(struct call *c)
{
    if (!c->pending)
        return;
    c->pending = false;
    HASH_DEL(c->a->by_id, c);
    loop_disarm(c->a->home, &c->timer);
}

static void give_answer(struct call *c, const struct answer *an)
{
    no_longer_pending(c);
    c->begun = true;
    pthread_mutex_lock(&c->a->lock);
    buf_wipe(&c->frame);
    answer_release(&c->answer);
    c->answer = *an;
    c->answered = true;
    post_home(c);
    pthread_mutex_unlock(&c->a->lock);
}

static void give_verdict(struct call *c, enum accounts_verdict verdict)
{
    struct answer an = { .wire = { .verdict = verdict, .why = SLICE("4.7.0 accounts can't be asked now, try again later") } };

    switch (c->kind) {
    case CALL_LOGIN:
        an.wire.type = ACCOUNTS_WIRE_ANSWER;
        break;
    case CALL_CHARGE:
        an.wire.type = ACCOUNTS_WIRE_CHARGED;
        break;
    case CALL_ADMIN: /* an empty answer is none */
        an.wire.type = ACCOUNTS_WIRE_ADMIN_ANSWER;
        break;
    }
    give_answer(c, &an);
}

static void send_cancel(struct call *c)
{
    struct accounts_wire w = { .type = ACCOUNTS_WIRE_CANCEL, .id = c->id };
    struct buf b = { 0 };

    if (c->a->ipc == NULL || c->kind != CALL_LOGIN || c->home_link != c->a->link_serial)
        return;
    accounts_wire_put(&b, &w);
    ipc_send(c->a->ipc, buf_bytes(&b), -1);
    buf_release(&b);
}

static void call_timed_out(struct timer *t)
{
    struct call *c = container_of(t, struct call, timer);

    send_cancel(c);
    c->home_link = 0;
    if (c->link != 0)
        log_warning("accounts", "no answer within %u s", ANSWER_MS / 1000);
    give_verdict(c, ACCOUNTS_TEMPFAIL);
}

/* Whether the question may go out by the link there is now, or by the next. A
 * dialogue lives in the process that began it and ends with it; a change may
 * have been made already. */
static bool may_send(const struct call *c)
{
    if (c->kind == CALL_LOGIN)
        return c->home_link == 0 || (c->a->ipc != NULL && c->home_link == c->a->link_serial);
    return c->kind != CALL_ADMIN || c->link == 0;
}

static void call_send(struct call *c)
{
    struct accounts *a = c->a;

    if (ipc_backlog(a->ipc) > BACKLOG_MAX) {
        give_verdict(c, ACCOUNTS_LATER);
        return;
    }
    c->link = a->link_serial;
    if (c->kind == CALL_LOGIN)
        c->home_link = a->link_serial;
    loop_arm(a->home, &c->timer, ANSWER_MS);
    pthread_mutex_lock(&a->lock);
    ipc_send(a->ipc, buf_bytes(&c->frame), -1);
    pthread_mutex_unlock(&a->lock);
}

static void call_begin(struct call *c)
{
    struct accounts *a = c->a;

    c->pending = true;
    c->link = 0;
    c->timer.fire = call_timed_out;
    HASH_ADD(hh, a->by_id, id, sizeof c->id, c);
    if (!may_send(c))
        give_verdict(c, ACCOUNTS_TEMPFAIL);
    else if (a->ipc != NULL)
        call_send(c);
    else
        loop_arm(a->home, &c->timer, ACCOUNTS_WAIT_MS);
}

static void zero_look(struct post *p)
{
    struct call *c = container_of(p, struct call, to_zero);
    bool asked, cancelled;

    pthread_mutex_lock(&c->a->lock);
    c->zero_posted = false;
    asked = c->asked;
    cancelled = c->cancelled;
    c->asked = false;
    pthread_mutex_unlock(&c->a->lock);
    if (!cancelled) {
        if (asked)
            call_begin(c);
        return;
    }
    send_cancel(c);
    no_longer_pending(c);
    pthread_mutex_lock(&c->a->lock);
    c->forgotten = true; /* the owner's loop frees it */
    post_home(c);
    pthread_mutex_unlock(&c->a->lock);
}

/* ---- the link ---------------------------------------------------------------------------- */

static void link_lost(struct accounts *a, struct err why)
{
    struct call *c, *tmp;
    char text[256];

    ipc_free(a->ipc);
    a->ipc = NULL;
    if (!a->down_told)
        log_warning("accounts", "the accounts process is gone (%s); logins wait for the next",
                    err_text(why, text, sizeof text));
    a->down_told = true;
    HASH_ITER (hh, a->by_id, c, tmp) {
        /* A first step knew nothing but the client, which we still do. */
        if (!c->begun)
            c->home_link = 0;
        if (c->kind == CALL_ADMIN || (c->kind == CALL_LOGIN && c->home_link != 0))
            give_verdict(c, ACCOUNTS_TEMPFAIL);
        else
            loop_arm(a->home, &c->timer, ACCOUNTS_WAIT_MS);
    }
}

/* A copy that outlives the frame: the bytes, decoded once more in place. */
static void answer_copy(struct slice frame, struct answer *an)
{
    an->bytes = mem_dup(frame.ptr, frame.len);
    if (err_failed(accounts_wire_get(slice_make(an->bytes, frame.len), &an->wire)))
        abort(); /* it was read a moment ago */
}

static bool answer_fits(const struct call *c, enum accounts_wire_type type)
{
    switch (type) {
    case ACCOUNTS_WIRE_ANSWER:
        return c->kind == CALL_LOGIN;
    case ACCOUNTS_WIRE_CHARGED:
        return c->kind == CALL_CHARGE;
    case ACCOUNTS_WIRE_ADMIN_ANSWER:
        return c->kind == CALL_ADMIN;
    default:
        return false;
    }
}

static void link_message(void *ctx, struct slice payload, int fd)
{
    struct accounts *a = ctx;
    struct accounts_wire w;
    struct answer an;
    struct call *c;
    struct err e = accounts_wire_get(payload, &w);

    if (!err_failed(e) && (fd >= 0 || w.type < ACCOUNTS_WIRE_HELLO))
        e = err_make(ERR_PROTOCOL, "accounts link: not a message of the accounts process");
    if (fd >= 0)
        close(fd);
    if (err_failed(e)) {
        link_lost(a, e);
        return;
    }
    if (w.type == ACCOUNTS_WIRE_HELLO) {
        atomic_store(&a->generation, w.generation);
        return;
    }
    HASH_FIND(hh, a->by_id, &w.id, sizeof w.id, c);
    if (c == NULL)
        return; /* it was cancelled, or had waited too long */
    if (!answer_fits(c, w.type)) {
        link_lost(a, err_make(ERR_PROTOCOL, "accounts link: an answer to another question"));
        return;
    }
    answer_copy(payload, &an);
    give_answer(c, &an);
}

static void link_closed(void *ctx, struct err why)
{
    link_lost(ctx, why);
}

void accounts_link(struct accounts *a, int fd)
{
    static const struct ipc_events events = { link_message, link_closed };
    struct call *c, *tmp;
    char text[256];
    struct err e;

    if (a->ipc != NULL)
        link_lost(a, err_make(ERR_CLOSED, "replaced by a new link"));
    e = ipc_new(a->home, fd, &events, a, &a->ipc);
    if (err_failed(e)) {
        a->ipc = NULL;
        log_error("accounts", "link to the accounts process: %s", err_text(e, text, sizeof text));
        return;
    }
    a->link_serial++;
    a->down_told = false;
    HASH_ITER (hh, a->by_id, c, tmp)
        call_send(c);
}

/* ---- the owner's loop ---------------------------------------------------------------------- */

static void tell_login(struct call *c, const struct accounts_wire *w)
{
    const char *senders[ACCOUNTS_SENDERS_MAX];
    struct buf names = { 0 };
    size_t at[ACCOUNTS_SENDERS_MAX + 1];
    struct accounts_answer out = {
        .verdict = w->verdict,
        .challenge = w->challenge,
        .senders = senders,
        .sender_count = w->sender_count,
        .sender_any = w->sender_any,
        .messages_per_hour = w->messages_per_hour,
        .recipients_per_hour = w->recipients_per_hour,
    };

    for (size_t i = 0; i < w->sender_count; i++) {
        at[i] = buf_len(&names);
        buf_add(&names, w->senders[i]);
        buf_add_byte(&names, '\0');
    }
    at[w->sender_count] = buf_len(&names);
    buf_add(&names, w->user);
    buf_cstr(&names);
    for (size_t i = 0; i < w->sender_count; i++)
        senders[i] = names.ptr + at[i];
    out.user = names.ptr + at[w->sender_count];
    c->login_done(c->ctx, &out);
    buf_release(&names);
}

static void tell_owner(struct call *c, const struct accounts_wire *w)
{
    char why[ACCOUNTS_WHY_MAX + 1];

    if (c->kind == CALL_LOGIN) {
        tell_login(c, w);
        return;
    }
    memcpy(why, w->why.len != 0 ? w->why.ptr : "", w->why.len);
    why[w->why.len] = '\0';
    c->charge_done(c->ctx, w->ok, why);
    call_cancel(c); /* nothing more to ask */
}

static void home_look(struct post *p)
{
    struct call *c = container_of(p, struct call, to_home);
    struct accounts *a = c->a;
    struct answer an = { 0 };
    bool answered;

    pthread_mutex_lock(&a->lock);
    c->home_posted = false;
    if (c->kind == CALL_ADMIN && !c->forgotten) { /* the asking thread takes it */
        pthread_cond_broadcast(&a->told);
        pthread_mutex_unlock(&a->lock);
        return;
    }
    if (c->forgotten) {
        call_free(c);
        pthread_mutex_unlock(&a->lock);
        return;
    }
    answered = c->answered;
    if (answered) {
        an = c->answer;
        c->answer = (struct answer){ 0 };
        c->answered = false;
    }
    pthread_mutex_unlock(&a->lock);
    if (answered && !c->gone)
        tell_owner(c, &an.wire);
    answer_release(&an);
}

/* ---- logins -------------------------------------------------------------------------------- */

/* One allocation for all that the first frame names. */
static void keep_names(struct call *c, const struct accounts_client *client)
{
    struct slice *const fields[] = { &c->first.mechanism, &c->first.service, &c->first.binding, &c->first.external };
    const struct slice given[] = {
        slice_head(slice_str(client->mechanism), ACCOUNTS_NAME_MAX), /* longer: unknown all the same */
        slice_head(slice_str(client->service), ACCOUNTS_NAME_MAX),
        client->binding.len <= ACCOUNTS_BINDING_MAX ? client->binding : SLICE_EMPTY,
        slice_str(client->external),
    };
    size_t total = 0;

    for (size_t i = 0; i < countof(given); i++)
        total += given[i].len;
    c->names = mem_alloc(total + 1);
    total = 0;
    for (size_t i = 0; i < countof(given); i++) {
        if (given[i].len != 0)
            memcpy(c->names + total, given[i].ptr, given[i].len);
        *fields[i] = slice_make(c->names + total, given[i].len);
        total += given[i].len;
    }
}

struct accounts_login *accounts_login_new(struct accounts *a, struct loop *home, const struct accounts_client *client,
                                          void (*done)(void *ctx, const struct accounts_answer *answer), void *ctx)
{
    struct accounts_login *l = mem_new(struct accounts_login);
    struct call *c = &l->call;

    call_init(c, a, CALL_LOGIN, home, ctx);
    c->login_done = done;
    c->first = (struct accounts_wire){
        .type = ACCOUNTS_WIRE_LOGIN,
        .id = c->id,
        .has_external = client->external != NULL && strlen(client->external) <= ACCOUNTS_NAME_MAX,
        .tls = client->tls,
        .clear_ok = client->clear_ok,
        .addr = client->addr,
    };
    keep_names(c, client);
    if (!c->first.has_external)
        c->first.external = SLICE_EMPTY;
    return l;
}

void accounts_login_step(struct accounts_login *l, struct slice response, bool has_response)
{
    struct call *c = &l->call;
    struct accounts_wire step = { .type = ACCOUNTS_WIRE_STEP, .id = c->id };
    struct accounts_wire *w = c->steps++ == 0 ? &c->first : &step;

    w->has_response = has_response;
    w->response = has_response ? slice_head(response, ACCOUNTS_RESPONSE_MAX) : SLICE_EMPTY;
    call_ask(c, w);
    w->response = SLICE_EMPTY;
}

void accounts_login_free(struct accounts_login *l)
{
    if (l != NULL)
        call_cancel(&l->call);
}

/* ---- one question, one answer ---------------------------------------------------------------- */

void accounts_charge(struct accounts *a, struct loop *home, const char *user, unsigned recipients,
                     void (*done)(void *ctx, bool ok, const char *why), void *ctx)
{
    struct call *c = mem_new(struct call);
    struct accounts_wire w = { .type = ACCOUNTS_WIRE_CHARGE,
                               .user = slice_head(slice_str(user), ACCOUNTS_NAME_MAX),
                               .recipients = recipients };

    call_init(c, a, CALL_CHARGE, home, ctx);
    c->charge_done = done;
    w.id = c->id;
    call_ask(c, &w);
}

struct err accounts_admin_ask(struct accounts *a, struct slice request, uint64_t wait_ms, struct buf *answer)
{
    struct call *c;
    struct accounts_wire w = { .type = ACCOUNTS_WIRE_ADMIN, .payload = request };
    struct err e = ERR_OK;
    uint64_t until;
    bool in_time = true;

    if (request.len > ACCOUNTS_ADMIN_MAX)
        return err_make(ERR_LIMIT, "the request is too large");
    c = mem_new(struct call);
    call_init(c, a, CALL_ADMIN, a->home, NULL);
    w.id = c->id;
    call_ask(c, &w);
    until = cond_deadline_ms(wait_ms);
    pthread_mutex_lock(&a->lock);
    while (!c->answered && in_time)
        in_time = cond_wait_until(&a->told, &a->lock, until);
    if (!c->answered)
        e = err_make(ERR_TIMEOUT, "the accounts process does not answer");
    else if (c->answer.wire.payload.len == 0)
        e = err_make(ERR_CLOSED, "the accounts process ended before it answered");
    else
        buf_add(answer, c->answer.wire.payload);
    c->cancelled = true;
    post_zero(c);
    pthread_mutex_unlock(&a->lock);
    return e;
}

/* ---- all of it --------------------------------------------------------------------------------- */

struct accounts *accounts_new(struct loop *home)
{
    struct accounts *a = mem_new(struct accounts);

    a->home = home;
    a->down_told = true; /* there has been none yet */
    atomic_store(&a->scram, true);
    pthread_mutex_init(&a->lock, NULL);
    cond_init(&a->told);
    return a;
}

void accounts_free(struct accounts *a)
{
    struct call *c, *tmp;

    if (a == NULL)
        return;
    ipc_free(a->ipc);
    HASH_ITER (hh, a->by_id, c, tmp)
        no_longer_pending(c);
    while (a->live != NULL)
        call_free(a->live);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->told);
    free(a);
}

void accounts_expect(struct accounts *a, bool on)
{
    atomic_store(&a->expected, on);
}

bool accounts_expected(const struct accounts *a)
{
    return atomic_load(&a->expected);
}

void accounts_set_scram(struct accounts *a, bool on)
{
    atomic_store(&a->scram, on);
}

uint64_t accounts_generation(const struct accounts *a)
{
    return atomic_load(&a->generation);
}

const char *accounts_mechanisms(const struct accounts *a, bool tls, bool clear_ok, bool binding, bool external)
{
    /* SCRAM first: a client that takes the first it knows sends no password. */
    static const char *const lists[2][2][2][2] = { /* scram, password, binding, external */
        { { { "", "EXTERNAL" }, { "", "EXTERNAL" } },
          { { "PLAIN LOGIN", "EXTERNAL PLAIN LOGIN" }, { "PLAIN LOGIN", "EXTERNAL PLAIN LOGIN" } } },
        { { { "SCRAM-SHA-256", "EXTERNAL SCRAM-SHA-256" },
            { "SCRAM-SHA-256-PLUS SCRAM-SHA-256", "EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256" } },
          { { "SCRAM-SHA-256 PLAIN LOGIN", "EXTERNAL SCRAM-SHA-256 PLAIN LOGIN" },
            { "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN",
              "EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" } } },
    };

    return lists[atomic_load(&a->scram)][tls || clear_ok][tls && binding][tls && external];
}
