/* delivery/attempt.c - takes groups of one message from the schedule to an
 * outcome: loads the message, gives it to a connection, hears how it went.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define LOCAL_ACTIVE_MAX 64u /* attempts without a connection at once */

static struct attempt *attempt_new(struct dispatch *d, enum attempt_purpose purpose, struct site *s, struct group *g)
{
    struct attempt *a = mem_new(struct attempt);

    a->dispatch = d;
    a->purpose = purpose;
    a->site = s;
    a->id = g->id;
    list_init(&a->sign_link);
    a->groups = mem_alloc(sizeof *a->groups);
    a->groups[0] = g->self;
    a->group_count = 1;
    a->begun_ms = d->opt.home->now_ms;
    schedule_set_state(d->sched, g, GROUP_ACTIVE);
    return a;
}

void attempt_free(struct attempt *a)
{
    struct dispatch *d = a->dispatch;

    list_remove(&a->link);
    list_remove(&a->sign_link);
    loop_disarm(d->opt.home, &a->again);
    for (size_t i = 0; i < a->change_count; i++)
        free((char *)a->changes[i].now.reply.ptr);
    free(a->changes);
    free(a->rest);
    free(a->groups);
    free(a->text);
    job_free(a->job);
    for (size_t i = 0; i < a->dsn_count; i++)
        message_unref(a->dsns[i]);
    message_unref(a->message);
    free(a);
}

/* ---- the message ------------------------------------------------------------- */

static void attempt_loaded(struct attempt *a);

/* Its record is gone while its recipients were scheduled: nothing can be
 * delivered, and nothing is left to tell anyone. */
static void message_missing(struct attempt *a, struct err e)
{
    struct dispatch *d = a->dispatch;
    struct site_conn *sc = a->conn;
    char id_text[QUEUE_ID_TEXT_MAX], why[128];

    log_error("qmgr", "%s: can't be read from the queue: %s", queue_id_format(a->id, id_text),
              err_text(e, why, sizeof why));
    for (uint32_t i = 0; i < a->group_count; i++) {
        struct group *g = schedule_group(d->sched, a->groups[i]);

        if (e.kind == ERR_NOT_FOUND) {
            dispatch_forget(d, g);
        } else {
            g->next_ms = d->opt.home->now_ms + MINUTE_MS;
            dispatch_wait(d, g);
        }
    }
    if (a->is_local)
        d->local_active--;
    d->attempt_count--;
    attempt_free(a);
    if (sc != NULL) {
        sc->busy = false;
        sc->site->busy_count--;
        if (sc->conn_unused)
            sc->gone = true; /* it never dialled */
        dispatch_conn_free_if_gone(d, sc);
    }
    attempt_run_local(d);
    dispatch_check_drained(d);
}

static void load_done(void *ctx, struct err e, struct message *m)
{
    struct attempt *a = ctx;

    if (e.kind == ERR_CORRUPT && m != NULL) {
        a->message = message_ref(m);
        a->purpose = ATTEMPT_ORDER;
        a->order = ORDER_DAMAGED;
        a->text = mem_str(e.what);
        attempt_finish(a);
        return;
    }
    if (err_failed(e)) {
        message_missing(a, e);
        return;
    }
    a->message = message_ref(m);
    attempt_loaded(a);
}

static void attempt_load(struct attempt *a)
{
    struct dispatch *d = a->dispatch;
    struct group *g = schedule_group(d->sched, a->groups[0]);

    list_append(&d->attempts, &a->link);
    d->attempt_count++;
    if (g->hot != NULL) {
        a->message = message_ref(g->hot);
        attempt_loaded(a);
    } else {
        queue_load(d->opt.queue, a->id, d->opt.home, load_done, a);
    }
}

/* ---- with a connection --------------------------------------------------------- */

static const struct recipient *find_recipient(const struct message *m, uint32_t n)
{
    uint32_t low = 0, high = m->recipient_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (m->recipients[mid].n < n)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->recipient_count && m->recipients[low].n == n ? &m->recipients[low] : NULL;
}

/* The recipients of all groups, in the order of the groups. */
static struct job *job_for(struct attempt *a)
{
    struct dispatch *d = a->dispatch;
    struct job *j = mem_new(struct job);
    uint32_t total = 0;

    for (uint32_t i = 0; i < a->group_count; i++)
        total += schedule_group(d->sched, a->groups[i])->count;
    j->recipients = mem_alloc(total * sizeof *j->recipients);
    for (uint32_t i = 0; i < a->group_count; i++) {
        const struct group *g = schedule_group(d->sched, a->groups[i]);
        const uint32_t *numbers = group_numbers(g);

        for (uint32_t k = 0; k < g->count; k++) {
            const struct recipient *r = find_recipient(a->message, numbers[k]);

            if (r != NULL)
                j->recipients[j->count++] = r;
        }
    }
    j->outcomes = mem_zero(j->count, sizeof *j->outcomes);
    j->message = message_ref(a->message);
    buf_add(&j->signatures, buf_bytes(&a->message->signatures));
    if (d->opt.sign != NULL && (a->message->flags & MESSAGE_EIGHT_BIT) != 0)
        j->signing = policy_signing(d->policy, a->message);
    if (j->signing != NULL)
        j->policy = policy_ref(d->policy);
    j->ctx = a;
    snprintf(j->relay, sizeof j->relay, "none");
    return j;
}

