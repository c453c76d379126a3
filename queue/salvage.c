/* queue/salvage.c - puts messages together from single records. */
#include "queue/salvage.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "queue/queue_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE    (64u * KIB)
#define WAYS_MAX 256u /* to put chunks together that come in more than one form */

enum kind { KIND_MESSAGE, KIND_RECIPIENT, KIND_CHUNK };

struct part {
    uint64_t id;
    uint32_t n;
    enum kind kind;
    bool certain;
    struct slice value;
};

struct salvage {
    struct part *parts;
    size_t count, cap;
};

static bool is_message(struct slice value)
{
    struct message m = { 0 };
    bool inline_;

    return !err_failed(record_message_get(value, &m, &inline_));
}

static bool is_recipient(struct slice value)
{
    struct recipient r = { 0 };

    return !err_failed(record_recipient_get(value, &r));
}

/* By its table or, of a page that hangs in none, by its form. */
static bool kind_of(const struct wreck_record *r, enum kind *kind)
{
    bool known = r->table != WRECK_TABLE_UNKNOWN;

    if (r->key.len == 8 && (r->table == TABLE_MESSAGE || !known) && is_message(r->value)) {
        *kind = KIND_MESSAGE;
        return true;
    }
    if (r->key.len != 12)
        return false;
    if ((r->table == TABLE_RECIPIENT || !known) && is_recipient(r->value)) {
        *kind = KIND_RECIPIENT;
        return true;
    }
    *kind = KIND_CHUNK;
    return r->table == TABLE_BODY || !known;
}

static void collect(void *ctx, const struct wreck_record *r)
{
    struct salvage *s = ctx;
    enum kind kind;

    if (!kind_of(r, &kind))
        return;
    if (s->count == s->cap) {
        s->cap = s->cap != 0 ? s->cap * 2 : 1024;
        s->parts = mem_grow(s->parts, s->cap, sizeof *s->parts);
    }
    s->parts[s->count++] = (struct part){
        .id = codec_key_read_u64(r->key, 0),
        .n = kind != KIND_MESSAGE ? codec_key_read_u32(r->key, 8) : 0,
        .kind = kind,
        .certain = r->certain,
        .value = r->value,
    };
}

/* Of one key's the certain ones first. */
static int compare(const void *a_, const void *b_)
{
    const struct part *a = a_, *b = b_;

    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    if (a->certain != b->certain)
        return a->certain ? -1 : 1;
    return a->value.ptr < b->value.ptr ? -1 : a->value.ptr > b->value.ptr;
}

struct pile { /* one message's parts */
    const struct part *parts;
    size_t count;
    bool certain;  /* all that was used of it */
    struct buf header, body;
    struct message *message;
    struct recipient *recipients;
    bool *recipient_certain;
    size_t recipient_count;
};

/* The chunk of that number that stands `pick`th among those that differ; their
 * number in *count. NULL: there is none. */
static const struct part *find_chunk(const struct pile *p, uint32_t n, size_t pick, size_t *at, size_t *count)
{
    const struct part *last = NULL, *found = NULL;

    *count = 0;
    while (*at < p->count && (p->parts[*at].kind != KIND_CHUNK || p->parts[*at].n < n))
        (*at)++;
    for (; *at < p->count && p->parts[*at].n == n; (*at)++) {
        const struct part *c = &p->parts[*at];

        if (last != NULL && slice_eq(last->value, c->value))
            continue;
        last = c;
        if (++*count <= pick + 1)
            found = c;
    }
    return found;
}

/* One way to join the chunks from number `first` on, `bytes` in all: `way` in
 * digits says which one of each number. *ways: how many there are, up to a bound. */
static bool join_one_way(const struct pile *p, uint32_t first, uint64_t bytes, size_t way, size_t *ways, bool *certain,
                         struct buf *out)
{
    size_t at = 0, count;

    *ways = 1;
    for (uint32_t n = first; bytes > 0; n++) {
        size_t probe = at;
        const struct part *c = find_chunk(p, n, 0, &probe, &count);

        if (c == NULL)
            return false;
        c = find_chunk(p, n, way % count, &at, &count);
        way /= count;
        *ways = *ways * count < WAYS_MAX ? *ways * count : WAYS_MAX;
        if (c->value.len == 0 || c->value.len > bytes)
            return false;
        buf_add(out, c->value);
        *certain = *certain && c->certain;
        bytes -= c->value.len;
    }
    return true;
}

/* Old pages may have a chunk in a damaged copy besides the good one: only the
 * checksum of the whole tells them apart. */
static bool join_chunks(struct pile *p, uint32_t first, uint64_t bytes, uint32_t crc, struct buf *out)
{
    size_t ways = 1;

    for (size_t way = 0; way < ways; way++) {
        size_t now;
        bool certain = true;

        buf_clear(out);
        if (join_one_way(p, first, bytes, way, &now, &certain, out) && crc32c(0, buf_bytes(out)) == crc) {
            p->certain = p->certain && certain;
            return true;
        }
        ways = now > ways ? now : ways;
    }
    return false;
}

