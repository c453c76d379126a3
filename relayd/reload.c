/* relayd/reload.c - from one configuration to the next, wholly or not at all.
 *
 * Read and check, open the new sockets, hand all of it to the processes that
 * stay; when all say yes the new generation becomes the current one, what only
 * the old one had is closed, and processes that only one of the two needs are
 * started or stopped. Any no along the way leaves the old one as it was: those
 * who had said yes are given it back.
 */
#include "base/log.h"
#include "relayd/notify.h"
#include "relayd/tree.h"

#include <string.h>

#define BIND_WAIT_MS (5 * SECOND_MS)
#define BIND_STEP_MS 100
#define PATIENCE_MS  (30 * SECOND_MS)
#define ASKERS_MAX   256 /* requests answered by one reload; an engine has no need of more */

static void add_asker(struct buf *askers, uint32_t serial)
{
    if (buf_len(askers) < ASKERS_MAX * sizeof serial)
        buf_add(askers, slice_make(&serial, sizeof serial));
}

static void answer_askers(struct tree *t, bool ok)
{
    struct slice rest = buf_bytes(&t->reload.askers);

    for (uint32_t serial; rest.len > 0; rest = slice_from(rest, sizeof serial)) {
        struct err e = ERR_OK;

        memcpy(&serial, rest.ptr, sizeof serial);
        if (tree_engine(t)->channel != NULL)
            e = channel_send_outcome(tree_engine(t)->channel, serial, ok,
                                     buf_bytes(&t->reload.text));
        if (err_failed(e))
            log_warning("parent", "the outcome of the reload does not reach relayctl");
    }
    buf_clear(&t->reload.askers);
}

/* Has a life ahead of it, so it must know. */
static bool takes_part(const struct process *p)
{
    return p->channel != NULL && !timer_armed(&p->kill);
}

static struct err send_config(struct process *p, const struct generation *g)
{
    bool listens = p->kind == PROCESS_ENGINE;

    return channel_send_config(p->channel, CHANNEL_RELOAD, p->tree->reload.serial,
                               g->bundle_fds[p->kind],
                               listens ? g->sockets.listeners : NULL,
                               listens ? g->sockets.len : 0);
}

/* Nobody waits for the answers: it worked before, and who can't do it any
 * more is killed and begins with it. */
static void give_back(struct tree *t)
{
    t->reload.serial++;
    tree_foreach(p, t) {
        struct err e;

        if (p->answer == ANSWER_NONE)
            continue;
        p->answer = ANSWER_NONE;
        if (!takes_part(p) || t->phase == TREE_STOPPING)
            continue;
        p->given_back = t->reload.serial;
        e = send_config(p, &t->current);
        if (err_failed(e) && e.kind != ERR_CLOSED)
            process_distrust(p, e);
    }
}

/* The outcome is in reload.text. */
static void finish(struct tree *t, bool ok)
{
    t->reload.state = RELOAD_NONE;
    timers_disarm(&t->timers, &t->reload.retry);
    timers_disarm(&t->timers, &t->reload.patience);
    if (ok) {
        struct generation old = t->current;

        t->current = t->reload.next;
        t->reload.next = GENERATION_EMPTY;
        generation_release(&old);
        log_open(t->current.settings->hostname, t->current.settings->log_level);
        log_info("parent", "the new configuration is in force");
        watch_begin(t);
        tree_foreach(p, t)
            p->answer = ANSWER_NONE;
    } else {
        give_back(t);
        generation_release(&t->reload.next);
    }
    tree_log_text(!ok, buf_bytes(&t->reload.text));
    if (!ok)
        log_error("parent", "the old configuration stays in force");
    answer_askers(t, ok);
    buf_clear(&t->reload.text);
    if (ok && t->phase == TREE_RUNNING)
        processes_want(t);
    else if (t->phase == TREE_RUNNING)
        processes_restart(t);
    if (tree_engine(t)->ready && t->phase == TREE_RUNNING)
        notify_ready();
    if (t->reload.again) {
        t->reload.again = false;
        reload_begin(t);
    }
}

static void fail(struct tree *t, const char *text)
{
    buf_add_str(&t->reload.text, text);
    finish(t, false);
}

