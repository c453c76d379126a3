/* auth/accounts.c - a login's way from its session's loop to the accounts
 * process and back: what is asked, and what its owner hears.
 */
#include "auth/accounts_call.h"

#include "base/mem.h"

#include <string.h>

#define FRAME_REST (4u * ACCOUNTS_NAME_MAX + 256u) /* of a frame, besides response and payload */

struct accounts_login {
    struct call call;
};

/* ---- life of a call ------------------------------------------------------------------ */

static void call_init(struct call *c, struct accounts *a, enum call_kind kind, struct loop *home, void *ctx)
{
    c->a = a;
    c->kind = kind;
    c->home = home;
    c->ctx = ctx;
    c->id = atomic_fetch_add(&a->next_id, 1) + 1;
    c->to_zero.run = call_zero_look;
    c->to_home.run = call_home_look;
    pthread_mutex_lock(&a->lock);
    c->next = a->live;
    if (a->live != NULL)
        a->live->prev = c;
    a->live = c;
    pthread_mutex_unlock(&a->lock);
}

void call_answer_release(struct answer *an)
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
    call_answer_release(&c->answer);
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

void call_home_look(struct post *p)
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
    call_answer_release(&an);
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
    if (a == NULL)
        return;
    accounts_link_free(a);
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
