/* auth/signers.c - shares messages out among the sign workers and outlives
 * them.
 *
 * A worker has at most two messages at a time, one under way and one to go on
 * with; all others wait here, where nothing is lost with it. Of those that a
 * dead worker had, the oldest is the one it may have died of: it gets one more
 * try, alone on a worker, and then is given up for this time, for libopendkim
 * aborts on input it does not expect and would do so again. */
#include "auth/sign.h"

#include "auth/sign_wire.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/ipc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PER_WORKER 2u

struct worker {
    struct signers *pool;
    unsigned index;
    struct ipc *link; /* NULL: not there */
    bool retiring;    /* it takes no more; its link closes when all is answered */
    bool alone;       /* has a message that killed one before */
    struct list jobs; /* given to it, in order */
    unsigned count;
    bool known; /* was there once */
    struct signers_figures figures;
};

struct signers {
    struct sign_service service;
    struct loop *home;
    struct worker workers[SIGNERS_MAX];
    struct list waiting;
    size_t waiting_count, under_way;
    struct timer clock; /* for those who wait too long */
    uint64_t next_id;
    uint64_t failed; /* at whatever worker, or none */
};

static void pump(struct signers *s);

/* ---- answers ------------------------------------------------------------------------ */

static void answer_run(struct post *p)
{
    struct sign_request *r = container_of(p, struct sign_request, post);

    r->done(r);
}

static void answer(struct signers *s, struct sign_request *r, bool ok)
{
    r->ok = ok;
    s->failed += !ok;
    r->post.run = answer_run;
    loop_post(r->home, &r->post);
}

static void fail(struct signers *s, struct sign_request *r, const char *why)
{
    snprintf(r->why, sizeof r->why, "%s", why);
    answer(s, r, false);
}

/* ---- a worker ------------------------------------------------------------------------ */

static void take_back(struct worker *w, struct sign_request *r)
{
    list_remove(&r->link);
    w->count--;
    w->pool->under_way--;
    if (w->count == 0)
        w->alone = false;
}

/* Its requests go to the front of those that wait, in their order. */
static void worker_lost(struct worker *w, bool died)
{
    struct signers *s = w->pool;
    struct sign_request *oldest =
        list_empty(&w->jobs) ? NULL : list_first(&w->jobs, struct sign_request, link);

    ipc_free(w->link);
    w->link = NULL;
    w->retiring = false;
    w->figures.deaths += died;
    if (died && oldest != NULL && ++oldest->deaths >= SIGN_DEATHS_MAX) {
        take_back(w, oldest);
        w->figures.failed++;
        fail(s, oldest, "sign workers died of it");
    }
    while (!list_empty(&w->jobs)) {
        struct sign_request *last = container_of(w->jobs.prev, struct sign_request, link);

        take_back(w, last);
        list_prepend(&s->waiting, &last->link);
        s->waiting_count++;
    }
    pump(s);
}

static struct sign_request *find_job(struct worker *w, uint64_t id)
{
    list_foreach (it, &w->jobs) {
        struct sign_request *r = container_of(it, struct sign_request, link);

        if (r->id == id)
            return r;
    }
    return NULL;
}

static void give_up_link(struct worker *w, const char *what)
{
    log_error("sign", "worker %u: %s; it is not asked any more", w->index, what);
    worker_lost(w, true);
}

static void release_when_done(struct worker *w)
{
    if (w->retiring && w->count == 0) {
        ipc_free(w->link); /* it sees that and ends; another comes */
        w->link = NULL;
        w->retiring = false;
        w->figures.recycled++;
    }
}

static void worker_message(void *ctx, struct slice payload, int fd)
{
    struct worker *w = ctx;
    struct sign_request *r;
    struct sign_wire m;
    struct err e = sign_wire_get(payload, &m);

    if (fd >= 0)
        close(fd);
    if (err_failed(e) || fd >= 0 || m.type == SIGN_WIRE_SIGN) {
        give_up_link(w, "it talks nonsense");
        return;
    }
    if (m.type == SIGN_WIRE_RETIRE) {
        w->retiring = true;
        release_when_done(w);
        return;
    }
    r = find_job(w, m.id);
    if (r == NULL) {
        give_up_link(w, "it answers what nobody asked");
        return;
    }
    take_back(w, r);
    if (m.ok) {
        buf_add(&r->fields, m.fields);
        w->figures.signed_++;
        answer(w->pool, r, true);
    } else {
        char why[SIGNER_WHY_MAX];

        snprintf(why, sizeof why, "%.*s", (int)m.why.len, m.why.ptr);
        w->figures.failed++;
        fail(w->pool, r, why);
    }
    release_when_done(w);
    pump(w->pool);
}

static void worker_closed(void *ctx, struct err why)
{
    struct worker *w = ctx;

    if (w->count > 0)
        log_warning("sign", "worker %u ended, its messages to sign (%u) go to the next", w->index, w->count);
    worker_lost(w, true);
}

static const struct ipc_events worker_events = { .message = worker_message, .closed = worker_closed };

/* ---- giving -------------------------------------------------------------------------- */

/* What does not fit into the frame goes into memory of its own. */
static struct err spill(struct slice rest, int *out)
{
    int fd = memfd_create("to sign", MFD_CLOEXEC);
    struct err e;

    if (fd < 0)
        return err_sys(errno, "make memory file");
    e = write_all(fd, rest, "write to memory file");
    if (err_failed(e)) {
        close(fd);
        return e;
    }
    *out = fd;
    return ERR_OK;
}

static struct err send_request(struct worker *w, const struct sign_request *r)
{
    struct sign_wire m = {
        .type = SIGN_WIRE_SIGN,
        .id = r->id,
        .wall_ms = r->wall_ms,
        .key_count = r->identity_count,
        .header_bytes = r->header.len,
        .file_bytes = r->file_bytes,
    };
    struct buf content = { 0 }, frame = { 0 };
    int spilled = -1;
    struct err e = ERR_OK;