static bool file_is(int fd, uint64_t bytes, uint32_t crc)
{
    char *room = mem_alloc(PIECE);
    uint64_t at = 0;
    uint32_t sum = 0;
    ssize_t n;

    while ((n = pread(fd, room, PIECE, (off_t)at)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        sum = crc32c(sum, slice_make(room, (size_t)n));
        at += (uint64_t)n;
    }
    free(room);
    return n == 0 && at == bytes && sum == crc;
}

/* A message all of whose recipients are doubtful is so itself. */
static void take_recipients(struct pile *p)
{
    bool any = false;

    p->recipients = mem_zero(p->count, sizeof *p->recipients);
    p->recipient_certain = mem_zero(p->count, sizeof *p->recipient_certain);
    for (size_t i = 0; i < p->count; i++) {
        const struct part *c = &p->parts[i];
        struct recipient r = { .n = c->n };
        bool again = p->recipient_count > 0 && p->recipients[p->recipient_count - 1].n == c->n;

        if (c->kind != KIND_RECIPIENT || again || err_failed(record_recipient_get(c->value, &r)))
            continue;
        if (p->message != NULL && !slice_eq(r.reverse_path, p->message->reverse_path))
            continue; /* another message's, under a damaged key */
        p->recipient_certain[p->recipient_count] = c->certain;
        p->recipients[p->recipient_count++] = r;
        any = any || c->certain;
    }
    p->certain = any || p->recipient_count == 0;
}

static enum salvage_outcome take_content(struct pile *p, const char *body_dir, bool header_inline, struct salvaged *s)
{
    struct message *m = p->message;

    if (header_inline)
        buf_add(&p->header, m->header);
    if ((!header_inline && !join_chunks(p, RECORD_HEADER_CHUNK, m->header_bytes, m->header_crc, &p->header)) ||
        buf_len(&p->header) != m->header_bytes || crc32c(0, buf_bytes(&p->header)) != m->header_crc)
        return SALVAGE_NO_HEADER;
    s->header = buf_bytes(&p->header);
    if (m->body_place == BODY_BLOB) {
        if (body_dir == NULL || err_failed(blob_open_file(body_dir, m->id, &s->body_fd)))
            return SALVAGE_NO_BODY;
        return file_is(s->body_fd, m->body_bytes, m->body_crc) ? SALVAGE_WHOLE : SALVAGE_NO_BODY;
    }
    if (!join_chunks(p, 0, m->body_bytes, m->body_crc, &p->body))
        return SALVAGE_NO_BODY;
    s->body = buf_bytes(&p->body);
    return SALVAGE_WHOLE;
}

static void pile_release(struct pile *p, struct salvaged *s)
{
    if (s->body_fd >= 0)
        close(s->body_fd);
    buf_release(&p->header);
    buf_release(&p->body);
    free(p->recipients);
    free(p->recipient_certain);
    message_unref(p->message);
}

/* By one of its records, or by none. */
static void pile_up(struct pile *p, const struct part *record, const char *body_dir, struct salvaged *s)
{
    bool header_inline = false;

    *s = (struct salvaged){ .id = p->parts[0].id, .outcome = SALVAGE_NO_RECORD, .body_fd = -1 };
    if (record != NULL) {
        p->message = message_new();
        p->message->id = record->id;
        if (err_failed(record_message_get(record->value, p->message, &header_inline))) {
            message_unref(p->message);
            p->message = NULL;
        }
    }
    take_recipients(p);
    p->certain = p->certain && (record != NULL ? record : p->parts)->certain;
    if (p->message != NULL)
        s->outcome = take_content(p, body_dir, header_inline, s);
    s->message = p->message;
    s->recipients = p->recipients;
    s->recipient_certain = p->recipient_certain;
    s->recipient_count = p->recipient_count;
    s->certain = p->certain;
}

/* One message. Of several records under its key, all but one by damage, it is the
 * one that the content belongs to. */
static bool put_together(const struct part *parts, size_t count, const char *body_dir, salvage_visitor *visit, void *ctx)
{
    struct salvaged s;
    bool go_on;
    size_t i = 0;

    for (;; i++) {
        struct pile p = { .parts = parts, .count = count };
        bool more = i + 1 < count && parts[i + 1].kind == KIND_MESSAGE;

        pile_up(&p, parts[i].kind == KIND_MESSAGE ? &parts[i] : NULL, body_dir, &s);
        if (s.outcome == SALVAGE_WHOLE || !more) {
            go_on = visit(ctx, &s);
            pile_release(&p, &s);
            return go_on;
        }
        pile_release(&p, &s);
    }
}

void queue_salvage_bytes(struct slice file, const char *body_dir, salvage_visitor *visit, void *ctx,
                         struct wreck_counts *counts)
{
    struct salvage s = { 0 };
    size_t next;

    wreck_read(file, queue_table_names, QUEUE_TABLE_COUNT, collect, &s, counts);
    if (s.count > 0)
        qsort(s.parts, s.count, sizeof *s.parts, compare);
    for (size_t i = 0; i < s.count; i = next) {
        for (next = i + 1; next < s.count && s.parts[next].id == s.parts[i].id;)
            next++;
        if (!put_together(&s.parts[i], next - i, body_dir, visit, ctx))
            break;
    }
    free(s.parts);
}

struct err queue_salvage(const char *state_dir, salvage_visitor *visit, void *ctx, struct wreck_counts *counts)
{
    struct buf folder = { 0 }, bodies = { 0 };
    struct slice file;
    struct err e;

    buf_printf(&folder, "%s/queue", state_dir);
    buf_printf(&bodies, "%s/" QUEUE_BODY_FOLDER, state_dir);
    e = wreck_open(buf_cstr(&folder), &file);
    if (!err_failed(e))
        queue_salvage_bytes(file, buf_cstr(&bodies), visit, ctx, counts);
    wreck_close(file);
    buf_release(&folder);
    buf_release(&bodies);
    return e;
}
