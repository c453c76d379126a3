/* tests/crash/queue_verify.c - what a power cut left of relayd's queue, held
 * against what clients and next hop were promised and saw.
 *
 *   queue_verify STATE_DIR MARKS
 *
 * Marks, in the order in which they happened:
 *   s TOKEN SIZE CRC ADDRESS,ADDRESS…  a client begins to send this content
 *   a TOKEN ID                         it has read its 250
 *   r ADDRESS                          the next hop is about to refuse it for good
 *   d ADDRESS                          the next hop is about to take a message for it
 * Addresses are "TOKEN.N@domain"; the sender of TOKEN is "TOKEN@back.test".
 *
 * The queue must open by itself. Of each acknowledged message every recipient
 * is either queued, with the whole content, or has exactly one event that
 * tells its end; of one without its 250 all or none; what was delivered or
 * bounced by the events was so by the marks; a message some of whose recipients
 * bounced, expired or are late has made exactly one notification of each.
 */
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue.h"
#include "store/wake.h"

#include <isa-l/crc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#define PIECE (256 * KIB)

struct token {
    UT_hash_handle hh;
    char *name;
    bool acknowledged;
    uint64_t id; /* 0 = not known */
    uint64_t size;
    uint32_t crc;
    char *addresses;
};

struct address {
    UT_hash_handle hh;
    char *text;
    unsigned taken, refused; /* by the next hop */
    unsigned queued;         /* recipient records */
    unsigned delivered, bounced, expired, delayed, ended_otherwise; /* events */
};

struct seen_event {
    UT_hash_handle hh;
    uint64_t key[2]; /* id, sequence */
};

struct verify {
    struct loop loop; /* only post() is used */
    struct inbox inbox;
    struct wake wake;
    struct queue *q;
    struct token *tokens;
    struct address *addresses;
    struct seen_event *events;
    uint64_t *ids; /* of message records */
    size_t id_count;
    size_t recipients; /* that queue_recover() could read */
    unsigned wrong;
};

PRINTF_LIKE(2, 3) static void complain(struct verify *v, const char *format, ...)
{
    va_list ap;

    if (v->wrong++ >= 20)
        return;
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf("\n");
}

static void must(struct err e, const char *what)
{
    char text[256];

    if (!err_failed(e))
        return;
    printf("%s: %s\n", what, err_text(e, text, sizeof text));
    exit(1);
}

/* ---- a loop of one thread ------------------------------------------------ */

static void verify_post(struct loop *l, struct post *p)
{
    struct verify *v = container_of(l, struct verify, loop);

    if (inbox_push(&v->inbox, p))
        wake_up(&v->wake);
}

static void verify_turn(struct verify *v)
{
    struct post *p = inbox_take(&v->inbox);

    if (p == NULL)
        wake_wait(&v->wake, &v->inbox, WAKE_NEVER);
    while (p != NULL) {
        struct post *next = p->next;

        p->run(p);
        p = next;
    }
}

/* ---- marks --------------------------------------------------------------- */

static char *copy(struct slice s)
{
    char *text = mem_alloc(s.len + 1);

    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return text;
}

static struct address *address_of(struct verify *v, struct slice text)
{
    struct address *a;

    HASH_FIND(hh, v->addresses, text.ptr, text.len, a);
    if (a == NULL) {
        a = mem_new(struct address);
        a->text = copy(text);
        HASH_ADD_KEYPTR(hh, v->addresses, a->text, text.len, a);
    }
    return a;
}

static struct token *token_find(struct verify *v, struct slice name)
{
    struct token *t;

    HASH_FIND(hh, v->tokens, name.ptr, name.len, t);
    return t;
}

static void mark(struct verify *v, struct slice line)
{
    struct slice word, kind;
    struct token *t;

    slice_split(&line, ' ', &kind);
    slice_split(&line, ' ', &word);
    if (slice_eq(kind, SLICE("s"))) {
        struct slice size, crc;

        t = mem_new(struct token);
        t->name = copy(word);
        slice_split(&line, ' ', &size);
        slice_split(&line, ' ', &crc);
        t->size = strtoull(size.ptr, NULL, 10);
        t->crc = (uint32_t)strtoul(crc.ptr, NULL, 16);
        t->addresses = copy(line);
        HASH_ADD_KEYPTR(hh, v->tokens, t->name, word.len, t);
    } else if (slice_eq(kind, SLICE("a"))) {
        t = token_find(v, word);
        if (t == NULL || !queue_id_parse(line, &t->id)) {
            complain(v, "a mark nobody could have made: %.*s", (int)word.len, word.ptr);
            return;
        }
        t->acknowledged = true;
    } else if (slice_eq(kind, SLICE("d"))) {
        address_of(v, word)->taken++;
    } else if (slice_eq(kind, SLICE("r"))) {
        address_of(v, word)->refused++;
    }
}

