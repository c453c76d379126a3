/* relayd/supervise.c - keeps an engine alive, and slowly when it does not want
 * to live: at once, then after 1, 2, 4 … 30 s. */
#include "base/log.h"
#include "relayd/child.h"
#include "relayd/engine.h"
#include "relayd/notify.h"
#include "relayd/tree.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#define BACKOFF_FIRST_MS (1 * SECOND_MS)
#define BACKOFF_MAX_MS   (30 * SECOND_MS)
#define LONG_LIFE_MS     (60 * SECOND_MS) /* the next death counts as the first */
#define KILLED_LIFE_MS   (1 * SECOND_MS) /* likewise for one killed by SIGKILL: not its own doing */

#define DRAIN_MS  (25 * SECOND_MS)
#define STOP_MS   (30 * SECOND_MS) /* from the order to stop to SIGKILL */
#define LINGER_MS (5 * SECOND_MS)  /* without a channel it has no business to live on */

static void restart_fired(struct timer *timer)
{
    engine_start(container_of(timer, struct tree, engine.restart));
}

static void kill_fired(struct timer *timer)
{
    struct tree *t = container_of(timer, struct tree, engine.kill);

    log_warning("parent", "engine[%d] did not end in time and is killed", (int)t->engine.pid);
    engine_kill(t);
}

void engine_init(struct tree *t)
{
    t->engine.restart.fire = restart_fired;
    t->engine.kill.fire = kill_fired;
}

void engine_kill(struct tree *t)
{
    if (t->engine.pid > 0 && !t->engine.reaped)
        kill(t->engine.pid, SIGKILL);
}

/* ---- life ---- */

static void restart_later(struct tree *t)
{
    struct engine_process *en = &t->engine;
    uint64_t delay_ms = 0;

    if (en->early_deaths > 0)
        delay_ms = BACKOFF_FIRST_MS << (en->early_deaths - 1 < 5 ? en->early_deaths - 1 : 5);
    if (delay_ms > BACKOFF_MAX_MS)
        delay_ms = BACKOFF_MAX_MS;
    if (delay_ms > 0)
        log_info("parent", "engine starts again in %u s", (unsigned)(delay_ms / SECOND_MS));
    en->early_deaths++;
    timers_arm(&t->timers, &en->restart, tree_now(t) + delay_ms);
}

static void drop_channel(struct tree *t)
{
    channel_free(t->engine.channel);
    t->engine.channel = NULL;
}

/* Nothing it says is believed any more; engine_ended() starts another. */
static void distrust(struct tree *t, struct err e)
{
    char text[256];

    log_error("parent", "engine[%d]: %s; it is killed", (int)t->engine.pid,
              err_text(e, text, sizeof text));
    drop_channel(t);
    engine_kill(t);
}

void engine_start(struct tree *t)
{
    struct engine_process *en = &t->engine;
    const struct generation *g = &t->current;
    struct err e;

    timers_disarm(&t->timers, &en->restart);
    en->ready = false;
    en->reaped = false;
    en->started_ms = tree_now(t);
    e = child_start(ENGINE_TITLE, &t->identity, &en->pid, &en->channel);
    if (err_failed(e)) {
        char text[256];

        en->pid = 0;
        log_error("parent", "engine: %s", err_text(e, text, sizeof text));
        if (!t->ever_ready && en->early_deaths == 0)
            tree_end(t, EX_OSERR);
        else
            restart_later(t);
        return;
    }
    log_debug("parent", "engine[%d] started", (int)en->pid);
    e = channel_send_config(en->channel, CHANNEL_START, 0, g->bundle_fd, g->sockets.listeners,
                            g->sockets.len);
    if (err_failed(e) && e.kind != ERR_CLOSED)
        distrust(t, e);
}

/* ---- what it says ---- */

static void became_ready(struct tree *t)
{
    if (t->engine.ready || t->phase == TREE_STOPPING)
        return;
    t->engine.ready = true;
    t->ever_ready = true;
    log_info("parent", "engine[%d] is ready", (int)t->engine.pid);
    notify_ready();
    reload_engine_ready(t);
}