static bool same_storage(const struct settings_storage *a, const struct settings_storage *b)
{
    return a->ahead == b->ahead && a->reserve == b->reserve && a->map_size == b->map_size;
}

/* What is decided once, at the start: the lock, the privileges, the threads
 * and the open store hang on it. */
static const char *changed_for_good(const struct settings *old, const struct settings *new)
{
    if (strcmp(old->state_dir, new->state_dir) != 0)
        return "state_dir";
    if (strcmp(old->runtime_dir, new->runtime_dir) != 0)
        return "runtime_dir";
    if (strcmp(old->engine_user, new->engine_user) != 0)
        return "the user of the engine";
    if (strcmp(old->accounts_user, new->accounts_user) != 0)
        return "the user of the accounts process";
    if (strcmp(old->sign_user, new->sign_user) != 0)
        return "the user of the sign workers";
    if (old->loops != new->loops)
        return "loops";
    if (!same_storage(&old->storage, &new->storage))
        return "storage";
    if (old->limits.message_memory != new->limits.message_memory)
        return "message_memory";
    return NULL;
}

/* ---- steps ---- */

static bool all_answered(struct tree *t)
{
    tree_foreach(p, t)
        if (p->answer == ANSWER_AWAITED)
            return false;
    return true;
}

static void conclude(struct tree *t)
{
    if (all_answered(t))
        finish(t, !t->reload.refused);
}

/* Who is dead begins with the new one: perhaps it is this that lets it live. */
static void hand_over(struct tree *t)
{
    t->reload.state = RELOAD_HANDED;
    t->reload.refused = false;
    t->reload.serial++;
    timers_arm(&t->timers, &t->reload.patience, tree_now(t) + PATIENCE_MS);
    tree_foreach(p, t) {
        struct err e;
        char text[256];

        if (!takes_part(p) || p->index >= t->wanted(p->kind, t->reload.next.settings))
            continue;
        p->answer = ANSWER_AWAITED;
        e = send_config(p, &t->reload.next);
        if (!err_failed(e) || e.kind == ERR_CLOSED)
            continue; /* one that is gone is about to be seen dead */
        p->answer = ANSWER_NONE;
        t->reload.refused = true;
        buf_printf(&t->reload.text, "%s: %s\n", p->name, err_text(e, text, sizeof text));
    }
    conclude(t);
}

/* A process must have begun before it can be told to change. */
static void bound(struct tree *t)
{
    tree_foreach(p, t) {
        if (p->ready || !takes_part(p))
            continue;
        if (t->reload.state != RELOAD_WAITING)
            log_info("parent", "the reload waits for %s, which is starting", p->name);
        t->reload.state = RELOAD_WAITING;
        return;
    }
    hand_over(t);
}

static void next_step(struct tree *t)
{
    struct buf why = { 0 };
    struct err e =
        sockets_open(&t->reload.next.sockets, t->reload.next.settings, &t->current.sockets, &why);

    if (!err_failed(e)) {
        bound(t);
    } else if (e.kind == ERR_BUSY && tree_now(t) < t->reload.bind_until_ms) {
        timers_arm(&t->timers, &t->reload.retry, tree_now(t) + BIND_STEP_MS);
    } else {
        fail(t, buf_cstr(&why));
    }
    buf_release(&why);
}

static void retry_fired(struct timer *timer)
{
    next_step(container_of(timer, struct tree, reload.retry));
}

/* No verdict on the engine: it may still take it, and then all must have it.
 * The others carry no mail: one that hangs is started again, and may do better
 * with the next reload. */
static void patience_fired(struct timer *timer)
{
    struct tree *t = container_of(timer, struct tree, reload.patience);

    tree_foreach(p, t) {
        if (p->answer != ANSWER_AWAITED)
            continue;
        log_warning("parent", "%s[%d] has not answered to the reload for %u s%s", p->name,
                    (int)p->pid, (unsigned)(PATIENCE_MS / SECOND_MS),
                    p->kind != PROCESS_ENGINE ? " and is killed" : "");
        if (p->kind != PROCESS_ENGINE)
            process_kill(p);
    }
}

void reload_init(struct tree *t)
{
    t->reload.next = GENERATION_EMPTY;
    t->reload.retry.fire = retry_fired;
    t->reload.patience.fire = patience_fired;
}

