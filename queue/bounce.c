/* queue/bounce.c - makes delivery status notifications into queued messages. */
#include "queue/bounce.h"

#include "base/mem.h"

#include <stdlib.h>

/* A larger body does not come back, its header does. Asked for by RET=FULL it
 * may be as large as a body in memory is; one in a file is not read for it. */
#define RETURN_BODY_MAX (50u * KIB)
#define RETURN_FULL_MAX (128u * KIB)

/* "mx.example.net" of "mx.example.net[192.0.2.1]:25". */
static struct slice relay_host(struct slice relay)
{
    return slice_head(relay, slice_find(relay, '['));
}

static void describe(const struct recipient *r, uint64_t retry_until_wall_ms, struct mail_dsn_recipient *out)
{
    *out = (struct mail_dsn_recipient){
        .final_recipient = r->address,
        .original_recipient = r->wish.original,
        .status = r->status,
        .code = r->code,
        .reply_text = r->reply,
        .remote_mta = relay_host(r->relay),
        .last_attempt_wall_ms = r->last_wall_ms,
        .retry_until_wall_ms = retry_until_wall_ms,
    };
}

/* RET speaks of failures only (RFC 3461 section 4.3). */
static bool returns_body(const struct message *m, enum mail_dsn_action action)
{
    if (action != MAIL_DSN_FAILED || !m->body_loaded || (m->flags & MESSAGE_RETURN_HEADER) != 0)
        return false;
    return m->body_bytes <= ((m->flags & MESSAGE_RETURN_FULL) != 0 ? RETURN_FULL_MAX : RETURN_BODY_MAX);
}

struct message *bounce_compose(struct queue *q, const struct message *m, const char *hostname,
                               enum mail_dsn_action action, const struct recipient *about, size_t count,
                               uint64_t now_wall_ms, uint64_t retry_until_wall_ms)
{
    struct mail_dsn_recipient *recipients;
    struct buf header = { 0 }, body = { 0 };
    char id_text[QUEUE_ID_TEXT_MAX], dsn_text[64];
    struct envelope env = {
        .reverse_path = SLICE_EMPTY,
        .recipients = &m->reverse_path,
        .recipient_count = 1,
        .client_addr = SLICE("local"),
        .protocol = SLICE("DSN"),
        .flags = MESSAGE_DSN | (m->flags & (MESSAGE_EIGHT_BIT | MESSAGE_SMTPUTF8)),
    };
    struct mail_dsn dsn = {
        .action = action,
        .reporting_mta = hostname,
        .queue_id = queue_id_format(m->id, id_text),
        .sender = m->reverse_path,
        .envelope_id = m->envelope_id,
        .smtputf8 = (m->flags & MESSAGE_SMTPUTF8) != 0,
        .arrival_wall_ms = m->received_wall_ms,
        .now_wall_ms = now_wall_ms,
        .original_header = m->header,
        .recipient_count = count,
    };
    struct message *out;

    if (m->reverse_path.len == 0)
        return NULL;
    queue_id_format(queue_new_id(q), dsn_text);
    dsn.dsn_id = dsn_text;
    if (returns_body(m, action))
        dsn.original_body = m->body;
    recipients = mem_zero(count, sizeof *recipients);
    for (size_t i = 0; i < count; i++)
        describe(&about[i], retry_until_wall_ms, &recipients[i]);
    dsn.recipients = recipients;
    mail_dsn_format(&dsn, &header, &body);
    out = queue_compose(q, &env, buf_bytes(&header), buf_bytes(&body));
    buf_release(&header);
    buf_release(&body);
    free(recipients);
    return out;
}
