/* tests/sim/disk.c - a disk that fails for a while, or until the next start, that
 * runs full and has room again, and that forgets at a crash what nobody told it
 * to keep.
 *
 * A transaction needs no forgetting here: it is told of in the same step that
 * commits it, so one that was not told of is one that has not run. The bytes of
 * body files and their names are another matter.
 */
#include "tests/sim/plant.h"

#include "store/blob.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define SETTLE_MS MINUTE_MS /* the store tries again every ten seconds at most */

/* A body file that is not safe yet. */
struct unsafe {
    struct unsafe *next;
    char path[400];
    uint64_t bytes;  /* written */
    uint64_t synced; /* of these */
};

/* ---- faults ---------------------------------------------------------------------- */

static bool ill(const struct sim *sim)
{
    return sim->commit_fails_now || sim->writes_fail_now || sim->disk_low;
}

static void recover(struct sim *sim)
{
    if (!ill(sim))
        return;
    sim->commit_fails_now = sim->writes_fail_now = sim->disk_low = sim->sticky = false;
    sim->disk_changed_ms = sim->now_ms;
    trace(sim, "the disk is well");
}

/* How long it lasts. */
static uint64_t fall_ill(struct sim *sim)
{
    sim->disk_changed_ms = sim->now_ms;
    sim->commit_error = chance(sim, 50) ? EIO : ENOSPC;
    switch (roll(sim, 5)) {
    case 0: /* little room is left; later none */
        sim->disk_low = true;
        sim->counts.low_disks++;
        trace(sim, "little room is left on the disk");
        return roll(sim, 6 * HOUR_MS);
    case 1: /* nothing works any more until somebody starts it again */
        sim->commit_fails_now = sim->writes_fail_now = sim->sticky = true;
        sim->commit_error = EIO;
        sim->counts.dead_disks++;
        trace(sim, "the disk is broken");
        return roll(sim, 3 * HOUR_MS);
    case 2: /* large writes find it first */
        sim->writes_fail_now = true;
        trace(sim, "writes fail");
        return roll(sim, HOUR_MS);
    default:
        sim->commit_fails_now = sim->writes_fail_now = true;
        trace(sim, "commits fail");
        return roll(sim, chance(sim, 70) ? 3 * SECOND_MS : 10 * MINUTE_MS);
    }
}

/* Full before it has room again, sometimes. */
static bool runs_full(struct sim *sim)
{
    if (!sim->disk_low || sim->commit_fails_now || !chance(sim, 40))
        return false;
    sim->commit_fails_now = sim->writes_fail_now = true;
    sim->commit_error = ENOSPC;
    sim->disk_changed_ms = sim->now_ms;
    sim->counts.full_disks++;
    trace(sim, "the disk is full");
    return true;
}

static void faults_fire(struct timer *t)
{
    struct sim *sim = container_of(t, struct sim, faults);
    uint64_t next;

    if (sim->life != NULL)
        sim_disk_soon(sim); /* its store looks every second, with or without work */
    if (sim->now_ms >= sim->end_ms) {
        recover(sim);
        return;
    }
    if (sim->sticky) { /* an operator, at last */
        sim->restart_due = true;
        next = roll(sim, DAY_MS);
    } else if (!ill(sim)) {
        next = fall_ill(sim);
    } else if (runs_full(sim)) {
        next = roll(sim, 30 * MINUTE_MS);
    } else {
        recover(sim);
        next = roll(sim, DAY_MS);
    }
    timers_arm(&sim->timers, t, sim->now_ms + next);
    timers_arm(&sim->timers, &sim->disk_look, sim->now_ms + 2 * SECOND_MS);
}

static void look_fire(struct timer *t)
{
    struct sim *sim = container_of(t, struct sim, disk_look);

    if (sim->life == NULL)
        return;
    sim_disk_soon(sim);
    if (ill(sim) || sim->now_ms < sim->disk_changed_ms + SETTLE_MS)
        timers_arm(&sim->timers, t, sim->now_ms + 5 * SECOND_MS);
}

void disk_begin(struct sim *sim)
{
    sim->faults.fire = faults_fire;
    sim->disk_look.fire = look_fire;
    if (sim->commit_faults)
        timers_arm(&sim->timers, &sim->faults, sim->now_ms + roll(sim, DAY_MS));
}

/* What broke for good is replaced with the start. */
void disk_life_begins(struct sim *sim)
{
    if (sim->sticky)
        recover(sim);
}

void disk_heal(struct sim *sim)
{
    recover(sim);
    timers_disarm(&sim->timers, &sim->faults);
    if (sim->life != NULL)
        look_fire(&sim->disk_look);
}

bool disk_takes_mail(const struct sim *sim, uint64_t since_ms)
{
    return !ill(sim) && since_ms > sim->disk_changed_ms + SETTLE_MS;
}

bool disk_refuses_mail(const struct sim *sim, uint64_t since_ms)
{
    return sim->disk_low && sim->disk_changed_ms + SETTLE_MS < since_ms;
}

