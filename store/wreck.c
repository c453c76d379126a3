/* store/wreck.c - reads LMDB's pages as a stranger's bytes.
 *
 * The newer of the two meta pages leads to a tree of tables, and that to a tree
 * for each. When a page of one is damaged, what was below it is found by looking
 * at every page; those in the list of free ones are probably old.
 */
#include "store/wreck.h"

#include "base/mem.h"
#include "store/store.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of LMDB 0.9's lmdb.h and mdb.c; numbers are the machine's own. */
#define PAGE_HEADER   16u
#define PAGE_BRANCH   0x01u
#define PAGE_LEAF     0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_KINDS    0x6fu
#define NODE_HEADER   8u
#define NODE_BIG      0x01u /* its value stands in pages of its own */
#define NODE_TABLE    0x02u /* its value describes a tree */
#define META_MAGIC    0xBEEFC0DEu
#define META_VERSION  1u
#define META_TREES    24u /* in the meta behind its page's header */
#define META_TXN      128u
#define META_END      136u
#define TREE_BYTES    48u
#define TREE_ENTRIES  32u
#define TREE_ROOT     40u
#define NO_PAGE       UINT64_MAX
#define DEPTH_MAX     32u
#define PAGE_MIN      512u
#define PAGE_MAX      65536u

/* What is known of a page: a bit for each table whose tree it was met in, and: */
#define MET_FREE  0x8000u /* listed as free */
#define MET_OTHER 0x4000u /* in the tree of tables or of free pages */

struct wreck {
    const char *base;
    size_t page_bytes;
    uint64_t pages;
    uint16_t *met;
    const char *const *tables;
    unsigned table_count;
    wreck_visitor *visit;
    void *ctx;
    struct wreck_counts *counts;
    uint64_t nodes; /* that the walk through one tree has met */
    bool free_lost;
};

typedef void node_visitor(struct wreck *w, unsigned flags, struct slice key, struct slice value, void *ctx);

static node_visitor visit_free;

static uint16_t u16_at(const char *p)
{
    uint16_t n;

    memcpy(&n, p, sizeof n);
    return n;
}

static uint32_t u32_at(const char *p)
{
    uint32_t n;

    memcpy(&n, p, sizeof n);
    return n;
}

static uint64_t u64_at(const char *p)
{
    uint64_t n;

    memcpy(&n, p, sizeof n);
    return n;
}

static const char *page_at(const struct wreck *w, uint64_t n)
{
    return w->base + n * w->page_bytes;
}

static unsigned page_kind(const char *page)
{
    return u16_at(page + 10) & PAGE_KINDS;
}

/* How many nodes a page of a tree has; false when that can't be. */
static bool page_nodes(const struct wreck *w, const char *page, unsigned *count)
{
    unsigned lower = u16_at(page + 12), upper = u16_at(page + 14);

    if (lower < PAGE_HEADER || lower > upper || upper > w->page_bytes || lower % 2 != 0)
        return false;
    *count = (lower - PAGE_HEADER) / 2;
    return true;
}

/* The bytes from a node's header to the end of its page; empty: it lies outside. */
static struct slice node_at(const struct wreck *w, const char *page, unsigned i)
{
    size_t at = u16_at(page + PAGE_HEADER + 2 * i);

    if (at < PAGE_HEADER || at + NODE_HEADER > w->page_bytes)
        return SLICE_EMPTY;
    return slice_make(page + at, w->page_bytes - at);
}

/* A value in pages of its own. */
static struct slice big_value(const struct wreck *w, uint64_t first, uint64_t size)
{
    const char *page;
    uint64_t room;

    if (first < 2 || first >= w->pages)
        return SLICE_EMPTY;
    page = page_at(w, first);
    room = (w->pages - first) * w->page_bytes - PAGE_HEADER;
    if (page_kind(page) != PAGE_OVERFLOW || u64_at(page) != first || size > room ||
        (size + PAGE_HEADER + w->page_bytes - 1) / w->page_bytes > u32_at(page + 12))
        return SLICE_EMPTY;
    return slice_make(page + PAGE_HEADER, (size_t)size);
}

/* False: the node makes no sense. */
static bool leaf_node(const struct wreck *w, struct slice node, unsigned *flags, struct slice *key, struct slice *value)
{
    uint64_t size = u16_at(node.ptr) | (uint64_t)u16_at(node.ptr + 2) << 16;
    size_t key_len = u16_at(node.ptr + 6);
    struct slice rest = slice_from(node, NODE_HEADER);

    *flags = u16_at(node.ptr + 4);
    if (key_len == 0 || key_len > STORE_KEY_MAX || key_len > rest.len)
        return false;
    *key = slice_head(rest, key_len);
    rest = slice_from(rest, key_len);
    if ((*flags & NODE_BIG) == 0) {
        *value = slice_head(rest, (size_t)size);
        return size <= rest.len;
    }
    if (rest.len < sizeof(uint64_t))
        return false;
    *value = big_value(w, u64_at(rest.ptr), size);
    return value->len == size && size != 0;
}

