/* base/headroom.c - reads what the kernel counts of memory. */
#include "base/headroom.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_MAX  (64u * KIB) /* of a file: mountinfo is the longest */
#define NO_LIMIT  ((uint64_t)1 << 60) /* version 1 has a huge number for it */

/* So much is left free for what nobody counts beforehand: the kernel's own
 * structures, sockets, programs beside us; a little group leaves a quarter. */
#define SPARE_MAX   (64u * MIB)
#define SPARE_SHARE 4u

struct headroom {
    uint64_t total;
    struct headroom_place place;
    int limit_fd, current_fd, stat_fd; /* of the group with the least limit; -1: none */
    char text[TEXT_MAX];
};

/* ---- texts --------------------------------------------------------------------- */

static struct slice next_word(struct slice *rest)
{
    struct slice word = SLICE_EMPTY;

    while (word.len == 0 && slice_split(rest, ' ', &word))
        ;
    return word;
}

static bool has_item(struct slice list, struct slice item)
{
    struct slice one;

    while (slice_split(&list, ',', &one))
        if (slice_eq(one, item))
            return true;
    return false;
}

/* "4:memory:/a/b" of version 1, "0::/a/b" of version 2. */
static bool find_group(struct slice groups, bool *unified, struct slice *path)
{
    struct slice line, number, controllers;
    bool found = false;

    while (slice_split(&groups, '\n', &line)) {
        bool here;

        if (!slice_split(&line, ':', &number) || !slice_split(&line, ':', &controllers) || line.len == 0 ||
            line.ptr[0] != '/')
            continue;
        here = controllers.len != 0 && has_item(controllers, SLICE("memory"));
        if (!here && (found || !slice_eq(number, SLICE("0")) || controllers.len != 0))
            continue;
        *unified = !here;
        *path = line;
        found = true;
        if (here) /* where both are mounted the controller is in one of them */
            break;
    }
    return found;
}

/* "36 35 98:0 ROOT MOUNT-POINT OPTIONS … - TYPE SOURCE OPTIONS" */
static bool find_mount(struct slice mounts, bool unified, struct slice *root, struct slice *point)
{
    struct slice line, word;

    while (slice_split(&mounts, '\n', &line)) {
        for (int i = 0; i < 3; i++)
            next_word(&line);
        *root = next_word(&line);
        *point = next_word(&line);
        do
            word = next_word(&line);
        while (word.len != 0 && !slice_eq(word, SLICE("-")));
        word = next_word(&line);
        next_word(&line);
        if (unified ? slice_eq(word, SLICE("cgroup2"))
                    : slice_eq(word, SLICE("cgroup")) && has_item(next_word(&line), SLICE("memory")))
            return true;
    }
    return false;
}

static bool begins_with_folder(struct slice path, struct slice folder)
{
    return path.len >= folder.len && slice_eq(slice_head(path, folder.len), folder) &&
           (path.len == folder.len || path.ptr[folder.len] == '/');
}

bool headroom_parse_place(struct slice groups, struct slice mounts, struct headroom_place *out)
{
    struct slice path, root, point;
    int n;

    if (!find_group(groups, &out->unified, &path) || !find_mount(mounts, out->unified, &root, &point))
        return false;
    /* A container may see its own group, or one above, as the whole tree. */
    if (root.len > 1)
        path = begins_with_folder(path, root) ? slice_from(path, root.len) : SLICE_EMPTY;
    if (slice_eq(path, SLICE("/")) || begins_with_folder(path, SLICE("/..")))
        path = SLICE_EMPTY;
    n = snprintf(out->folder, sizeof out->folder, "%.*s%.*s", (int)point.len, point.ptr, (int)path.len, path.ptr);
    out->top = point.len;
    return point.len != 0 && n > 0 && (size_t)n < sizeof out->folder;
}

bool headroom_parse_limit(struct slice text, uint64_t *bytes)
{
    return slice_u64(slice_head(text, slice_find(text, '\n')), bytes) && *bytes < NO_LIMIT;
}

/* The sum of these lines, "name number" each. */
static uint64_t sum_of(struct slice text, const struct slice *names, size_t count)
{
    struct slice line, name;
    uint64_t sum = 0, n;

    while (slice_split(&text, '\n', &line)) {
        slice_split(&line, ' ', &name);
        for (size_t i = 0; i < count; i++)
            if (slice_eq(name, names[i]) && slice_u64(line, &n))
                sum += n;
    }
    return sum;
}

/* Version 1 does not tell how much of the kernel's own memory could be given
 * back: there only that of processes is sure, and the spare has to do for the
 * rest. */
uint64_t headroom_parse_used(bool unified, uint64_t current, struct slice stat)
{
    static const struct slice back[] = { SLICE("inactive_file"), SLICE("active_file"), SLICE("slab_reclaimable") };
    static const struct slice kept[] = { SLICE("total_inactive_anon"), SLICE("total_active_anon"),
                                         SLICE("total_unevictable") };
    uint64_t sum = unified ? sum_of(stat, back, countof(back)) : sum_of(stat, kept, countof(kept));

    if (!unified)
        return sum;
    return current > sum ? current - sum : 0;
}

