/* tests/crash/store_writer.c - a small queue on store/ for the crash tests:
 * it accepts and deletes messages, some with a body file, and marks each
 * promise at the moment it makes it.
 *
 *   store_writer run DIR MARKS COUNT SEED [early]   ("early": cheats)
 *   store_writer verify DIR MARKS
 *
 * A commit that fails is asked for again, as a client would after a 4xx.
 *
 * Marks: "m ID" accepted, "x ID" a deletion begins, "d ID" deleted. A
 * message's bytes follow from its id, so verify needs nothing else.
 */
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/store.h"
#include "store/wake.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AT_ONCE    12
#define CHUNK      STORE_VALUE_MAX
#define BLOB_PIECE ((size_t)32 * KIB)

enum { T_MESSAGE, T_BODY };

static const char *const tables[] = { "message", "body" };

struct program {
    struct loop loop; /* only post() is used */
    struct inbox inbox;
    struct wake wake;
    struct store *store;
    struct blobs *blobs;
    int marks;
    struct rng rng;
    uint64_t next_id;
    unsigned left, busy, failures;
    bool early;
};

struct message {
    struct store_job job;
    struct blob_op op;
    struct program *program;
    uint64_t id;
    bool in_file;
    struct buf bytes;
    size_t written; /* of a body file */
};

/* What message `id` holds; every fourth is large and goes into a file. */
static void content(uint64_t id, struct buf *out)
{
    struct rng rng;
    size_t len;

    rng_seed(&rng, id);
    len = id % 4 == 0 ? 20000 + rng_below(&rng, 60000) : 1 + rng_below(&rng, 14000);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t n = rng_u64(&rng);

        memcpy(buf_reserve(out, 8), &n, 8);
        buf_extend(out, len - i < 8 ? len - i : 8);
    }
}

static void die(const char *what, struct err e)
{
    char text[256];

    fprintf(stderr, "store_writer: %s: %s\n", what, err_text(e, text, sizeof text));
    exit(1);
}

static void mark(struct program *p, char what, uint64_t id)
{
    char line[32];
    int n = snprintf(line, sizeof line, "%c %016llx\n", what, (unsigned long long)id);

    if (write(p->marks, line, (size_t)n) != n)
        die("mark", err_make(ERR_IO, NULL));
}

static struct err put_message(struct store_job *j, struct store_txn *t)
{
    struct message *m = container_of(j, struct message, job);
    struct slice rest = buf_bytes(&m->bytes);
    uint64_t key[2] = { htobe64(m->id) };
    uint32_t head[3] = { m->in_file, (uint32_t)rest.len, crc32c(0, rest) };
    struct err e = store_put(t, T_MESSAGE, slice_make(key, 8), slice_make(head, sizeof head));

    for (uint64_t n = 0; !m->in_file && rest.len > 0 && !err_failed(e); n++) {
        struct slice part = slice_head(rest, CHUNK);
        char *room;

        key[1] = htobe64(n);
        e = store_append_room(t, T_BODY, slice_make(key, 16), part.len, &room);
        if (!err_failed(e))
            memcpy(room, part.ptr, part.len);
        rest = slice_from(rest, part.len);
    }
    return e;
}

static struct err delete_message(struct store_job *j, struct store_txn *t)
{
    struct message *m = container_of(j, struct message, job);
    uint64_t key = htobe64(m->id);
    struct err e = store_delete(t, T_MESSAGE, slice_make(&key, 8));

    return err_failed(e) ? e : store_delete_prefix(t, T_BODY, slice_make(&key, 8), NULL);
}

static void begin(struct program *p);

static void ask_again(struct message *m)
{
    m->program->failures++;
    usleep(20000);
    store_submit(m->program->store, &m->job);
}

static void finished(struct message *m)
{
    struct program *p = m->program;

    buf_release(&m->bytes);
    buf_release(&m->op.bytes);
    free(m);
    p->busy--;
    begin(p);
}

static void file_gone(struct blob_op *op, struct err e)
{
    if (err_failed(e))
        die("remove file", e);
    finished(container_of(op, struct message, op));
}

static void deleted(struct store_job *j, struct err e)
{
    struct message *m = container_of(j, struct message, job);

    if (err_failed(e) && e.kind != ERR_NOT_FOUND) { /* the failed commit may have done it */
        ask_again(m);
        return;
    }
    mark(m->program, 'd', m->id);
    if (!m->in_file) {
        finished(m);
        return;
    }
    m->op.done = file_gone;
    blob_unlink(m->program->blobs, &m->op);
}

static void accepted(struct store_job *j, struct err e)
{
    struct message *m = container_of(j, struct message, job);
    struct program *p = m->program;

    if (err_failed(e)) {
        ask_again(m);
        return;
    }
    if (!p->early)
        mark(p, 'm', m->id);
    if (rng_below(&p->rng, 3) == 0) {
        finished(m);
        return;
    }
    mark(p, 'x', m->id);
    m->job.run = delete_message;
    m->job.done = deleted;
    store_submit(p->store, &m->job);
}