static void read_marks(struct verify *v, const char *path)
{
    FILE *in = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    if (in == NULL)
        must(err_make(ERR_SYSTEM, path), "open marks");
    while ((len = getline(&line, &room, in)) > 0)
        mark(v, slice_make(line, (size_t)len - (line[len - 1] == '\n')));
    free(line);
    fclose(in);
}

/* "t7" of "t7.3@dest.test" and of "t7@back.test" */
static struct token *token_of_address(struct verify *v, struct slice address)
{
    size_t at = slice_find(address, '@'), dot = slice_find(address, '.');

    return token_find(v, slice_head(address, dot < at ? dot : at));
}

/* ---- what is in the queue ------------------------------------------------ */

static void recovered(void *ctx, uint64_t id, const struct recipient *r)
{
    struct verify *v = ctx;
    struct token *t = token_of_address(v, r->address);

    v->recipients++;
    address_of(v, r->address)->queued++;
    if (t == NULL)
        complain(v, "%016llx: recipient %.*s was never sent", (unsigned long long)id,
                 (int)r->address.len, r->address.ptr);
    else if (t->id == 0 && r->reverse_path.len != 0)
        t->id = id;
}

static bool has_message(const struct verify *v, uint64_t id)
{
    size_t low = 0, high = v->id_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (v->ids[mid] < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < v->id_count && v->ids[low] == id;
}

static void take_event(struct verify *v, struct slice key, struct slice record)
{
    struct event e = { .id = codec_key_read_u64(key, 0) };
    struct seen_event *seen;
    uint64_t k[2] = { e.id, codec_key_read_u64(key, 8) };
    struct err damage = record_event_get(record, &e);
    struct address *a;

    if (err_failed(damage)) {
        complain(v, "%016llx: an event is damaged", (unsigned long long)e.id);
        return;
    }
    HASH_FIND(hh, v->events, k, sizeof k, seen);
    if (seen != NULL) /* on its way from the queue to the history */
        return;
    seen = mem_new(struct seen_event);
    memcpy(seen->key, k, sizeof k);
    HASH_ADD(hh, v->events, key, sizeof k, seen);
    a = address_of(v, e.recipient);
    switch (e.type) {
    case EVENT_DELIVERED:
        a->delivered++;
        break;
    case EVENT_BOUNCED:
        a->bounced++;
        break;
    case EVENT_EXPIRED:
        a->expired++;
        break;
    case EVENT_DELAYED:
        a->delayed++;
        break;
    case EVENT_DELETED:
    case EVENT_DISCARDED:
    case EVENT_DROPPED:
    case EVENT_DAMAGED:
        a->ended_otherwise++;
        break;
    default:
        break;
    }
}

typedef void visit_record(struct verify *v, struct slice key, struct slice record);

static void take_id(struct verify *v, struct slice key, struct slice record)
{
    v->ids = mem_grow(v->ids, v->id_count + 1, sizeof *v->ids);
    v->ids[v->id_count++] = codec_key_read_u64(key, 0);
}

static void take_recipient_key(struct verify *v, struct slice key, struct slice record)
{
    uint64_t id = codec_key_read_u64(key, 0);

    v->recipients--;
    if (!has_message(v, id))
        complain(v, "%016llx: a recipient without a message", (unsigned long long)id);
}

static void take_chunk_key(struct verify *v, struct slice key, struct slice record)
{
    uint64_t id = codec_key_read_u64(key, 0);

    if (!has_message(v, id))
        complain(v, "%016llx: content without a message", (unsigned long long)id);
}

static void walk(struct verify *v, struct store *s, unsigned table, visit_record *visit)
{
    struct store_txn *t;
    struct store_cursor *c;
    struct slice key, record;
    struct err e;

    must(store_snapshot(s, &t), "snapshot");
    must(store_cursor_open(t, table, &c), "walk");
    for (e = store_cursor_seek(c, SLICE_EMPTY, &key, &record); !err_failed(e);
         e = store_cursor_next(c, &key, &record))
        visit(v, key, record);
    if (e.kind != ERR_NOT_FOUND)
        must(e, "walk");
    store_cursor_close(c);
    store_snapshot_end(t);
}

/* ---- content ------------------------------------------------------------- */

struct loading {
    struct blob_op op;
    struct err result;
    struct message *message;
    bool done;
};

static void load_done(void *ctx, struct err e, struct message *m)
{
    struct loading *l = ctx;

    l->result = e;
    l->message = m != NULL ? message_ref(m) : NULL;
    l->done = true;
}

static void read_done(struct blob_op *op, struct err e)
{
    struct loading *l = container_of(op, struct loading, op);

    l->result = e;
    l->done = true;
}

static struct err read_body_file(struct verify *v, struct loading *l, struct buf *out)
{
    for (;;) {
        l->op.home = &v->loop;
        l->op.done = read_done;
        l->op.offset = buf_len(out);
        l->op.want = PIECE;
        l->done = false;
        queue_read_body(v->q, l->message, &l->op);
        while (!l->done)
            verify_turn(v);
        if (err_failed(l->result) || buf_len(&l->op.bytes) == 0)
            return l->result;
        buf_add(out, buf_bytes(&l->op.bytes));
    }
}

/* The content as the client sent it is the end of what is stored. */
static void check_content(struct verify *v, const struct message *m, struct slice content)
{
    struct token *t = token_of_address(v, m->reverse_path);
    struct slice sent;

    if ((m->flags & MESSAGE_DSN) != 0)
        return;
    if (t == NULL || content.len < t->size) {
        complain(v, "%016llx: a message nobody sent, or shortened", (unsigned long long)m->id);
        return;
    }
    sent = slice_from(content, content.len - (size_t)t->size);
    if (crc32_gzip_refl(0, (const unsigned char *)sent.ptr, sent.len) != t->crc)
        complain(v, "%016llx: %s is not what was sent", (unsigned long long)m->id, t->name);
}

static void check_message(struct verify *v, uint64_t id)
{
    struct loading l = { 0 };
    struct buf content = { 0 }, body = { 0 };
    char text[256];

    queue_load(v->q, id, &v->loop, load_done, &l);
    while (!l.done)
        verify_turn(v);
    if (!err_failed(l.result) && l.message->body_place == BODY_BLOB) {
        l.result = read_body_file(v, &l, &body);
        if (!err_failed(l.result) && (buf_len(&body) != l.message->body_bytes ||
                                      crc32c(0, buf_bytes(&body)) != l.message->body_crc))
            l.result = err_make(ERR_CORRUPT, "body file is torn");
    }
    if (err_failed(l.result)) {
        complain(v, "%016llx: %s", (unsigned long long)id, err_text(l.result, text, sizeof text));
    } else {
        if (l.message->recipient_count == 0)
            complain(v, "%016llx: a message without recipients", (unsigned long long)id);
        buf_add(&content, l.message->header);
        buf_add(&content, l.message->body_place == BODY_BLOB ? buf_bytes(&body) : l.message->body);
        check_content(v, l.message, buf_bytes(&content));
    }
    buf_release(&content);
    buf_release(&body);
    buf_release(&l.op.bytes);
    message_unref(l.message);
}

/* ---- judgement ----------------------------------------------------------- */

static unsigned ends(const struct address *a)
{
    return a->delivered + a->bounced + a->expired + a->ended_otherwise;
}

/* Recipients of a message that share a fate share a notification of it. */
static void judge_notifications(struct verify *v, const struct token *t, unsigned fates)
{
    char text[128];
    struct address *a;

    snprintf(text, sizeof text, "%s@back.test", t->name);
    a = address_of(v, slice_str(text));
    if (a->queued + ends(a) != fates)
        complain(v, "%s: %u notifications are due, %u were made", t->name, fates, a->queued + ends(a));
    if (a->delivered != 0 && a->taken == 0)
        complain(v, "%s: a notification that nobody took is said to be delivered", t->name);
}

static void judge(struct verify *v, const struct token *t)
{
    struct slice rest = slice_str(t->addresses), text;
    unsigned there = 0, total = 0;
    bool bounced = false, expired = false, delayed = false;

    while (rest.len > 0) {
        struct address *a;

        slice_split(&rest, ',', &text);
        a = address_of(v, text);
        total++;
        there += a->queued + ends(a) != 0;
        if (a->queued + ends(a) > 1)
            complain(v, "%s: %s is there twice: queued %u, ended %u", t->name, a->text, a->queued,
                     ends(a));
        if (t->acknowledged && a->queued + ends(a) == 0)
            complain(v, "%s: %s was acknowledged and is lost", t->name, a->text);
        if (a->delivered != 0 && a->taken == 0)
            complain(v, "%s: %s is said to be delivered and was not", t->name, a->text);
        if (a->bounced != 0 && a->refused == 0)
            complain(v, "%s: %s bounced and was not refused", t->name, a->text);
        if (a->ended_otherwise != 0)
            complain(v, "%s: %s ended in a way nobody asked for", t->name, a->text);
        if (a->queued != 0 && t->id != 0 && !has_message(v, t->id))
            complain(v, "%s: %s is queued under another id", t->name, a->text);
        bounced = bounced || a->bounced != 0;
        expired = expired || a->expired != 0;
        delayed = delayed || a->delayed != 0;
    }
    if (there != 0 && there != total)
        complain(v, "%s: only %u of %u recipients", t->name, there, total);
    judge_notifications(v, t, (unsigned)bounced + expired + delayed);
}

static void check_next_id(struct verify *v)
{
    uint64_t last = v->id_count != 0 ? v->ids[v->id_count - 1] : 0;
    struct seen_event *e, *tmp;

    HASH_ITER (hh, v->events, e, tmp)
        if (e->key[0] > last)
            last = e->key[0];
    if (queue_new_id(v->q) <= last)
        complain(v, "the next id was used before");
}

/* ---- life ------------------------------------------------------------------ */

static void verify_release(struct verify *v)
{
    struct token *t, *t_next;
    struct address *a, *a_next;
    struct seen_event *e, *e_next;

    HASH_ITER (hh, v->tokens, t, t_next) {
        HASH_DEL(v->tokens, t);
        free(t->name);
        free(t->addresses);
        free(t);
    }
    HASH_ITER (hh, v->addresses, a, a_next) {
        HASH_DEL(v->addresses, a);
        free(a->text);
        free(a);
    }
    HASH_ITER (hh, v->events, e, e_next) {
        HASH_DEL(v->events, e);
        free(e);
    }
    free(v->ids);
}

int main(int argc, char **argv)
{
    static const struct loop_ops ops = { .post = verify_post };
    struct verify v = { .loop = { .ops = &ops, .clock = &clock_system } };
    struct queue_options opt = {
        .clock = &clock_system,
        .draft_memory_max = MIB,
        .body_file_min = 512 * KIB,
    };
    struct token *t, *tmp;

    if (argc != 3) {
        fprintf(stderr, "usage: queue_verify STATE_DIR MARKS\n");
        return 64;
    }
    log_open("test", LOG_LEVEL_WARNING);
    read_marks(&v, argv[2]);
    opt.state_dir = argv[1];
    must(queue_open(&opt, &v.q), "open");
    walk(&v, queue_store(v.q), TABLE_MESSAGE, take_id);
    must(queue_recover(v.q, recovered, &v), "recover");
    walk(&v, queue_store(v.q), TABLE_RECIPIENT, take_recipient_key);
    if (v.recipients != 0)
        complain(&v, "recipient records are damaged");
    walk(&v, queue_store(v.q), TABLE_BODY, take_chunk_key);
    walk(&v, queue_store(v.q), TABLE_EVENT, take_event);
    walk(&v, queue_history_store(v.q), HISTORY_EVENT, take_event);
    for (size_t i = 0; i < v.id_count; i++)
        check_message(&v, v.ids[i]);
    HASH_ITER (hh, v.tokens, t, tmp)
        judge(&v, t);
    check_next_id(&v);
    queue_close(v.q);
    verify_release(&v);
    return v.wrong > 0;
}
