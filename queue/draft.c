/* queue/draft.c - a message while it arrives, up to its commit.
 *
 * Content gathers in memory. When it grows past body_file_min, or when all
 * drafts together use their memory budget, the body moves to a file of its
 * own and only the header stays. The client is held back while the disk is
 * slower than the network.
 */
#include "queue/queue_internal.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "mail/header.h"
#include "mail/param.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define CONTENT_ROOM (8u * KIB)  /* of a message as most are: it need not grow */
#define SPILL_PIECE (64u * KIB)  /* written at once */
#define SPILL_HOLD (128u * KIB)  /* waiting for the disk: the client is held */
#define SHORT_PART 4u            /* so much of it is left to small messages when the system is short of memory */
#define FULL_PART 4u             /* so much of the budget beyond it, and no draft should begin */

struct queue_draft {
    struct queue *q;
    struct loop *home;
    uint64_t id;
    uint64_t wall_ms;
    struct buf content;      /* all of it, or the header once spilled */
    size_t accounted;        /* of the common budget */
    size_t wake_at;          /* content size at which spilling is considered again */
    uint64_t body_bytes;     /* spilled or waiting */
    uint32_t body_crc;
    size_t header_bytes;
    bool spilled;
    bool dropped;            /* freed by its owner while the disk still works */
    bool held;
    bool sealing;
    struct buf waiting;      /* body bytes not yet given to the disk */
    struct blob_op op;
    bool busy;               /* op is under way */
    struct err error;
    void (*room)(void *ctx);
    void *room_ctx;
    struct message *message; /* set by commit */
    struct store_job job;
    struct writes writes;
    uint32_t events;         /* among them */
    struct buf aliased;      /* of each alias its name and who it stands for, for their events */
    uint32_t aliased_count;
    struct buf signer;       /* of its envelope */
    queue_done *done;
    void *done_ctx;
};

static void spill_pump(struct queue_draft *d);

struct queue_draft *queue_draft_new(struct queue *q, struct loop *home)
{
    struct queue_draft *d = mem_new(struct queue_draft);

    d->q = q;
    d->home = home;
    d->id = id_source_next(&q->ids);
    d->wall_ms = clock_wall_ms(q->opt.clock);
    d->wake_at = q->opt.body_file_min;
    atomic_fetch_add(&q->drafts, 1);
    if (queue_memory(q) == QUEUE_MEMORY_OK)
        buf_reserve(&d->content, CONTENT_ROOM);
    return d;
}

uint64_t queue_draft_id(const struct queue_draft *d)
{
    return d->id;
}

uint64_t queue_draft_wall_ms(const struct queue_draft *d)
{
    return d->wall_ms;
}

void queue_draft_on_room(struct queue_draft *d, void (*room)(void *ctx), void *ctx)
{
    d->room = room;
    d->room_ctx = ctx;
}

static void account(struct queue_draft *d)
{
    size_t now = d->content.cap + d->waiting.cap + d->op.bytes.cap;

    if (now == d->accounted)
        return;
    atomic_fetch_add(&d->q->draft_memory, now - d->accounted); /* wraps well when less */
    d->accounted = now;
}

enum queue_memory queue_memory(struct queue *q)
{
    size_t now = atomic_load_explicit(&q->draft_memory, memory_order_relaxed);
    size_t most = q->opt.draft_memory_max;
    enum headroom_level level = headroom_level(q->opt.headroom);

    if (level == HEADROOM_NONE)
        return QUEUE_MEMORY_FULL;
    if (now <= (level == HEADROOM_PLENTY ? most : most / SHORT_PART))
        return QUEUE_MEMORY_OK;
    return now <= most || now - most <= most / FULL_PART ? QUEUE_MEMORY_SHORT : QUEUE_MEMORY_FULL;
}

