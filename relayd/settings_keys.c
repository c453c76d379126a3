/* relayd/settings_keys.c - the keys of `dkim auto`: found in the state folder,
 * or made there.
 *
 * The folder is the parent's alone, and no name in it is followed as a link:
 * the engine, whose folders lie beside it, can't make root write elsewhere. */
#include "relayd/settings_dkim.h"

#include "base/fd.h"
#include "base/mem.h"
#include "net/keypair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RSA_BITS 2048u
#define PEM_MAX  (64u * KIB)

static const char *failed(struct bundle *b, int sys)
{
    bundle_trouble(b, sys);
    return strerror(sys);
}

/* "keys" in the state folder; -1 with *problem when it can't be used. Not
 * there and not to be made: -1 without. */
static int open_keys(const struct settings *s, struct bundle *b, bool make, const char **problem)
{
    int state = open(s->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    int fd = -1;

    if (state >= 0 && make && mkdirat(state, "keys", 0700) == 0 && fsync(state) != 0)
        *problem = failed(b, errno);
    if (state >= 0)
        fd = openat(state, "keys", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (make || errno != ENOENT))
        *problem = failed(b, errno);
    if (state >= 0)
        close(state);
    if (fd < 0 || *problem != NULL)
        return fd;
    if (fstat(fd, &st) != 0)
        *problem = failed(b, errno);
    else if (st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        *problem = "the folder must belong to the user that starts relayd, and to nobody else (mode 0700)";
    return fd;
}

/* Under another name first, so that a key is there whole or not at all. */
static struct err write_key(int folder, const char *name, struct slice pem)
{
    struct buf tmp = { 0 };
    struct err e = ERR_OK;
    int fd;

    buf_printf(&tmp, ".%s.new", name);
    if (unlinkat(folder, buf_cstr(&tmp), 0) != 0 && errno != ENOENT)
        e = err_sys(errno, "remove a key half written");
    fd = err_failed(e) ? -1 : openat(folder, buf_cstr(&tmp), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && !err_failed(e))
        e = err_sys(errno, "make the key's file");
    if (!err_failed(e))
        e = write_all(fd, pem, "write the key");
    if (!err_failed(e) && fsync(fd) != 0)
        e = err_sys(errno, "sync the key");
    if (!err_failed(e) && renameat(folder, buf_cstr(&tmp), folder, name) != 0)
        e = err_sys(errno, "name the key");
    if (!err_failed(e) && fsync(folder) != 0)
        e = err_sys(errno, "sync the folder of keys");
    if (fd >= 0)
        close(fd);
    buf_release(&tmp);
    return e;
}

static struct err make_key(int folder, const char *domain, const char *kind_name, enum keypair_kind kind,
                           uint64_t wall_ms)
{
    struct buf name = { 0 }, pem = { 0 };
    time_t now = (time_t)(wall_ms / SECOND_MS);
    struct tm tm;
    char date[16];
    struct err e = keypair_generate(kind, RSA_BITS, &pem);

    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%d", &tm);
    buf_printf(&name, "%s%s._domainkey.%s.pem", kind_name, date, domain);
    if (!err_failed(e))
        e = write_key(folder, buf_cstr(&name), buf_bytes(&pem));
    buf_wipe(&pem);
    buf_release(&pem);
    buf_release(&name);
    return e;
}

static bool is_key_of(const char *name, const char *domain)
{
    struct buf tail = { 0 };
    bool is;

    buf_printf(&tail, "._domainkey.%s.pem", domain);
    is = name[0] != '.' && slice_ends_nocase(slice_str(name), buf_bytes(&tail));
    buf_release(&tail);
    return is;
}

static int by_name(const void *a, const void *b)
{
    /* Newest kind last does not matter; that it is the same each time does. */
    return strcmp(*(char *const *)b, *(char *const *)a);
}

struct names {
    char **list;
    size_t count;
};

/* Whoever takes keys that can't be seen for none makes others, which no DNS
 * knows. */
static struct err find_keys(int folder, const char *domain, struct names *out)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    struct err e = ERR_OK;

    if (dir == NULL) {
        e = err_sys(errno, "look for keys");
        if (fd >= 0)
            close(fd);
        return e;
    }
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        if (!is_key_of(entry->d_name, domain))
            continue;
        out->list = mem_grow(out->list, out->count + 1, sizeof *out->list);
        out->list[out->count++] = mem_str(entry->d_name);
    }
    if (errno != 0)
        e = err_sys(errno, "look for keys");
    closedir(dir);
    if (out->count > 1)
        qsort(out->list, out->count, sizeof *out->list, by_name);
    return e;
}

static void release_names(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->list[i]);
    free(n->list);
    *n = (struct names){ 0 };
}