/* ---- what the engine sees of it ------------------------------------------------------ */

int __wrap_statvfs64(const char *path, struct statvfs *out)
{
    uint64_t left = planted->disk_low ? planted->commit_fails_now ? 0 : DISK_RESERVE / 2 : 100 * DISK_RESERVE;

    *out = (struct statvfs){ .f_frsize = 4096, .f_bsize = 4096, .f_bavail = left / 4096 };
    return 0;
}

/* A full disk often takes a part before it says so. */
static ssize_t failing_write(int fd, const void *bytes, size_t len)
{
    planted->counts.write_failures++;
    trace(planted, "a write fails");
    if (len > 1 && chance(planted, 30))
        return __real_write(fd, bytes, 1 + roll(planted, len - 1));
    errno = planted->commit_error;
    return -1;
}

int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (planted == NULL || planted->life == NULL || planted->life->dispatch == NULL ||
        !planted->commit_fails_now)
        return __real_mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    planted->counts.commit_failures++;
    trace(planted, "a commit fails");
    return planted->commit_error;
}

/* ---- what is safe ---------------------------------------------------------------------- */

static struct unsafe *find(struct sim *sim, int fd, bool add)
{
    char link[40], path[400];
    struct unsafe *u;
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    for (u = sim->unsafe; u != NULL && strcmp(u->path, path) != 0;)
        u = u->next;
    if (u == NULL && add) {
        u = mem_new(struct unsafe);
        snprintf(u->path, sizeof u->path, "%s", path);
        u->next = sim->unsafe;
        sim->unsafe = u;
    }
    return u;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
    struct unsafe *u;
    ssize_t n;

    if (fd <= 2 || planted == NULL || planted->life == NULL)
        return __real_write(fd, bytes, len);
    n = planted->writes_fail_now ? failing_write(fd, bytes, len) : __real_write(fd, bytes, len);
    u = n > 0 ? find(planted, fd, true) : NULL;
    if (u != NULL)
        u->bytes += (uint64_t)n;
    if (u != NULL && planted->may_crash && chance(planted, 2))
        planted->fuse = 0; /* now, before it is safe */
    return n;
}

int __wrap_fdatasync(int fd)
{
    struct unsafe *u = planted != NULL ? find(planted, fd, false) : NULL;

    if (u != NULL && planted->writes_fail_now && planted->commit_error == EIO) {
        errno = EIO;
        return -1;
    }
    if (u != NULL && !plant_now(PLANT_NO_SYNC, 100))
        u->synced = u->bytes;
    return 0;
}

static void forget(struct unsafe **at)
{
    struct unsafe *u = *at;

    *at = u->next;
    free(u);
}

/* A folder's: the names in it are safe, and with that what is whole. */
int __wrap_fsync(int fd)
{
    char link[40], folder[400];
    ssize_t n;

    if (planted == NULL || plant_now(PLANT_NO_NAME_SYNC, 100))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, folder, sizeof folder - 1);
    for (struct unsafe **at = &planted->unsafe; n > 0 && *at != NULL;) {
        struct unsafe *u = *at;

        if (strncmp(u->path, folder, (size_t)n) == 0 && u->path[n] == '/' && u->synced == u->bytes)
            forget(at);
        else
            at = &u->next;
    }
    return 0;
}

struct err __wrap_blobs_open(const struct blobs_options *opt, struct blobs **out)
{
    struct blobs_options synced = *opt;

    synced.unsynced = false;
    return __real_blobs_open(&synced, out);
}

/* A message was promised, and its body may go with the power. */
static void check_promised(struct sim *sim, const struct unsafe *u)
{
    uint64_t id = strtoull(strrchr(u->path, '/') + 1, NULL, 16);

    for (size_t i = 0; i < sim->ledger.count; i++)
        if (sim->ledger.msgs[i]->committed && sim->ledger.msgs[i]->id == id)
            broken(sim, "message %u was committed before its body was safe", sim->ledger.msgs[i]->token);
}

/* The power is gone: some of what was not safe is not there any more. */
void disk_crash(struct sim *sim)
{
    while (sim->unsafe != NULL) {
        struct unsafe *u = sim->unsafe;
        struct stat st;

        if (stat(u->path, &st) == 0) {
            check_promised(sim, u);
            sim->counts.forgotten++;
            if (u->synced == u->bytes || chance(sim, 40) ? unlink(u->path) != 0
                                : truncate(u->path, (off_t)(u->synced + roll(sim, u->bytes - u->synced + 1))) != 0)
                broken(sim, "%s: %s", u->path, strerror(errno));
            trace(sim, "a body file is not what it was");
        }
        forget(&sim->unsafe);
    }
}

void disk_free(struct sim *sim)
{
    while (sim->unsafe != NULL)
        forget(&sim->unsafe);
    timers_disarm(&sim->timers, &sim->faults);
    timers_disarm(&sim->timers, &sim->disk_look);
}