static void back_to_site(struct attempt *a)
{
    struct dispatch *d = a->dispatch;

    for (uint32_t i = 0; i < a->group_count; i++)
        site_add_front(a->site, d->sched, schedule_group(d->sched, a->groups[i]));
    d->attempt_count--;
    attempt_free(a);
}

static const char *first_text(const struct job *j)
{
    return j->count > 0 && j->outcomes[0].text != NULL ? j->outcomes[0].text : "no reason given";
}

static void job_done(struct job *j)
{
    struct attempt *a = j->ctx;
    struct dispatch *d = a->dispatch;
    struct site *s = a->site;
    struct site_conn *sc = a->conn;
    bool usable = j->conn_usable; /* the job goes with its attempt */
    bool probed = sc->probe;

    sc->busy = false;
    s->busy_count--;
    if (j->connected_ms != 0)
        sc->proven = true;
    if (!usable) {
        sc->proven = false;
        sc->spent = true; /* else jobs would go to and fro until its QUIT is answered */
    }
    if (j->site_failed) {
        if (dispatch_site_full(d, s, sc->hop))
            j->unattempted = true;
        else if (sc->hop != NULL)
            j->unattempted = fail_over_failed(d, sc, j, first_text(j));
        else
            dispatch_site_down(d, s, first_text(j), j->names_failed ? NAMES_WAIT_MS : TIMERS_NEVER);
    } else if (j->connected_ms != 0 && !j->unattempted) {
        dispatch_site_up(d, s);
        fail_over_answered(d, sc);
    }
    fail_over_probed(sc);
    if (j->unattempted)
        back_to_site(a);
    else
        attempt_finish(a);
    if (usable && d->draining)
        conn_quit(sc->conn);
    else if (usable)
        dispatch_make_room(d, sc);
    fail_over_retire(d, s);
    if (probed)
        fail_over_pump(d, sc->hop->smart); /* who waited for the result */
    dispatch_pump(d, s);
    dispatch_conn_free_if_gone(d, sc);
}

/* The routes may have changed since the group was given its way. */
static bool must_reroute(struct attempt *a)
{
    struct dispatch *d = a->dispatch;

    return schedule_group(d->sched, a->groups[0])->generation != d->generation;
}

static void reroute_all(struct attempt *a);

/* The attempt goes on without the connection it was given. */
static struct site_conn *give_conn_back(struct attempt *a)
{
    struct site_conn *sc = a->conn;

    sc->busy = false;
    a->site->busy_count--;
    a->conn = NULL;
    if (sc->conn_unused)
        sc->gone = true; /* it never dialled */
    return sc;
}

static void finish_unsigned(struct attempt *a)
{
    struct dispatch *d = a->dispatch;
    struct site *s = a->site;
    struct site_conn *sc = give_conn_back(a);

    a->purpose = ATTEMPT_UNSIGNED;
    attempt_finish(a);
    dispatch_conn_free_if_gone(d, sc);
    dispatch_pump(d, s);
}

void attempt_signed(struct attempt *a)
{
    attempt_loaded(a);
}

void attempt_unsigned(struct attempt *a, const char *why)
{
    a->text = mem_str(why);
    finish_unsigned(a);
}

static void attempt_loaded(struct attempt *a)
{
    struct dispatch *d = a->dispatch;

    if (a->purpose == ATTEMPT_DELIVER && must_reroute(a)) {
        struct site_conn *sc = give_conn_back(a);

        reroute_all(a);
        dispatch_conn_free_if_gone(d, sc);
        return;
    }
    if (a->purpose == ATTEMPT_REROUTE || (a->purpose == ATTEMPT_VERDICT && must_reroute(a))) {
        reroute_all(a);
        return;
    }
    if (a->purpose != ATTEMPT_DELIVER) {
        attempt_finish(a);
        return;
    }
    switch (signing_for(a)) {
    case SIGNING_WAIT:
        return;
    case SIGNING_IMPOSSIBLE:
        finish_unsigned(a);
        return;
    case SIGNING_READY:
        break;
    }
    a->job = job_for(a);
    a->job->done = job_done;
    if (a->job->count == 0) {
        message_missing(a, err_make(ERR_NOT_FOUND, "its recipients are gone"));
        return;
    }
    a->conn->conn_unused = false;
    conn_give(a->conn->conn, a->job);
}

/* Other groups of the message that go to the same site ride along: one
 * transaction carries all its recipients there. */
