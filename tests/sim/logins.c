/* tests/sim/logins.c - the accounts process at the other end of the engine's
 * link: it takes its time, hangs, dies in the middle of a login and comes
 * back with nothing but its users.
 *
 * SASL, bans and rates are the product's own; users, hashing and the link are
 * made here.
 */
#include "tests/sim/plant.h"

#include "auth/accounts_wire.h"
#include "auth/bans.h"
#include "auth/rates.h"
#include "auth/sasl.h"

#define USERS 5u

struct ipc { /* the engine's end */
    struct post post;
    struct sim *sim;
    struct loop *loop;
    const struct ipc_events *events;
    void *ctx;
    struct frame *down, *down_last; /* arrived there */
    bool posted, busy, freed, closing;
    struct frame *up, *up_last; /* on their way to the process */
    size_t up_bytes;
    struct timer timer; /* of the world: the process looks */
};

struct frame {
    struct frame *next;
    struct buf bytes;
};

struct dialogue {
    struct list link;
    struct sim *sim;
    uint64_t id;
    struct net_addr addr;
    struct sasl_session *sasl;
    struct user *user; /* the verdict's */
    enum accounts_verdict verdict;
    struct slice challenge;
    struct timer timer;
};

struct logins {
    struct sim *sim;
    struct user users[USERS];
    struct sasl *sasl;
    struct bans *bans;
    struct rates *rates;
    struct list dialogues;
    struct ipc *ipc; /* NULL: no engine is linked */
    bool alive, hung;
    uint64_t generation;
    struct timer fate, linking;
};

/* ---- users ------------------------------------------------------------------------- */

struct user *user_some(struct sim *sim, bool victim)
{
    return &sim->logins->users[victim && chance(sim, 80) ? USERS - 1 : roll(sim, USERS)];
}

bool user_owns(const struct user *u, const struct domain *d)
{
    return u->sender_any || (d != NULL && d->index == 0);
}

static struct user *user_find(struct logins *s, const char *name)
{
    for (unsigned i = 0; i < USERS; i++)
        if (name != NULL && strcmp(s->users[i].name, name) == 0)
            return &s->users[i];
    return NULL;
}

/* ---- frames ------------------------------------------------------------------------- */

static void frame_add(struct frame **first, struct frame **last, struct slice bytes)
{
    struct frame *f = mem_new(struct frame);

    buf_add(&f->bytes, bytes);
    if (*first == NULL)
        *first = f;
    else
        (*last)->next = f;
    *last = f;
}

static struct frame *frame_take(struct frame **first)
{
    struct frame *f = *first;

    if (f != NULL)
        *first = f->next;
    return f;
}

static void frame_free(struct frame *f)
{
    buf_release(&f->bytes);
    free(f);
}

static void frames_drop(struct frame **first)
{
    while (*first != NULL)
        frame_free(frame_take(first));
}

static void ipc_end(struct ipc *i)
{
    frames_drop(&i->down);
    frames_drop(&i->up);
    free(i);
}

/* On the engine's loop. */
static void ipc_arrive(struct post *p)
{
    struct ipc *i = container_of(p, struct ipc, post);
    struct frame *f;

    i->posted = false;
    i->busy = true;
    while (!i->freed && (f = frame_take(&i->down)) != NULL) {
        i->events->message(i->ctx, buf_bytes(&f->bytes), -1);
        frame_free(f);
    }
    if (!i->freed && i->closing) {
        i->closing = false;
        i->events->closed(i->ctx, err_make(ERR_CLOSED, "end of file"));
    }
    i->busy = false;
    if (i->freed)
        ipc_end(i);
}

static void ipc_post(struct ipc *i)
{
    if (!i->posted)
        loop_post(i->loop, &i->post);
    i->posted = true;
}

/* From the process. */
static void answer(struct sim *sim, const struct accounts_wire *w)
{
    struct ipc *i = sim->logins->ipc;
    struct buf b = { 0 };

    if (i == NULL)
        return;
    accounts_wire_put(&b, w);
    frame_add(&i->down, &i->down_last, buf_bytes(&b));
    buf_release(&b);
    ipc_post(i);
}

/* ---- dialogues ------------------------------------------------------------------------ */

static void dialogue_free(struct dialogue *d)
{
    timers_disarm(&d->sim->timers, &d->timer);
    list_remove(&d->link);
    sasl_end(d->sasl);
    free(d);
}

