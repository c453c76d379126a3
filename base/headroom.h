/* base/headroom.h - how much memory the system lets us have, and how much of
 * it is left.
 *
 * A control group (a container, a systemd unit with MemoryMax=) that uses more
 * than its limit is not told so: the kernel kills one of its processes. So the
 * files in which the kernel counts are opened once, before any sandbox, and
 * read now and then. Reading may wait for the kernel: not for a network loop.
 */
#ifndef BASE_HEADROOM_H
#define BASE_HEADROOM_H

#include "base/slice.h"

#include <stdatomic.h>

struct headroom;

/* `root` stands before every path: "" is the system's own. What can't be read
 * is not there: this never fails. */
struct headroom *headroom_open(const char *root);
void headroom_close(struct headroom *h); /* NULL is fine */
/* The machine's memory, or the least limit of a control group around us; 0: not
 * known. As it was at the start. */
uint64_t headroom_total(const struct headroom *h);
/* The folder of the control group with that limit; NULL: there is none, and
 * nothing to look at. */
const char *headroom_group(const struct headroom *h);

struct headroom_use {
    uint64_t limit_bytes;
    uint64_t used_bytes; /* that can't be given back: page cache of files can */
};

/* False: there is no limit, or none any more. */
bool headroom_look(struct headroom *h, struct headroom_use *use);

enum headroom_level {
    HEADROOM_PLENTY,
    HEADROOM_SHORT, /* little more is to be gathered in memory */
    HEADROOM_NONE,  /* no further client and message are to begin */
};

/* A level ends a little below where it begins, so that it doesn't flicker. */
enum headroom_level headroom_judge(const struct headroom_use *use, enum headroom_level before);

/* The last look, as one thread publishes it for all. All zero: plenty. */
struct headroom_gauge {
    atomic_int level;
    _Atomic uint64_t limit_bytes, used_bytes; /* 0: no limit */
};

static inline enum headroom_level headroom_level(const struct headroom_gauge *g) /* NULL is plenty */
{
    return g != NULL ? (enum headroom_level)atomic_load_explicit(&g->level, memory_order_relaxed)
                     : HEADROOM_PLENTY;
}

/* ---- the kernel's texts, for tests ------------------------------------------ */

#define HEADROOM_PATH_MAX 1024

/* Where the files of our control group are. */
struct headroom_place {
    bool unified; /* version 2 */
    char folder[HEADROOM_PATH_MAX];
    size_t top; /* so much of it is the mount point: further up there is nothing */
};

/* From /proc/self/cgroup and /proc/self/mountinfo. False: no group that counts memory. */
bool headroom_parse_place(struct slice groups, struct slice mounts, struct headroom_place *out);
/* memory.max and its like. False: there is no limit. */
bool headroom_parse_limit(struct slice text, uint64_t *bytes);
/* Of what is in use (memory.current and its like) and memory.stat. */
uint64_t headroom_parse_used(bool unified, uint64_t current, struct slice stat);
/* MemTotal of /proc/meminfo; 0: it does not tell. */
uint64_t headroom_parse_machine(struct slice meminfo);

#endif
