/* tests/sim/loop.c - loops and connections without a kernel: posts, timers and
 * bytes come in an order that the dice choose, late and in pieces.
 */
#include "tests/sim/sim.h"

#include <errno.h>

#define WINDOW (64u * KIB) /* in flight before a writer has to wait */

/* ---- pipes ------------------------------------------------------------------- */

static void pipe_arm(struct sim *sim, struct pipe *p)
{
    if (p->first != NULL)
        timers_arm(&sim->timers, &p->timer,
                   p->first->at_ms > sim->now_ms ? p->first->at_ms : sim->now_ms);
}

static void pipe_add(struct sim *sim, struct pipe *p, struct slice bytes, bool fin, uint64_t at_ms)
{
    struct chunk *c = mem_new(struct chunk);

    if (at_ms < p->busy_until_ms)
        at_ms = p->busy_until_ms;
    p->busy_until_ms = at_ms;
    c->at_ms = at_ms;
    c->fin = fin;
    buf_add(&c->bytes, bytes);
    p->in_flight += bytes.len;
    if (p->first == NULL)
        p->first = c;
    else
        p->last->next = c;
    p->last = c;
    if (p->first == c)
        pipe_arm(sim, p);
}

/* In pieces, cut anywhere. */
static void pipe_write(struct sim *sim, struct pipe *p, struct slice bytes, uint64_t delay_ms,
                       unsigned latency_ms)
{
    while (bytes.len > 0) {
        size_t piece = chance(sim, 60) ? bytes.len : 1 + roll(sim, bytes.len);

        pipe_add(sim, p, slice_head(bytes, piece), false,
                 sim->now_ms + delay_ms + 1 + roll(sim, latency_ms + 1));
        bytes = slice_from(bytes, piece);
    }
}

static struct chunk *pipe_take(struct sim *sim, struct pipe *p)
{
    struct chunk *c = p->first;

    if (c == NULL || c->at_ms > sim->now_ms)
        return NULL;
    p->first = c->next;
    p->in_flight -= buf_len(&c->bytes);
    return c;
}

static void pipe_drop(struct sim *sim, struct pipe *p)
{
    while (p->first != NULL) {
        struct chunk *c = p->first;

        p->first = c->next;
        buf_release(&c->bytes);
        free(c);
    }
    p->in_flight = 0;
    timers_disarm(&sim->timers, &p->timer);
}

/* ---- the world's end ------------------------------------------------------------ */

static void marks_drop(struct wire *w)
{
    while (w->marks != NULL) {
        struct mark *m = w->marks;

        w->marks = m->next;
        free(m->about);
        free(m);
    }
}

static void wire_free_if_done(struct wire *w)
{
    if (w->refs != 0)
        return;
    pipe_drop(w->sim, &w->up);
    pipe_drop(w->sim, &w->down);
    timers_disarm(&w->sim->timers, &w->opening_timer);
    timers_disarm(&w->sim->timers, &w->shake_timer);
    marks_drop(w);
    buf_release(&w->in);
    buf_release(&w->s.out);
    free(w);
}

void wire_unref(struct wire *w)
{
    w->refs--;
    w->peer_gone = true;
    pipe_drop(w->sim, &w->up);
    wire_free_if_done(w);
}

static void peer_ended(struct wire *w)
{
    if (w->peer_told || w->peer_gone)
        return;
    w->peer_told = true;
    w->peer->ended(w->peer_ctx);
}

static void up_fire(struct timer *t)
{
    struct wire *w = container_of(t, struct wire, up.timer);
    struct sim *sim = w->sim;
    struct chunk *c;

    w->refs++;
    while ((c = pipe_take(sim, &w->up)) != NULL) {
        if (!w->peer_gone && !w->hole && !w->peer_told && buf_len(&c->bytes) > 0)
            w->peer->data(w->peer_ctx, buf_bytes(&c->bytes));
        if (c->fin)
            peer_ended(w);
        buf_release(&c->bytes);
        free(c);
    }
    pipe_arm(sim, &w->up);
    if (w->undrained && w->up.in_flight <= WINDOW && !w->engine_closed) {
        w->undrained = false;
        w->drained_due = true;
        w->s.out_under_way = 0;
        w->loop->io = true;
    }
    w->refs--;
    wire_free_if_done(w);
}