static void submit(struct message *m)
{
    struct program *p = m->program;

    if (p->early)
        mark(p, 'm', m->id);
    m->job.run = put_message;
    m->job.done = accepted;
    m->job.cost_bytes = m->in_file ? 100 : buf_len(&m->bytes);
    store_submit(p->store, &m->job);
}

static void sealed(struct blob_op *op, struct err e)
{
    if (err_failed(e))
        die("seal", e);
    submit(container_of(op, struct message, op));
}

static void appended(struct blob_op *op, struct err e)
{
    struct message *m = container_of(op, struct message, op);
    struct slice part = slice_head(slice_from(buf_bytes(&m->bytes), m->written), BLOB_PIECE);

    if (err_failed(e))
        die("append", e);
    if (part.len == 0) {
        m->op.done = sealed;
        blob_seal(m->program->blobs, op);
        return;
    }
    buf_add(&op->bytes, part);
    m->written += part.len;
    op->done = appended;
    blob_append(m->program->blobs, op);
}

static void begin(struct program *p)
{
    while (p->left > 0 && p->busy < AT_ONCE) {
        struct message *m = mem_new(struct message);

        p->left--;
        p->busy++;
        m->program = p;
        m->id = p->next_id++;
        m->job.home = m->op.home = &p->loop;
        m->op.id = m->id;
        m->in_file = m->id % 4 == 0;
        content(m->id, &m->bytes);
        if (m->in_file)
            appended(&m->op, ERR_OK);
        else
            submit(m);
    }
}

static void program_post(struct loop *l, struct post *post)
{
    struct program *p = container_of(l, struct program, loop);

    if (inbox_push(&p->inbox, post))
        wake_up(&p->wake);
}

static const struct loop_ops program_ops = { .post = program_post };

static void program_turn(struct program *p)
{
    struct post *post = inbox_take(&p->inbox);

    if (post == NULL)
        wake_wait(&p->wake, &p->inbox, WAKE_NEVER);
    while (post != NULL) {
        struct post *next = post->next;

        post->run(post);
        post = next;
    }
}

static bool is_live(void *ctx, uint64_t id)
{
    uint64_t key = htobe64(id);
    struct slice v;

    return !err_failed(store_get(ctx, T_MESSAGE, slice_make(&key, 8), &v));
}

/* Opens both, removes files that no record names, finds the next id. */
static void program_open(struct program *p, const char *dir)
{
    struct store_options so = {
        .tables = tables, .table_count = 2, .readers = 1, .ahead_bytes = MIB, .clock = &clock_system
    };
    struct blobs_options bo = { .threads = 2 };
    struct store_cursor *c = NULL;
    struct store_txn *t;
    struct slice k, v;
    struct err e;
    size_t swept;
    char path[4096];

    p->loop.ops = &program_ops;
    p->loop.clock = &clock_system;
    snprintf(path, sizeof path, "%s/queue", dir);
    so.path = path;
    e = store_open(&so, &p->store);
    if (err_failed(e))
        die("open store", e);
    snprintf(path, sizeof path, "%s/body", dir);
    bo.path = path;
    e = blobs_open(&bo, &p->blobs);
    if (err_failed(e))
        die("open bodies", e);
    e = store_snapshot(p->store, &t);
    if (!err_failed(e))
        e = blobs_sweep(p->blobs, is_live, t, &swept);
    if (!err_failed(e))
        e = store_cursor_open(t, T_MESSAGE, &c);
    if (err_failed(e))
        die("start", e);
    p->next_id = 1;
    if (!err_failed(store_cursor_last(c, &k, &v)) && k.len == 8) {
        uint64_t last;

        memcpy(&last, k.ptr, 8);
        p->next_id = be64toh(last) + 1;
    }
    store_cursor_close(c);
    store_snapshot_end(t);
}

static void program_close(struct program *p)
{
    blobs_close(p->blobs);
    store_close(p->store);
}

