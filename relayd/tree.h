/* relayd/tree.h - the parent's state; for parent.c, supervise.c and reload.c. */
#ifndef RELAYD_TREE_H
#define RELAYD_TREE_H

#include "base/clock.h"
#include "base/timers.h"
#include "relayd/channel.h"
#include "relayd/generation.h"
#include "relayd/identity.h"

#include <sys/types.h>

enum tree_phase {
    TREE_STARTING, /* waits for lock and ports; no child yet */
    TREE_RUNNING,
    TREE_STOPPING,
};

enum reload_state {
    RELOAD_NONE,
    RELOAD_BINDING, /* waits for a port that is taken */
    RELOAD_WAITING, /* the engine is still starting */
    RELOAD_HANDED,  /* the engine is to answer */
};

struct engine_process {
    pid_t pid;               /* 0: none */
    bool reaped;             /* its end is being handled: pid may be somebody else's by now */
    struct channel *channel; /* NULL: none, or it was closed and the process is ending */
    bool ready;
    uint64_t started_ms;
    unsigned early_deaths; /* in a row, each after a short life */
    struct timer restart;
    struct timer kill; /* it had its time to end */
};

struct tree {
    const char *config_path;
    const struct clock *clock;
    struct timers timers;
    int signal_fd;

    enum tree_phase phase;
    bool done;
    int exit_code;

    struct identity identity; /* of the engine */
    struct generation current;
    struct engine_process engine;
    bool ever_ready;

    struct timer start; /* TREE_STARTING: next try */
    uint64_t start_until_ms;

    struct {
        enum reload_state state;
        struct generation next;
        struct buf text; /* warnings so far: part of the outcome */
        uint32_t serial;
        bool again;      /* asked for while one was under way */
        struct buf askers;      /* serials (uint32_t) of the engine's requests it answers */
        struct buf next_askers; /* those that came while it was under way */
        struct timer retry;     /* of binding */
        uint64_t bind_until_ms;
        struct timer patience; /* with the engine's answer */
    } reload;
};

static inline uint64_t tree_now(const struct tree *t)
{
    return clock_mono_ms(t->clock);
}

/* parent.c */
void tree_end(struct tree *t, int exit_code);
void tree_stop(struct tree *t); /* the first time: drain; the second: at once */
void tree_log_text(bool error, struct slice text); /* a log line for each of its lines */

/* supervise.c */
void engine_init(struct tree *t);
void engine_start(struct tree *t);
void engine_read(struct tree *t);  /* its channel is readable or writable */
void engine_ended(struct tree *t, int wait_status);
void engine_stop(struct tree *t);  /* asks it to; later kills it */
void engine_kill(struct tree *t);  /* now */

/* reload.c */
void reload_init(struct tree *t);
void reload_begin(struct tree *t); /* on SIGHUP */
void reload_asked(struct tree *t, uint32_t asker); /* by the engine */
void reload_answered(struct tree *t, uint32_t serial, bool ok, struct slice text);
void reload_engine_ready(struct tree *t);
void reload_engine_died(struct tree *t);
void reload_abandon(struct tree *t); /* the tree stops */

#endif
