/* auth/passwd_file.c - passwords that were made elsewhere. */
#include "auth/passwd_file.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS         1000u
#define PROBLEMS_LOGGED 20u

struct line {
    char *hash;
    UT_hash_handle hh;
    char key[];
};

struct passwd_table {
    struct line *lines;
};

/* ---- the text --------------------------------------------------------------------------------- */

/* What follows {SCHEME}, or *why. */
static bool take_scheme(struct slice *hash, bool *plain, const char **why)
{
    static const char *const crypts[] = { "CRYPT",     "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT",
                                          "MD5-CRYPT", "DES-CRYPT", "YESCRYPT" };
    struct slice scheme;

    *plain = false;
    if (hash->len == 0 || hash->ptr[0] != '{')
        return true;
    scheme = slice_from(slice_head(*hash, slice_find(*hash, '}')), 1);
    *hash = slice_from(*hash, scheme.len + 2);
    for (size_t i = 0; i < countof(crypts); i++)
        if (slice_eq_nocase(scheme, slice_str(crypts[i])))
            return true;
    *plain = slice_eq_nocase(scheme, SLICE("PLAIN")) || slice_eq_nocase(scheme, SLICE("CLEARTEXT"));
    *why = "a scheme that is not understood: CRYPT, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, MD5-CRYPT, DES-CRYPT, "
           "YESCRYPT, PLAIN and CLEARTEXT are";
    return *plain;
}

static bool hash_usable(struct slice hash, bool plain, const char **why)
{
    *why = "no password: the user can't log in";
    if (hash.len == 0)
        return false;
    if (plain)
        return true;
    *why = "a hash that crypt(3) can't have made";
    if (hash.len >= PASSWORD_HASH_MAX || hash.len < 13) /* the shortest is of DES */
        return false;
    for (size_t i = 0; i < hash.len; i++)
        if (hash.ptr[i] <= ' ' || hash.ptr[i] > '~')
            return false;
    *why = "locked";
    return hash.ptr[0] != '!' && hash.ptr[0] != '*';
}

static const char *take_line(struct passwd_table *t, struct slice text, const char *domain)
{
    struct slice rest = text, name, hash = SLICE_EMPTY;
    char key[USER_ADDRESS_MAX + 1];
    const char *why = NULL;
    struct line *line;
    bool plain;

    slice_split(&rest, ':', &name);
    slice_split(&rest, ':', &hash);
    if (name.len == text.len)
        return "there is no colon in it";
    if (!user_key(name, domain, key))
        return "the name is no address, nor the local part of one";
    HASH_FIND_STR(t->lines, key, line);
    if (line != NULL)
        return "a second line for this user; the first counts";
    if (!take_scheme(&hash, &plain, &why) || !hash_usable(hash, plain, &why)) {
        plain = false;
        hash = SLICE(PASSWD_LOCKED); /* he is the file's all the same: nobody else is asked about him */
    } else {
        why = NULL;
    }
    line = mem_zero(1, sizeof *line + strlen(key) + 1);
    strcpy(line->key, key);
    if (plain) {
        line->hash = mem_zero(sizeof PASSWD_PLAIN + hash.len, 1);
        memcpy(line->hash, PASSWD_PLAIN, sizeof PASSWD_PLAIN - 1);
        memcpy(line->hash + sizeof PASSWD_PLAIN - 1, hash.ptr, hash.len);
    } else {
        line->hash = mem_dup(hash.ptr, hash.len);
    }
    HASH_ADD_STR(t->lines, key, line);
    return why;
}

struct passwd_table *passwd_parse(struct slice text, const char *domain,
                                  void (*problem)(void *ctx, unsigned line, const char *why), void *ctx)
{
    struct passwd_table *t = mem_new(struct passwd_table);
    struct slice line;
    unsigned number = 0;

    while (slice_split(&text, '\n', &line)) {
        const char *why = NULL;

        number++;
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (slice_trim(line).len == 0 || line.ptr[0] == '#')
            continue;
        why = memchr(line.ptr, '\0', line.len) != NULL ? "there is a NUL in it" : take_line(t, line, domain);
        if (why != NULL && problem != NULL)
            problem(ctx, number, why);
    }
    return t;
}

