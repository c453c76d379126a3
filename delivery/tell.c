/* delivery/tell.c - the log lines and counts of what an attempt came to, in
 * Postfix's words. Written when it is stored, never before.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"

#include <stdio.h>

static void one_line(char *out, size_t size, unsigned code, struct slice text)
{
    size_t n = 0;

    if (code != 0)
        n = (size_t)snprintf(out, size, "%u ", code);
    for (size_t i = 0; i < text.len && n + 1 < size; i++)
        out[n++] = text.ptr[i] == '\n' ? ' ' : text.ptr[i];
    out[n] = '\0';
}

static const char *status_word(enum event_type event)
{
    switch (event) {
    case EVENT_DELIVERED:
    case EVENT_DISCARDED:
        return "sent";
    case EVENT_DEFERRED:
    case EVENT_IN_DOUBT:
        return "deferred";
    case EVENT_EXPIRED:
        return "expired";
    case EVENT_HELD:
    case EVENT_DAMAGED:
        return "held";
    case EVENT_RELEASED:
    case EVENT_RETRIED:
        return "queued";
    case EVENT_DELETED:
        return "deleted";
    default:
        return "bounced";
    }
}

struct delays { /* seconds, as Postfix's delays=a/b/c/d */
    double before, queue, connect, transfer;
};

static struct delays delays_of(const struct attempt *a, uint64_t total_ms)
{
    struct delays out = { .before = (double)total_ms / 1000 };
    const struct job *j = a->job;

    if (j == NULL || j->ended_ms < j->given_ms)
        return out;
    if (j->connected_ms >= j->given_ms) {
        out.connect = (double)(j->connected_ms - j->given_ms) / 1000;
        out.transfer = (double)(j->ended_ms - j->connected_ms) / 1000;
    } else {
        out.connect = (double)(j->ended_ms - j->given_ms) / 1000;
    }
    out.queue = (double)(j->given_ms - a->begun_ms) / 1000;
    out.before -= out.queue + out.connect + out.transfer;
    if (out.before < 0)
        out.before = 0;
    return out;
}

static void log_change(const struct attempt *a, const struct queue_change *c)
{
    char id_text[QUEUE_ID_TEXT_MAX], dsn[16], reply[RECIPIENT_REPLY_MAX + 16];
    struct delays t = delays_of(a, c->delay_ms);
    struct slice relay = c->now.relay.len != 0 ? c->now.relay : SLICE("none");

    if (c->event == EVENT_DELAYED)
        return; /* the notification has a line of its own */
    one_line(reply, sizeof reply, c->now.code, c->now.reply);
    log_info("smtp", "%s: to=<%.*s>, relay=%.*s, delay=%.2f, delays=%.2f/%.2f/%.2f/%.2f, dsn=%s, status=%s (%s%s)",
             queue_id_format(a->id, id_text), (int)c->now.address.len, c->now.address.ptr, (int)relay.len, relay.ptr,
             (double)c->delay_ms / 1000, t.before, t.queue, t.connect, t.transfer,
             mail_status_format(c->now.status, dsn), status_word(c->event),
             c->event == EVENT_IN_DOUBT ? "in doubt, may have been delivered: " : "", reply);
}

static void count_change(struct dispatch *d, const struct queue_change *c)
{
    switch (c->event) {
    case EVENT_DELIVERED:
        d->delivered++;
        break;
    case EVENT_DEFERRED:
    case EVENT_IN_DOUBT:
        d->deferred++;
        break;
    case EVENT_BOUNCED:
    case EVENT_DROPPED:
        d->bounced++;
        break;
    case EVENT_EXPIRED:
        d->expired++;
        break;
    default:
        break;
    }
}

static const char *notice_word(enum mail_dsn_action action)
{
    return action == MAIL_DSN_FAILED ? "non-delivery" : action == MAIL_DSN_DELAYED ? "delay" : "delivery status";
}

void attempt_tell(const struct attempt *a)
{
    char id_text[QUEUE_ID_TEXT_MAX], dsn_text[QUEUE_ID_TEXT_MAX];

    queue_id_format(a->id, id_text);
    for (size_t i = 0; i < a->change_count; i++) {
        log_change(a, &a->changes[i]);
        count_change(a->dispatch, &a->changes[i]);
    }
    for (size_t i = 0; i < a->dsn_count; i++)
        log_info("bounce", "%s: sender %s notification: %s", id_text, notice_word(a->dsn_actions[i]),
                 queue_id_format(a->dsns[i]->id, dsn_text));
    if (a->message_done)
        log_info("qmgr", "%s: removed", id_text);
}