bool queue_crowded(struct queue *q)
{
    size_t most = q->opt.drafts_max;

    return queue_memory(q) == QUEUE_MEMORY_FULL ||
           (most != 0 && atomic_load_explicit(&q->drafts, memory_order_relaxed) >= most);
}

static void release(struct queue_draft *d)
{
    atomic_fetch_sub(&d->q->drafts, 1);
    buf_release(&d->content);
    buf_release(&d->waiting);
    buf_release(&d->op.bytes);
    account(d);
    writes_release(&d->writes);
    buf_release(&d->aliased);
    buf_release(&d->signer);
    message_unref(d->message);
    free(d);
}

/* ---- the body's file ----------------------------------------------------- */

static void drop_done(struct blob_op *op, struct err e)
{
    free(op); /* what could not be removed is swept at the next start */
}

static void drop_file(struct queue_draft *d)
{
    struct blob_op *op = mem_new(struct blob_op);

    op->home = d->home;
    op->done = drop_done;
    op->id = d->id;
    blob_unlink(d->q->blobs, op);
}

static void spill_done(struct blob_op *op, struct err e)
{
    struct queue_draft *d = container_of(op, struct queue_draft, op);

    d->busy = false;
    if (err_failed(e) && !err_failed(d->error))
        d->error = e;
    if (d->dropped) {
        drop_file(d);
        release(d);
        return;
    }
    spill_pump(d);
}

static void draft_store(struct queue_draft *d);

static void seal_done(struct blob_op *op, struct err e)
{
    struct queue_draft *d = container_of(op, struct queue_draft, op);

    d->busy = false;
    if (err_failed(e) && !err_failed(d->error))
        d->error = e;
    draft_store(d);
}

/* Large pieces suit the disk; when memory is short nothing is gathered. */
static size_t spill_piece(struct queue_draft *d)
{
    return d->sealing || queue_memory(d->q) != QUEUE_MEMORY_OK ? 1 : SPILL_PIECE;
}

/* Only while a write is under way, whose end lets the client go on: memory may
 * become short, or plenty, at any moment. */
static bool spill_holds(struct queue_draft *d)
{
    return d->busy && buf_len(&d->waiting) >= (queue_memory(d->q) != QUEUE_MEMORY_OK ? 1 : SPILL_HOLD);
}

/* Gives the disk what waits, one piece at a time, and lets the client go on. */
static void spill_pump(struct queue_draft *d)
{
    if (d->busy)
        return;
    if (err_failed(d->error))
        buf_clear(&d->waiting);
    if (queue_memory(d->q) != QUEUE_MEMORY_OK)
        buf_release(&d->op.bytes);
    if (buf_len(&d->waiting) >= spill_piece(d)) {
        struct buf empty = d->op.bytes; /* the last piece's memory serves again */

        buf_clear(&empty);
        d->op.bytes = d->waiting;
        d->waiting = empty;
        d->op.home = d->home;
        d->op.id = d->id;
        d->op.done = spill_done;
        d->busy = true;
        blob_append(d->q->blobs, &d->op);
    } else if (d->sealing) {
        d->op.done = seal_done;
        d->op.home = d->home;
        d->op.id = d->id;
        d->busy = true;
        blob_seal(d->q->blobs, &d->op);
        return;
    }
    account(d);
    if (d->held && !spill_holds(d)) {
        d->held = false;
        if (d->room != NULL)
            d->room(d->room_ctx);
    }
}

static void spill_add(struct queue_draft *d, struct slice bytes)
{
    d->body_crc = crc32c(d->body_crc, bytes);
    d->body_bytes += bytes.len;
    buf_add(&d->waiting, bytes);
}

/* Cuts the content at the header's end. Adds the empty line that content
 * without one needs. *body points into the old content, which the caller
 * frees. */
static struct buf cut_header(const struct mail_header_scan *scan, struct slice content, struct slice *body)
{
    struct buf header = { 0 };