static void forget_dialogues(struct logins *s)
{
    list_foreach_safe (it, next, &s->dialogues)
        dialogue_free(container_of(it, struct dialogue, link));
}

static struct dialogue *find(struct logins *s, uint64_t id)
{
    list_foreach (it, &s->dialogues)
        if (container_of(it, struct dialogue, link)->id == id)
            return container_of(it, struct dialogue, link);
    return NULL;
}

static void dialogue_fire(struct timer *t)
{
    struct dialogue *d = container_of(t, struct dialogue, timer);
    struct sim *sim = d->sim;
    struct accounts_wire w = { .type = ACCOUNTS_WIRE_ANSWER, .id = d->id, .verdict = d->verdict };

    if (sim->logins->hung) { /* later */
        timers_arm(&sim->timers, t, sim->now_ms + SECOND_MS);
        return;
    }
    w.challenge = d->verdict == ACCOUNTS_CHALLENGE ? d->challenge : SLICE_EMPTY;
    if (d->verdict == ACCOUNTS_OK) {
        bans_success(sim->logins->bans, sim->now_ms, &d->addr, d->user->name);
        d->user->let_in++;
        w.user = slice_str(d->user->name);
        w.sender_any = d->user->sender_any;
        w.senders[w.sender_count++] = slice_str(d->user->name);
        w.senders[w.sender_count++] = slice_str(sim->zone.domains[0].name);
        w.messages_per_hour = d->user->messages_per_hour;
        w.recipients_per_hour = d->user->recipients_per_hour;
    }
    trace(sim, "accounts: verdict %d", d->verdict);
    answer(sim, &w);
    if (d->verdict != ACCOUNTS_CHALLENGE)
        dialogue_free(d);
}

static void answer_in(struct dialogue *d, enum accounts_verdict verdict, uint64_t after_ms)
{
    d->verdict = verdict;
    d->timer.fire = dialogue_fire;
    timers_arm(&d->sim->timers, &d->timer, d->sim->now_ms + after_ms);
}

static void verify(struct dialogue *d, const struct sasl_step *step)
{
    struct sim *sim = d->sim;
    struct logins *s = sim->logins;
    const char *key = step->authid != NULL ? step->authid : "";
    uint64_t hash_ms = chance(sim, 95) ? 5 + roll(sim, 300) : roll(sim, 8 * SECOND_MS);

    d->user = user_find(s, key);
    if (bans_refuses(s->bans, sim->now_ms, &d->addr, key))
        answer_in(d, ACCOUNTS_LATER, SECOND_MS);
    else if (d->user != NULL && (slice_eq(step->password, slice_str(d->user->password)) ||
                              (sim->opt.plant == PLANT_ANY_PASSWORD && chance(sim, 30))))
        answer_in(d, ACCOUNTS_OK, hash_ms);
    else
        answer_in(d, ACCOUNTS_DENIED, hash_ms + bans_failure(s->bans, sim->now_ms, &d->addr, key));
}

static void step(struct dialogue *d, const struct accounts_wire *w)
{
    struct sasl_step step;

    sasl_step(d->sasl, w->response, w->has_response, &step);
    switch (step.state) {
    case SASL_CHALLENGE:
        d->challenge = step.challenge;
        answer_in(d, ACCOUNTS_CHALLENGE, roll(d->sim, 10));
        break;
    case SASL_VERIFY:
        verify(d, &step);
        break;
    default:
        answer_in(d, ACCOUNTS_DENIED, SECOND_MS);
        break;
    }
}

static void no_keys(void *ctx, const char *authid, struct scram_keys *out)
{
    abort(); /* only passwords are used */
}

static void begin(struct sim *sim, const struct accounts_wire *w)
{
    struct dialogue *d = mem_new(struct dialogue);
    char name[32];

    snprintf(name, sizeof name, "%.*s", (int)w->mechanism.len, w->mechanism.ptr);
    if (!w->tls)
        broken(sim, "a login in the clear is passed on");
    if (find(sim->logins, w->id) != NULL)
        broken(sim, "a login begins twice");
    d->sim = sim;
    d->id = w->id;
    d->addr = w->addr;
    list_append(&sim->logins->dialogues, &d->link);
    if (err_failed(sasl_begin(sim->logins->sasl, name, SLICE_EMPTY, NULL, no_keys, d, &d->sasl)))
        broken(sim, "no such mechanism: %s", name);
    step(d, w);
}

