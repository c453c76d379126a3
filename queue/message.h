/* queue/message.h - one message in memory, shared and counted.
 *
 * Immutable once committed or loaded, but for its recipients' scheduling
 * fields, which belong to the scheduler's loop. All strings live in the
 * message's own memory.
 */
#ifndef QUEUE_MESSAGE_H
#define QUEUE_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "mail/param.h"
#include "mail/reply.h"

#include <stdatomic.h>

enum recipient_state {
    RECIPIENT_QUEUED = 1, /* waits for its next attempt, or is being delivered */
    RECIPIENT_HELD = 2,   /* an admin holds it; does not expire */
};

enum { /* recipient flags */
    RECIPIENT_WARNED = 1,   /* the sender was told of the delay */
    RECIPIENT_IN_DOUBT = 2, /* an attempt ended after the final dot without a reply */
    RECIPIENT_RELEASED = 4, /* out of a hold: the next attempt ignores hold routes */
};

struct recipient {
    uint32_t n; /* its number within the message, part of its key */
    uint8_t state;
    uint8_t flags;
    uint32_t attempts;
    uint64_t next_wall_ms; /* when the next attempt is due */
    uint64_t last_wall_ms; /* when the last attempt ended; 0 = none */
    uint32_t code;         /* of the last reply */
    struct mail_status status;
    struct slice address;
    struct slice reverse_path; /* the message's, so that the start reads one table only */
    struct slice reply;    /* last reply's text or our reason, cut to RECIPIENT_REPLY_MAX */
    struct slice relay;    /* next hop of the last attempt: "host[addr]:port" */
    struct mail_wish wish; /* of its sender: NOTIFY, ORCPT */
    uint64_t release_wall_ms; /* no attempt before, and its time counts from here (RFC 4865); 0 = at once */
};

/* From when its expiry and the delay warning count. */
static inline uint64_t recipient_begins(const struct recipient *r, uint64_t received_wall_ms)
{
    return r->release_wall_ms > received_wall_ms ? r->release_wall_ms : received_wall_ms;
}

#define RECIPIENT_REPLY_MAX 512u

enum { /* message flags */
    MESSAGE_EIGHT_BIT = 1,
    MESSAGE_DSN = 2, /* we made it: null reverse-path, never bounced */
    MESSAGE_RETURN_FULL = 4,   /* RET= of its sender: a notice of failure returns all of it, */
    MESSAGE_RETURN_HEADER = 8, /* or its header only (RFC 3461 section 4.3); neither: we choose */
    MESSAGE_SMTPUTF8 = 16,     /* addresses and header fields may be in UTF-8 (RFC 6531) */
    MESSAGE_OURS = 32,         /* its client was trusted or logged in: it may be signed in our name, */
    MESSAGE_OURS_BY_SENDER = 64, /* or in that of the envelope's sender only: its From is not its user's */
};

enum body_place { BODY_CHUNKS = 1, BODY_BLOB = 2 };

struct message {
    atomic_uint refs;
    uint64_t id;
    uint64_t received_wall_ms;
    uint32_t flags;
    struct slice reverse_path; /* canonical; empty is the null path */
    struct slice client_addr;  /* "192.0.2.1", "local" … */
    struct slice client_name;
    struct slice helo;
    struct slice protocol;     /* ESMTP, SMTP … */
    struct slice message_id;   /* of the header, without brackets */
    struct slice envelope_id;  /* ENVID as given, in xtext; or empty */
    struct slice header;       /* with the empty line; empty when not loaded */
    struct slice body;         /* when in memory */
    bool body_loaded;
    enum body_place body_place;
    uint64_t header_bytes;
    uint64_t body_bytes;
    uint32_t header_crc;
    uint32_t body_crc;
    uint32_t recipient_total;  /* at acceptance */
    struct recipient *recipients; /* those not final when loaded */
    uint32_t recipient_count;
    struct buf content;        /* header and body bytes, as received */
    struct buf text;           /* everything else */
    struct buf signatures;     /* DKIM-Signature fields for the front of the header, once made; the
                                  scheduler's, and not part of the message's checksums and sizes */
};

struct message *message_new(void);
struct message *message_ref(struct message *m);
void message_unref(struct message *m); /* NULL is fine; any thread */

static inline uint64_t message_size(const struct message *m)
{
    return m->header_bytes + m->body_bytes;
}

/* Bytes of memory its content takes. */
static inline size_t message_memory(const struct message *m)
{
    return m->content.cap + m->text.cap;
}

/* Copies strings into one block. Reserve first, so that slices stay put. */
struct slice message_intern(struct message *m, struct slice s); /* text must have room */

#endif
