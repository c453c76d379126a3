/* tests/sim/plant.c - faults put into the engine from outside, by the linker's
 * --wrap: a simulator that finds nothing must first be shown to find these.
 */
#include "tests/sim/plant.h"

#include "queue/bounce.h"

#include <errno.h>

const char *const plant_names[PLANT_COUNT] = {
    "none",         "early-ack",  "drop-deferred", "retry-soon", "unscheduled",
    "lose-outcome", "dns-bounce", "no-dsn",        "two-dsns",   "torn-body",
    "lose-wishes",  "go-early",   "in-clear",      "no-login",   "open-relay",
    "any-sender",   "any-from",   "no-rate",       "any-password",
    "no-newcomers",    "to-the-end", "keep-conns",
    "sleepy",       "long-wait",  "oversleep",     "busy-loop",  "hot-leak",
    "no-sync",      "no-name-sync", "no-reserve",  "loopback",
    "go-on",
};

struct sim *planted;

void plant_begin(struct sim *sim)
{
    planted = sim;
}

bool plant_now(enum plant p, unsigned percent)
{
    return planted != NULL && planted->opt.plant == p && chance(planted, percent);
}

/* ---- 250 before the commit --------------------------------------------------- */

struct early {
    struct post post;
    queue_done *done;
    void *ctx;
    struct message *m;
};

static void early_run(struct post *p)
{
    struct early *e = container_of(p, struct early, post);

    e->done(e->ctx, ERR_OK, e->m);
    message_unref(e->m);
    free(e);
}

static void nobody_waits(void *ctx, struct err e, struct message *m)
{
}

void __wrap_queue_draft_commit(struct queue_draft *d, const struct envelope *env, queue_done *done,
                               void *ctx)
{
    struct envelope changed = *env;
    struct early *e;

    if (plant_now(PLANT_LOSE_WISHES, 30))
        changed.wishes = NULL;
    if (plant_now(PLANT_GO_EARLY, 30))
        changed.release_wall_ms = 0;
    if (!plant_now(PLANT_EARLY_ACK, 100)) {
        __real_queue_draft_commit(d, &changed, done, ctx);
        return;
    }
    e = mem_new(struct early);
    e->post.run = early_run;
    e->done = done;
    e->ctx = ctx;
    e->m = message_new();
    loop_post(&planted->life->loops[0].base, &e->post);
    __real_queue_draft_commit(d, env, nobody_waits, NULL);
}

/* ---- FUTURERELEASE ------------------------------------------------------------- */

/* No fault: every listener of the world offers it. */
struct smtp_server *__wrap_smtp_server_new(const struct smtp_server_options *opt,
                                           const struct smtp_server_handler *handler, void *ctx)
{
    struct smtp_server *s = __real_smtp_server_new(opt, handler, ctx);

    smtp_server_offer_release(s, DAY_MS, &planted->clock);
    return s;
}

/* ---- TLS ------------------------------------------------------------------------- */

enum smtp_client_tls __wrap_conn_tls_wish(const struct conn *c)
{
    enum smtp_client_tls wish = __real_conn_tls_wish(c);

    return wish == SMTP_CLIENT_TLS_REQUIRED && plant_now(PLANT_IN_CLEAR, 30) ? SMTP_CLIENT_TLS_OPTIONAL : wish;
}

/* ---- who may send ------------------------------------------------------------------ */

void __wrap_session_offer_login(struct session *s)
{
    __real_session_offer_login(s);
    if (plant_now(PLANT_NO_LOGIN, 100))
        s->auth.required = false;
}

enum relay_verdict __wrap_relay_judge(const struct relay_rules *r, bool trusted, const struct mail_path *to)
{
    return plant_now(PLANT_OPEN_RELAY, 100) ? RELAY_OK : __real_relay_judge(r, trusted, to);
}

bool __wrap_session_sender_refused(struct session *s, struct slice sender)
{
    return !plant_now(PLANT_ANY_SENDER, 100) && __real_session_sender_refused(s, sender);
}

bool __wrap_session_owns_from(const struct session *s, struct slice header, struct buf *foreign)
{
    return plant_now(PLANT_ANY_FROM, 100) || __real_session_owns_from(s, header, foreign);
}

bool __wrap_session_charge_user(struct session *s, void (*then)(struct session *s))
{
    return !plant_now(PLANT_NO_RATE, 100) && __real_session_charge_user(s, then);
}

/* ---- outcomes ------------------------------------------------------------------ */

void __wrap_queue_apply(struct queue *q, const struct queue_update *u, struct loop *home,
                        queue_done *done, void *ctx)
{
    struct queue_update changed = *u;

    for (size_t i = 0; i < u->change_count; i++)
        if (u->changes[i].event == EVENT_DEFERRED && plant_now(PLANT_DROP_DEFERRED, 5))
            u->changes[i].final = true;
    if (u->change_count > 0 && u->changes[0].event == EVENT_DELIVERED &&
        plant_now(PLANT_LOSE_OUTCOME, 10)) {
        changed.change_count = 0;
        changed.message_done = false;
    }
    __real_queue_apply(q, &changed, home, done, ctx);
}

uint64_t __wrap_retry_wait_ms(const struct retry_policy *p, unsigned attempts, struct rng *rng)
{
    uint64_t wait = __real_retry_wait_ms(p, attempts, rng);

    if (plant_now(PLANT_LONG_WAIT, 10))
        return 2 * p->max_ms + p->doubt_ms;
    return plant_now(PLANT_RETRY_SOON, 100) ? wait / 2 : wait;
}

