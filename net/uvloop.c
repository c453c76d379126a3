/* net/uvloop.c - the turn of a real loop.
 *
 * libuv waits for the kernel and calls the streams; all they and their owners
 * left to do is done once at the end of the turn, right before the loop may
 * sleep: posts, due timers, then the output of every stream that was flushed.
 * So the replies to a burst of commands leave in one write, and an answer
 * that is there at once costs no system call to hand over.
 */
#include "net/uvinside.h"

#include "base/mem.h"
#include "net/tls.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* libuv's clock stops while the machine sleeps, ours does not: look up from
 * time to time (a wake-up a minute costs nothing). */
#define TIMER_LONGEST_MS (60 * SECOND_MS)

static struct uvloop *of_handle(void *handle)
{
    return ((uv_handle_t *)handle)->data;
}

void uvloop_enter(struct loop *l)
{
    struct uvloop *u = uvloop_of(l);

    if (!u->now_stale)
        return;
    u->now_stale = false;
    l->now_ms = clock_mono_ms(l->clock);
}

static void run_posts(struct post *p)
{
    while (p != NULL) {
        struct post *next = p->next;

        p->run(p);
        p = next;
    }
}

/* Only those that wait now: what they post comes in the next turn. */
static void run_own_posts(struct uvloop *u)
{
    struct post *p = u->own_first;

    u->own_first = NULL;
    u->own_last = &u->own_first;
    run_posts(p);
}

static void ignore_timer(uv_timer_t *t)
{
    (void)t; /* the end of the turn does the work */
}

static void ignore_idle(uv_idle_t *i)
{
    (void)i;
}

static void set_timer(struct uvloop *u)
{
    uint64_t due = timers_next(&u->loop.timers);
    uint64_t delay;

    if (due == u->timer_due_ms && uv_is_active((uv_handle_t *)&u->timer))
        return;
    u->timer_due_ms = due;
    if (due == TIMERS_NEVER) {
        uv_timer_stop(&u->timer);
        return;
    }
    delay = due > u->loop.now_ms ? due - u->loop.now_ms : 0;
    uv_timer_start(&u->timer, ignore_timer, delay < TIMER_LONGEST_MS ? delay : TIMER_LONGEST_MS, 0);
}

static void finish_turn(struct uvloop *u)
{
    uvloop_enter(&u->loop);
    run_own_posts(u);
    timers_run(&u->loop.timers, u->loop.now_ms);
    uvstream_flush_dirty(u);
    set_timer(u);
    if (u->own_first != NULL || !list_empty(&u->dirty))
        uv_idle_start(&u->awake, ignore_idle);
    else
        uv_idle_stop(&u->awake);
    u->now_stale = true;
    u->turn++;
}

static void on_end_of_turn(uv_prepare_t *h)
{
    finish_turn(of_handle(h));
}

static void on_wake(uv_async_t *h)
{
    struct uvloop *u = of_handle(h);

    uvloop_enter(&u->loop);
    run_posts(inbox_take(&u->inbox));
    if (atomic_load(&u->stop))
        uv_stop(&u->uv);
}

static void op_post(struct loop *l, struct post *p)
{
    struct uvloop *u = uvloop_of(l);

    if (atomic_load_explicit(&u->thread, memory_order_relaxed) == (uintptr_t)pthread_self()) {
        p->next = NULL;
        *u->own_last = p;
        u->own_last = &p->next;
    } else if (inbox_push(&u->inbox, p)) {
        uv_async_send(&u->wake);
    }
}

static void op_timers_changed(struct loop *l)
{
    (void)l; /* looked at before the loop sleeps */
}

static const struct loop_ops uvloop_ops = { op_post, op_timers_changed, uvstream_connect,
                                             tls_connect };

static int start_handles(struct uvloop *u)
{
    int rc = uv_async_init(&u->uv, &u->wake, on_wake);

    if (rc != 0)
        return rc;
    uv_prepare_init(&u->uv, &u->end_of_turn);
    uv_idle_init(&u->uv, &u->awake);
    uv_timer_init(&u->uv, &u->timer);
    u->wake.data = u->end_of_turn.data = u->awake.data = u->timer.data = u;
    return uv_prepare_start(&u->end_of_turn, on_end_of_turn);
}

struct err uvloop_new(unsigned index, const struct clock *clock, struct loop **out)
{
    struct uvloop *u = mem_zero(1, sizeof *u);
    int rc = uv_loop_init(&u->uv);