    buf_add(&header, slice_head(content, scan->size));
    if (scan->malformed)
        buf_add(&header, SLICE("\r\n"));
    *body = slice_from(content, scan->size);
    return header;
}

static void spill_begin(struct queue_draft *d)
{
    struct mail_header_scan scan = { 0 };
    struct buf content = d->content;
    struct slice body;

    if (!mail_header_scan(&scan, buf_bytes(&d->content), false)) {
        d->wake_at = buf_len(&d->content) * 2; /* a very long header: look again later */
        return;
    }
    d->content = cut_header(&scan, buf_bytes(&content), &body);
    d->header_bytes = buf_len(&d->content);
    d->spilled = true;
    spill_add(d, body);
    buf_release(&content);
}

bool queue_draft_append(struct queue_draft *d, struct slice bytes)
{
    if (!d->spilled) {
        buf_add(&d->content, bytes);
        account(d);
        if (buf_len(&d->content) > d->wake_at || queue_memory(d->q) != QUEUE_MEMORY_OK)
            spill_begin(d);
        if (!d->spilled)
            return true;
    } else if (!err_failed(d->error)) {
        spill_add(d, bytes);
    }
    spill_pump(d);
    d->held = d->held || spill_holds(d); /* once held, only `room` lets it go */
    return !d->held;
}

void queue_draft_free(struct queue_draft *d)
{
    if (d == NULL)
        return;
    if (d->busy) {
        d->dropped = true;
        return;
    }
    if (d->spilled)
        drop_file(d);
    release(d);
}

/* ---- commit -------------------------------------------------------------- */

static size_t envelope_text_bytes(const struct envelope *env, size_t message_id_len)
{
    size_t n = env->reverse_path.len + env->client_addr.len + env->client_name.len + env->helo.len +
               env->protocol.len + env->envelope_id.len + message_id_len;

    for (size_t i = 0; i < env->recipient_count; i++)
        n += env->recipients[i].len + (env->wishes != NULL ? env->wishes[i].original.len : 0);
    return n;
}

static void message_take_envelope(struct message *m, const struct envelope *env)
{
    struct slice message_id = mail_header_message_id(m->header);

    buf_reserve(&m->text, envelope_text_bytes(env, message_id.len) + 1);
    m->flags |= env->flags;
    m->reverse_path = message_intern(m, env->reverse_path);
    m->client_addr = message_intern(m, env->client_addr);
    m->client_name = message_intern(m, env->client_name);
    m->helo = message_intern(m, env->helo);
    m->protocol = message_intern(m, env->protocol);
    m->message_id = message_intern(m, message_id);
    m->envelope_id = message_intern(m, env->envelope_id);
    m->recipient_total = m->recipient_count = (uint32_t)env->recipient_count;
    m->recipients = mem_zero(env->recipient_count, sizeof *m->recipients);
    for (size_t i = 0; i < env->recipient_count; i++) {
        struct recipient *r = &m->recipients[i];
        bool held = env->held != NULL && env->held[i];

        r->n = (uint32_t)i;
        r->state = held ? RECIPIENT_HELD : RECIPIENT_QUEUED;
        r->reply = held ? SLICE("held by a route") : SLICE_EMPTY;
        r->release_wall_ms = env->release_wall_ms;
        r->next_wall_ms = recipient_begins(r, m->received_wall_ms);
        r->address = message_intern(m, env->recipients[i]);
        r->reverse_path = m->reverse_path;
        if (env->wishes != NULL) {
            r->wish.notify = env->wishes[i].notify;
            r->wish.original = message_intern(m, env->wishes[i].original);
        }
    }
}

