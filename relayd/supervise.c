/* relayd/supervise.c - keeps the processes alive, and slowly one that does not
 * want to live: at once, then after 1, 2, 4 … 30 s. Each has a count of its
 * own, so a sign worker that crashes again and again slows nobody else. */
#include "base/log.h"
#include "relayd/child.h"
#include "relayd/notify.h"
#include "relayd/tree.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#define BACKOFF_FIRST_MS (1 * SECOND_MS)
#define BACKOFF_MAX_MS   (30 * SECOND_MS)
#define LONG_LIFE_MS     (60 * SECOND_MS) /* the next death counts as the first */
#define KILLED_LIFE_MS   (1 * SECOND_MS) /* likewise for one killed by SIGKILL: not its own doing */

#define DRAIN_MS  (25 * SECOND_MS)
#define STOP_MS   (30 * SECOND_MS) /* from the order to stop to SIGKILL */
#define HELPER_MS (2 * SECOND_MS)  /* likewise for the others: nobody asks them any more */
#define LINGER_MS (5 * SECOND_MS)  /* without a channel it has no business to live on */

static void restart_fired(struct timer *timer)
{
    process_start(container_of(timer, struct process, restart));
}

void process_kill(struct process *p)
{
    if (p->pid > 0 && !p->reaped)
        kill(p->pid, SIGKILL);
}

static void kill_fired(struct timer *timer)
{
    struct process *p = container_of(timer, struct process, kill);

    log_warning("parent", "%s[%d] did not end in time and is killed", p->name, (int)p->pid);
    process_kill(p);
}

void processes_init(struct tree *t)
{
    tree_foreach(p, t) {
        size_t place = (size_t)(p - t->processes);

        p->tree = t;
        p->kind = place < PROCESS_SIGN ? (enum process_kind)place : PROCESS_SIGN;
        p->index = place < PROCESS_SIGN ? 0 : (unsigned)(place - PROCESS_SIGN);
        if (p->kind == PROCESS_SIGN)
            snprintf(p->name, sizeof p->name, "%s/%u", process_kinds[p->kind].name, p->index + 1);
        else
            snprintf(p->name, sizeof p->name, "%s", process_kinds[p->kind].name);
        p->restart.fire = restart_fired;
        p->kill.fire = kill_fired;
    }
    if (t->wanted == NULL)
        t->wanted = processes_wanted;
}

void processes_kill(struct tree *t)
{
    tree_foreach(p, t)
        process_kill(p);
}

/* ---- life ---- */

static void restart_later(struct process *p)
{
    struct tree *t = p->tree;
    uint64_t delay_ms = 0;

    if (p->early_deaths > 0)
        delay_ms = BACKOFF_FIRST_MS << (p->early_deaths - 1 < 5 ? p->early_deaths - 1 : 5);
    if (delay_ms > BACKOFF_MAX_MS)
        delay_ms = BACKOFF_MAX_MS;
    if (delay_ms > 0)
        log_info("parent", "%s starts again in %u s", p->name, (unsigned)(delay_ms / SECOND_MS));
    p->early_deaths++;
    timers_arm(&t->timers, &p->restart, tree_now(t) + delay_ms);
}

void processes_restart(struct tree *t)
{
    tree_foreach(p, t)
        if (p->wanted && p->pid == 0 && !timer_armed(&p->restart))
            restart_later(p);
}

static void drop_channel(struct process *p)
{
    channel_free(p->channel);
    p->channel = NULL;
}

/* Nothing it says is believed any more; process_ended() starts another. */
void process_distrust(struct process *p, struct err e)
{
    char text[256];

    log_error("parent", "%s[%d]: %s; it is killed", p->name, (int)p->pid,
              err_text(e, text, sizeof text));
    drop_channel(p);
    process_kill(p);
}