    if (rc != 0)
        goto fail;
    u->uv.data = u;
    rc = start_handles(u);
    if (rc != 0) {
        uv_loop_close(&u->uv);
        goto fail;
    }
    /* A peer that is gone is an error of write(), not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    list_init(&u->dirty);
    list_init(&u->starved);
    u->own_last = &u->own_first;
    u->timer_due_ms = TIMERS_NEVER;
    u->loop.ops = &uvloop_ops;
    u->loop.clock = clock;
    u->loop.index = index;
    u->loop.now_ms = clock_mono_ms(clock);
    rng_seed_system(&u->loop.rng);
    *out = &u->loop;
    return ERR_OK;
fail:
    free(u);
    return err_sys(-rc, "make event loop");
}

void uvloop_run(struct loop *l)
{
    struct uvloop *u = uvloop_of(l);

    atomic_store(&u->thread, (uintptr_t)pthread_self());
    u->now_stale = true;
    if (!atomic_load(&u->stop)) {
        uv_run(&u->uv, UV_RUN_DEFAULT);
    } else {
        uvloop_enter(l);
        run_posts(inbox_take(&u->inbox));
    }
    finish_turn(u); /* what the last callbacks had to say */
    atomic_store(&u->stop, false);
    atomic_store(&u->thread, 0);
}

void uvloop_stop(struct loop *l)
{
    struct uvloop *u = uvloop_of(l);

    atomic_store(&u->stop, true);
    uv_async_send(&u->wake);
}

static void close_left(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (h->type == UV_TCP)
        uvstream_drop(h);
    else if (h->type == UV_PROCESS && !uv_is_closing(h))
        command_drop(h);
    else if (!uv_is_closing(h))
        uv_close(h, NULL);
}

void uvloop_free(struct loop *l)
{
    struct uvloop *u;

    if (l == NULL)
        return;
    u = uvloop_of(l);
    uv_walk(&u->uv, close_left, NULL);
    uv_run(&u->uv, UV_RUN_DEFAULT);
    uv_loop_close(&u->uv);
    timers_release(&l->timers);
    free(u);
}

struct uv_loop_s *uvloop_uv(struct loop *l)
{
    return &uvloop_of(l)->uv;
}

/* ---- watching a descriptor that is no stream ---- */

struct fd_watch {
    uv_poll_t poll;
    struct loop *loop;
    fd_watch_ready *ready;
    void *ctx;
};

static void on_watch(uv_poll_t *p, int status, int events)
{
    struct fd_watch *w = container_of(p, struct fd_watch, poll);
    unsigned what = 0;

    if (status < 0 || (events & (UV_READABLE | UV_DISCONNECT)) != 0)
        what |= FD_READABLE;
    if (status < 0 || (events & UV_WRITABLE) != 0)
        what |= FD_WRITABLE;
    uvloop_enter(w->loop);
    w->ready(w->ctx, what);
}

static int watch_start(struct fd_watch *w, unsigned events)
{
    int what = 0;

    if ((events & FD_READABLE) != 0)
        what |= UV_READABLE | UV_DISCONNECT;
    if ((events & FD_WRITABLE) != 0)
        what |= UV_WRITABLE;
    return uv_poll_start(&w->poll, what, on_watch);
}

static void on_watch_closed(uv_handle_t *h)
{
    free(container_of((uv_poll_t *)h, struct fd_watch, poll));
}

struct err fd_watch_new(struct loop *l, int fd, unsigned events, fd_watch_ready *ready, void *ctx,
                        struct fd_watch **out)
{
    struct fd_watch *w = mem_new(struct fd_watch);
    int rc = uv_poll_init(uvloop_uv(l), &w->poll, fd);

    if (rc != 0) {
        free(w);
        return err_sys(-rc, "watch descriptor");
    }
    w->loop = l;
    w->ready = ready;
    w->ctx = ctx;
    rc = watch_start(w, events);
    if (rc != 0) {
        uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        return err_sys(-rc, "watch descriptor");
    }
    *out = w;
    return ERR_OK;
}

/* It can't fail on a descriptor that is watched already: the kernel hears of it later. */
void fd_watch_change(struct fd_watch *w, unsigned events)
{
    watch_start(w, events);
}

void fd_watch_free(struct fd_watch *w)
{
    if (w == NULL)
        return;
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}