static void down_fire(struct timer *t)
{
    struct wire *w = container_of(t, struct wire, down.timer);
    struct chunk *c;

    while ((c = pipe_take(w->sim, &w->down)) != NULL) {
        if (!w->engine_closed && !w->hole) {
            buf_add(&w->in, buf_bytes(&c->bytes));
            if (c->fin && !w->end_due) {
                w->end_due = true;
                w->end_why = err_make(ERR_CLOSED, "end of file");
            }
            w->loop->io = true;
        }
        buf_release(&c->bytes);
        free(c);
    }
    pipe_arm(w->sim, &w->down);
}

void wire_send(struct wire *w, struct slice bytes, uint64_t delay_ms)
{
    if (w->hole || w->peer_told)
        return;
    w->down_total += bytes.len;
    pipe_write(w->sim, &w->down, bytes, delay_ms, w->latency_ms);
}

void wire_mark(struct wire *w, struct mark *m)
{
    m->offset = w->down_total;
    m->next = NULL;
    if (w->marks == NULL)
        w->marks = m;
    else
        w->marks_last->next = m;
    w->marks_last = m;
}

void wire_fin(struct wire *w, uint64_t delay_ms)
{
    if (!w->hole)
        pipe_add(w->sim, &w->down, SLICE_EMPTY, true,
                 w->sim->now_ms + delay_ms + 1 + roll(w->sim, w->latency_ms + 1));
}

/* What is on its way is lost, but for our own notice of the engine's end. */
static void lose_all(struct wire *w)
{
    pipe_drop(w->sim, &w->up);
    pipe_drop(w->sim, &w->down);
    if (w->engine_closed)
        pipe_add(w->sim, &w->up, SLICE_EMPTY, true, w->sim->now_ms + 1);
}

void wire_reset(struct wire *w)
{
    lose_all(w);
    if (!w->engine_closed && !w->end_due) {
        w->end_due = true;
        w->end_why = err_sys(ECONNRESET, "read");
        w->end_why.kind = ERR_CLOSED;
        w->loop->io = true;
    }
}

void wire_hole(struct wire *w)
{
    w->hole = true;
    lose_all(w);
}

/* ---- the engine's end ------------------------------------------------------------- */

static struct wire *wire_of(struct stream *s)
{
    return container_of(s, struct wire, s);
}

static void do_flush(struct stream *s)
{
    struct wire *w = wire_of(s);

    w->flush_due = true;
    w->loop->io = true;
}

static void do_pause(struct stream *s, bool on)
{
    struct wire *w = wire_of(s);

    w->paused = on;
    w->loop->io = true;
}

static void do_deadline(struct stream *s, uint64_t in_ms)
{
    struct wire *w = wire_of(s);

    if (in_ms == 0 || w->told)
        loop_disarm(&w->loop->base, &w->deadline);
    else
        loop_arm(&w->loop->base, &w->deadline, in_ms);
}

static void engine_heard(struct wire *w)
{
    if (!w->peer_gone && w->peer != NULL && w->peer->unheard != NULL)
        w->peer->unheard(w->peer_ctx);
}

void wire_write_out(struct wire *w)
{
    size_t len = buf_len(&w->s.out);

    w->flush_due = false;
    if (len == 0)
        return;
    if (!w->hole)
        pipe_write(w->sim, &w->up, buf_bytes(&w->s.out), 0, w->latency_ms);
    else
        w->up.in_flight += len; /* nobody takes it */
    buf_clear(&w->s.out);
    if (w->up.in_flight <= WINDOW)
        w->drained_due = true;
    else
        w->undrained = true;
    w->s.out_under_way = w->undrained ? w->up.in_flight : 0;
    w->loop->io = true;
}

static void do_close(struct stream *s, bool finish)
{
    struct wire *w = wire_of(s);
    struct sim *sim = w->sim;

    if (w->engine_closed)
        broken(sim, "a stream was closed twice");
    loop_disarm(&w->loop->base, &w->deadline);
    timers_disarm(&sim->timers, &w->opening_timer);
    timers_disarm(&sim->timers, &w->shake_timer);
    if (!w->told)
        engine_heard(w);
    if (finish && w->open)
        wire_write_out(w);
    w->engine_closed = true;
    w->loop->io = true; /* it is freed at the end of the turn */
    if (w->open)
        pipe_add(sim, &w->up, SLICE_EMPTY, true, sim->now_ms + 1 + roll(sim, w->latency_ms + 1));
}

