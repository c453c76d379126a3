/* auth/accounts_link.c - the link to the accounts process, on loop 0: sends what
 * is asked, waits for the answers, and asks again when the process is a new one.
 */
#include "auth/accounts_call.h"

#include "base/log.h"
#include "base/mem.h"

#include <unistd.h>

#define ANSWER_MS (3u * ACCOUNTS_WAIT_MS) /* it queues, hashes, and lets failures wait */
#define BACKLOG_MAX (8u * MIB)

/* ---- calls ----------------------------------------------------------------------------- */

/* With the lock. */
static void post_home(struct call *c)
{
    if (!c->home_posted)
        loop_post(c->home, &c->to_home);
    c->home_posted = true;
}

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
    call_answer_release(&c->answer);
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

void call_zero_look(struct post *p)
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

void accounts_link_free(struct accounts *a)
{
    struct call *c, *tmp;

    ipc_free(a->ipc);
    HASH_ITER (hh, a->by_id, c, tmp)
        no_longer_pending(c);
}
