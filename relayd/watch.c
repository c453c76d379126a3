/* relayd/watch.c - certificates, keys and passwords that change on disk come
 * into force by themselves.
 *
 * Looks at each file every few seconds, through whatever symbolic links lead
 * to it, so it does not matter how it is replaced: written over, renamed,
 * a link turned to another (as certbot does). A change is taken up once all
 * has been still for a while, for a key follows its certificate; and with the
 * configuration in force, not the text on disk, which may be half edited.
 */
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "relayd/tree.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS (2 * SECOND_MS)

static bool is_watched(const struct bundle_entry *e)
{
    return e->kind != BUNDLE_FILE && e->stamp.known;
}

/* The files as they are now; true when one is not as `seen` has it. */
static bool look(struct tree *t)
{
    const struct bundle *b = t->current.bundle;
    bool differs = false;

    for (size_t i = 0; i < b->count; i++) {
        struct bundle_stamp now;

        if (!is_watched(&b->entries[i]))
            continue;
        now = conf_stamp(b->entries[i].path);
        differs = differs || !bundle_stamp_equal(&now, &t->watch.seen[i]);
        t->watch.seen[i] = now;
    }
    return differs;
}

/* Not as they were when they were read; NULL when nothing is to be done. */
static const char *changed_file(const struct tree *t)
{
    const struct bundle *b = t->current.bundle;

    for (size_t i = 0; i < b->count; i++)
        if (is_watched(&b->entries[i]) &&
            !bundle_stamp_equal(&t->watch.seen[i], &b->entries[i].stamp))
            return b->entries[i].path;
    return NULL;
}

static void look_fired(struct timer *timer)
{
    struct tree *t = container_of(timer, struct tree, watch.timer);
    const char *path;

    timers_arm(&t->timers, &t->watch.timer, tree_now(t) + LOOK_MS);
    if (look(t)) {
        t->watch.changed = true;
        return;
    }
    if (!t->watch.changed || t->reload.state != RELOAD_NONE)
        return;
    t->watch.changed = false;
    path = changed_file(t);
    if (path == NULL)
        return; /* and back again */
    log_info("parent", "%s has changed", path);
    reload_refresh(t);
}

void watch_init(struct tree *t)
{
    t->watch.timer.fire = look_fired;
}

void watch_begin(struct tree *t)
{
    const struct bundle *b = t->current.bundle;
    bool any = false;

    watch_end(t);
    t->watch.seen = mem_zero(b->count + 1, sizeof *t->watch.seen);
    for (size_t i = 0; i < b->count; i++) {
        t->watch.seen[i] = b->entries[i].stamp;
        any = any || is_watched(&b->entries[i]);
    }
    if (any)
        timers_arm(&t->timers, &t->watch.timer, tree_now(t) + LOOK_MS);
}

void watch_end(struct tree *t)
{
    timers_disarm(&t->timers, &t->watch.timer);
    t->watch.changed = false;
    free(t->watch.seen);
    t->watch.seen = NULL;
}