/* ---- what happens ---- */

/* A new generation was made, or not: `e`. */
static void proceed(struct tree *t, struct err e)
{
    const char *fixed;
    int exit_code;

    if (!err_failed(e))
        e = generation_judge(&t->reload.next, t->current.settings, clock_wall_ms(t->clock), &t->reload.text);
    if (err_failed(e)) {
        finish(t, false);
        return;
    }
    fixed = changed_for_good(t->current.settings, t->reload.next.settings);
    if (fixed != NULL) {
        buf_printf(&t->reload.text, "%s cannot change while relayd runs: restart it", fixed);
        finish(t, false);
        return;
    }
    e = places_prepare(t, t->reload.next.settings, &exit_code, &t->reload.text);
    if (!err_failed(e))
        e = generation_keys(&t->reload.next, t->clock, &t->reload.text);
    if (!err_failed(e))
        e = generation_whole(&t->reload.next, &t->reload.text); /* what is in force was */
    if (err_failed(e)) {
        finish(t, false);
        return;
    }
    t->reload.bind_until_ms = tree_now(t) + BIND_WAIT_MS;
    next_step(t);
}

void reload_begin(struct tree *t)
{
    if (t->phase == TREE_STOPPING)
        return;
    if (t->phase == TREE_STARTING || t->reload.state != RELOAD_NONE) {
        t->reload.again = true; /* however often: once more is enough */
        return;
    }
    log_info("parent", "reads the configuration again");
    notify_reloading(t->clock);
    buf_add(&t->reload.askers, buf_bytes(&t->reload.next_askers));
    buf_clear(&t->reload.next_askers);
    t->reload.state = RELOAD_BINDING;
    proceed(t, generation_load(t->config_path, &t->reload.next, &t->reload.text));
}

void reload_refresh(struct tree *t)
{
    notify_reloading(t->clock);
    t->reload.state = RELOAD_BINDING;
    proceed(t, generation_refresh(&t->current, &t->reload.next, &t->reload.text));
}

void reload_asked(struct tree *t, uint32_t asker)
{
    add_asker(&t->reload.next_askers, asker);
    reload_begin(t);
}

void reload_answered(struct process *p, uint32_t serial, bool ok, struct slice text)
{
    struct tree *t = p->tree;

    if (t->reload.state != RELOAD_HANDED || p->answer != ANSWER_AWAITED ||
        serial != t->reload.serial) {
        if (!ok && serial == p->given_back)
            process_distrust(p, err_make(ERR_PROTOCOL, "keep the old configuration"));
        return; /* a process that makes up answers changes nothing */
    }
    p->answer = ok ? ANSWER_YES : ANSWER_NONE;
    if (!ok) {
        t->reload.refused = true;
        if (buf_len(&t->reload.text) > 0)
            buf_add_byte(&t->reload.text, '\n');
        buf_printf(&t->reload.text, "%s: ", p->name);
        buf_add(&t->reload.text, text);
    }
    conclude(t);
}

void reload_process_ready(struct process *p)
{
    struct tree *t = p->tree;

    if (t->reload.state == RELOAD_WAITING) {
        bound(t);
    } else if (t->reload.again && t->reload.state == RELOAD_NONE) {
        t->reload.again = false; /* asked for while the tree was starting */
        reload_begin(t);
    }
}

void reload_process_died(struct process *p)
{
    struct tree *t = p->tree;
    bool asked = p->answer == ANSWER_AWAITED;

    p->answer = ANSWER_NONE;
    if (p->kind == PROCESS_ENGINE) {
        buf_clear(&t->reload.askers); /* they asked the one that died */
        buf_clear(&t->reload.next_askers);
    }
    if (t->reload.state == RELOAD_WAITING) {
        bound(t);
    } else if (t->reload.state == RELOAD_HANDED && asked) {
        t->reload.refused = true;
        buf_printf(&t->reload.text, "the %s died while it took the new configuration\n", p->name);
        conclude(t);
    }
}

void reload_abandon(struct tree *t)
{
    t->reload.again = false;
    if (t->reload.state != RELOAD_NONE)
        fail(t, "relayd is told to stop");
    buf_release(&t->reload.text);
    buf_release(&t->reload.askers);
    buf_release(&t->reload.next_askers);
}