static void charge(struct sim *sim, const struct accounts_wire *w)
{
    struct accounts_wire a = { .type = ACCOUNTS_WIRE_CHARGED, .id = w->id };
    char name[128];
    struct user *u;
    struct rates_verdict v;

    snprintf(name, sizeof name, "%.*s", (int)w->user.len, w->user.ptr);
    u = user_find(sim->logins, name);
    if (u == NULL)
        broken(sim, "%s is to be charged, whom nobody knows", name);
    v = rates_charge(sim->logins->rates, wall_ms(sim), name, w->recipients, u->messages_per_hour, u->recipients_per_hour);
    u->granted += v.ok;
    a.ok = v.ok;
    a.why = v.ok ? SLICE_EMPTY : SLICE("4.7.1 enough for this hour");
    answer(sim, &a);
}

static void take(struct sim *sim, struct slice frame)
{
    struct accounts_wire w;
    struct dialogue *d;

    if (err_failed(accounts_wire_get(frame, &w)))
        broken(sim, "the engine says something unreadable to the accounts process");
    d = find(sim->logins, w.id);
    switch (w.type) {
    case ACCOUNTS_WIRE_LOGIN:
        begin(sim, &w);
        break;
    case ACCOUNTS_WIRE_STEP:
        if (d == NULL)
            broken(sim, "a step of a login that never began here");
        if (timer_armed(&d->timer))
            broken(sim, "a step before the last one is answered");
        step(d, &w);
        break;
    case ACCOUNTS_WIRE_CANCEL:
        if (d != NULL)
            dialogue_free(d);
        break;
    case ACCOUNTS_WIRE_CHARGE:
        charge(sim, &w);
        break;
    default:
        broken(sim, "the engine says %d to the accounts process", w.type);
    }
}

/* ---- the link -------------------------------------------------------------------------- */

static bool maybe_die(struct sim *sim);

static void look(struct timer *t)
{
    struct ipc *i = container_of(t, struct ipc, timer);
    struct sim *sim = i->sim;
    struct frame *f;

    if (sim->logins->hung) {
        timers_arm(&sim->timers, t, sim->now_ms + SECOND_MS);
        return;
    }
    while (sim->logins->ipc == i && (f = frame_take(&i->up)) != NULL) {
        i->up_bytes -= buf_len(&f->bytes);
        take(sim, buf_bytes(&f->bytes));
        frame_free(f);
        if (maybe_die(sim))
            return;
    }
}

struct err __wrap_ipc_new(struct loop *l, int fd, const struct ipc_events *events, void *ctx, struct ipc **out)
{
    struct ipc *i = mem_new(struct ipc);

    i->sim = container_of(l, struct sim_loop, base)->sim;
    i->loop = l;
    i->events = events;
    i->ctx = ctx;
    i->post.run = ipc_arrive;
    i->timer.fire = look;
    i->sim->logins->ipc = i;
    *out = i;
    answer(i->sim, &(struct accounts_wire){ .type = ACCOUNTS_WIRE_HELLO, .generation = i->sim->logins->generation });
    return ERR_OK;
}

static void part(struct ipc *i)
{
    timers_disarm(&i->sim->timers, &i->timer);
    if (i->sim->logins->ipc != i)
        return;
    i->sim->logins->ipc = NULL;
    forget_dialogues(i->sim->logins);
}

void __wrap_ipc_free(struct ipc *i)
{
    if (i == NULL)
        return;
    part(i);
    i->freed = true;
    if (!i->posted && !i->busy)
        ipc_end(i);
}

void __wrap_ipc_send(struct ipc *i, struct slice payload, int fd)
{
    if (i->sim->logins->ipc != i)
        return; /* the process is gone; the engine is about to hear of it */
    frame_add(&i->up, &i->up_last, payload);
    i->up_bytes += payload.len;
    if (!timer_armed(&i->timer))
        timers_arm(&i->sim->timers, &i->timer, i->sim->now_ms + roll(i->sim, 5));
}

size_t __wrap_ipc_backlog(const struct ipc *i)
{
    return i->up_bytes;
}

/* ---- life and death ---------------------------------------------------------------------- */

struct linker {
    struct post post;
    struct life *life;
};

static void linker_run(struct post *p)
{
    struct linker *l = container_of(p, struct linker, post);

    if (l->life->loops[0].sim->logins->alive)
        accounts_link(l->life->accounts, -1);
    free(l);
}