static int run(const char *dir, const char *marks, unsigned count, uint64_t seed, bool early)
{
    struct program p = { .left = count, .early = early };

    p.marks = open(marks, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (p.marks < 0)
        die("open marks", err_make(ERR_SYSTEM, marks));
    rng_seed(&p.rng, seed);
    program_open(&p, dir);
    /* Ids that were deleted last must not be used twice: marks name them. */
    p.next_id += seed << 32;
    begin(&p);
    while (p.busy > 0 && p.failures < 10000)
        program_turn(&p);
    if (p.busy > 0)
        die("run", err_make(ERR_IO, "the store does not recover"));
    program_close(&p);
    close(p.marks);
    return 0;
}

static unsigned wrong;

static void complain(const char *what, uint64_t id)
{
    if (wrong++ < 10)
        printf("%016llx: %s\n", (unsigned long long)id, what);
}

struct waiting_read {
    struct blob_op op;
    bool done;
};

static void read_done(struct blob_op *op, struct err e)
{
    container_of(op, struct waiting_read, op)->done = true;
}

static void read_file(struct program *p, uint64_t id, struct buf *out)
{
    struct waiting_read r = { .op = {
                                  .home = &p->loop, .done = read_done, .id = id, .want = MIB } };

    blob_read(p->blobs, &r.op);
    while (!r.done)
        program_turn(p);
    buf_add(out, buf_bytes(&r.op.bytes));
    buf_release(&r.op.bytes);
}

static void read_chunks(struct store_txn *t, struct slice key, struct buf *out)
{
    struct store_cursor *c;
    struct slice k, v;
    struct err e = store_cursor_open(t, T_BODY, &c);

    if (err_failed(e))
        die("read body", e);
    for (e = store_cursor_seek(c, key, &k, &v);
         !err_failed(e) && slice_eq(slice_head(k, key.len), key); e = store_cursor_next(c, &k, &v))
        buf_add(out, v);
    store_cursor_close(c);
}

static void verify_message(struct program *p, struct store_txn *t, struct slice k, struct slice v)
{
    struct buf want = { 0 }, got = { 0 };
    uint32_t head[3];
    uint64_t id;

    if (k.len != 8 || v.len != sizeof head) {
        complain("a record of another shape", 0);
        return;
    }
    memcpy(&id, k.ptr, 8);
    id = be64toh(id);
    memcpy(head, v.ptr, sizeof head);
    content(id, &want);
    if (head[0] != 0)
        read_file(p, id, &got);
    else
        read_chunks(t, k, &got);
    if (!slice_eq(buf_bytes(&want), buf_bytes(&got)))
        complain(head[0] != 0 ? "its file is torn" : "its body is torn", id);
    if (head[1] != buf_len(&want) || head[2] != crc32c(0, buf_bytes(&want)))
        complain("its record is wrong", id);
    buf_release(&want);
    buf_release(&got);
}

/* The last mark of each id decides: m must be there, d must not, x is open. */
static void verify_marks(struct store_txn *t, const char *marks)
{
    unsigned long long id;
    FILE *in = fopen(marks, "r");
    struct {
        uint64_t id;
        char what;
    } *seen = NULL;
    size_t n = 0, at;
    char what;

    if (in == NULL)
        die("open marks", err_make(ERR_SYSTEM, marks));
    while (fscanf(in, " %c %llx", &what, &id) == 2) {
        for (at = n; at > 0 && seen[at - 1].id != id; at--)
            ;
        if (at == 0) {
            seen = mem_grow(seen, n + 1, sizeof *seen);
            at = ++n;
        }
        seen[at - 1].id = id;
        seen[at - 1].what = what;
    }
    fclose(in);
    for (at = 0; at < n; at++) {
        bool there = is_live(t, seen[at].id);

        if (seen[at].what == 'm' && !there)
            complain("was accepted and is lost", seen[at].id);
        if (seen[at].what == 'd' && there)
            complain("was deleted and is back", seen[at].id);
    }
    free(seen);
}

static int verify(const char *dir, const char *marks)
{
    struct program p = { 0 };
    struct store_cursor *c = NULL;
    struct store_txn *t;
    struct slice k, v;
    struct err e;

    program_open(&p, dir);
    e = store_snapshot(p.store, &t);
    if (!err_failed(e))
        e = store_cursor_open(t, T_MESSAGE, &c);
    if (err_failed(e))
        die("verify", e);
    for (e = store_cursor_seek(c, SLICE_EMPTY, &k, &v); !err_failed(e);
         e = store_cursor_next(c, &k, &v))
        verify_message(&p, t, k, v);
    if (e.kind != ERR_NOT_FOUND)
        die("walk", e);
    store_cursor_close(c);
    verify_marks(t, marks);
    store_snapshot_end(t);
    program_close(&p);
    return wrong > 0;
}

int main(int argc, char **argv)
{
    log_open("test", LOG_LEVEL_WARNING);
    if (argc >= 6 && strcmp(argv[1], "run") == 0) {
        return run(argv[2], argv[3], (unsigned)atoi(argv[4]), strtoull(argv[5], NULL, 10),
                   argc > 6 && strcmp(argv[6], "early") == 0);
    }
    if (argc == 4 && strcmp(argv[1], "verify") == 0)
        return verify(argv[2], argv[3]);
    fprintf(stderr, "usage: store_writer run DIR MARKS COUNT SEED [early] | verify DIR MARKS\n");
    return 64;
}