uint64_t headroom_parse_machine(struct slice meminfo)
{
    struct slice line, word;
    uint64_t kib;

    while (slice_split(&meminfo, '\n', &line)) {
        word = next_word(&line);
        if (slice_eq(word, SLICE("MemTotal:")))
            return slice_u64(next_word(&line), &kib) && kib < NO_LIMIT / KIB ? kib * KIB : 0;
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------- */

static struct slice read_fd(struct headroom *h, int fd)
{
    size_t got = 0;

    while (fd >= 0 && got < sizeof h->text) {
        ssize_t n = pread(fd, h->text + got, sizeof h->text - got, (off_t)got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return slice_make(h->text, got);
}

static int open_file(const char *root, const char *folder, const char *name)
{
    char path[2 * HEADROOM_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);

    return n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

/* The caller frees it. */
static char *read_file(struct headroom *h, const char *root, const char *folder, const char *name)
{
    int fd = open_file(root, folder, name);
    struct slice text = read_fd(h, fd);

    if (fd >= 0)
        close(fd);
    return mem_dup(text.ptr, text.len);
}

static const char *limit_name(const struct headroom *h)
{
    return h->place.unified ? "memory.max" : "memory.limit_in_bytes";
}

static bool read_limit(struct headroom *h, const char *root, const char *folder, uint64_t *bytes)
{
    int fd = open_file(root, folder, limit_name(h));
    bool there = fd >= 0 && headroom_parse_limit(read_fd(h, fd), bytes);

    if (fd >= 0)
        close(fd);
    return there;
}

/* Of our group and those around it the one with the least limit. False: none has one. */
static bool find_tightest(struct headroom *h, const char *root)
{
    struct headroom_place p = h->place;
    uint64_t bytes;
    bool found = false;

    for (;;) {
        char *end;

        if (read_limit(h, root, p.folder, &bytes) && (!found || bytes < h->total)) {
            found = true;
            h->total = bytes;
            h->place = p;
        }
        end = strrchr(p.folder + p.top, '/');
        if (end == NULL)
            return found;
        *end = '\0';
    }
}

static void watch_group(struct headroom *h, const char *root)
{
    char *groups = read_file(h, root, "/proc/self", "cgroup");
    char *mounts = read_file(h, root, "/proc/self", "mountinfo");
    uint64_t machine = h->total;
    bool limited = headroom_parse_place(slice_str(groups), slice_str(mounts), &h->place) && find_tightest(h, root);

    if (limited && machine != 0 && machine < h->total) { /* more than there is: that is no limit */
        h->total = machine;
        limited = false;
    }
    if (limited) {
        bool unified = h->place.unified;

        h->limit_fd = open_file(root, h->place.folder, limit_name(h));
        h->current_fd = open_file(root, h->place.folder, unified ? "memory.current" : "memory.usage_in_bytes");
        h->stat_fd = open_file(root, h->place.folder, "memory.stat");
    }
    free(groups);
    free(mounts);
}

struct headroom *headroom_open(const char *root)
{
    struct headroom *h = mem_new(struct headroom);
    char *meminfo = read_file(h, root, "/proc", "meminfo");

    h->limit_fd = h->current_fd = h->stat_fd = -1;
    h->total = headroom_parse_machine(slice_str(meminfo));
    watch_group(h, root);
    free(meminfo);
    return h;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void headroom_close(struct headroom *h)
{
    if (h == NULL)
        return;
    close_fd(h->limit_fd);
    close_fd(h->current_fd);
    close_fd(h->stat_fd);
    free(h);
}

uint64_t headroom_total(const struct headroom *h)
{
    return h->total;
}

const char *headroom_group(const struct headroom *h)
{
    bool all = h->limit_fd >= 0 && h->current_fd >= 0 && h->stat_fd >= 0;

    return all ? h->place.folder : NULL;
}

/* The limit, too: it may be changed while we run. */
bool headroom_look(struct headroom *h, struct headroom_use *use)
{
    uint64_t current;
    struct slice stat;

    if (headroom_group(h) == NULL || !headroom_parse_limit(read_fd(h, h->limit_fd), &use->limit_bytes) ||
        !headroom_parse_limit(read_fd(h, h->current_fd), &current))
        return false;
    stat = read_fd(h, h->stat_fd);
    if (stat.len == 0)
        return false;
    use->used_bytes = headroom_parse_used(h->place.unified, current, stat);
    return true;
}

/* ---- judgement --------------------------------------------------------------------- */

enum headroom_level headroom_judge(const struct headroom_use *use, enum headroom_level before)
{
    uint64_t share = use->limit_bytes / SPARE_SHARE;
    uint64_t spare = share < SPARE_MAX ? share : SPARE_MAX;
    uint64_t left = use->limit_bytes > use->used_bytes ? use->limit_bytes - use->used_bytes : 0;
    uint64_t more = spare / 8;

    if (left < spare + (before == HEADROOM_NONE ? more : 0))
        return HEADROOM_NONE;
    if (left < 2 * spare + (before != HEADROOM_PLENTY ? more : 0))
        return HEADROOM_SHORT;
    return HEADROOM_PLENTY;
}
