/* relayd/reload.c - from one configuration to the next, wholly or not at all.
 *
 * Read and check, open the new sockets, hand all of it to the engine; when it
 * says yes the new generation becomes the current one and what only the old
 * one had is closed. Any no along the way leaves the old one as it was.
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
        if (t->engine.channel != NULL)
            e = channel_send_outcome(t->engine.channel, serial, ok, buf_bytes(&t->reload.text));
        if (err_failed(e))
            log_warning("parent", "the outcome of the reload does not reach relayctl");
    }
    buf_clear(&t->reload.askers);
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
    } else {
        generation_release(&t->reload.next);
    }
    tree_log_text(!ok, buf_bytes(&t->reload.text));
    if (!ok)
        log_error("parent", "the old configuration stays in force");
    answer_askers(t, ok);
    buf_clear(&t->reload.text);
    if (t->engine.ready && t->phase == TREE_RUNNING)
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
    if (old->loops != new->loops)
        return "loops";
    if (!same_storage(&old->storage, &new->storage))
        return "storage";
    if (old->limits.message_memory != new->limits.message_memory)
        return "message_memory";
    return NULL;
}

/* ---- steps ---- */

static void hand_over(struct tree *t)
{
    const struct generation *g = &t->reload.next;
    struct err e;

    t->reload.state = RELOAD_HANDED;
    timers_arm(&t->timers, &t->reload.patience, tree_now(t) + PATIENCE_MS);
    if (t->engine.channel == NULL)
        return; /* it is about to be seen dead */
    e = channel_send_config(t->engine.channel, CHANNEL_RELOAD, ++t->reload.serial, g->bundle_fd,
                            g->sockets.listeners, g->sockets.len);
    if (err_failed(e) && e.kind != ERR_CLOSED) {
        char text[256];

        fail(t, err_text(e, text, sizeof text));
    }
}

/* Without an engine there is nobody to ask; perhaps it is this configuration
 * that lets it live. */
static void take_effect_alone(struct tree *t)
{
    t->engine.early_deaths = 0;
    finish(t, true);
    if (t->phase == TREE_RUNNING && t->engine.pid == 0)
        engine_start(t);
}

static void bound(struct tree *t)
{
    if (t->engine.pid == 0) {
        take_effect_alone(t);
    } else if (t->engine.ready) {
        hand_over(t);
    } else {
        t->reload.state = RELOAD_WAITING;
        log_info("parent", "the reload waits for the engine, which is starting");
    }
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

/* No verdict: the engine may still take it, and then both must have it. */
static void patience_fired(struct timer *timer)
{
    struct tree *t = container_of(timer, struct tree, reload.patience);

    log_warning("parent", "engine[%d] has not answered to the reload for %u s", (int)t->engine.pid,
                (unsigned)(PATIENCE_MS / SECOND_MS));
}

void reload_init(struct tree *t)
{
    t->reload.next = GENERATION_EMPTY;
    t->reload.retry.fire = retry_fired;
    t->reload.patience.fire = patience_fired;
}

/* ---- what happens ---- */

void reload_begin(struct tree *t)
{
    const char *fixed;
    struct err e;

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
    e = generation_load(t->config_path, &t->reload.next, &t->reload.text);
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
    t->reload.bind_until_ms = tree_now(t) + BIND_WAIT_MS;
    next_step(t);
}

void reload_asked(struct tree *t, uint32_t asker)
{
    add_asker(&t->reload.next_askers, asker);
    reload_begin(t);
}

void reload_answered(struct tree *t, uint32_t serial, bool ok, struct slice text)
{
    if (t->reload.state != RELOAD_HANDED || serial != t->reload.serial)
        return; /* an engine that makes up answers changes nothing */
    buf_add(&t->reload.text, text);
    finish(t, ok);
}

void reload_engine_ready(struct tree *t)
{
    if (t->reload.state == RELOAD_WAITING) {
        hand_over(t);
    } else if (t->reload.again && t->reload.state == RELOAD_NONE) {
        t->reload.again = false; /* asked for while the tree was starting */
        reload_begin(t);
    }
}

void reload_engine_died(struct tree *t)
{
    buf_clear(&t->reload.askers); /* they asked the one that died */
    buf_clear(&t->reload.next_askers);
    if (t->reload.state == RELOAD_WAITING)
        take_effect_alone(t);
    else if (t->reload.state == RELOAD_HANDED)
        fail(t, "the engine died while it took the new configuration");
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