    for (size_t i = 0; i < r->identity_count; i++) {
        m.domains[i] = slice_str(r->identities[i].domain);
        m.selectors[i] = slice_str(r->identities[i].selector);
    }
    buf_add(&content, r->header);
    buf_add(&content, r->body);
    m.content = buf_bytes(&content);
    if (m.content.len > SIGN_INLINE_MAX) {
        if (r->file_bytes != 0) {
            e = err_make(ERR_LIMIT, "the header is too large");
        } else {
            e = spill(m.content, &spilled);
            m.file_bytes = m.content.len;
            m.content = SLICE_EMPTY;
        }
    }
    if (!err_failed(e)) {
        sign_wire_put(&frame, &m);
        ipc_send(w->link, buf_bytes(&frame), spilled >= 0 ? spilled : m.file_bytes != 0 ? r->file : -1);
    }
    if (spilled >= 0)
        close(spilled);
    buf_release(&content);
    buf_release(&frame);
    return e;
}

static void give(struct signers *s, struct worker *w, struct sign_request *r)
{
    struct err e;

    list_remove(&r->link);
    s->waiting_count--;
    e = send_request(w, r);
    if (err_failed(e)) {
        char why[SIGNER_WHY_MAX];

        fail(s, r, err_text(e, why, sizeof why));
        return;
    }
    list_append(&w->jobs, &r->link);
    w->count++;
    s->under_way++;
    w->alone = r->deaths > 0;
}

static struct worker *least_busy(struct signers *s, unsigned below)
{
    struct worker *best = NULL;

    for (unsigned i = 0; i < SIGNERS_MAX; i++) {
        struct worker *w = &s->workers[i];

        if (w->link != NULL && !w->retiring && !w->alone && w->count < below &&
            (best == NULL || w->count < best->count))
            best = w;
    }
    return best;
}

/* In order, but one that must be alone lets others pass while it waits. */
static void pump(struct signers *s)
{
    list_foreach_safe (it, next, &s->waiting) {
        struct sign_request *r = container_of(it, struct sign_request, link);
        struct worker *w = least_busy(s, r->deaths > 0 ? 1 : PER_WORKER);

        if (w == NULL && r->deaths == 0)
            break;
        if (w != NULL)
            give(s, w, r);
    }
    if (s->waiting_count > 0 && !timer_armed(&s->clock))
        loop_arm(s->home, &s->clock, SECOND_MS);
}

static void clock_fire(struct timer *t)
{
    struct signers *s = container_of(t, struct signers, clock);

    list_foreach_safe (it, next, &s->waiting) {
        struct sign_request *r = container_of(it, struct sign_request, link);

        if (r->until_ms > s->home->now_ms)
            continue;
        list_remove(&r->link);
        s->waiting_count--;
        fail(s, r, "no sign worker had time for it");
    }
    pump(s);
}

static void submit_run(struct post *p)
{
    struct sign_request *r = container_of(p, struct sign_request, post);
    struct signers *s = container_of(r->service, struct signers, service);

    r->id = s->next_id++;
    r->until_ms = s->home->now_ms + SIGN_WAIT_MS;
    list_append(&s->waiting, &r->link);
    s->waiting_count++;
    pump(s);
}

static void submit(struct sign_service *service, struct sign_request *r)
{
    struct signers *s = container_of(service, struct signers, service);

    r->ok = false;
    r->why[0] = '\0';
    r->deaths = 0;
    r->post.run = submit_run;
    r->service = service;
    loop_post(s->home, &r->post);
}

/* ---- life ----------------------------------------------------------------------------- */

struct signers *signers_new(struct loop *home)
{
    struct signers *s = mem_new(struct signers);

    s->service.submit = submit;
    s->home = home;
    s->clock.fire = clock_fire;
    list_init(&s->waiting);
    for (unsigned i = 0; i < SIGNERS_MAX; i++) {
        s->workers[i].pool = s;
        s->workers[i].index = i;
        list_init(&s->workers[i].jobs);
    }
    return s;
}

struct sign_service *signers_service(struct signers *s)
{
    return &s->service;
}

void signers_link(struct signers *s, unsigned index, int fd)
{
    struct worker *w;
    struct err e;

    if (index >= SIGNERS_MAX) {
        close(fd);
        return;
    }
    w = &s->workers[index];
    if (w->link != NULL)
        worker_lost(w, true);
    e = ipc_new(s->home, fd, &worker_events, w, &w->link);
    if (err_failed(e)) {
        char text[128];

        log_error("sign", "worker %u can't be asked: %s", index, err_text(e, text, sizeof text));
        w->link = NULL;
        return;
    }
    w->known = true;
    pump(s);
}

void signers_free(struct signers *s)
{
    if (s == NULL)
        return;
    loop_disarm(s->home, &s->clock);
    for (unsigned i = 0; i < SIGNERS_MAX; i++)
        ipc_free(s->workers[i].link);
    free(s);
}

void signers_stats(const struct signers *s, struct signers_stats *out)
{
    *out = (struct signers_stats){ .waiting = s->waiting_count, .under_way = s->under_way };
    for (unsigned i = 0; i < SIGNERS_MAX; i++) {
        const struct worker *w = &s->workers[i];

        out->each[i] = (struct signers_worker){ w->link != NULL, w->count, w->figures };
        out->workers += w->link != NULL;
        out->sum.signed_ += w->figures.signed_;
        out->sum.recycled += w->figures.recycled;
        out->sum.deaths += w->figures.deaths;
        if (w->known)
            out->count = i + 1;
    }
    out->sum.failed = s->failed;
}
