/* delivery/outcome.c - what became of each recipient, written down and told.
 *
 * Changes, events and the bounce are one transaction. Only when it is synced
 * do log lines say what happened, and do the recipients that live on go back
 * to the schedule.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define COMMIT_AGAIN_MS 1000u

static void submit(struct attempt *a);

/* ---- deciding ---------------------------------------------------------------- */

struct verdict { /* of one recipient */
    enum event_type event;
    bool final;
    uint64_t wait_ms; /* until the next attempt, when it is not final */
};

static const struct recipient *recipient_of(const struct message *m, uint32_t n)
{
    for (uint32_t i = 0; i < m->recipient_count; i++) {
        /* They are nearly always found where their number says. */
        uint32_t at = n < m->recipient_count && m->recipients[n].n == n ? n : i;

        if (m->recipients[at].n == n)
            return &m->recipients[at];
    }
    return NULL;
}

static void set_reply(struct recipient *now, struct slice text)
{
    struct slice cut = slice_head(text, RECIPIENT_REPLY_MAX);

    now->reply = slice_make(mem_dup(cut.ptr, cut.len), cut.len);
}

static void set_unsigned(struct recipient *now, const char *why)
{
    struct buf text = { 0 };

    buf_printf(&text, "can't be signed: %s", why);
    set_reply(now, buf_bytes(&text));
    buf_release(&text);
}

/* A deferral, unless its time is over. */
static struct verdict defer(struct dispatch *d, const struct group *g, struct recipient *now, uint64_t at_least_ms)
{
    const struct retry_policy *p = policy_retry(d->policy, now->address);
    struct verdict v = { .event = EVENT_DEFERRED };

    v.wait_ms = retry_wait_ms(p, g->attempts + 1, &d->opt.home->rng);
    if (v.wait_ms < at_least_ms)
        v.wait_ms = at_least_ms;
    if (g->expires_ms <= d->opt.home->now_ms) {
        v.event = EVENT_EXPIRED;
        v.final = true;
    }
    return v;
}

static struct verdict judge_outcome(struct attempt *a, const struct group *g, const struct job_outcome *o,
                                    struct recipient *now)
{
    struct dispatch *d = a->dispatch;
    struct verdict v = { 0 };

    now->code = o->code;
    now->status = o->status;
    now->relay = slice_str(a->job->relay);
    set_reply(now, slice_str(o->text != NULL ? o->text : ""));
    now->flags &= (uint8_t)~RECIPIENT_IN_DOUBT;
    switch (o->known ? o->verdict : SMTP_DEFERRED) {
    case SMTP_DELIVERED:
        v = (struct verdict){ EVENT_DELIVERED, true, 0 };
        break;
    case SMTP_FAILED:
        v = (struct verdict){ EVENT_BOUNCED, true, 0 };
        break;
    case SMTP_IN_DOUBT:
        now->flags |= RECIPIENT_IN_DOUBT;
        v = defer(d, g, now, policy_retry(d->policy, now->address)->doubt_ms);
        if (!v.final)
            v.event = EVENT_IN_DOUBT;
        break;
    case SMTP_DEFERRED:
        v = defer(d, g, now, 0);
        break;
    }
    return v;
}

/* Out of our hold, not out of the one that its sender asked for; and when the
 * clock was set back, not for longer than he did. */
static uint64_t wait_of_released(const struct attempt *a, const struct recipient *r)
{
    uint64_t wall_ms = clock_wall_ms(a->dispatch->opt.home->clock);
    uint64_t wait = r->release_wall_ms > wall_ms ? r->release_wall_ms - wall_ms : 0;
    uint64_t most = dispatch_postponed_ms(a->dispatch, r, queue_id_wall_ms(a->id));

    return wait < most ? wait : most;
}

static struct verdict judge_order(struct attempt *a, struct recipient *now)
{
    switch (a->order) {
    case ORDER_HOLD:
        now->state = RECIPIENT_HELD;
        return (struct verdict){ EVENT_HELD, false, 0 };
    case ORDER_DAMAGED:
        now->state = RECIPIENT_HELD;
        now->status = (struct mail_status){ 4, 3, 0 };
        set_reply(now, slice_str(a->text));
        return (struct verdict){ EVENT_DAMAGED, false, 0 };
    case ORDER_RELEASE:
        now->state = RECIPIENT_QUEUED;
        now->flags |= RECIPIENT_RELEASED;
        return (struct verdict){ EVENT_RELEASED, false, wait_of_released(a, now) };
    case ORDER_DELETE:
        return (struct verdict){ EVENT_DELETED, true, 0 };
    case ORDER_BOUNCE:
        now->code = 0;
        now->status = (struct mail_status){ 5, 0, 0 };
        set_reply(now, SLICE("returned by the administrator of this server"));
        return (struct verdict){ EVENT_BOUNCED, true, 0 };
    case ORDER_RETRY:
        break;
    }
    return (struct verdict){ EVENT_RETRIED, false, 0 };
}

