/* conf/disk.c - reading a configuration's files, once, as the user who may:
 * the only part of conf/ that touches the disk. */
#include "conf/conf.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void add(struct bundle *b, enum bundle_kind kind, const char *path, struct slice bytes,
                const char *problem)
{
    struct err e = bundle_add(b, kind, path, bytes, problem);

    /* Over the limits: the entry says so; when even that has no room, the
     * missing entry is an error where it is wanted. */
    if (err_failed(e) && bytes.len != 0)
        e = bundle_add(b, kind, path, SLICE_EMPTY, e.what);
}

static const char *failed(struct bundle *b, int sys)
{
    bundle_trouble(b, sys);
    return strerror(sys);
}

/* NULL when all was read. */
static const char *read_all(struct bundle *b, int fd, size_t max, struct buf *out)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, 65536), 65536);

        if (n < 0 && errno != EINTR)
            return failed(b, errno);
        if (n == 0)
            return NULL;
        if (n > 0)
            buf_extend(out, (size_t)n);
        if (buf_len(out) > max)
            return max == BUNDLE_FILE_MAX ? "it is larger than 4 MiB" : "it is larger than 64 MiB";
    }
}

/* No folder, no match; one that can't be read is an error, for nobody knows
 * what it holds. */
static int glob_error(const char *path, int error)
{
    return error != ENOENT && error != ENOTDIR;
}

static void add_list(struct bundle *b, const char *path, const char *pattern)
{
    glob_t found = { 0 };
    struct buf names = { 0 };
    int result;

    errno = 0;
    result = glob(pattern, 0, glob_error, &found); /* sorted */
    if (result != 0 && result != GLOB_NOMATCH) {
        bundle_trouble(b, result == GLOB_NOSPACE ? ENOMEM : errno);
        add(b, BUNDLE_LIST, path, SLICE_EMPTY, "the folder can't be searched");
        globfree(&found);
        return;
    }
    for (size_t i = 0; result == 0 && i < found.gl_pathc; i++)
        buf_add(&names, slice_make(found.gl_pathv[i], strlen(found.gl_pathv[i]) + 1));
    add(b, BUNDLE_LIST, path, buf_bytes(&names), NULL);
    buf_release(&names);
    globfree(&found);
}

/* A folder stands for its *.conf; its own name is meant as it is. */
static void add_folder(struct bundle *b, const char *path)
{
    struct buf pattern = { 0 };

    for (const char *p = path; *p != '\0'; p++) {
        if (strchr("\\*?[", *p) != NULL)
            buf_add_byte(&pattern, '\\');
        buf_add_byte(&pattern, *p);
    }
    buf_add_str(&pattern, "/*.conf");
    add_list(b, path, buf_cstr(&pattern));
    buf_release(&pattern);
}

static struct bundle_stamp stamp_of(const struct stat *st)
{
    return (struct bundle_stamp){
        .known = true,
        .there = true,
        .device = st->st_dev,
        .inode = st->st_ino,
        .size = (uint64_t)st->st_size,
        .changed_ns = st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec,
        .modified_ns = st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec,
    };
}

struct bundle_stamp conf_stamp(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? stamp_of(&st) : (struct bundle_stamp){ .known = true };
}

/* Certificate and key may stand in one file. What is public goes to every
 * process, so private keys are left out of it. */
static void cut_private_keys(struct buf *b)
{
    static const char mark[] = "PRIVATE KEY-----";
    struct slice in = buf_bytes(b);
    struct buf out = { 0 };
    bool inside = false;

    while (in.len > 0) {
        size_t len = slice_find(in, '\n');
        struct slice line = slice_head(in, len + 1);
        bool marked = memmem(line.ptr, line.len, mark, sizeof mark - 1) != NULL;

        if (!inside && !marked)
            buf_add(&out, line);
        if (marked)
            inside = memmem(line.ptr, line.len, "-----BEGIN ", 11) != NULL;
        in = slice_from(in, line.len);
    }
    buf_wipe(b);
    *b = out;
}