static void message_take_content(struct message *m, struct buf *content)
{
    struct mail_header_scan scan = { 0 };

    m->content = *content;
    *content = (struct buf){ 0 };
    mail_header_scan(&scan, buf_bytes(&m->content), true);
    if (scan.malformed) {
        struct slice body;
        struct buf whole = cut_header(&scan, buf_bytes(&m->content), &body);

        scan.size = buf_len(&whole);
        buf_add(&whole, body);
        buf_release(&m->content);
        m->content = whole;
    }
    m->header = slice_head(buf_bytes(&m->content), scan.size);
    m->body = slice_from(buf_bytes(&m->content), scan.size);
    m->body_loaded = true;
    m->body_place = BODY_CHUNKS;
    m->body_bytes = m->body.len;
    m->body_crc = crc32c(0, m->body);
}

static void message_seal(struct message *m)
{
    m->header_bytes = m->header.len;
    m->header_crc = crc32c(0, m->header);
}

void event_writes(struct queue *q, const struct event *e, struct writes *w)
{
    record_event_put(writes_begin(w), e);
    writes_end(w, TABLE_EVENT, codec_key_u64_u64(e->id, id_source_next(&q->sequences)), false);
}

/* An event of its own when the sender wants the message to go later. */
static uint32_t postponed_writes(struct queue *q, const struct message *m, struct writes *w)
{
    uint64_t release = m->recipients[0].release_wall_ms;
    char until[MAIL_RFC3339_MAX], text[80];
    struct event e = { .id = m->id, .type = EVENT_POSTPONED, .wall_ms = m->received_wall_ms };

    if (release <= m->received_wall_ms)
        return 0;
    snprintf(text, sizeof text, "until %s, as its sender asked", mail_rfc3339_format(release, until));
    e.text = slice_str(text);
    event_writes(q, &e, w);
    return 1;
}

uint32_t commit_message_writes(struct queue *q, struct message *m, struct writes *w)
{
    struct event received = {
        .id = m->id,
        .type = EVENT_RECEIVED,
        .wall_ms = m->received_wall_ms,
        .size_bytes = message_size(m),
        .recipient_count = m->recipient_total,
        .recipient = m->recipient_total == 1 ? m->recipients[0].address : SLICE_EMPTY,
        .reverse_path = m->reverse_path,
        .message_id = m->message_id,
        .relay = m->client_addr,
        .text = m->protocol,
    };
    bool header_inline;

    record_message_put(writes_begin(w), m, &header_inline);
    writes_end(w, TABLE_MESSAGE, codec_key_u64(m->id), true);
    for (uint32_t i = 0; i < m->recipient_count; i++) {
        record_recipient_put(writes_begin(w), &m->recipients[i]);
        writes_end(w, TABLE_RECIPIENT, codec_key_u64_u32(m->id, m->recipients[i].n), true);
    }
    if (m->body_place == BODY_CHUNKS)
        writes_put_chunks(w, TABLE_BODY, m->id, 0, m->body);
    if (!header_inline)
        writes_put_chunks(w, TABLE_BODY, m->id, RECORD_HEADER_CHUNK, m->header);
    event_writes(q, &received, w);
    return 1 + postponed_writes(q, m, w);
}

static struct err commit_run(struct store_job *j, struct store_txn *t)
{
    return writes_run(&container_of(j, struct queue_draft, job)->writes, t);
}

static void commit_done(struct store_job *j, struct err e)
{
    struct queue_draft *d = container_of(j, struct queue_draft, job);
    struct queue *q = d->q;

    if (err_failed(e)) {
        if (d->spilled)
            drop_file(d);
        d->done(d->done_ctx, e, NULL);
    } else {
        atomic_fetch_add(&q->events_waiting, d->events);
        if (q->opt.arrived != NULL)
            q->opt.arrived(q->opt.ctx, d->message);
        d->done(d->done_ctx, ERR_OK, d->message);
    }
    release(d);
}

/* The targets of one alias stand in a row. Their names as far as an event
 * shows them. */