static struct verdict judge(struct attempt *a, const struct group *g, const struct job_outcome *o,
                            struct recipient *now)
{
    switch (a->purpose) {
    case ATTEMPT_DELIVER:
        return judge_outcome(a, g, o, now);
    case ATTEMPT_VERDICT:
        now->code = 0;
        now->status = a->site->verdict.status;
        now->relay = SLICE("none");
        set_reply(now, slice_str(a->site->verdict.text));
        return (struct verdict){ a->site->verdict.event, true, 0 };
    case ATTEMPT_DNS:
        now->code = 0;
        now->status = (struct mail_status){ 4, 4, 3 };
        now->relay = SLICE("none");
        set_reply(now, slice_str(a->text));
        return defer(a->dispatch, g, now, 0);
    case ATTEMPT_UNSIGNED:
        now->code = 0;
        now->status = (struct mail_status){ 4, 7, 5 }; /* cryptographic failure */
        now->relay = SLICE("none");
        set_unsigned(now, a->text);
        return defer(a->dispatch, g, now, 0);
    case ATTEMPT_EXPIRE:
        return (struct verdict){ EVENT_EXPIRED, true, 0 };
    case ATTEMPT_WARN:
        now->flags |= RECIPIENT_WARNED;
        return (struct verdict){ EVENT_DELAYED, false, 0 };
    case ATTEMPT_ORDER:
    case ATTEMPT_REROUTE:
        break;
    }
    return judge_order(a, now);
}

static bool is_an_attempt(const struct attempt *a)
{
    return a->purpose == ATTEMPT_DELIVER || a->purpose == ATTEMPT_DNS || a->purpose == ATTEMPT_UNSIGNED;
}

/* ---- groups that live on --------------------------------------------------------- */

struct keep { /* recipients of a group with a common future */
    uint32_t *numbers;
    uint32_t count;
    uint64_t wait_ms;
};

static void add_rest(struct attempt *a, struct group *g)
{
    a->rest = mem_grow(a->rest, a->rest_count + 1, sizeof *a->rest);
    a->rest[a->rest_count++] = g->self;
}

/* The group's times after this attempt; orders may have moved it. */
static void set_future(struct attempt *a, struct group *g, uint64_t wait_ms)
{
    uint64_t now = a->dispatch->opt.home->now_ms;

    if (is_an_attempt(a)) {
        g->attempts++;
        g->attempted = true;
        g->released = false;
        g->next_ms = now + wait_ms;
    }
    switch (a->purpose) {
    case ATTEMPT_WARN:
        g->warn_ms = TIMERS_NEVER;
        break;
    case ATTEMPT_ORDER:
        g->next_ms = now + wait_ms;
        if (a->order == ORDER_RELEASE)
            g->released = true;
        break;
    default:
        break;
    }
}

static struct group *like(struct dispatch *d, const struct group *g, const struct keep *k)
{
    struct group *n = schedule_add(d->sched, g->id, k->numbers, k->count);

    n->next_ms = g->next_ms;
    n->expires_ms = g->expires_ms;
    n->warn_ms = g->warn_ms;
    n->sender = g->sender;
    n->attempts = g->attempts;
    n->released = g->released;
    n->attempted = g->attempted;
    n->wish = g->wish;
    n->dest = g->dest;
    n->generation = g->generation;
    d->dests[g->dest]->groups++;
    return n;
}

static void drop_hot(struct dispatch *d, struct group *g)
{
    if (g->hot == NULL)
        return;
    atomic_fetch_sub(&d->hot_memory, message_memory(g->hot));
    group_drop_hot(g);
}

/* Splits the group's survivors into those that merely wait and those in doubt. */
static void settle_group(struct attempt *a, struct group *g, struct keep *waiting, struct keep *doubt)
{
    struct dispatch *d = a->dispatch;

    drop_hot(d, g);
    if (doubt->count > 0 && waiting->count > 0) {
        struct group *n = like(d, g, doubt);

        set_future(a, n, doubt->wait_ms);
        add_rest(a, n);
    }
    if (waiting->count == 0 && doubt->count == 0) {
        dispatch_forget(d, g);
    } else {
        const struct keep *k = waiting->count > 0 ? waiting : doubt;

        schedule_set_numbers(d->sched, g, k->numbers, k->count);
        set_future(a, g, k->wait_ms);
        add_rest(a, g);
    }
}

