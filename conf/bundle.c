/* conf/bundle.c - the configuration's files on their way from the parent,
 * which may read them, to the children, which act on them. */
#include "conf/bundle.h"

#include "base/mem.h"

#include <stdlib.h>

/* magic, name, count of entries; an entry is kind, path, state (0 good, 1 with
 * a problem, 2 withheld), problem, bytes. Numbers are 32 bits, little endian; strings and bytes are
 * preceded by their length. */
enum { STATE_GOOD, STATE_PROBLEM, STATE_WITHHELD };

static const char magic[] = "relayd bundle 1\n";

struct bundle *bundle_new(const char *name)
{
    struct bundle *b = mem_new(struct bundle);

    b->name = mem_str(name);
    return b;
}

void bundle_free(struct bundle *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->count; i++) {
        buf_wipe(&b->entries[i].bytes);
        free(b->entries[i].path);
        free(b->entries[i].problem);
    }
    free(b->entries);
    free(b->name);
    free(b);
}

size_t bundle_kind_max(enum bundle_kind kind)
{
    return kind == BUNDLE_TABLE ? BUNDLE_TABLE_MAX : BUNDLE_FILE_MAX;
}

static size_t bundle_bytes(const struct bundle *b)
{
    size_t sum = 0;

    for (size_t i = 0; i < b->count; i++)
        sum += buf_len(&b->entries[i].bytes);
    return sum;
}

struct err bundle_add(struct bundle *b, enum bundle_kind kind, const char *path, struct slice bytes,
                      const char *problem)
{
    struct bundle_entry *e;

    if (b->count == BUNDLE_FILES_MAX)
        return err_make(ERR_LIMIT, "too many configuration files");
    if (bytes.len > bundle_kind_max(kind))
        return err_make(ERR_LIMIT, "the file is too large");
    if (bytes.len > BUNDLE_BYTES_MAX - bundle_bytes(b))
        return err_make(ERR_LIMIT, "the configuration is too large");
    if (b->count == b->cap) {
        b->cap = b->cap != 0 ? b->cap * 2 : 8;
        b->entries = mem_grow(b->entries, b->cap, sizeof *b->entries);
    }
    e = &b->entries[b->count++];
    *e = (struct bundle_entry){ .kind = kind, .path = mem_str(path) };
    buf_add(&e->bytes, bytes);
    if (problem != NULL)
        e->problem = mem_str(problem);
    return ERR_OK;
}

void bundle_trouble(struct bundle *b, int sys)
{
    if (b->trouble == 0 && err_sys_may_pass(sys))
        b->trouble = sys;
}

bool bundle_stamp_equal(const struct bundle_stamp *a, const struct bundle_stamp *b)
{
    return a->known == b->known && a->there == b->there && a->device == b->device &&
           a->inode == b->inode && a->size == b->size && a->changed_ns == b->changed_ns &&
           a->modified_ns == b->modified_ns;
}

const struct bundle_entry *bundle_find(const struct bundle *b, enum bundle_kind kind,
                                       struct slice path)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->entries[i].kind == kind && slice_eq(slice_str(b->entries[i].path), path))
            return &b->entries[i];
    }
    return NULL;
}

static void add_u32(struct buf *out, size_t n)
{
    char bytes[4] = { (char)n, (char)(n >> 8), (char)(n >> 16), (char)(n >> 24) };

    buf_add(out, slice_make(bytes, sizeof bytes));
}

static void add_counted(struct buf *out, struct slice s)
{
    add_u32(out, s.len);
    buf_add(out, s);
}

void bundle_write(const struct bundle *b, struct buf *out)
{
    buf_add(out, slice_str(magic));
    add_counted(out, slice_str(b->name));
    add_u32(out, b->count);
    for (size_t i = 0; i < b->count; i++) {
        const struct bundle_entry *e = &b->entries[i];

        add_u32(out, e->kind);
        add_counted(out, slice_str(e->path));
        add_u32(out, e->problem != NULL ? STATE_PROBLEM : e->withheld ? STATE_WITHHELD : STATE_GOOD);
        add_counted(out, slice_str(e->problem));
        add_counted(out, buf_bytes(&e->bytes));
    }
}

static bool take_u32(struct slice *in, uint32_t *out)
{
    const unsigned char *p = (const unsigned char *)in->ptr;

    if (in->len < 4)
        return false;
    *out = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    *in = slice_from(*in, 4);
    return true;
}

static bool take_counted(struct slice *in, struct slice *out)
{
    uint32_t len;

    if (!take_u32(in, &len) || len > in->len)
        return false;
    *out = slice_head(*in, len);
    *in = slice_from(*in, len);
    return true;
}

/* A string of ours has no NUL inside. */
static bool take_string(struct slice *in, char **out)
{
    struct slice s;

    if (!take_counted(in, &s) || slice_find(s, '\0') != s.len)
        return false;
    *out = mem_dup(s.ptr != NULL ? s.ptr : "", s.len);
    return true;
}

static bool take_entry(struct slice *in, struct bundle *b)
{
    uint32_t kind, state;
    struct slice bytes;
    char *path = NULL;
    char *problem = NULL;
    bool ok = take_u32(in, &kind) && kind <= BUNDLE_CERTIFICATE && take_string(in, &path) &&
              take_u32(in, &state) && state <= STATE_WITHHELD && take_string(in, &problem) &&
              take_counted(in, &bytes) &&
              (state != STATE_WITHHELD || ((kind == BUNDLE_SECRET || kind == BUNDLE_KEY) && bytes.len == 0)) &&
              !err_failed(bundle_add(b, (enum bundle_kind)kind, path, bytes,
                                     state == STATE_PROBLEM ? problem : NULL));

    if (ok)
        b->entries[b->count - 1].withheld = state == STATE_WITHHELD;

    free(path);
    free(problem);
    return ok;
}

struct err bundle_parse(struct slice bytes, struct bundle **out)
{
    const struct err corrupt = err_make(ERR_CORRUPT, "parse the configuration bundle");
    struct bundle *b;
    uint32_t count;
    char *name = NULL;
    bool ok;

    *out = NULL;
    if (!slice_eq(slice_head(bytes, sizeof magic - 1), slice_str(magic)))
        return corrupt;
    bytes = slice_from(bytes, sizeof magic - 1);
    if (!take_string(&bytes, &name))
        return corrupt;
    b = bundle_new(name);
    free(name);
    ok = take_u32(&bytes, &count) && count <= BUNDLE_FILES_MAX;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = take_entry(&bytes, b);
    if (!ok || bytes.len != 0) {
        bundle_free(b);
        return corrupt;
    }
    *out = b;
    return ERR_OK;
}