static void handle(struct tree *t, const struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_READY:
        became_ready(t);
        break;
    case CHANNEL_RELOAD_OK:
        reload_answered(t, m->serial, true, SLICE_EMPTY);
        break;
    case CHANNEL_RELOAD_FAILED:
        reload_answered(t, m->serial, false, m->text);
        break;
    case CHANNEL_RELOAD_REQUEST:
        reload_asked(t, m->serial);
        break;
    case CHANNEL_STOP_REQUEST:
        if (t->phase != TREE_STOPPING)
            tree_stop(t);
        break;
    case CHANNEL_STATUS:
        notify_status(m->text);
        break;
    case CHANNEL_STOPPED:
        log_debug("parent", "engine[%d] has drained", (int)t->engine.pid);
        break;
    default: /* channel.c lets nothing else through */
        break;
    }
}

static void channel_closed(struct tree *t)
{
    drop_channel(t); /* SIGCHLD follows, or the timer */
    if (!timer_armed(&t->engine.kill))
        timers_arm(&t->timers, &t->engine.kill, tree_now(t) + LINGER_MS);
}

void engine_read(struct tree *t)
{
    while (t->engine.channel != NULL) {
        struct channel_message m;
        struct err e = channel_receive(t->engine.channel, &m);

        if (!err_failed(e) && m.type == CHANNEL_NOTHING)
            break;
        if (!err_failed(e))
            handle(t, &m);
        else if (e.kind == ERR_CLOSED)
            channel_closed(t);
        else
            distrust(t, e);
        channel_message_release(&m);
    }
    if (t->engine.channel != NULL) {
        struct err e = channel_flush(t->engine.channel);

        if (err_failed(e) && e.kind != ERR_CLOSED)
            distrust(t, e);
    }
}

/* ---- death ---- */

/* Exit codes that another try can't better. */
static bool is_final(int code)
{
    switch (code) {
    case EX_CONFIG:
    case EX_DATAERR:
    case EX_CANTCREAT:
    case EX_NOPERM:
    case EX_NOUSER:
    case EX_USAGE:
        return true;
    default:
        return false;
    }
}

static void log_death(struct tree *t, int status)
{
    int pid = (int)t->engine.pid;

    if (WIFSIGNALED(status))
        log_error("parent", "engine[%d] was ended by signal %d (%s)%s", pid, WTERMSIG(status),
                  strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
    else if (t->phase != TREE_STOPPING || WEXITSTATUS(status) != 0)
        log_error("parent", "engine[%d] ended with exit code %d", pid, WEXITSTATUS(status));
}

static bool lived_well(const struct tree *t, int status)
{
    uint64_t life_ms = tree_now(t) - t->engine.started_ms;

    return life_ms >= LONG_LIFE_MS || (t->engine.ready && life_ms >= KILLED_LIFE_MS &&
                                       WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void engine_ended(struct tree *t, int status)
{
    struct engine_process *en = &t->engine;

    en->reaped = true;
    engine_read(t); /* its last words */
    log_death(t, status);
    if (lived_well(t, status))
        en->early_deaths = 0;
    drop_channel(t);
    timers_disarm(&t->timers, &en->kill);
    en->pid = 0;
    en->ready = false;
    if (t->phase == TREE_STOPPING) {
        tree_end(t, EX_OK);
        return;
    }
    if (!t->ever_ready && WIFEXITED(status) && is_final(WEXITSTATUS(status))) {
        tree_end(t, WEXITSTATUS(status));
        return;
    }
    restart_later(t);
    reload_engine_died(t);
}

/* ---- the end ---- */

void engine_stop(struct tree *t)
{
    struct engine_process *en = &t->engine;

    timers_disarm(&t->timers, &en->restart);
    if (en->pid == 0) {
        tree_end(t, EX_OK);
        return;
    }
    timers_arm(&t->timers, &en->kill, tree_now(t) + STOP_MS);
    if (en->channel != NULL) {
        struct err e = channel_send_stop(en->channel, DRAIN_MS);

        if (err_failed(e) && e.kind != ERR_CLOSED)
            distrust(t, e);
    }
}