static bool key_at(const struct wreck *w, const char *page, unsigned i, struct slice *key)
{
    struct slice node = node_at(w, page, i), value;
    unsigned flags;

    return node.len != 0 && leaf_node(w, node, &flags, key, &value);
}

static bool key_less(struct slice a, struct slice b)
{
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

    return order < 0 || (order == 0 && a.len < b.len);
}

/* No checksum is over the keys. One that was damaged mostly stands out of order,
 * and a record under another's key is worse than none. */
static bool in_order(const struct wreck *w, const char *page, unsigned i, unsigned count, struct slice key)
{
    struct slice other;

    if (i > 0 && key_at(w, page, i - 1, &other) && !key_less(other, key))
        return false;
    return i + 1 >= count || !key_at(w, page, i + 1, &other) || key_less(key, other);
}

static void read_leaf(struct wreck *w, const char *page, unsigned count, node_visitor *visit, void *ctx)
{
    for (unsigned i = 0; i < count; i++) {
        struct slice node = node_at(w, page, i), key, value;
        unsigned flags;

        /* The free list's keys are numbers of the machine's own, in their order. */
        if (node.len != 0 && leaf_node(w, node, &flags, &key, &value) &&
            (visit == visit_free || in_order(w, page, i, count, key))) {
            visit(w, flags, key, value, ctx);
            w->nodes++;
        } else {
            w->counts->damaged++;
        }
    }
}

static void walk(struct wreck *w, uint64_t n, uint16_t mark, unsigned depth, node_visitor *visit, void *ctx)
{
    const char *page;
    unsigned count;

    if (n == NO_PAGE)
        return; /* an empty tree: a branch has no room for such a number */
    if (n < 2 || n >= w->pages || depth > DEPTH_MAX || (w->met[n] & mark) != 0) {
        w->counts->damaged++;
        return;
    }
    page = page_at(w, n);
    if (u64_at(page) != n || (page_kind(page) != PAGE_LEAF && page_kind(page) != PAGE_BRANCH) ||
        !page_nodes(w, page, &count)) {
        w->counts->damaged++; /* what is below it, or else on it, is looked for later */
        return;
    }
    w->met[n] |= mark;
    if (page_kind(page) == PAGE_LEAF) {
        read_leaf(w, page, count, visit, ctx);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        struct slice node = node_at(w, page, i);

        if (node.len == 0)
            w->counts->damaged++;
        else
            walk(w, u16_at(node.ptr) | (uint64_t)u16_at(node.ptr + 2) << 16 | (uint64_t)u16_at(node.ptr + 4) << 32,
                 mark, depth + 1, visit, ctx);
    }
}

/* Nodes may be missing where nothing else is wrong: a tree knows their number. */
static void walk_tree(struct wreck *w, const char *tree, uint16_t mark, node_visitor *visit, void *ctx)
{
    uint64_t outer = w->nodes;

    w->nodes = 0;
    walk(w, u64_at(tree + TREE_ROOT), mark, 0, visit, ctx);
    w->counts->damaged += w->nodes != u64_at(tree + TREE_ENTRIES);
    w->nodes = outer;
}

/* ---- the trees --------------------------------------------------------------- */

static void visit_record(struct wreck *w, unsigned flags, struct slice key, struct slice value, void *ctx)
{
    struct wreck_record r = { *(const unsigned *)ctx, true, key, value };

    if ((flags & NODE_TABLE) == 0 && value.len <= STORE_VALUE_MAX)
        w->visit(w->ctx, &r);
    else
        w->counts->damaged++;
}

static void visit_table(struct wreck *w, unsigned flags, struct slice key, struct slice value, void *ctx)
{
    bool *found = ctx;

    if ((flags & NODE_TABLE) == 0 || value.len != TREE_BYTES) {
        w->counts->damaged++;
        return;
    }
    for (unsigned i = 0; i < w->table_count; i++) {
        if (!slice_eq(key, slice_str(w->tables[i])))
            continue;
        found[i] = true;
        walk_tree(w, value.ptr, (uint16_t)(1u << i), visit_record, &i);
    }
}

/* A list of page numbers, its length first. */
static void visit_free(struct wreck *w, unsigned flags, struct slice key, struct slice value, void *ctx)
{
    uint64_t count = value.len >= 8 ? u64_at(value.ptr) : 0;

    if (value.len % 8 != 0 || value.len < 8 || count > value.len / 8 - 1) {
        w->free_lost = true;
        w->counts->damaged++;
        return;
    }
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t n = u64_at(value.ptr + 8 * i);

        if (n < w->pages)
            w->met[n] |= MET_FREE;
        else
            w->free_lost = true;
    }
}

/* The meta that a page holds; NULL: it is none. */
static const char *meta_at(const struct wreck *w, uint64_t n)
{
    const char *meta = page_at(w, n) + PAGE_HEADER;

    if (n >= w->pages || u32_at(meta) != META_MAGIC || u32_at(meta + 4) != META_VERSION)
        return NULL;
    return meta;
}