static const struct stream_ops stream_ops = { do_flush, do_pause, do_deadline, do_close };

static void deadline_fire(struct timer *t)
{
    struct wire *w = container_of(t, struct wire, deadline);

    if (w->told || w->engine_closed)
        return;
    w->told = true;
    engine_heard(w);
    /* As net/tls.h has it: a handshake leaves no way to say anything more. */
    w->s.events->closed(w->s.ctx, w->securing ? (struct err){ ERR_TIMEOUT, ETIMEDOUT, "deadline" }
                                              : err_make(ERR_TIMEOUT, "deadline"));
}

static struct wire *wire_new(struct sim_loop *l, const struct net_addr *remote)
{
    struct wire *w = mem_new(struct wire);

    w->sim = l->sim;
    w->loop = l;
    w->s.ops = &stream_ops;
    w->s.loop = &l->base;
    w->s.remote = *remote;
    w->deadline.fire = deadline_fire;
    w->up.timer.fire = up_fire;
    w->down.timer.fire = down_fire;
    w->latency_ms = (unsigned)roll(l->sim, chance(l->sim, 10) ? 800 : 60);
    w->refs = 1; /* the engine's end */
    list_append(&l->wires, &w->link);
    return w;
}

struct wire *wire_accept(struct sim_loop *l, const struct net_addr *client,
                         const struct peer_ops *peer, void *ctx, void (*accepted)(struct wire *w))
{
    struct wire *w = wire_new(l, client);

    w->open = true;
    w->accepted = accepted;
    l->io = true;
    w->peer = peer;
    w->peer_ctx = ctx;
    w->refs++;
    return w;
}

static void opening_fire(struct timer *t)
{
    struct wire *w = container_of(t, struct wire, opening_timer);
    enum mode mode = w->host != NULL ? host_mode(w->host) : MODE_SILENT;

    w->opening = false;
    if (mode == MODE_REFUSE) {
        w->end_due = true;
        w->end_why = err_sys(ECONNREFUSED, "connect");
        w->end_why.kind = ERR_SYSTEM;
    } else if (mode == MODE_SILENT || mode == MODE_NO_ROUTE) {
        return; /* until the deadline */
    } else {
        w->opened_due = true;
    }
    w->loop->io = true;
}

static struct err do_connect(struct loop *l, const struct net_addr *to, const struct net_addr *from,
                             const struct stream_events *events, void *ctx, struct stream **out)
{
    struct sim_loop *sl = container_of(l, struct sim_loop, base);
    struct sim *sim = sl->sim;
    struct host *h = host_by_addr(sim, to);
    struct wire *w;

    *out = NULL;
    if (to->port != 25)
        broken(sim, "connects to port %u", to->port);
    if (to->family == AF_INET && to->bytes[0] == 127)
        broken(sim, "connects to itself");
    if (h != NULL && host_mode(h) == MODE_NO_ROUTE)
        return err_sys(ENETUNREACH, "connect");
    w = wire_new(sl, to);
    w->host = h;
    w->opening = true;
    w->opening_timer.fire = opening_fire;
    timers_arm(&sim->timers, &w->opening_timer, sim->now_ms + 1 + roll(sim, w->latency_ms + 1));
    stream_set_events(&w->s, events, ctx);
    *out = &w->s;
    return ERR_OK;
}

/* ---- a turn ------------------------------------------------------------------------- */

static void do_post(struct loop *l, struct post *p)
{
    struct sim_loop *sl = container_of(l, struct sim_loop, base);

    p->next = NULL;
    if (sl->posts == NULL)
        sl->posts = p;
    else
        sl->posts_last->next = p;
    sl->posts_last = p;
}

static void do_timers_changed(struct loop *l)
{
}

static const struct loop_ops loop_ops = { .post = do_post, .timers_changed = do_timers_changed, .connect = do_connect, .secure = sim_secure };

void loop_init(struct sim_loop *l, struct sim *sim, struct life *life, unsigned index)
{
    l->base.ops = &loop_ops;
    l->base.clock = &sim->clock;
    l->base.now_ms = sim->now_ms;
    l->base.index = index;
    rng_seed(&l->base.rng, rng_u64(&sim->rng));
    l->sim = sim;
    l->life = life;
    list_init(&l->wires);
}

