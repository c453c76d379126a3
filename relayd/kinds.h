/* relayd/kinds.h - the processes of the tree besides the parent. */
#ifndef RELAYD_KINDS_H
#define RELAYD_KINDS_H

#include "base/err.h"

struct settings;

enum process_kind {
    PROCESS_ENGINE,   /* carries the mail */
    PROCESS_ACCOUNTS, /* owns the users: who may send */
    PROCESS_SIGN,     /* one of several, with the private DKIM keys */
    PROCESS_KINDS,
};

#define SIGN_WORKERS_MAX 32u

struct process_kind_info {
    const char *name;  /* "engine", for the log */
    const char *title; /* its argv[0], "relayd: engine" */
    int (*main)(int channel_fd);
};

extern const struct process_kind_info process_kinds[PROCESS_KINDS];

/* With what to end for `e`: EX_OSERR when another try may do better, so that
 * parent and service manager make one; else `otherwise`, which may be final. */
int process_exit_code(struct err e, int otherwise);

/* How many of them the configuration needs; 0: none. */
unsigned processes_wanted(enum process_kind kind, const struct settings *s);

/* The name of the user that kind becomes when the parent is root. */
const char *process_user(enum process_kind kind, const struct settings *s);

#endif
