/* tests/sim/workers.c - sign workers that take their time, and die.
 *
 * What they sign is a number over the message, so that the far end can tell
 * whether what it was given is what was signed. A death costs a message another
 * try, as auth/signers.c has it; now and then there is no worker for so long
 * that it is put off. */
#include "tests/sim/sim.h"

#include "base/crc32c.h"

#include <unistd.h>

struct workers {
    struct sign_service service;
    struct sim *sim;
    struct list asked;
};

struct asked {
    struct loop *home; /* the request may be gone before us */
    struct list link;
    struct timer timer; /* of the asker's loop */
    struct workers *workers;
    struct sign_request *request;
};

static void forget(struct asked *a)
{
    list_remove(&a->link);
    free(a);
}

static uint32_t crc_of_file(struct sim *sim, uint32_t crc, const struct sign_request *r)
{
    char piece[4096];
    uint64_t at = 0;

    while (at < r->file_bytes) {
        ssize_t n = pread(r->file, piece, sizeof piece, (off_t)at);

        if (n <= 0)
            broken(sim, "a body to sign ends at byte %llu of %llu", (unsigned long long)at,
                   (unsigned long long)r->file_bytes);
        crc = crc32c(crc, slice_make(piece, (size_t)n));
        at += (uint64_t)n;
    }
    return crc;
}

static void sign(struct sim *sim, struct sign_request *r)
{
    uint32_t crc = crc32c(crc32c(0, r->header), r->body);

    if (r->file_bytes != 0)
        crc = crc_of_file(sim, crc, r);
    r->ok = true;
    buf_printf(&r->fields, "DKIM-Signature: d=%s; t=%llu; c=%08x\r\n", r->identities[0].domain,
               (unsigned long long)r->wall_ms, crc);
    sim->counts.signed_messages++;
}

static uint64_t some_time(struct sim *sim)
{
    return chance(sim, 90) ? 1 + roll(sim, 20) : roll(sim, SIGN_WAIT_MS);
}

static void answer_fire(struct timer *t)
{
    struct asked *a = container_of(t, struct asked, timer);
    struct sim *sim = a->workers->sim;
    struct sign_request *r = a->request;
    bool ill = !sim->healed;

    if (ill && chance(sim, 8)) {
        sim->counts.worker_deaths++;
        if (++r->deaths < SIGN_DEATHS_MAX) {
            loop_arm(r->home, &a->timer, some_time(sim));
            return;
        }
        snprintf(r->why, sizeof r->why, "sign workers died of it");
        sim->counts.unsigned_messages++;
    } else if (ill && chance(sim, 2)) {
        snprintf(r->why, sizeof r->why, "no sign worker had time for it");
        sim->counts.unsigned_messages++;
    } else {
        sign(sim, r);
    }
    forget(a);
    r->done(r);
}

static void submit(struct sign_service *service, struct sign_request *r)
{
    struct workers *w = container_of(service, struct workers, service);
    struct asked *a = mem_new(struct asked);

    a->workers = w;
    a->request = r;
    a->home = r->home;
    a->timer.fire = answer_fire;
    r->ok = false;
    r->deaths = 0;
    list_append(&w->asked, &a->link);
    loop_arm(r->home, &a->timer, some_time(w->sim));
}

struct sign_service *workers_new(struct sim *sim)
{
    struct workers *w = mem_new(struct workers);

    w->service.submit = submit;
    w->sim = sim;
    list_init(&w->asked);
    return &w->service;
}

void workers_free(struct sign_service *service)
{
    struct workers *w = container_of(service, struct workers, service);

    list_foreach_safe (it, next, &w->asked) {
        struct asked *a = container_of(it, struct asked, link);

        loop_disarm(a->home, &a->timer);
        forget(a);
    }
    free(w);
}

/* ---- the far end ------------------------------------------------------------------- */

bool signature_fits(struct slice content, const char *domain)
{
    struct slice field = slice_head(content, slice_find(content, '\n') + 1);
    struct buf want = { 0 };
    bool fits;

    buf_printf(&want, "; c=%08x\r\n", crc32c(0, slice_from(content, field.len)));
    fits = slice_ends_nocase(field, buf_bytes(&want));
    buf_clear(&want);
    buf_printf(&want, "DKIM-Signature: d=%s; t=", domain);
    fits = fits && slice_starts_nocase(field, buf_bytes(&want));
    buf_release(&want);
    return fits;
}