/* Decides about each recipient of g; *at is the next outcome of the job. */
static void judge_group(struct attempt *a, struct group *g, uint32_t *at)
{
    struct dispatch *d = a->dispatch;
    const uint32_t *numbers = group_numbers(g);
    uint64_t now_wall = clock_wall_ms(d->opt.home->clock);
    size_t first = a->change_count;
    struct keep waiting = { .numbers = mem_alloc(g->count * sizeof *waiting.numbers) };
    struct keep doubt = { .numbers = mem_alloc(g->count * sizeof *doubt.numbers) };

    for (uint32_t i = 0; i < g->count; i++) {
        const struct recipient *was = recipient_of(a->message, numbers[i]);
        struct queue_change *c = &a->changes[a->change_count];
        struct verdict v;

        if (was == NULL)
            continue; /* its record is gone: nothing to write, nothing to keep */
        c->now = *was;
        c->now.reply = SLICE_EMPTY;
        c->tls = a->job != NULL ? slice_str(a->job->tls) : SLICE_EMPTY;
        v = judge(a, g, a->job != NULL ? &a->job->outcomes[(*at)++] : NULL, &c->now);
        if (c->now.reply.ptr == NULL)
            set_reply(&c->now, was->reply);
        c->event = v.event;
        c->final = v.final;
        c->delay_ms = now_wall > a->message->received_wall_ms ? now_wall - a->message->received_wall_ms : 0;
        if (is_an_attempt(a)) {
            c->now.attempts = g->attempts + 1;
            c->now.last_wall_ms = now_wall;
            c->now.flags &= (uint8_t)~RECIPIENT_RELEASED;
        }
        if (a->purpose != ATTEMPT_WARN)
            c->now.next_wall_ms = now_wall + v.wait_ms;
        a->change_count++;
        if (!v.final) {
            struct keep *k = v.event == EVENT_IN_DOUBT ? &doubt : &waiting;

            k->numbers[k->count++] = numbers[i];
            if (v.wait_ms > k->wait_ms)
                k->wait_ms = v.wait_ms;
        }
    }
    /* One time for all that share a group, in memory and in the store. */
    for (size_t i = first; i < a->change_count; i++) {
        struct queue_change *c = &a->changes[i];

        if (!c->final && is_an_attempt(a))
            c->now.next_wall_ms = now_wall + (c->event == EVENT_IN_DOUBT ? doubt.wait_ms : waiting.wait_ms);
    }
    settle_group(a, g, &waiting, &doubt);
    free(waiting.numbers);
    free(doubt.numbers);
}

/* ---- the commit --------------------------------------------------------------------- */

static void settle_rest(struct attempt *a)
{
    struct dispatch *d = a->dispatch;
    enum dispatch_order wish = 0;

    for (uint32_t i = 0; i < a->rest_count; i++) {
        struct group *g = schedule_group(d->sched, a->rest[i]);

        if (g->wish != 0)
            wish = g->wish;
        g->wish = 0;
        if (a->purpose == ATTEMPT_ORDER && (a->order == ORDER_HOLD || a->order == ORDER_DAMAGED))
            schedule_set_state(d->sched, g, GROUP_HELD);
        else
            dispatch_wait(d, g);
    }
    if (wish != 0) {
        struct dispatch_answer ignored = { 0 };

        dispatch_order(d, a->id, wish, &ignored);
    }
}

static void committed(void *ctx, struct err e, struct message *none)
{
    struct attempt *a = ctx;
    struct dispatch *d = a->dispatch;
    char id_text[QUEUE_ID_TEXT_MAX], why[128];

    if (err_failed(e)) {
        log_error("qmgr", "%s: outcome can't be stored yet: %s", queue_id_format(a->id, id_text),
                  err_text(e, why, sizeof why));
        loop_arm(d->opt.home, &a->again, COMMIT_AGAIN_MS);
        return;
    }
    attempt_tell(a);
    for (size_t i = 0; i < a->dsn_count; i++)
        dispatch_schedule_message(d, a->dsns[i]);
    settle_rest(a);
    if (a->is_local)
        d->local_active--;
    d->attempt_count--;
    attempt_free(a);
    attempt_run_local(d);
    dispatch_check_drained(d);
}

static void again_fire(struct timer *t)
{
    submit(container_of(t, struct attempt, again));
}

static void submit(struct attempt *a)
{
    struct queue_update u = {
        .id = a->id,
        .message = a->message,
        .changes = a->changes,
        .change_count = a->change_count,
        .message_done = a->message_done,
        .body_is_file = a->message->body_place == BODY_BLOB,
        .dsns = a->dsns,
        .dsn_count = a->dsn_count,
    };

    for (size_t i = 0; i < a->dsn_count; i++)
        message_ref(a->dsns[i]); /* the queue's; ours serves again should the commit fail */

    queue_apply(a->dispatch->opt.queue, &u, a->dispatch->opt.home, committed, a);
}

void attempt_finish(struct attempt *a)
{
    struct dispatch *d = a->dispatch;
    size_t total = 0;
    uint32_t at = 0;

    for (uint32_t i = 0; i < a->group_count; i++)
        total += schedule_group(d->sched, a->groups[i])->count;
    a->changes = mem_zero(total, sizeof *a->changes);
    for (uint32_t i = 0; i < a->group_count; i++)
        judge_group(a, schedule_group(d->sched, a->groups[i]), &at);
    attempt_compose_notices(a);
    a->message_done = schedule_find(d->sched, a->id) == NULL;
    a->again.fire = again_fire;
    submit(a);
}