static void walk_trees(struct wreck *w)
{
    const char *first = meta_at(w, 0), *second = meta_at(w, 1), *meta = first != NULL ? first : second;
    bool found[STORE_TABLES_MAX] = { false };
    uint64_t before;

    w->counts->tree_lost = first == NULL || second == NULL;
    if (first != NULL && second != NULL && u64_at(second + META_TXN) > u64_at(first + META_TXN))
        meta = second;
    if (meta == NULL)
        return;
    before = w->counts->damaged;
    walk_tree(w, meta + META_TREES, MET_OTHER, visit_free, NULL);
    w->free_lost = w->free_lost || w->counts->damaged != before;
    before = w->counts->damaged;
    walk_tree(w, meta + META_TREES + TREE_BYTES, MET_OTHER, visit_table, found);
    for (unsigned i = 0; i < w->table_count; i++)
        if (!found[i] && before != w->counts->damaged)
            w->counts->tree_lost = true;
}

/* ---- every leaf ------------------------------------------------------- */

struct stray {
    bool certain;
};

static void visit_stray(struct wreck *w, unsigned flags, struct slice key, struct slice value, void *ctx)
{
    const struct stray *s = ctx;
    struct wreck_record r = { WRECK_TABLE_UNKNOWN, s->certain, key, value };

    if ((flags & NODE_TABLE) == 0 && value.len <= STORE_VALUE_MAX)
        w->visit(w->ctx, &r);
}

/* Leaves whose way in is damaged, or led in from another table's tree: all are
 * looked at. What only the list of free ones knows is old as a rule, but the list
 * may be damaged too. */
static void read_strays(struct wreck *w)
{
    bool lists_good = !w->counts->tree_lost && !w->free_lost;

    for (uint64_t n = 2; n < w->pages; n++) {
        const char *page = page_at(w, n);
        uint64_t before = w->counts->damaged;
        bool in_a_table = (w->met[n] & ~(MET_FREE | MET_OTHER)) != 0;
        struct stray s = { in_a_table || (lists_good && (w->met[n] & MET_FREE) == 0) };
        unsigned count;

        if (page_kind(page) != PAGE_LEAF || !page_nodes(w, page, &count))
            continue;
        read_leaf(w, page, count, visit_stray, &s);
        w->counts->damaged = before; /* what is old, or no page at all, may be anything */
        w->counts->stray += !in_a_table;
    }
}

static bool says_page_bytes(struct slice file, size_t at, size_t bytes)
{
    struct slice meta = slice_from(file, at + PAGE_HEADER < file.len ? at + PAGE_HEADER : file.len);

    return meta.len >= META_END && u32_at(meta.ptr) == META_MAGIC && u32_at(meta.ptr + META_TREES) == bytes;
}

/* Both meta pages say it, and where the second begins proves it: that counts, then
 * what the first says. Without either it is the usual. */
static size_t find_page_bytes(struct slice file)
{
    for (size_t bytes = PAGE_MIN; bytes <= PAGE_MAX; bytes *= 2)
        if (says_page_bytes(file, bytes, bytes))
            return bytes;
    for (size_t bytes = PAGE_MIN; bytes <= PAGE_MAX; bytes *= 2)
        if (says_page_bytes(file, 0, bytes))
            return bytes;
    return 4096;
}

void wreck_read(struct slice file, const char *const *tables, unsigned table_count, wreck_visitor *visit, void *ctx,
                struct wreck_counts *counts)
{
    struct wreck w = { .base = file.ptr, .tables = tables, .table_count = table_count, .visit = visit, .ctx = ctx,
                       .counts = counts };

    *counts = (struct wreck_counts){ 0 };
    w.page_bytes = find_page_bytes(file);
    w.pages = counts->pages = file.len / w.page_bytes;
    if (w.pages < 2) {
        counts->tree_lost = true;
        return;
    }
    w.met = mem_zero(w.pages, sizeof *w.met);
    walk_trees(&w);
    if (counts->damaged != 0 || counts->tree_lost)
        read_strays(&w);
    free(w.met);
}

/* ---- the file ------------------------------------------------------------------ */

struct err wreck_open(const char *folder, struct slice *file)
{
    size_t size = strlen(folder) + sizeof "/data.mdb";
    char *path = mem_alloc(size);
    struct err e = ERR_OK;
    struct stat st;
    void *at;
    int fd;

    *file = SLICE_EMPTY;
    snprintf(path, size, "%s/data.mdb", folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return errno == ENOENT ? err_make(ERR_NOT_FOUND, "no data.mdb") : err_sys(errno, "open data.mdb");
    if (fstat(fd, &st) < 0) {
        e = err_sys(errno, "look at data.mdb");
    } else if (st.st_size > 0) {
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (at == MAP_FAILED)
            e = err_sys(errno, "map data.mdb");
        else
            *file = slice_make(at, (size_t)st.st_size);
    }
    close(fd);
    return e;
}

void wreck_close(struct slice file)
{
    if (file.len != 0)
        munmap((void *)(uintptr_t)file.ptr, file.len);
}