static void fetch_file(struct bundle *b, enum bundle_kind kind, const char *path)
{
    struct buf bytes = { 0 };
    struct bundle_stamp stamp = { .known = true };
    const char *problem = NULL;
    size_t before = b->count;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not stop us */

    if (fd < 0 || fstat(fd, &st) != 0)
        problem = failed(b, errno);
    else if (kind == BUNDLE_FILE && S_ISDIR(st.st_mode))
        add_folder(b, path);
    else if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
        problem = S_ISDIR(st.st_mode) ? "Is a directory" : "it is not a regular file";
    else if ((kind == BUNDLE_SECRET || kind == BUNDLE_KEY) && (st.st_mode & S_IRWXO) != 0)
        problem = "everybody may read or write it; chmod o= takes that away";
    else
        problem = read_all(b, fd, bundle_kind_max(kind), &bytes);
    if (fd >= 0 && problem == NULL)
        stamp = stamp_of(&st); /* from before it was read: a later change shows */
    if (kind == BUNDLE_CERTIFICATE && problem == NULL)
        cut_private_keys(&bytes);
    if (bundle_find(b, BUNDLE_LIST, slice_str(path)) == NULL)
        add(b, kind, path, problem == NULL ? buf_bytes(&bytes) : SLICE_EMPTY, problem);
    if (b->count > before)
        b->entries[b->count - 1].stamp = stamp;
    buf_wipe(&bytes);
    if (fd >= 0)
        close(fd);
}

static void fetch(struct bundle *b, enum bundle_kind kind, const char *path)
{
    if (kind == BUNDLE_LIST)
        add_list(b, path, path);
    else
        fetch_file(b, kind, path);
}

struct bundle *conf_read_again(const struct bundle *b)
{
    struct bundle *fresh = bundle_new(b->name);

    for (size_t i = 0; i < b->count; i++) {
        const struct bundle_entry *e = &b->entries[i];
        size_t before = fresh->count;

        if (e->kind == BUNDLE_PUBLIC)
            continue; /* made anew of what is read now */
        if (e->kind != BUNDLE_FILE && e->stamp.known)
            fetch_file(fresh, e->kind, e->path);
        else
            add(fresh, e->kind, e->path, buf_bytes(&e->bytes), e->problem);
        if (fresh->count > before)
            fresh->entries[before].readers = e->readers;
    }
    return fresh;
}

/* What the working directory makes of it; links are left alone. */
static char *absolute(const char *path)
{
    struct buf out = { 0 };
    char *cwd;

    if (path[0] == '/')
        return mem_str(path);
    cwd = getcwd(NULL, 0);
    buf_printf(&out, "%s/%s", cwd != NULL ? cwd : "", path);
    free(cwd);
    return buf_detach(&out);
}

struct bundle *conf_read(const struct conf_schema *schema, const char *path, char *const *envp)
{
    struct bundle *b = bundle_new(path);
    struct diagnostics ignored = { 0 }; /* they come again from the load */
    struct conf c = {
        .schema = schema,
        .bundle = b,
        .fetch = fetch,
        .fetching = b,
        .pool = pool_new(),
        .diags = &ignored,
    };
    char *main_path = absolute(path);

    fetch_file(b, BUNDLE_FILE, main_path);
    if (b->count != 0 && b->entries[0].kind == BUNDLE_LIST)
        b->entries[0].problem = mem_str("Is a directory");
    for (; envp != NULL && *envp != NULL; envp++) {
        struct slice value = slice_str(*envp);
        struct slice name;

        if (slice_split(&value, '=', &name) &&
            slice_starts_nocase(name, slice_str(schema->env_prefix))) {
            char *variable = mem_dup(name.ptr, name.len);

            add(b, BUNDLE_ENV, variable, value, NULL);
            free(variable);
        }
    }
    conf_load(&c, NULL);
    diagnostics_release(&ignored);
    pool_free(c.pool);
    free(main_path);
    return b;
}
