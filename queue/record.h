/* queue/record.h - messages, recipients and events as stored.
 *
 * Tables of the queue environment and their keys:
 *   message    id                  → struct message but for content too large for a leaf
 *   recipient  id, n               → struct recipient
 *   body       id, chunk           → up to STORE_VALUE_MAX bytes; chunks of a
 *                                    long header count from RECORD_HEADER_CHUNK;
 *                                    signatures, each a record of its own, from
 *                                    RECORD_SIGNATURE_CHUNK
 *   event      id, sequence        → struct event
 *   system     name                → format version
 * Decoded slices point into the record.
 *
 * A record begins with its version. Written is always the newest; what the
 * release before wrote is read too, and becomes new when it is next written.
 * A release that knows neither is kept off by the format number.
 */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include "base/codec.h"
#include "queue/message.h"

enum queue_table { TABLE_MESSAGE, TABLE_RECIPIENT, TABLE_BODY, TABLE_EVENT, TABLE_SYSTEM, QUEUE_TABLE_COUNT };
extern const char *const queue_table_names[QUEUE_TABLE_COUNT];

enum history_table { HISTORY_EVENT, HISTORY_INDEX, HISTORY_SYSTEM, HISTORY_TABLE_COUNT };
extern const char *const history_table_names[HISTORY_TABLE_COUNT];

#define QUEUE_FORMAT 2
#define QUEUE_FORMAT_BEFORE 1 /* read, and raised when the queue is opened to write */
#define RECORD_LEAF_MAX 2000u /* a record up to this size stays in its leaf page */
#define RECORD_HEADER_CHUNK 0x80000000u
#define RECORD_SIGNATURE_CHUNK 0xc0000000u
#define RECORD_SIGNATURE_MAX 4000u /* bytes of fields in one record */

/* The header is inline when that keeps the record within RECORD_LEAF_MAX;
 * *header_inline tells. */
void record_message_put(struct buf *b, const struct message *m, bool *header_inline);
/* Fills m but for recipients and body; m->header only if inline. Slices point
 * into the record: the caller interns them. */
MUST_CHECK struct err record_message_get(struct slice record, struct message *m, bool *header_inline);

/* A part of a message's signatures; `parts` is how many there are. The message
 * record stays as it was accepted. */
void record_signature_put(struct buf *b, unsigned parts, struct slice fields);
MUST_CHECK struct err record_signature_get(struct slice record, unsigned *parts, struct slice *fields);

void record_recipient_put(struct buf *b, const struct recipient *r);
MUST_CHECK struct err record_recipient_get(struct slice record, struct recipient *r);

enum event_type {
    EVENT_RECEIVED = 1,
    EVENT_DELIVERED,
    EVENT_DEFERRED,
    EVENT_IN_DOUBT,
    EVENT_BOUNCED,  /* failed for good; detail names the DSN's id, or says why there is none */
    EVENT_EXPIRED,
    EVENT_DELAYED,  /* the sender was told */
    EVENT_HELD,
    EVENT_RELEASED,
    EVENT_DELETED,
    EVENT_RETRIED,  /* an admin asked for an attempt now */
    EVENT_DISCARDED,
    EVENT_DROPPED,  /* a DSN that could not be delivered */
    EVENT_DAMAGED,  /* the stored content does not match its checksum */
    EVENT_POSTPONED, /* the sender wants it to go later; detail names the time */
    EVENT_ALIASED = 32, /* the recipient it came for stands for others; text names them */
    EVENT_SIGNER,       /* the domain in From does not sign; text says who does, and why */
};

const char *event_type_text(enum event_type t); /* "received", "delivered"… */

struct event {
    uint64_t id;       /* from the key */
    uint64_t sequence; /* from the key */
    enum event_type type;
    uint64_t wall_ms;
    uint32_t code;
    struct mail_status status;
    uint32_t attempts;
    uint64_t size_bytes;       /* received: of the message */
    uint32_t recipient_count;  /* received */
    uint64_t delay_ms;         /* since reception */
    struct slice recipient;
    struct slice reverse_path; /* received */
    struct slice message_id;   /* received */
    struct slice relay;        /* next hop; received: the client */
    struct slice text;         /* the reply, or our reason; received: protocol and helo */
    struct slice tls;          /* towards relay: "TLSv1.3 CIPHER verified"; empty: in the clear, or not said */
};

void record_event_put(struct buf *b, const struct event *e);
MUST_CHECK struct err record_event_get(struct slice record, struct event *e);

#endif
