/* store/space.c - refuses mail in time, so that a full disk never stops the
 * mail already accepted.
 *
 * On a full disk LMDB can't even delete, for every commit writes new pages.
 * So some blocks are kept allocated beyond the used end of the file, where
 * deletions find room, and new mail is refused while there is still some.
 */
#include "store/internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/statvfs.h>

#define SPACE_CHECK_MS 1000
#define DISK_FULL      ((uint64_t)MIB)      /* less than this is nothing */
#define MAP_RESERVE    ((uint64_t)64 * MIB) /* or an 8th of a small map */

static uint64_t disk_free(struct store *s)
{
    struct statvfs vfs;

    if (statvfs(s->opt.path, &vfs) < 0)
        return 0;
    return (uint64_t)vfs.f_bavail * vfs.f_frsize;
}

/* LMDB reports a short write, which is how a disk gets full, as EIO. */
bool space_disk_full(struct store *s)
{
    return disk_free(s) < DISK_FULL;
}

static void ahead_keep(struct store *s, uint64_t free_bytes)
{
    uint64_t ahead = s->opt.ahead_bytes, want = ahead;
    MDB_envinfo info;
    uint64_t end;

    if (ahead == 0 || s->ahead_unsupported || s->env == NULL)
        return;
    mdb_env_info(s->env, &info);
    end = (info.me_last_pgno + 1) * s->page_bytes;
    if (s->ahead_end >= end + ahead / 2) {
        s->ahead_failed = false;
        return;
    }
    if (want > free_bytes / 2)
        want = free_bytes / 2; /* other files need room as well */
    s->ahead_failed = want < ahead;
    if (want == 0)
        return;
    if (fallocate(s->file_fd, FALLOC_FL_KEEP_SIZE, (off_t)end, (off_t)want) == 0) {
        s->ahead_end = end + want;
    } else if (errno == EOPNOTSUPP) {
        s->ahead_unsupported = true;
        s->ahead_failed = false;
        log_warning("store", "%s: this filesystem can't set space aside", s->opt.path);
    } else {
        s->ahead_failed = true;
    }
}

/* LOW ends a little above where it begins, so that it doesn't flicker. */
static void disk_check(struct store *s)
{
    uint64_t free_bytes = disk_free(s);
    uint64_t least = s->opt.reserve_bytes;

    ahead_keep(s, free_bytes);
    if (s->disk_low)
        least += least / 8;
    s->disk_low = free_bytes < least;
}

static void map_check(struct store *s)
{
    uint64_t reserve = s->map_bytes / 8 < MAP_RESERVE ? s->map_bytes / 8 : MAP_RESERVE;
    uint64_t used;
    MDB_txn *txn;

    if (err_failed(env_begin(s, MDB_RDONLY, &txn)))
        return;
    used = env_used_bytes(s, txn);
    mdb_txn_abort(txn);
    atomic_store_explicit(&s->used_bytes, used, memory_order_relaxed);
    s->map_low = used + reserve > s->map_bytes;
}

void space_publish(struct store *s)
{
    static const char *const words[] = {
        [STORE_SPACE_OK] = "storage is in order, mail is accepted",
        [STORE_SPACE_LOW] = "space is low, new mail is refused",
        [STORE_BROKEN] = "storage failed, nothing is accepted or delivered",
    };
    bool low = s->disk_low || s->map_low || s->ahead_failed ||
               clock_mono_ms(s->opt.clock) < s->low_until_ms;
    int now = s->broken ? STORE_BROKEN : low ? STORE_SPACE_LOW : STORE_SPACE_OK;
    int before = atomic_exchange_explicit(&s->space, now, memory_order_relaxed);

    if (now == before)
        return;
    log_write(now == STORE_SPACE_OK    ? LOG_LEVEL_INFO
              : now == STORE_SPACE_LOW ? LOG_LEVEL_WARNING
                                       : LOG_LEVEL_ERROR,
              "store", "%s: %s", s->opt.path, words[now]);
}

void space_check(struct store *s)
{
    uint64_t commits = atomic_load_explicit(&s->commits, memory_order_relaxed);

    s->space_due_ms = clock_mono_ms(s->opt.clock) + SPACE_CHECK_MS;
    if (s->mapped_commits != commits || s->map_low)
        map_check(s);
    s->mapped_commits = commits;
    disk_check(s);
    space_publish(s);
}

void space_after_commit(struct store *s)
{
    if (clock_mono_ms(s->opt.clock) >= s->space_due_ms) {
        space_check(s);
        return;
    }
    if (!s->ahead_failed)
        disk_check(s);
    space_publish(s);
}