static size_t name_targets(const struct envelope *env, size_t from, struct buf *text)
{
    size_t i = from, shown = 0;

    for (; i < env->recipient_count && slice_eq(env->originals[i], env->originals[from]); i++) {
        if (shown != i - from || buf_len(text) + env->recipients[i].len > RECIPIENT_REPLY_MAX - 32)
            continue;
        buf_add_str(text, i > from ? ", " : "");
        buf_add(text, env->recipients[i]);
        shown++;
    }
    if (shown < i - from)
        buf_printf(text, " and %zu more", i - from - shown);
    return i;
}

static void keep_aliased(struct queue_draft *d, const struct envelope *env)
{
    for (size_t i = 0, next; env->originals != NULL && i < env->recipient_count; i = next) {
        struct buf text = { 0 };

        next = i + 1;
        if (env->originals[i].len == 0)
            continue;
        next = name_targets(env, i, &text);
        codec_put_bytes(&d->aliased, env->originals[i]);
        codec_put_bytes(&d->aliased, buf_bytes(&text));
        d->aliased_count++;
        buf_release(&text);
    }
}

static void aliased_writes(struct queue_draft *d)
{
    struct codec_reader r = { .rest = buf_bytes(&d->aliased) };

    for (uint32_t i = 0; i < d->aliased_count; i++) {
        struct event e = { .id = d->id, .type = EVENT_ALIASED, .wall_ms = d->wall_ms };

        e.recipient = codec_bytes(&r);
        e.text = codec_bytes(&r);
        event_writes(d->q, &e, &d->writes);
    }
}

static uint32_t signer_writes(struct queue_draft *d)
{
    struct event e = { .id = d->id, .type = EVENT_SIGNER, .wall_ms = d->wall_ms, .text = buf_bytes(&d->signer) };

    if (e.text.len == 0)
        return 0;
    event_writes(d->q, &e, &d->writes);
    return 1;
}

/* The body is safe; now the record that names it. */
static void draft_store(struct queue_draft *d)
{
    struct message *m = d->message;

    d->job.home = d->home;
    d->job.run = commit_run;
    d->job.done = commit_done;
    if (err_failed(d->error)) {
        commit_done(&d->job, d->error); /* only after a seal, so never inside queue_draft_commit */
        return;
    }
    if (d->spilled) {
        m->body_place = BODY_BLOB;
        m->body_bytes = d->body_bytes;
        m->body_crc = d->body_crc;
    }
    d->events = commit_message_writes(d->q, m, &d->writes) + d->aliased_count;
    aliased_writes(d);
    d->events += signer_writes(d);
    d->job.cost_bytes = d->writes.cost_bytes;
    store_submit(d->q->store, &d->job);
}

void queue_draft_commit(struct queue_draft *d, const struct envelope *env, queue_done *done, void *ctx)
{
    struct message *m = message_new();

    assert(d->message == NULL && env->recipient_count > 0);
    d->message = m;
    d->done = done;
    d->done_ctx = ctx;
    d->room = NULL;
    m->id = d->id;
    m->received_wall_ms = d->wall_ms;
    if (d->spilled && d->body_bytes == 0)
        d->spilled = false; /* nothing came after the header: there is no file to seal */
    if (d->spilled) {
        m->content = d->content;
        d->content = (struct buf){ 0 };
        m->header = buf_bytes(&m->content);
    } else {
        message_take_content(m, &d->content);
    }
    message_seal(m);
    message_take_envelope(m, env);
    keep_aliased(d, env);
    buf_add(&d->signer, env->signer);
    account(d);
    if (!d->spilled) {
        draft_store(d);
        return;
    }
    d->sealing = true;
    spill_pump(d);
}

struct message *queue_compose(struct queue *q, const struct envelope *env, struct slice header,
                              struct slice body)
{
    struct message *m = message_new();
    struct buf content = { 0 };

    m->id = id_source_next(&q->ids);
    m->received_wall_ms = clock_wall_ms(q->opt.clock);
    buf_add(&content, header);
    buf_add(&content, body);
    message_take_content(m, &content);
    message_seal(m);
    message_take_envelope(m, env);
    return m;
}