void process_start(struct process *p)
{
    struct tree *t = p->tree;
    const struct generation *g = &t->current;
    bool listens = p->kind == PROCESS_ENGINE;
    struct err e;

    timers_disarm(&t->timers, &p->restart);
    p->ready = false;
    p->reaped = false;
    p->started_ms = tree_now(t);
    e = child_start(process_kinds[p->kind].title, &t->identities[p->kind], &p->pid, &p->channel);
    if (err_failed(e)) {
        char text[256];

        p->pid = 0;
        log_error("parent", "%s: %s", p->name, err_text(e, text, sizeof text));
        if (!t->up && p->early_deaths == 0)
            tree_end(t, EX_OSERR);
        else
            restart_later(p);
        return;
    }
    log_debug("parent", "%s[%d] started", p->name, (int)p->pid);
    e = channel_send_config(p->channel, CHANNEL_START, 0, g->bundle_fds[p->kind],
                            listens ? g->sockets.listeners : NULL, listens ? g->sockets.len : 0);
    if (err_failed(e) && e.kind != ERR_CLOSED)
        process_distrust(p, e);
    else
        links_renew(p);
}

static void order_stop(struct process *p, uint64_t patience_ms)
{
    struct tree *t = p->tree;

    timers_disarm(&t->timers, &p->restart);
    if (p->pid == 0)
        return;
    timers_arm(&t->timers, &p->kill, tree_now(t) + patience_ms);
    if (p->channel != NULL) {
        struct err e = channel_send_stop(p->channel, p->kind == PROCESS_ENGINE ? DRAIN_MS : 0);

        if (err_failed(e) && e.kind != ERR_CLOSED)
            process_distrust(p, e);
    }
}

/* One that is wanted and dead may have died of the configuration before:
 * it gets its chance at once. The engine last: it asks the others. */
void processes_want(struct tree *t)
{
    for (size_t place = PROCESSES; place-- > 0 && !t->done;) {
        struct process *p = &t->processes[place];
        bool before = p->wanted;

        p->wanted = p->index < t->wanted(p->kind, t->current.settings);
        if (p->wanted && p->pid == 0) {
            p->early_deaths = 0;
            p->settled = false;
            process_start(p);
        } else if (before && !p->wanted) {
            log_info("parent", "%s is not needed any more", p->name);
            order_stop(p, HELPER_MS);
        }
    }
}

/* ---- what they say ---- */

static void tell_ready(struct tree *t)
{
    if (!t->processes[PROCESS_ENGINE].ready)
        return;
    tree_foreach(p, t)
        if (p->wanted && !p->settled)
            return;
    t->up = true;
    notify_ready();
}

static void became_ready(struct process *p)
{
    struct tree *t = p->tree;

    if (p->ready || t->phase == TREE_STOPPING)
        return;
    p->ready = p->settled = true;
    log_info("parent", "%s[%d] is ready", p->name, (int)p->pid);
    tell_ready(t);
    reload_process_ready(p);
}

/* What is the engine's to say, because the control socket is its. */
static void handle_engine(struct process *p, const struct channel_message *m)
{
    struct tree *t = p->tree;

    if (p->kind != PROCESS_ENGINE)
        process_distrust(p, err_make(ERR_PROTOCOL, "message that is the engine's to send"));
    else if (m->type == CHANNEL_RELOAD_REQUEST)
        reload_asked(t, m->serial);
    else if (m->type == CHANNEL_STATUS)
        notify_status(m->text);
    else if (t->phase != TREE_STOPPING)
        tree_stop(t);
}

/* Both may be well and yet not hear each other: a call failed for want of
 * memory or descriptors. A request that crosses the end of the engine is
 * answered by the next one's start. */
static void handle_link_request(struct process *p)
{
    if (p->kind == PROCESS_ENGINE)
        process_distrust(p, err_make(ERR_PROTOCOL, "message that is not the engine's to send"));
    else if (p->tree->phase != TREE_STOPPING)
        links_renew(p);
}

static void handle(struct process *p, const struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_READY:
        became_ready(p);
        break;
    case CHANNEL_RELOAD_OK:
        reload_answered(p, m->serial, true, SLICE_EMPTY);
        break;
    case CHANNEL_RELOAD_FAILED:
        reload_answered(p, m->serial, false, m->text);
        break;
    case CHANNEL_RELOAD_REQUEST:
    case CHANNEL_STOP_REQUEST:
    case CHANNEL_STATUS:
        handle_engine(p, m);
        break;
    case CHANNEL_LINK_REQUEST:
        handle_link_request(p);
        break;
    case CHANNEL_STOPPED:
        log_debug("parent", "%s[%d] has drained", p->name, (int)p->pid);
        break;
    default: /* channel.c lets nothing else through */
        break;
    }
}

