/* control/live.c - from a control thread to loop 0 and back. */
#include "control/live.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>

#define LOOK_STEP 1000u /* recipients a call: about a millisecond of loop 0 */
#define ORDER_STEP 200u

struct live {
    struct loop *home;
    struct dispatch *dispatch;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct live_call *calls; /* posted and not yet run */
    bool closed;
};

struct live *live_new(struct loop *home, struct dispatch *d)
{
    struct live *l = mem_new(struct live);

    l->home = home;
    l->dispatch = d;
    pthread_mutex_init(&l->lock, NULL);
    cond_init(&l->changed);
    return l;
}

void live_close(struct live *l)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static void unlink_call(struct live *l, struct live_call *c)
{
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        l->calls = c->next;
}

void live_free(struct live *l)
{
    if (l == NULL)
        return;
    while (l->calls != NULL) {
        struct live_call *c = l->calls;

        unlink_call(l, c);
        c->free(c);
    }
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    free(l);
}

/* Loop 0. The lock is held while the dispatcher is asked, so that once
 * live_close() has returned it is left alone. */
static void call_run(struct post *p)
{
    struct live_call *c = container_of(p, struct live_call, post);
    struct live *l = c->live;
    bool given_up;

    pthread_mutex_lock(&l->lock);
    unlink_call(l, c);
    given_up = c->given_up;
    if (!given_up) {
        c->refused = l->closed;
        if (!c->refused)
            c->run(c, l->dispatch);
        c->finished = true; /* the asker owns it again */
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    if (given_up)
        c->free(c);
}

/* With the lock. True when the call has come back. */
static bool wait_for(struct live *l, struct live_call *c)
{
    uint64_t until = cond_deadline_ms(LIVE_WAIT_MS);
    bool in_time = true;

    while (!c->finished && !l->closed && in_time)
        in_time = cond_wait_until(&l->changed, &l->lock, until);
    c->given_up = !c->finished; /* then call_run or live_free frees it */
    return c->finished;
}

struct err live_ask(struct live *l, struct live_call *c)
{
    struct err e = ERR_OK;
    bool mine = true;

    c->live = l;
    c->post.run = call_run;
    pthread_mutex_lock(&l->lock);
    if (l->closed) {
        c->refused = true;
    } else {
        c->next = l->calls;
        if (l->calls != NULL)
            l->calls->prev = c;
        l->calls = c;
        loop_post(l->home, &c->post);
        mine = wait_for(l, c);
    }
    if (l->closed)
        e = err_make(ERR_CANCELLED, "the engine is stopping");
    else if (!mine)
        e = err_make(ERR_TIMEOUT, "the scheduler does not answer");
    if (mine && !c->refused)
        e = ERR_OK;
    pthread_mutex_unlock(&l->lock);
    if (mine && err_failed(e))
        c->free(c);
    return e;
}

/* ---- views ------------------------------------------------------------------ */

struct look_call {
    struct live_call call; /* first */
    struct live_view *views;
    size_t count;
};

static char *copy_or_null(const char *s)
{
    return s != NULL ? mem_str(s) : NULL;
}

static void look_run(struct live_call *c, struct dispatch *d)
{
    struct look_call *look = (struct look_call *)c;

    for (size_t i = 0; i < look->count; i++) {
        struct live_view *v = &look->views[i];
        struct dispatch_view seen;

        v->known = dispatch_view(d, v->id, v->n, &seen);
        if (!v->known)
            continue;
        v->state = seen.state;
        v->next_in_ms = seen.next_in_ms;
        v->site = copy_or_null(seen.site);
        v->site_error = copy_or_null(seen.site_error);
        v->site_down_for_ms = seen.site_down_for_ms;
    }
}

void live_view_release(struct live_view *v)
{
    free(v->site);
    free(v->site_error);
    v->site = v->site_error = NULL;
}

static void look_free(struct live_call *c)
{
    struct look_call *look = (struct look_call *)c;

    for (size_t i = 0; i < look->count; i++)
        live_view_release(&look->views[i]);
    free(look->views);
    free(look);
}

static struct err look_some(struct live *l, struct live_view *views, size_t count)
{
    struct look_call *look = mem_new(struct look_call);
    struct err e;

    look->call.run = look_run;
    look->call.free = look_free;
    look->views = mem_zero(count, sizeof *views);
    look->count = count;
    for (size_t i = 0; i < count; i++)
        look->views[i] = (struct live_view){ .id = views[i].id, .n = views[i].n };
    e = live_ask(l, &look->call);
    if (err_failed(e))
        return e;
    memcpy(views, look->views, count * sizeof *views); /* the texts change hands */
    look->count = 0;
    look_free(&look->call);
    return ERR_OK;
}

struct err live_look(struct live *l, struct live_view *views, size_t count)
{
    struct err e = ERR_OK;

    for (size_t at = 0; at < count && !err_failed(e); at += LOOK_STEP)
        e = look_some(l, views + at, count - at < LOOK_STEP ? count - at : LOOK_STEP);
    return e;
}

/* ---- orders ------------------------------------------------------------------- */

struct order_call {
    struct live_call call; /* first */
    uint64_t *ids;
    size_t count;
    enum dispatch_order order;
    struct dispatch_answer answer;
};

static void order_run(struct live_call *c, struct dispatch *d)
{
    struct order_call *o = (struct order_call *)c;

    for (size_t i = 0; i < o->count; i++)
        dispatch_order(d, o->ids[i], o->order, &o->answer);
}

static void order_free(struct live_call *c)
{
    struct order_call *o = (struct order_call *)c;

    free(o->ids);
    free(o);
}

static struct err order_some(struct live *l, const uint64_t *ids, size_t count, enum dispatch_order order,
                             struct dispatch_answer *out)
{
    struct order_call *o = mem_new(struct order_call);
    struct err e;

    o->call.run = order_run;
    o->call.free = order_free;
    o->ids = mem_zero(count, sizeof *ids);
    memcpy(o->ids, ids, count * sizeof *ids);
    o->count = count;
    o->order = order;
    e = live_ask(l, &o->call);
    if (err_failed(e))
        return e;
    out->messages += o->answer.messages;
    out->recipients += o->answer.recipients;
    out->busy += o->answer.busy;
    order_free(&o->call);
    return ERR_OK;
}

struct err live_order(struct live *l, const uint64_t *ids, size_t count, enum dispatch_order order,
                      struct dispatch_answer *out)
{
    struct err e = ERR_OK;

    for (size_t at = 0; at < count && !err_failed(e); at += ORDER_STEP)
        e = order_some(l, ids + at, count - at < ORDER_STEP ? count - at : ORDER_STEP, order, out);
    return e;
}
