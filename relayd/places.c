/* relayd/places.c - who the processes are and where each may write.
 *
 * Several users share the state folder, so started as root it stays root's,
 * to be passed through by all and changed by none (0711), and each process
 * has folders of its own in it that the others can't even look into. Started
 * by somebody else all of it is the caller's, as are all processes.
 */
#include "relayd/lock.h"
#include "relayd/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define STATE_MODE        0711
#define STATE_MODE_ALONE  0700 /* nobody else has to pass */
#define RUNTIME_MODE      0755
#define OWN_MODE          0700

/* What the engine keeps in the state folder besides its lock. */
static const char *const engine_folders[] = { "queue", "history", "body", "tls" };

static struct err find_users(struct tree *t, const struct settings *st, struct buf *why)
{
    for (size_t i = 0; i < PROCESS_KINDS; i++) {
        enum process_kind kind = (enum process_kind)i;
        struct err e;

        if (t->identities[i].found || t->wanted(kind, st) == 0)
            continue;
        e = identity_find(process_user(kind, st), process_kinds[i].name, &t->identities[i], why);
        if (err_failed(e))
            return e;
    }
    return ERR_OK;
}

static bool has_our_lock(int at, const struct identity *engine, int *sys)
{
    struct stat st;

    if (fstatat(at, LOCK_NAME, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        *sys = errno != ENOENT ? errno : *sys;
        return false;
    }
    return S_ISREG(st.st_mode) && st.st_uid == engine->uid;
}

/* Nothing in it but what the parent itself may have put there before. */
static bool is_fresh(int at, int *sys)
{
    return identity_folder_empty(at, "keys", sys);
}

/* `state_dir /var` must not make /var ours: a folder with something in it is
 * taken only when it has our lock, or is the engine's, whose it was when it
 * had no other process beside it. */
static struct err claim_state(int at, const struct identity *engine)
{
    struct stat st;
    int sys = 0;

    if (fstat(at, &st) != 0)
        return err_sys(errno, "look at folder");
    if (st.st_uid != engine->uid && (st.st_uid != 0 || (!is_fresh(at, &sys) && !has_our_lock(at, engine, &sys))))
        return sys != 0 ? err_sys(sys, "look into folder") : err_make(ERR_DENIED, "folder of another user");
    if (st.st_uid != 0 && fchown(at, 0, 0) != 0)
        return err_sys(errno, "change owner of folder");
    if ((st.st_mode & 07777) != STATE_MODE && fchmod(at, STATE_MODE) != 0)
        return err_sys(errno, "change mode of folder");
    return ERR_OK;
}

static void explain(const char *folder, const char *name, struct err e, struct buf *why)
{
    char text[256];

    buf_printf(why, "%s%s%s: %s", folder, *name != '\0' ? "/" : "", name,
               err_text(e, text, sizeof text));
    if (e.kind == ERR_DENIED)
        buf_add_str(why, ": it is not empty and belongs to somebody else than the user it is for; "
                         "chown it or name another");
}

/* In the order that a start cut short anywhere is followed by one that goes on. */
static struct err divide_state(const struct tree *t, int at, const char *path, struct buf *why)
{
    const struct identity *engine = &t->identities[PROCESS_ENGINE];
    const char *name = "";
    struct err e = claim_state(at, engine);

    if (!err_failed(e))
        e = identity_file(engine, at, name = LOCK_NAME);
    for (size_t i = 0; i < countof(engine_folders) && !err_failed(e); i++)
        e = identity_subfolder(engine, at, name = engine_folders[i], OWN_MODE);
    if (err_failed(e))
        explain(path, name, e, why);
    return e;
}

static struct err prepare_state(const struct tree *t, const struct settings *st, struct buf *why)
{
    const struct identity *engine = &t->identities[PROCESS_ENGINE];
    const struct identity *accounts = &t->identities[PROCESS_ACCOUNTS];
    bool made;
    int at = -1;
    struct err e = ERR_OK;

    if (!engine->change)
        e = identity_folder(engine, st->state_dir, STATE_MODE_ALONE, why);
    if (err_failed(e))
        return e;
    e = identity_make_folder(st->state_dir, STATE_MODE, &made, &at);
    if (err_failed(e))
        explain(st->state_dir, "", e, why);
    else if (engine->change)
        e = divide_state(t, at, st->state_dir, why);
    if (!err_failed(e) && t->wanted(PROCESS_ACCOUNTS, st) != 0) {
        e = identity_subfolder(accounts, at, "accounts", OWN_MODE);
        if (err_failed(e))
            explain(st->state_dir, "accounts", e, why);
    }
    if (!err_failed(e) && fsync(at) != 0) {
        e = err_sys(errno, "sync folder");
        explain(st->state_dir, "", e, why);
    }
    if (at >= 0)
        close(at);
    return e;
}

struct err places_prepare(struct tree *t, const struct settings *st, int *exit_code,
                          struct buf *why)
{
    struct err e = find_users(t, st, why);

    *exit_code = process_exit_code(e, EX_NOUSER);
    if (err_failed(e))
        return e;
    e = prepare_state(t, st, why);
    if (!err_failed(e))
        e = identity_folder(&t->identities[PROCESS_ENGINE], st->runtime_dir, RUNTIME_MODE, why);
    *exit_code = process_exit_code(e, e.kind == ERR_DENIED ? EX_NOPERM : EX_CANTCREAT);
    return e;
}
