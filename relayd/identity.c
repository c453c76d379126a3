/* relayd/identity.c - gives up root before anything from the network is read. */
#include "relayd/identity.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct err identity_find(const char *user, const char *what, struct identity *out, struct buf *why)
{
    const struct passwd *pw;

    *out = (struct identity){ .uid = geteuid(), .gid = getegid() };
    if (geteuid() != 0) {
        out->found = true;
        return ERR_OK;
    }
    errno = 0;
    pw = getpwnam(user); /* the parent is single-threaded and serves nobody yet */
    if (pw == NULL) {
        buf_printf(why,
                   "there is no user \"%s\", as whom relayd's %s process is to run: make one "
                   "(adduser --system --group %s), name another (users { %s NAME }), or start "
                   "relayd without root",
                   user, what, user, what);
        return errno != 0 && errno != ENOENT ? err_sys(errno, "find user")
                                             : err_make(ERR_NOT_FOUND, "find user");
    }
    out->found = out->change = true;
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    return ERR_OK;
}

struct err identity_assume(const struct identity *id)
{
    if (!id->change)
        return ERR_OK;
    if (setgroups(0, NULL) != 0)
        return err_sys(errno, "drop supplementary groups");
    if (setresgid(id->gid, id->gid, id->gid) != 0)
        return err_sys(errno, "change group");
    if (setresuid(id->uid, id->uid, id->uid) != 0)
        return err_sys(errno, "change user");
    if (id->uid != 0 && setuid(0) == 0)
        return err_make(ERR_DENIED, "give up root");
    return ERR_OK;
}

/* mkdir -p; *made tells whether the last part is new. */
static struct err make_folders(const char *path, mode_t mode, bool *made)
{
    char *copy = mem_str(path);
    struct err e = ERR_OK;

    *made = false;
    for (char *p = copy + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) == 0)
            /* those above are everybody's way through; umask hides only our own */
            e = chmod(copy, 0755) == 0 ? ERR_OK : err_sys(errno, "make folder");
        else if (errno != EEXIST)
            e = err_sys(errno, "make folder");
        *p = '/';
        if (err_failed(e))
            goto out;
    }
    if (mkdir(path, mode) == 0)
        *made = true;
    else if (errno != EEXIST)
        e = err_sys(errno, "make folder");
out:
    free(copy);
    return e;
}

bool identity_folder_empty(int fd, const char *but, int *sys)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    bool empty = true;

    if (dir == NULL) {
        *sys = errno;
        if (copy >= 0)
            close(copy);
        return false;
    }
    *sys = 0;
    for (struct dirent *d; empty && (errno = 0, d = readdir(dir)) != NULL;)
        empty = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
                strcmp(d->d_name, but) == 0;
    if (empty)
        *sys = errno;
    closedir(dir);
    return empty && *sys == 0;
}

/* Never hands over a folder with something in it: `state_dir /var` must not
 * make the engine the owner of /var. */
static struct err own_folder(int fd, const struct identity *id, mode_t mode, bool made)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_sys(errno, "look at folder");
    if (id->change && st.st_uid != id->uid) {
        int sys = 0;

        if (!made && !(st.st_uid == 0 && identity_folder_empty(fd, ".", &sys)))
            return sys != 0 ? err_sys(sys, "look into folder") : err_make(ERR_DENIED, "folder of another user");
        if (fchown(fd, id->uid, id->gid) != 0)
            return err_sys(errno, "change owner of folder");
    } else if (st.st_uid != id->uid) {
        return ERR_OK; /* the group may let us in; opening the files will show */
    }
    if (made || (st.st_mode & 07777 & ~mode) != 0)
        if (fchmod(fd, mode) != 0)
            return err_sys(errno, "change mode of folder");
    return ERR_OK;
}

struct err identity_make_folder(const char *path, mode_t mode, bool *made, int *fd)
{
    struct err e = make_folders(path, mode, made);

    if (err_failed(e))
        return e;
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? ERR_OK : err_sys(errno, "open folder");
}

struct err identity_folder(const struct identity *id, const char *path, mode_t mode,
                           struct buf *why)
{
    bool made;
    int fd = -1;
    struct err e = identity_make_folder(path, mode, &made, &fd);

    if (!err_failed(e))
        e = own_folder(fd, id, mode, made);
    if (err_failed(e)) {
        char text[256];

        buf_printf(why, "%s: %s", path, err_text(e, text, sizeof text));
        if (e.kind == ERR_DENIED && id->change)
            buf_printf(why, ": it is not empty and belongs to somebody else than the engine's "
                            "user; chown it or name another");
    }
    if (fd >= 0)
        close(fd);
    return e;
}

struct err identity_subfolder(const struct identity *id, int at, const char *name, mode_t mode)
{
    bool made = mkdirat(at, name, mode) == 0;
    struct err e;
    int fd;

    if (!made && errno != EEXIST)
        return err_sys(errno, "make folder");
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(errno, "open folder");
    e = own_folder(fd, id, mode, made);
    close(fd);
    return e;
}

static struct err own_file(int fd, const struct identity *id)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_sys(errno, "look at file");
    if (!S_ISREG(st.st_mode))
        return err_make(ERR_DENIED, "file that is none");
    if (!id->change || st.st_uid == id->uid)
        return ERR_OK;
    if (st.st_uid != 0 || st.st_size != 0 || st.st_nlink != 1)
        return err_make(ERR_DENIED, "file of another user");
    return fchown(fd, id->uid, id->gid) == 0 ? ERR_OK : err_sys(errno, "change owner of file");
}

struct err identity_file(const struct identity *id, int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct err e;

    if (fd < 0)
        return err_sys(errno, "make file");
    e = own_file(fd, id);
    close(fd);
    return e;
}
