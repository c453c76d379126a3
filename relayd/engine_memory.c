/* relayd/engine_memory.c - keeps the engine within the memory there is.
 *
 * Budgets are set by it at the start. They can't know what a control group's
 * other programs use, nor every structure of the kernel; so where there is a
 * limit a thread looks how near it is, and sessions take no further message
 * and no further client in time: the other end of it is the kernel's choice of
 * a process to kill. Version 2 counts along what may take a while to sum up,
 * which is why no network loop looks for itself.
 */
#include "relayd/engine_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>

#define LOOK_MS 100u
#define TRIM_MS SECOND_MS    /* memory that was freed goes back to the kernel, at most so often */
#define WARN_MS (5 * MINUTE_MS)

struct engine_memory {
    struct headroom *headroom;
    struct headroom_gauge gauge;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool ending;
    uint64_t warned_ms, trimmed_ms; /* 0: never */
    bool refusal_told;
};

static void tell(struct engine_memory *m, const struct headroom_use *use, enum headroom_level level, uint64_t now)
{
    if (level == HEADROOM_NONE && !m->refusal_told && (m->warned_ms == 0 || now - m->warned_ms >= WARN_MS)) {
        m->refusal_told = true;
        m->warned_ms = now;
        log_warning("engine",
                    "memory runs out: %" PRIu64 " of the %" PRIu64 " MiB that %s allows are in use; new messages get "
                    "452 and new clients 421 until some is free: raise that limit (MemoryMax= of the unit, --memory "
                    "of the container), or lower \"limits { connections; message_memory }\"",
                    use->used_bytes / MIB, use->limit_bytes / MIB, headroom_group(m->headroom));
    } else if (level != HEADROOM_NONE && m->refusal_told) {
        m->refusal_told = false;
        log_info("engine", "there is memory again: %" PRIu64 " of %" PRIu64 " MiB are in use",
                 use->used_bytes / MIB, use->limit_bytes / MIB);
    }
}

static void look(struct engine_memory *m)
{
    enum headroom_level before = headroom_level(&m->gauge), level = HEADROOM_PLENTY;
    uint64_t now = clock_mono_ms(&clock_system);
    struct headroom_use use = { 0 };

    if (headroom_look(m->headroom, &use))
        level = headroom_judge(&use, before);
    atomic_store(&m->gauge.limit_bytes, use.limit_bytes);
    atomic_store(&m->gauge.used_bytes, use.used_bytes);
    atomic_store(&m->gauge.level, level);
    tell(m, &use, level, now);
    if (level != HEADROOM_PLENTY && now - m->trimmed_ms >= TRIM_MS) {
        m->trimmed_ms = now;
        malloc_trim(0);
    }
}

static void *watch_main(void *arg)
{
    struct engine_memory *m = arg;

    pthread_mutex_lock(&m->lock);
    while (!m->ending) {
        uint64_t until = cond_deadline_ms(LOOK_MS);
        bool in_time = true;

        pthread_mutex_unlock(&m->lock);
        look(m);
        pthread_mutex_lock(&m->lock);
        while (!m->ending && in_time)
            in_time = cond_wait_until(&m->told, &m->lock, until);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

struct err engine_memory_start(struct engine *en)
{
    struct engine_memory *m = mem_new(struct engine_memory);
    int failed;

    en->memory = m;
    pthread_mutex_init(&m->lock, NULL);
    cond_init(&m->told);
    m->headroom = headroom_open("");
    if (headroom_group(m->headroom) == NULL)
        return ERR_OK;
    log_info("engine", "memory: %" PRIu64 " MiB, the limit of %s", headroom_total(m->headroom) / MIB,
             headroom_group(m->headroom));
    failed = pthread_create(&m->thread, NULL, watch_main, m);
    if (failed != 0)
        return err_sys(failed, "start the thread that watches memory");
    m->running = true;
    return ERR_OK;
}

uint64_t engine_memory_share(const struct engine *en, unsigned part, uint64_t most)
{
    uint64_t total = headroom_total(en->memory->headroom);

    return total != 0 && total / part < most ? total / part : most;
}

const struct headroom_gauge *engine_memory_gauge(const struct engine *en)
{
    return &en->memory->gauge;
}

void engine_memory_free(struct engine *en)
{
    struct engine_memory *m = en->memory;

    if (m == NULL)
        return;
    if (m->running) {
        pthread_mutex_lock(&m->lock);
        m->ending = true;
        pthread_cond_signal(&m->told);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    headroom_close(m->headroom);
    pthread_cond_destroy(&m->told);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
