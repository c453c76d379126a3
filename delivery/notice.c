/* delivery/notice.c - what a message's sender is told of an attempt: who could
 * not be reached, who must wait, who was passed on to a server that will not
 * tell; each only if it was not asked otherwise (RFC 3461 section 5.2). */
#include "delivery/dispatch_internal.h"

#include "base/mem.h"
#include "queue/bounce.h"

#include <assert.h>
#include <stdlib.h>

static bool is_failure(const struct queue_change *c)
{
    return c->event == EVENT_BOUNCED || c->event == EVENT_EXPIRED;
}

/* Whether a change belongs into a notice of this kind. */
static bool told_by(const struct attempt *a, const struct queue_change *c, enum mail_dsn_action action)
{
    uint8_t notify = c->now.wish.notify;

    switch (action) {
    case MAIL_DSN_FAILED:
        return is_failure(c) && mail_notify_wants(notify, MAIL_NOTIFY_FAILURE);
    case MAIL_DSN_DELAYED:
        return c->event == EVENT_DELAYED && mail_notify_wants(notify, MAIL_NOTIFY_DELAY);
    default:
        /* A next hop with DSN has taken over the duty of telling. */
        return c->event == EVENT_DELIVERED && a->job != NULL && !a->job->dsn_passed_on &&
               mail_notify_wants(notify, MAIL_NOTIFY_SUCCESS);
    }
}

static void add(struct attempt *a, enum mail_dsn_action action, struct message *dsn)
{
    if (dsn == NULL)
        return;
    assert(a->dsn_count < QUEUE_DSNS_MAX);
    a->dsn_actions[a->dsn_count] = action;
    a->dsns[a->dsn_count++] = dsn;
}

static void compose(struct attempt *a, enum mail_dsn_action action)
{
    struct dispatch *d = a->dispatch;
    struct recipient *about = mem_alloc((a->change_count + 1) * sizeof *about);
    uint64_t until = 0;
    size_t count = 0;

    for (size_t i = 0; i < a->change_count; i++) {
        const struct queue_change *c = &a->changes[i];
        struct recipient *r = &about[count];

        if (!told_by(a, c, action))
            continue;
        *r = c->now;
        if (c->event == EVENT_EXPIRED && r->status.class_ != 5)
            r->status = (struct mail_status){ 5, 4, 7 }; /* delivery time expired */
        until = recipient_begins(r, a->message->received_wall_ms) + policy_retry(d->policy, r->address)->expire_ms;
        count++;
    }
    if (count > 0)
        add(a, action,
            bounce_compose(d->opt.queue, a->message, d->policy->hostname, action, about, count,
                           clock_wall_ms(d->opt.home->clock), until));
    free(about);
}

/* The null reverse-path: there is nobody to tell. What would have been a bounce
 * ends here, with an event. */
static void tell_nobody(struct attempt *a)
{
    for (size_t i = 0; i < a->change_count; i++) {
        if (is_failure(&a->changes[i]))
            a->changes[i].event = EVENT_DROPPED;
        else if (a->changes[i].event == EVENT_DELAYED)
            a->changes[i].silent = true;
    }
}

void attempt_compose_notices(struct attempt *a)
{
    if (a->message->reverse_path.len == 0) {
        tell_nobody(a);
        return;
    }
    compose(a, MAIL_DSN_FAILED);
    compose(a, MAIL_DSN_DELAYED);
    compose(a, MAIL_DSN_RELAYED);
    for (size_t i = 0; i < a->change_count; i++)
        if (a->changes[i].event == EVENT_DELAYED && !told_by(a, &a->changes[i], MAIL_DSN_DELAYED))
            a->changes[i].silent = true; /* that the sender was told would not be true */
}