/* ---- names ----------------------------------------------------------------------- */

struct mx_plant {
    mx_done *done;
    void *ctx;
};

static void planted_answer(void *ctx, const struct mx_answer *a)
{
    struct mx_plant *p = ctx;
    struct mx_answer changed = *a;

    if (changed.result == MX_TEMPFAIL)
        changed.result = MX_NO_DOMAIN;
    p->done(p->ctx, &changed);
    free(p);
}

struct mx_query *__wrap_mx_ask(struct resolver *r, struct delivery_policy *policy,
                               const char *domain, mx_done *done, void *ctx)
{
    struct mx_plant *p;

    if (!plant_now(PLANT_DNS_BOUNCE, 100))
        return __real_mx_ask(r, policy, domain, done, ctx);
    p = mem_new(struct mx_plant);
    p->done = done;
    p->ctx = ctx;
    return __real_mx_ask(r, policy, domain, planted_answer, p);
}

/* ---- notifications ------------------------------------------------------------------ */

struct message *__wrap_bounce_compose(struct queue *q, const struct message *m,
                                      const char *hostname, enum mail_dsn_action action,
                                      const struct recipient *about, size_t count,
                                      uint64_t now_wall_ms, uint64_t retry_until_wall_ms)
{
    if (plant_now(PLANT_NO_DSN, 30))
        return NULL;
    if (action == MAIL_DSN_DELAYED && plant_now(PLANT_TWO_DSNS, 100))
        action = MAIL_DSN_FAILED;
    return __real_bounce_compose(q, m, hostname, action, about, count, now_wall_ms,
                                 retry_until_wall_ms);
}

void __wrap_smtp_client_content(struct smtp_client *c, struct slice bytes, bool last)
{
    char *copy;

    if (bytes.len < 4 || !plant_now(PLANT_TORN_BODY, 1)) {
        __real_smtp_client_content(c, bytes, last);
        return;
    }
    copy = mem_dup(bytes.ptr, bytes.len);
    copy[bytes.len - 3] ^= 1;
    __real_smtp_client_content(c, slice_make(copy, bytes.len), last);
    free(copy);
}

bool __wrap_net_addr_is_loopback(const struct net_addr *a)
{
    return __real_net_addr_is_loopback(a) && !plant_now(PLANT_LOOPBACK, 100);
}

/* ---- turns at a site ---------------------------------------------------------------- */

static void put(struct sender_queue *q, struct list *line)
{
    q->line = line;
    list_remove(&q->turn);
    list_append(line, &q->turn);
}

void __wrap_site_add(struct site *s, struct schedule *sched, struct group *g)
{
    struct sender_queue *q;

    news_added(planted, s, g);
    __real_site_add(s, sched, g);
    HASH_FIND(hh, s->senders, &g->sender, sizeof g->sender, q);
    if (plant_now(PLANT_NO_NEWCOMERS, 100) && !list_empty(&s->turns))
        put(q, &s->turns);
}

void __wrap_site_add_front(struct site *s, struct schedule *sched, struct group *g)
{
    news_returned(planted, s, g);
    __real_site_add_front(s, sched, g);
}

void __wrap_site_add_rest(struct site *s, struct schedule *sched, struct group *g)
{
    struct sender_queue *q;

    __real_site_add_rest(s, sched, g);
    HASH_FIND(hh, s->senders, &g->sender, sizeof g->sender, q);
    if (plant_now(PLANT_TO_THE_END, 100))
        put(q, &s->fresh);
}

void __wrap_site_move(struct site *from, struct schedule *sched, uint32_t dest, struct site *to)
{
    news_moved(planted, to);
    __real_site_move(from, sched, dest, to);
}

void __wrap_attempt_deliver(struct dispatch *d, struct site *s, struct site_conn *conn, struct group *g)
{
    news_given(planted, s, conn, g);
    if (plant_now(PLANT_HOT_LEAK, 2))
        atomic_fetch_add(&d->hot_memory, 100);
    __real_attempt_deliver(d, s, conn, g);
}

void __wrap_dispatch_make_room(struct dispatch *d, struct site_conn *sc)
{
    if (plant_now(PLANT_KEEP_CONNS, 100))
        return;
    __real_dispatch_make_room(d, sc);
    planted->counts.yielded += sc->leaving;
}

void __wrap_dispatch_pump(struct dispatch *d, struct site *s)
{
    if (!plant_now(PLANT_SLEEPY, 5))
        __real_dispatch_pump(d, s);
}

/* ---- waking ------------------------------------------------------------------------------ */

void __wrap_timers_arm(struct timers *ts, struct timer *t, uint64_t due_ms)
{
    if (planted != NULL && planted->life != NULL && planted->life->dispatch != NULL &&
        t == &planted->life->dispatch->tick) {
        if (plant_now(PLANT_OVERSLEEP, 10))
            due_ms += MINUTE_MS;
        if (plant_now(PLANT_BUSY_LOOP, 100))
            due_ms = planted->now_ms + 1;
    }
    __real_timers_arm(ts, t, due_ms);
}

/* ---- the disk --------------------------------------------------------------------------- */

enum store_space __wrap_queue_space(struct queue *q)
{
    enum store_space space = __real_queue_space(q);

    if (space == STORE_SPACE_LOW && plant_now(PLANT_NO_RESERVE, 100))
        return STORE_SPACE_OK;
    return space == STORE_BROKEN && plant_now(PLANT_GO_ON, 100) ? STORE_SPACE_OK : space;
}
