/* control/orders.c - what an admin wants, brought to the scheduler.
 *
 * An order is for whole messages: all recipients of it that still wait.
 */
#include "control/orders.h"

#include "control/select.h"

#include "base/mem.h"

#include <stdlib.h>
#include <time.h>

#define SELECT_STEP 500u
#define SETTLE_MS 1000u /* how long an answer waits for its change */
#define SETTLE_STEP_MS 5u

bool order_parse(struct slice name, enum dispatch_order *out)
{
    static const struct {
        const char *name;
        enum dispatch_order order;
    } orders[] = {
        { "retry", ORDER_RETRY },   { "hold", ORDER_HOLD },     { "release", ORDER_RELEASE },
        { "delete", ORDER_DELETE }, { "bounce", ORDER_BOUNCE },
    };

    for (size_t i = 0; i < countof(orders); i++) {
        if (slice_eq(name, slice_str(orders[i].name))) {
            *out = orders[i].order;
            return true;
        }
    }
    return false;
}

static json_t *answer_json(const struct dispatch_answer *a)
{
    json_t *out = json_object();

    json_put_number(out, "messages", a->messages);
    json_put_number(out, "recipients", a->recipients);
    json_put_number(out, "busy", a->busy);
    return out;
}

/* ---- waiting for the change ------------------------------------------------------ */

/* The scheduler forgets a recipient before its end is committed: the store
 * has the last word. */
static bool is_gone(struct source *s, uint64_t id)
{
    const struct filter none = { 0 };
    struct selection sel;
    struct err e;
    bool gone;

    selection_init_one(&sel, s, &none, id);
    e = selection_next(&sel, 1);
    gone = err_failed(e) || sel.message_count == 0;
    selection_release(&sel);
    return gone;
}

static bool is_at_rest(struct source *s, const struct selection *sel)
{
    struct live_view *views = mem_zero(sel->recipient_count + 1, sizeof *views);
    bool rest = true;

    for (size_t i = 0; i < sel->recipient_count; i++)
        views[i] = (struct live_view){ .id = sel->messages[0].id, .n = sel->recipients[i].r.n };
    if (!err_failed(live_look(s->live, views, sel->recipient_count))) /* else there is nothing to wait for */
        for (size_t i = 0; i < sel->recipient_count; i++)
            rest = rest && !(views[i].known && strcmp(views[i].state, "active") == 0);
    for (size_t i = 0; i < sel->recipient_count; i++)
        live_view_release(&views[i]);
    free(views);
    return rest;
}

/* Whoever holds a message and then looks wants to see it held. */
static void settle(struct source *s, const struct selection *sel, enum dispatch_order order)
{
    const struct timespec step = { .tv_nsec = SETTLE_STEP_MS * 1000000L };
    uint64_t until = clock_mono_ms(s->clock) + SETTLE_MS;
    bool ends = order == ORDER_DELETE || order == ORDER_BOUNCE;

    while (clock_mono_ms(s->clock) < until) {
        if (ends ? is_gone(s, sel->messages[0].id) : is_at_rest(s, sel))
            return;
        nanosleep(&step, NULL);
    }
}

struct err order_message(struct source *s, uint64_t id, enum dispatch_order order, json_t **out)
{
    const struct filter none = { 0 };
    struct dispatch_answer answer = { 0 };
    struct selection sel;
    struct err e;

    *out = NULL;
    selection_init_one(&sel, s, &none, id);
    e = selection_next(&sel, 1);
    if (!err_failed(e) && sel.message_count == 0)
        e = err_make(ERR_NOT_FOUND, "no such message in the queue");
    if (!err_failed(e))
        e = live_order(s->live, &id, 1, order, &answer);
    if (!err_failed(e) && answer.messages == 0)
        e = err_make(ERR_NOT_FOUND, "the message is in the store but not in the schedule");
    if (!err_failed(e)) {
        if (answer.recipients > 0 && answer.busy == 0 && order != ORDER_RETRY && order != ORDER_RELEASE)
            settle(s, &sel, order);
        *out = answer_json(&answer);
    }
    selection_release(&sel);
    return e;
}

struct err order_selection(struct source *s, const struct filter *f, uint64_t after, enum dispatch_order order,
                           json_t **out)
{
    struct dispatch_answer answer = { 0 };
    uint64_t ids[SELECT_STEP];
    struct selection sel;
    struct err e = ERR_OK;

    *out = NULL;
    selection_init(&sel, s, f, after != 0 ? after + 1 : 0);
    while (!err_failed(e) && !selection_ended(&sel)) {
        e = selection_next(&sel, SELECT_STEP);
        for (size_t i = 0; i < sel.message_count; i++)
            ids[i] = sel.messages[i].id;
        if (!err_failed(e))
            e = live_order(s->live, ids, sel.message_count, order, &answer);
        if (selection_exhausted(&sel))
            break;
    }
    if (!err_failed(e)) {
        *out = answer_json(&answer);
        json_object_set_new(*out, "next", selection_ended(&sel) ? json_null() : json_of_id(sel.at_id - 1));
    }
    selection_release(&sel);
    return e;
}
