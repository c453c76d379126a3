/* relayd/self_signed.c - a certificate and its key in a file that is whole or
 * not there. */
#include "relayd/self_signed.h"

#include "base/fd.h"
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX  (64u * KIB)
#define RENEW_BEFORE_S  (30 * 24 * 3600)

static struct err read_file(int folder, const char *name, struct buf *out)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = -1;

    if (fd < 0)
        return err_sys(errno, "open");
    buf_reserve(out, FILE_BYTES_MAX); /* at once: a key is not to be left behind by growth */
    while (buf_len(out) < FILE_BYTES_MAX) {
        n = read(fd, buf_reserve(out, FILE_BYTES_MAX - buf_len(out)), FILE_BYTES_MAX - buf_len(out));
        if (n <= 0)
            break;
        buf_extend(out, (size_t)n);
    }
    close(fd);
    return n < 0 ? err_sys(errno, "read") : ERR_OK;
}

static struct err write_file(int folder, const char *name, struct slice bytes)
{
    char temporary[64];
    struct err e;
    int fd;

    snprintf(temporary, sizeof temporary, "%s.new", name);
    unlinkat(folder, temporary, 0); /* of a start that was cut short */
    fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(errno, "make");
    e = write_all(fd, bytes, "write");
    if (!err_failed(e) && fsync(fd) != 0)
        e = err_sys(errno, "sync");
    if (close(fd) != 0 && !err_failed(e))
        e = err_sys(errno, "close");
    if (!err_failed(e) && renameat(folder, temporary, folder, name) != 0)
        e = err_sys(errno, "rename");
    if (!err_failed(e) && fsync(folder) != 0)
        e = err_sys(errno, "sync folder");
    return e;
}

static struct err open_folder(const char *state_dir, int *out)
{
    char path[4096];

    if (snprintf(path, sizeof path, "%s/tls", state_dir) >= (int)sizeof path)
        return err_sys(ENAMETOOLONG, "make folder");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_sys(errno, "make folder");
    *out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *out >= 0 ? ERR_OK : err_sys(errno, "open folder");
}

/* What is damaged, for another name or soon at its end is made anew. */
static bool is_good(struct slice pem, const char *hostname, uint64_t wall_ms)
{
    struct tls_pair pair = { pem, pem };
    struct tls_pair_facts facts;
    struct buf ignored = { 0 };
    int64_t now_s = (int64_t)(wall_ms / SECOND_MS);
    bool good = !err_failed(tls_pair_check(&pair, &facts, &ignored)) && facts.begins_s <= now_s &&
                facts.expires_s > now_s + RENEW_BEFORE_S && slice_eq_nocase(slice_str(facts.name), slice_str(hostname));

    buf_release(&ignored);
    return good;
}

static struct err make(int folder, const char *name, const char *hostname, uint64_t wall_ms, struct buf *pem)
{
    struct buf key = { 0 };
    struct err e;

    buf_reserve(pem, FILE_BYTES_MAX);
    e = tls_self_signed(hostname, wall_ms, pem, &key);
    if (!err_failed(e)) {
        buf_add(pem, buf_bytes(&key));
        e = write_file(folder, name, buf_bytes(pem));
    }
    buf_wipe(&key);
    return e;
}

struct err self_signed_get(const char *state_dir, const char *hostname, uint64_t wall_ms, struct buf *pem,
                           struct buf *why)
{
    static const char name[] = "self-signed.pem";
    char text[256];
    int folder = -1;
    struct err e = open_folder(state_dir, &folder);

    if (!err_failed(e)) {
        e = read_file(folder, name, pem);
        if (err_failed(e) || !is_good(buf_bytes(pem), hostname, wall_ms)) {
            buf_wipe(pem);
            if (!err_failed(e) || e.kind == ERR_NOT_FOUND)
                e = make(folder, name, hostname, wall_ms, pem);
        }
    }
    if (folder >= 0)
        close(folder);
    if (err_failed(e)) {
        buf_wipe(pem);
        buf_printf(why, "%s/%s: %s", state_dir, SELF_SIGNED_FILE, err_text(e, text, sizeof text));
    }
    return e;
}