void passwd_table_free(struct passwd_table *t)
{
    struct line *it, *tmp;

    if (t == NULL)
        return;
    HASH_ITER (hh, t->lines, it, tmp) {
        HASH_DEL(t->lines, it);
        secret_wipe(it->hash, strlen(it->hash));
        free(it->hash);
        free(it);
    }
    free(t);
}

size_t passwd_count(const struct passwd_table *t)
{
    return HASH_COUNT(t->lines);
}

const char *passwd_find(const struct passwd_table *t, const char *key)
{
    struct line *line;

    HASH_FIND_STR(t->lines, key, line);
    return line != NULL ? line->hash : NULL;
}

bool passwd_verify(struct slice password, const char *hash)
{
    struct slice plain = slice_str(hash);

    if (slice_starts_nocase(plain, SLICE(PASSWD_PLAIN)))
        return secret_equal(password, slice_from(plain, sizeof PASSWD_PLAIN - 1));
    return password_verify(password, hash);
}

/* ---- the file ----------------------------------------------------------------------------------- */

struct passwd_file {
    char *path, *domain;
    const struct clock *clock;
    struct passwd_table *table;
    struct stat seen;
    uint64_t look_at_ms;
    unsigned problems;
    bool failing; /* and told */
};

struct passwd_file *passwd_file_new(const char *path, const char *domain, const struct clock *clock)
{
    struct passwd_file *f = mem_new(struct passwd_file);

    f->path = mem_str(path);
    f->domain = mem_str(domain);
    f->clock = clock;
    return f;
}

void passwd_file_free(struct passwd_file *f)
{
    if (f == NULL)
        return;
    passwd_table_free(f->table);
    free(f->path);
    free(f->domain);
    free(f);
}

static void log_problem(void *ctx, unsigned line, const char *why)
{
    struct passwd_file *f = ctx;

    if (++f->problems <= PROBLEMS_LOGGED)
        log_warning("accounts", "%s:%u: %s", f->path, line, why);
}

static void failed(struct passwd_file *f, const char *step, int sys)
{
    if (!f->failing)
        log_error("accounts", "%s: can't %s it: %s%s", f->path, step, strerror(sys),
                  f->table != NULL ? "; what was read last counts on" : "; nobody of it can log in");
    f->failing = true;
}

static bool read_whole(struct passwd_file *f, int fd, struct buf *out)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, 64 * KIB), 64 * KIB);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            failed(f, "read", errno);
        else if (n > 0 && buf_len(out) + (size_t)n > PASSWD_FILE_MAX)
            failed(f, "read", EFBIG);
        else if (n > 0) {
            buf_extend(out, (size_t)n);
            continue;
        }
        return n == 0;
    }
}

static void load(struct passwd_file *f, const struct stat *now)
{
    struct buf text = { 0 };
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        failed(f, "open", errno);
        return;
    }
    buf_reserve(&text, (size_t)(now->st_size < (off_t)PASSWD_FILE_MAX ? now->st_size : 0) + 1);
    if (read_whole(f, fd, &text)) {
        struct passwd_table *old = f->table;

        f->problems = 0;
        f->table = passwd_parse(buf_bytes(&text), f->domain, log_problem, f);
        f->seen = *now;
        f->failing = false;
        passwd_table_free(old);
        log_info("accounts", "%s: read, %zu users", f->path, passwd_count(f->table));
        if (f->problems > PROBLEMS_LOGGED)
            log_warning("accounts", "%s: and %u more lines like that", f->path, f->problems - PROBLEMS_LOGGED);
    }
    buf_wipe(&text);
    close(fd);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

const struct passwd_table *passwd_file_table(struct passwd_file *f)
{
    uint64_t now_ms = clock_mono_ms(f->clock);
    struct stat now;

    if (now_ms < f->look_at_ms)
        return f->table;
    f->look_at_ms = now_ms + LOOK_MS;
    if (stat(f->path, &now) != 0)
        failed(f, "find", errno);
    else if (f->table == NULL || !same_file(&now, &f->seen))
        load(f, &now);
    else
        f->failing = false;
    return f->table;
}