static void channel_closed(struct process *p)
{
    drop_channel(p); /* SIGCHLD follows, or the timer */
    if (!timer_armed(&p->kill))
        timers_arm(&p->tree->timers, &p->kill, tree_now(p->tree) + LINGER_MS);
}

void process_read(struct process *p)
{
    while (p->channel != NULL) {
        struct channel_message m;
        struct err e = channel_receive(p->channel, &m);

        if (!err_failed(e) && m.type == CHANNEL_NOTHING)
            break;
        if (!err_failed(e))
            handle(p, &m);
        else if (e.kind == ERR_CLOSED)
            channel_closed(p);
        else
            process_distrust(p, e);
        channel_message_release(&m);
    }
    if (p->channel != NULL) {
        struct err e = channel_flush(p->channel);

        if (err_failed(e) && e.kind != ERR_CLOSED)
            process_distrust(p, e);
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

static bool told_to_end(const struct process *p)
{
    return p->tree->phase == TREE_STOPPING || !p->wanted;
}

/* LMDB dies of a damaged file rather than to say so. */
static void log_advice(const struct process *p, int status)
{
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    if (p->kind == PROCESS_ENGINE && (number == SIGSEGV || number == SIGBUS || number == SIGABRT))
        log_error("parent", "if that happens again and again, %s/queue/data.mdb may be damaged: stop relayd, and "
                            "\"relayctl salvage FOLDER\" writes to files what can be read of it",
                  p->tree->current.settings->state_dir);
}

static void log_death(const struct process *p, int status)
{
    int pid = (int)p->pid;

    if (WIFSIGNALED(status))
        log_error("parent", "%s[%d] was ended by signal %d (%s)%s", p->name, pid, WTERMSIG(status),
                  strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
    else if (WEXITSTATUS(status) != 0 || (!told_to_end(p) && p->kind == PROCESS_ENGINE))
        log_error("parent", "%s[%d] ended with exit code %d", p->name, pid, WEXITSTATUS(status));
    else if (!told_to_end(p))
        log_info("parent", "%s[%d] has done its part; another takes its place", p->name, pid);
    log_advice(p, status);
}

/* A worker that ends by itself with 0 was to be replaced: no sign of trouble
 * either, if it had been at work. */
static bool lived_well(const struct process *p, int status)
{
    uint64_t life_ms = tree_now(p->tree) - p->started_ms;
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool recycled = p->kind != PROCESS_ENGINE && WIFEXITED(status) && WEXITSTATUS(status) == 0;

    return life_ms >= LONG_LIFE_MS ||
           (p->ready && life_ms >= KILLED_LIFE_MS && (killed || recycled));
}

static bool any_left(const struct tree *t)
{
    for (size_t i = 0; i < PROCESSES; i++)
        if (t->processes[i].pid != 0)
            return true;
    return false;
}

/* Those the engine asked follow it, when none is left the tree ends. */
static void stop_others(struct tree *t)
{
    tree_foreach(p, t)
        if (p->kind != PROCESS_ENGINE && !timer_armed(&p->kill))
            order_stop(p, HELPER_MS);
    if (!any_left(t))
        tree_end(t, EX_OK);
}

void process_ended(struct process *p, int status)
{
    struct tree *t = p->tree;

    p->reaped = true;
    process_read(p); /* its last words */
    log_death(p, status);
    if (lived_well(p, status))
        p->early_deaths = 0;
    drop_channel(p);
    timers_disarm(&t->timers, &p->kill);
    p->pid = 0;
    p->ready = false;
    p->settled = true;
    if (t->phase == TREE_STOPPING) {
        if (tree_engine(t)->pid == 0)
            stop_others(t);
        return;
    }
    if (!t->up && WIFEXITED(status) && is_final(WEXITSTATUS(status))) {
        tree_end(t, WEXITSTATUS(status));
        return;
    }
    /* One that had taken the new configuration begins again with whatever comes of it. */
    if (p->wanted && (t->reload.state != RELOAD_HANDED || p->answer != ANSWER_YES))
        restart_later(p);
    if (!t->up)
        tell_ready(t);
    reload_process_died(p);
}

/* ---- the end ---- */

void processes_stop(struct tree *t)
{
    tree_foreach(p, t)
        timers_disarm(&t->timers, &p->restart);
    if (tree_engine(t)->pid != 0)
        order_stop(tree_engine(t), STOP_MS);
    else
        stop_others(t);
}