static const char *read_key(struct bundle *b, int folder, const char *name, struct buf *out)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t n = 0;
    int sys;

    if (fd < 0)
        return failed(b, errno);
    if (fstat(fd, &st) != 0)
        n = -1;
    else if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0 || st.st_size > (off_t)PEM_MAX)
        n = -2;
    while (n >= 0) {
        n = read(fd, buf_reserve(out, PEM_MAX), PEM_MAX);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            break;
        buf_extend(out, (size_t)n);
    }
    sys = errno;
    close(fd);
    if (n == -2)
        return "it is no key file that only its owner may read (mode 0600)";
    return n < 0 ? failed(b, sys) : NULL;
}

static void add(struct bundle *b, enum bundle_kind kind, const char *path, struct slice bytes, const char *problem)
{
    if (err_failed(bundle_add(b, kind, path, bytes, problem)) && problem == NULL &&
        err_failed(bundle_add(b, kind, path, SLICE_EMPTY, "there are too many files")))
        return; /* settings_fill_dkim() then misses the file's public half, and says so */
}

static void add_keys(const struct settings *s, struct bundle *b, int folder, const struct names *names,
                     struct buf *list)
{
    for (size_t i = 0; i < names->count; i++) {
        struct buf path = { 0 }, pem = { 0 };
        const char *problem;

        buf_printf(&path, "%s/keys/%s", s->state_dir, names->list[i]);
        problem = read_key(b, folder, names->list[i], &pem);
        add(b, BUNDLE_KEY, buf_cstr(&path), problem == NULL ? buf_bytes(&pem) : SLICE_EMPTY, problem);
        buf_add(list, buf_bytes(&path));
        buf_add_byte(list, '\0');
        buf_wipe(&pem);
        buf_release(&pem);
        buf_release(&path);
    }
}

static void domain_keys(const struct settings *s, struct bundle *b, int folder, const char *domain, bool make,
                        uint64_t wall_ms)
{
    struct names names = { 0 };
    struct buf path = { 0 }, list = { 0 }, why = { 0 };
    struct err e;
    char text[256];

    e = find_keys(folder, domain, &names);
    if (!err_failed(e) && names.count == 0 && make) {
        e = make_key(folder, domain, "rsa", KEYPAIR_RSA, wall_ms);
        if (!err_failed(e))
            e = make_key(folder, domain, "ed", KEYPAIR_ED25519, wall_ms);
        if (!err_failed(e))
            e = find_keys(folder, domain, &names);
    }
    if (err_failed(e)) {
        bundle_trouble(b, e.sys);
        buf_printf(&why, "%s/keys: %s", s->state_dir, err_text(e, text, sizeof text));
    }
    add_keys(s, b, folder, &names, &list);
    buf_printf(&path, "%s/keys/%s", s->state_dir, domain);
    add(b, BUNDLE_LIST, buf_cstr(&path), buf_bytes(&list), err_failed(e) ? buf_cstr(&why) : NULL);
    release_names(&names);
    buf_release(&path);
    buf_release(&list);
    buf_release(&why);
}

/* By the bundle that this one is a newer copy of. */
static bool was_looked_for(const struct settings *s, const struct bundle *b, const char *domain)
{
    struct buf path = { 0 };
    bool was;

    buf_printf(&path, "%s/keys/%s", s->state_dir, domain);
    was = bundle_find(b, BUNDLE_LIST, buf_bytes(&path)) != NULL;
    buf_release(&path);
    return was;
}

void settings_auto_keys(const struct settings *s, struct bundle *b, bool make, uint64_t wall_ms)
{
    const char *problem = NULL;
    bool any = false;
    int folder;

    for (size_t i = 0; i < s->domain_count; i++)
        any = any || s->domains[i].dkim_auto;
    if (!any)
        return;
    folder = open_keys(s, b, make, &problem);
    for (size_t i = 0; i < s->domain_count; i++) {
        struct buf path = { 0 }, why = { 0 };

        if (!s->domains[i].dkim_auto || was_looked_for(s, b, s->domains[i].name))
            continue;
        if (folder >= 0 && problem == NULL) {
            domain_keys(s, b, folder, s->domains[i].name, make, wall_ms);
        } else if (problem != NULL) {
            buf_printf(&path, "%s/keys/%s", s->state_dir, s->domains[i].name);
            buf_printf(&why, "%s/keys: %s", s->state_dir, problem);
            add(b, BUNDLE_LIST, buf_cstr(&path), SLICE_EMPTY, buf_cstr(&why));
        }
        buf_release(&path);
        buf_release(&why);
    }
    if (folder >= 0)
        close(folder);
    settings_publish_keys(b);
}
