/* relayd/tree.h - the parent's state; for parent.c, supervise.c, links.c,
 * places.c and reload.c. */
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
    RELOAD_WAITING, /* a process is still starting */
    RELOAD_HANDED,  /* they are to answer */
};

enum reload_answer { ANSWER_NONE, ANSWER_AWAITED, ANSWER_YES };

/* A place in the tree for one process, whether it lives at the moment or not. */
struct process {
    struct tree *tree;
    enum process_kind kind;
    unsigned index;          /* which of its kind, from 0 */
    char name[16];           /* "engine", "sign/1": for the log */
    bool wanted;             /* the configuration in force needs it */
    pid_t pid;               /* 0: none */
    bool reaped;             /* its end is being handled: pid may be somebody else's by now */
    struct channel *channel; /* NULL: none, or it was closed and the process is ending */
    bool ready;
    bool settled; /* was ready, or died trying: the tree's own readiness does not wait for it */
    uint64_t started_ms;
    unsigned early_deaths; /* in a row, each after a short life */
    struct timer restart;
    struct timer kill; /* it had its time to end */
    enum reload_answer answer;
    uint32_t given_back; /* serial of the RELOAD that returned it to the configuration in force */
};

#define PROCESSES (PROCESS_SIGN + SIGN_WORKERS_MAX)

struct tree {
    const char *config_path;
    const struct clock *clock;
    struct timers timers;
    int signal_fd;
    /* processes_wanted(), but for a test */
    unsigned (*wanted)(enum process_kind kind, const struct settings *s);

    enum tree_phase phase;
    bool done;
    int exit_code;

    struct identity identities[PROCESS_KINDS]; /* of those the configuration wants */
    struct generation current;
    struct process processes[PROCESSES]; /* by kind, then index */
    bool up; /* has been ready once: no death of a child ends it any more */

    struct timer start; /* TREE_STARTING: next try */
    uint64_t start_until_ms;

    struct { /* of the secret files of the current generation */
        struct timer timer;
        struct bundle_stamp *seen; /* at the last look, by entry of the bundle */
        bool changed;              /* and not taken up yet */
    } watch;

    struct {
        enum reload_state state;
        struct generation next;
        struct buf text; /* warnings so far: part of the outcome */
        bool refused;    /* by one of those who answered */
        uint32_t serial;
        bool again;      /* asked for while one was under way */
        struct buf askers;      /* serials (uint32_t) of the engine's requests it answers */
        struct buf next_askers; /* those that came while it was under way */
        struct timer retry;     /* of binding */
        uint64_t bind_until_ms;
        struct timer patience; /* with the answers */
    } reload;
};

static inline uint64_t tree_now(const struct tree *t)
{
    return clock_mono_ms(t->clock);
}

static inline struct process *tree_engine(struct tree *t)
{
    return &t->processes[PROCESS_ENGINE];
}

#define tree_foreach(p, t)                                                                         \
    for (struct process *p = (t)->processes; p < (t)->processes + PROCESSES; p++)

/* parent.c */
void tree_end(struct tree *t, int exit_code);
void tree_stop(struct tree *t); /* the first time: drain; the second: at once */
void tree_log_text(bool error, struct slice text); /* a log line for each of its lines */

/* supervise.c */
void processes_init(struct tree *t);
void processes_want(struct tree *t); /* starts what the configuration in force needs, stops the rest */
void processes_restart(struct tree *t); /* those whose end waited for the end of a reload */
void processes_stop(struct tree *t); /* the engine, which drains, then those it asks; then the tree ends */
void processes_kill(struct tree *t); /* now */
void process_start(struct process *p);
void process_read(struct process *p); /* its channel is readable or writable */
void process_ended(struct process *p, int wait_status);
void process_kill(struct process *p); /* now; process_ended() follows */
void process_distrust(struct process *p, struct err e); /* it broke the rules or can't be told: killed */

/* links.c */
void links_renew(struct process *p); /* p was just started: to all it talks with */

/* watch.c */
void watch_init(struct tree *t);
void watch_begin(struct tree *t); /* another generation is in force */
void watch_end(struct tree *t);

/* places.c - users and folders of those `st` wants */
MUST_CHECK struct err places_prepare(struct tree *t, const struct settings *st, int *exit_code,
                                     struct buf *why);

/* reload.c */
void reload_init(struct tree *t);
void reload_begin(struct tree *t); /* on SIGHUP */
void reload_refresh(struct tree *t); /* only the secret files; not while one is under way */
void reload_asked(struct tree *t, uint32_t asker); /* by the engine */
void reload_answered(struct process *p, uint32_t serial, bool ok, struct slice text);
void reload_process_ready(struct process *p);
void reload_process_died(struct process *p);
void reload_abandon(struct tree *t); /* the tree stops */

#endif
