/* tests/load/store_load.c - how many messages a second the storage takes from
 * sessions that each wait for their acknowledgement.
 *
 *   store_load DIR [SESSIONS [LOOPS [SECONDS]]]    50 sessions, 2 loops, 5 s
 *
 * A message is a record of 300 bytes and a body of one chunk. DIR must be on
 * a real disk for the figure to mean anything; what is written is removed.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/wake.h"

#include <endian.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RECORD     300
#define SAMPLE_MAX (1u << 20)

enum { T_MESSAGE, T_BODY };

static const char *const tables[] = { "message", "body" };

struct worker {
    struct loop loop;
    struct inbox inbox;
    struct wake wake;
    pthread_t thread;
    struct store *store;
    struct session *sessions;
    unsigned session_count, busy;
    _Atomic uint64_t *next_id;
    _Atomic bool *stop;
    uint32_t *sample_us;
    unsigned samples;
};

struct session {
    struct store_job job;
    struct worker *worker;
    uint64_t id, begun_us;
};

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void die(const char *what, struct err e)
{
    char text[256];

    fprintf(stderr, "store_load: %s: %s\n", what, err_text(e, text, sizeof text));
    exit(1);
}

static struct err put_message(struct store_job *j, struct store_txn *t)
{
    struct session *s = container_of(j, struct session, job);
    uint64_t key[2] = { htobe64(s->id), 0 };
    char *room;
    struct err e = store_append_room(t, T_MESSAGE, slice_make(key, 8), RECORD, &room);

    if (err_failed(e))
        return e;
    memset(room, 'm', RECORD);
    e = store_append_room(t, T_BODY, slice_make(key, 16), STORE_VALUE_MAX, &room);
    if (err_failed(e))
        return e;
    memset(room, 'b', STORE_VALUE_MAX);
    return ERR_OK;
}

static void session_begin(struct session *s)
{
    s->id = atomic_fetch_add(s->worker->next_id, 1);
    s->begun_us = now_us();
    store_submit(s->worker->store, &s->job);
}

static void session_done(struct store_job *j, struct err e)
{
    struct session *s = container_of(j, struct session, job);
    struct worker *w = s->worker;

    if (err_failed(e))
        die("commit", e);
    if (w->samples < SAMPLE_MAX)
        w->sample_us[w->samples] = (uint32_t)(now_us() - s->begun_us);
    w->samples++;
    if (atomic_load(w->stop))
        w->busy--;
    else
        session_begin(s);
}

static void worker_post(struct loop *l, struct post *p)
{
    struct worker *w = container_of(l, struct worker, loop);

    if (inbox_push(&w->inbox, p))
        wake_up(&w->wake);
}

static const struct loop_ops worker_ops = { .post = worker_post };

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    for (unsigned i = 0; i < w->session_count; i++)
        session_begin(&w->sessions[i]);
    while (w->busy > 0) {
        struct post *p = inbox_take(&w->inbox);

        if (p == NULL)
            wake_wait(&w->wake, &w->inbox, WAKE_NEVER);
        while (p != NULL) {
            struct post *next = p->next;

            p->run(p);
            p = next;
        }
    }
    return NULL;
}

static void worker_start(struct worker *w, unsigned sessions)
{
    w->loop.ops = &worker_ops;
    w->loop.clock = &clock_system;
    w->session_count = w->busy = sessions;
    w->sessions = mem_zero(sessions, sizeof *w->sessions);
    w->sample_us = mem_zero(SAMPLE_MAX, sizeof *w->sample_us);
    for (unsigned i = 0; i < sessions; i++) {
        w->sessions[i].worker = w;
        w->sessions[i].job = (struct store_job){
            .home = &w->loop,
            .cost_bytes = 4600,
            .run = put_message,
            .done = session_done,
        };
    }
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
        die("thread", err_make(ERR_SYSTEM, NULL));
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void report(struct worker *ws, unsigned loops, struct store *s, uint64_t us)
{
    uint32_t *all = mem_zero((size_t)loops * SAMPLE_MAX, sizeof *all);
    struct store_stats st;
    uint64_t messages = 0;
    size_t n = 0;

    for (unsigned i = 0; i < loops; i++) {
        unsigned kept = ws[i].samples < SAMPLE_MAX ? ws[i].samples : SAMPLE_MAX;

        memcpy(all + n, ws[i].sample_us, kept * sizeof *all);
        n += kept;
        messages += ws[i].samples;
    }
    qsort(all, n, sizeof *all, compare_u32);
    store_stats(s, &st);
    printf("%llu messages/s, %llu commits/s, %.1f a commit, p50 %.2f ms, p99 %.2f ms\n",
           (unsigned long long)(messages * 1000000 / us),
           (unsigned long long)(st.commits * 1000000 / us), (double)messages / (double)st.commits,
           all[n / 2] / 1000.0, all[n * 99 / 100] / 1000.0);
    free(all);
}

int main(int argc, char **argv)
{
    unsigned sessions = argc > 2 ? (unsigned)atoi(argv[2]) : 50;
    unsigned loops = argc > 3 ? (unsigned)atoi(argv[3]) : 2;
    unsigned seconds = argc > 4 ? (unsigned)atoi(argv[4]) : 5;
    _Atomic uint64_t next_id = 1;
    _Atomic bool stop = false;
    struct worker *ws = mem_zero(loops, sizeof *ws);
    struct store_options opt = {
        .tables = tables,
        .table_count = 2,
        .readers = 1,
        .ahead_bytes = 64 * MIB,
        .clock = &clock_system,
    };
    struct store *s;
    struct err e;
    uint64_t begun_us;
    char path[4096], file[4200];

    if (argc < 2 || sessions < loops || loops == 0) {
        fprintf(stderr, "usage: store_load DIR [SESSIONS [LOOPS [SECONDS]]]\n");
        return 64;
    }
    log_open("load", LOG_LEVEL_WARNING);
    snprintf(path, sizeof path, "%s/store_load.%d", argv[1], (int)getpid());
    opt.path = path;
    e = store_open(&opt, &s);
    if (err_failed(e))
        die("open", e);
    begun_us = now_us();
    for (unsigned i = 0; i < loops; i++) {
        ws[i].store = s;
        ws[i].next_id = &next_id;
        ws[i].stop = &stop;
        worker_start(&ws[i], sessions / loops + (i < sessions % loops));
    }
    sleep(seconds);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < loops; i++)
        pthread_join(ws[i].thread, NULL);
    report(ws, loops, s, now_us() - begun_us);
    store_close(s);
    for (unsigned i = 0; i < loops; i++) {
        free(ws[i].sessions);
        free(ws[i].sample_us);
    }
    free(ws);
    snprintf(file, sizeof file, "%s/data.mdb", path);
    unlink(file);
    snprintf(file, sizeof file, "%s/lock.mdb", path);
    unlink(file);
    rmdir(path);
    return 0;
}