static void take_siblings_along(struct attempt *a, const struct group *g)
{
    struct dispatch *d = a->dispatch;
    uint32_t total = g->count;

    for (struct group *it = schedule_find(d->sched, a->id); it != NULL; it = schedule_sibling(d->sched, it)) {
        if (it->state != GROUP_READY || d->dests[it->dest]->site != a->site ||
            dest_is_stale(d, d->dests[it->dest]) || it->generation != g->generation ||
            total + it->count > d->policy->recipients_per_message)
            continue;
        total += it->count;
        group_queue_leave(d->sched, it);
        a->groups = mem_grow(a->groups, a->group_count + 1, sizeof *a->groups);
        a->groups[a->group_count++] = it->self;
    }
}

void attempt_deliver(struct dispatch *d, struct site *s, struct site_conn *conn, struct group *g)
{
    struct attempt *a;
    uint32_t most = d->policy->recipients_per_message;

    if (most != 0 && g->count > most) {
        struct group *part = schedule_split(d->sched, g, most);

        d->dests[part->dest]->groups++;
        if (part->hot != NULL)
            atomic_fetch_add(&d->hot_memory, message_memory(part->hot));
        site_add_rest(s, d->sched, g);
        g = part;
    }
    a = attempt_new(d, ATTEMPT_DELIVER, s, g);
    a->conn = conn;
    conn->busy = true;
    s->busy_count++;
    take_siblings_along(a, g);
    attempt_load(a);
}

/* ---- without a connection -------------------------------------------------------- */

void attempt_run_local(struct dispatch *d)
{
    while (!list_empty(&d->local) && d->local_active < LOCAL_ACTIVE_MAX && dispatch_may_run(d)) {
        struct attempt *a = list_first(&d->local, struct attempt, link);

        list_remove(&a->link);
        d->local_active++;
        attempt_load(a);
    }
}

struct attempt *attempt_local_new(struct dispatch *d, enum attempt_purpose purpose, struct site *s, struct group *g)
{
    struct attempt *a;

    schedule_unwait(d->sched, g);
    group_queue_leave(d->sched, g);
    a = attempt_new(d, purpose, s, g);
    a->is_local = true;
    return a;
}

void attempt_take_along(struct attempt *a, struct group *g)
{
    schedule_unwait(a->dispatch->sched, g);
    group_queue_leave(a->dispatch->sched, g);
    schedule_set_state(a->dispatch->sched, g, GROUP_ACTIVE);
    a->groups = mem_grow(a->groups, a->group_count + 1, sizeof *a->groups);
    a->groups[a->group_count++] = g->self;
}

void attempt_local_start(struct attempt *a)
{
    list_append(&a->dispatch->local, &a->link);
    attempt_run_local(a->dispatch);
}

void attempt_local(struct dispatch *d, enum attempt_purpose purpose, struct site *s, struct group *g, const char *text)
{
    struct attempt *a = attempt_local_new(d, purpose, s, g);

    a->text = text != NULL ? mem_str(text) : NULL;
    attempt_local_start(a);
}

/* ---- new routes ------------------------------------------------------------------- */

/* Gives each recipient the way of today's routes. A group whose recipients
 * part becomes several. */
static void reroute_group(struct attempt *a, struct group *g)
{
    struct dispatch *d = a->dispatch;
    uint32_t count = g->count;
    uint32_t *numbers = mem_alloc(count * sizeof *numbers);
    struct group *made = NULL;

    memcpy(numbers, group_numbers(g), count * sizeof *numbers);
    for (uint32_t i = 0; i < count; i++) {
        const struct recipient *r = find_recipient(a->message, numbers[i]);
        struct dest *dest;

        if (r == NULL)
            continue;
        dest = dest_for(d, policy_route(d->policy, a->message->reverse_path, r->address, g->released), r->address);
        if (made != NULL && made->dest == dest->index) {
            schedule_append_number(d->sched, made, r->n);
            continue;
        }
        if (made != NULL)
            dispatch_enqueue(d, made);
        made = schedule_add(d->sched, g->id, &r->n, 1);
        made->next_ms = g->next_ms;
        made->expires_ms = g->expires_ms;
        made->warn_ms = g->warn_ms;
        made->sender = g->sender;
        made->attempts = g->attempts;
        made->released = g->released;
        made->attempted = g->attempted;
        dispatch_set_dest(d, made, dest);
    }
    if (made != NULL)
        dispatch_enqueue(d, made);
    free(numbers);
    dispatch_forget(d, g);
}

static void reroute_all(struct attempt *a)
{
    struct dispatch *d = a->dispatch;

    for (uint32_t i = 0; i < a->group_count; i++)
        reroute_group(a, schedule_group(d->sched, a->groups[i]));
    if (a->is_local)
        d->local_active--;
    d->attempt_count--;
    attempt_free(a);
    attempt_run_local(d);
    dispatch_check_drained(d);
}