bool loop_runnable(const struct sim_loop *l)
{
    return l->posts != NULL || l->io || timers_next(&l->base.timers) <= l->sim->now_ms;
}

static void run_posts(struct sim_loop *l)
{
    struct post *last = l->posts_last;
    bool more = l->posts != NULL;

    while (more) {
        struct post *p = l->posts;

        more = p != last;
        l->posts = p->next;
        p->run(p);
    }
}

static void reach_marks(struct wire *w)
{
    while (w->marks != NULL && w->marks->offset <= w->in_given) {
        struct mark *m = w->marks;

        w->marks = m->next;
        m->reached(w->sim, m);
        free(m->about);
        free(m);
    }
}

static void give_data(struct wire *w)
{
    struct buf in = w->in;
    struct slice bytes = buf_bytes(&in);

    w->in = (struct buf){ 0 };
    w->in_given += bytes.len;
    reach_marks(w);
    w->s.events->data(w->s.ctx, bytes);
    buf_release(&in);
}

static void wire_turn(struct wire *w)
{
    if (w->engine_closed)
        return;
    if (w->accepted != NULL) {
        void (*accepted)(struct wire * w) = w->accepted;

        w->accepted = NULL;
        accepted(w);
        return; /* events come in a later turn */
    }
    if (w->opened_due && !w->told) {
        w->opened_due = false;
        w->open = true;
        w->refs++;
        remote_accept(w->host, w);
        w->s.events->opened(w->s.ctx);
    }
    if (w->secured_due && !w->told) {
        w->secured_due = false;
        w->s.events->opened(w->s.ctx);
    }
    if (!w->engine_closed && !w->told && !w->paused && !w->securing && buf_len(&w->in) > 0)
        give_data(w);
    if (!w->engine_closed && !w->told && w->drained_due) {
        w->drained_due = false;
        if (w->s.events->drained != NULL)
            w->s.events->drained(w->s.ctx);
    }
    if (!w->engine_closed && !w->told && w->end_due && (w->end_why.sys != 0 || !w->paused)) {
        w->told = true;
        loop_disarm(&w->loop->base, &w->deadline);
        engine_heard(w);
        w->s.events->closed(w->s.ctx, w->end_why);
    }
}

static void run_io(struct sim_loop *l)
{
    l->io = false;
    list_foreach_safe (it, next, &l->wires)
        wire_turn(container_of(it, struct wire, link));
}

static void end_turn(struct sim_loop *l)
{
    list_foreach_safe (it, next, &l->wires) {
        struct wire *w = container_of(it, struct wire, link);

        if (w->flush_due && w->open && !w->engine_closed)
            wire_write_out(w);
        if (w->engine_closed) {
            list_remove(&w->link);
            w->refs--;
            wire_free_if_done(w);
        }
    }
}

void loop_turn(struct sim_loop *l)
{
    unsigned first = (unsigned)roll(l->sim, 3);

    watch_turn(l->sim, l->posts == NULL && !l->io);
    l->base.now_ms = l->sim->now_ms;
    for (unsigned i = 0; i < 3; i++) {
        switch ((first + i) % 3) {
        case 0:
            timers_run(&l->base.timers, l->base.now_ms);
            break;
        case 1:
            run_posts(l);
            break;
        default:
            run_io(l);
            break;
        }
    }
    end_turn(l);
}

/* ---- the end -------------------------------------------------------------------------- */

void loop_abandon(struct sim_loop *l)
{
    list_foreach (it, &l->wires) {
        struct wire *w = container_of(it, struct wire, link);

        if (w->engine_closed)
            continue; /* its end is on its way */
        timers_disarm(&w->sim->timers, &w->opening_timer);
        timers_disarm(&w->sim->timers, &w->shake_timer);
        pipe_drop(w->sim, &w->down);
        /* Half of what was with the kernel may still arrive. */
        if (chance(w->sim, 50))
            pipe_drop(w->sim, &w->up);
        if (w->open)
            pipe_add(w->sim, &w->up, SLICE_EMPTY, true, w->sim->now_ms + 1 + roll(w->sim, 50));
        w->engine_closed = true;
        w->told = true;
    }
}

void loop_release(struct sim_loop *l)
{
    if (l->posts != NULL)
        broken(l->sim, "posts are left after the end");
    end_turn(l);
    if (!list_empty(&l->wires))
        broken(l->sim, "connections are left after the end");
    timers_release(&l->base.timers);
}