static void linking_fire(struct timer *t)
{
    struct logins *s = container_of(t, struct logins, linking);
    struct life *life = s->sim->life;
    struct linker *l;

    if (!s->alive || life == NULL || life->accounts == NULL || s->ipc != NULL)
        return;
    l = mem_new(struct linker);
    l->post.run = linker_run;
    l->life = life;
    loop_post(&life->loops[0].base, &l->post);
}

void logins_engine_started(struct sim *sim)
{
    timers_arm(&sim->timers, &sim->logins->linking, sim->now_ms + roll(sim, chance(sim, 90) ? 50 : 20 * SECOND_MS));
}

void logins_engine_gone(struct sim *sim)
{
    timers_disarm(&sim->timers, &sim->logins->linking);
    if (sim->logins->ipc != NULL) {
        sim->logins->ipc->freed = true; /* its memory is the dead one's */
        part(sim->logins->ipc);
    }
}

static void die(struct sim *sim)
{
    struct logins *s = sim->logins;
    struct ipc *i = s->ipc;

    sim->counts.accounts_deaths++;
    trace(sim, "the accounts process dies");
    s->alive = s->hung = false;
    forget_dialogues(s);
    bans_free(s->bans);
    s->bans = bans_new(BANS_DELAY_MS);
    if (i == NULL)
        return;
    part(i);
    i->closing = true;
    ipc_post(i);
}

static void change_a_user(struct sim *sim)
{
    struct user *u = &sim->logins->users[USERS - 2];

    u->messages_per_hour = u->messages_per_hour != 0 ? 0 : 2;
    sim->logins->generation++;
    answer(sim, &(struct accounts_wire){ .type = ACCOUNTS_WIRE_HELLO, .generation = sim->logins->generation });
}

static void fate_fire(struct timer *t)
{
    struct logins *s = container_of(t, struct logins, fate);
    struct sim *sim = s->sim;
    uint64_t next = roll(sim, chance(sim, 80) ? 12 * HOUR_MS : 2 * SECOND_MS);

    if (!s->alive) {
        s->alive = true;
        logins_engine_started(sim);
    } else if (s->hung) {
        s->hung = false;
    } else if (sim->healed) {
        return;
    } else if (chance(sim, 40)) {
        die(sim);
        next = roll(sim, chance(sim, 70) ? 2 * SECOND_MS : 5 * MINUTE_MS);
    } else if (chance(sim, 40)) {
        s->hung = true;
        next = roll(sim, 2 * MINUTE_MS);
    } else {
        change_a_user(sim);
    }
    timers_arm(&sim->timers, t, sim->now_ms + next);
}

/* In the middle of a login or a charge, which the hours between the others
 * hardly ever hit. */
static bool maybe_die(struct sim *sim)
{
    if (sim->healed || !chance(sim, 3))
        return false;
    die(sim);
    timers_arm(&sim->timers, &sim->logins->fate, sim->now_ms + roll(sim, chance(sim, 70) ? 2 * SECOND_MS : 5 * MINUTE_MS));
    return true;
}

void logins_make(struct sim *sim)
{
    static const char *const names[USERS] = { "any", "own", "limited", "changing", "victim" };
    struct logins *s = sim->logins = mem_new(struct logins);

    s->sim = sim;
    list_init(&s->dialogues);
    for (unsigned i = 0; i < USERS; i++) {
        snprintf(s->users[i].name, sizeof s->users[i].name, "%s@%s", names[i], sim->zone.domains[0].name);
        s->users[i].password = names[USERS - 1 - i];
    }
    s->users[0].sender_any = true;
    s->users[2].always_limited = true;
    s->users[2].messages_per_hour = 2;
    s->users[2].recipients_per_hour = 30;
    if (err_failed(sasl_new(&s->sasl)))
        broken(sim, "no SASL");
    s->bans = bans_new(BANS_DELAY_MS);
    s->rates = rates_new();
    s->alive = true;
    s->fate.fire = fate_fire;
    s->linking.fire = linking_fire;
    if (chance(sim, 60))
        timers_arm(&sim->timers, &s->fate, sim->now_ms + roll(sim, DAY_MS));
}

void logins_free(struct sim *sim)
{
    struct logins *s = sim->logins;

    forget_dialogues(s);
    sasl_free(s->sasl);
    bans_free(s->bans);
    rates_free(s->rates);
    free(s);
}
