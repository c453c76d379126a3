/* auth/accounts_wire.h - what engine and accounts process say over their link.
 *
 * Each message is one frame of net/ipc.h: a version byte, a type byte, an id
 * chosen by the engine (answers repeat it), and fields as base/codec.h lays
 * them out. Encoding and decoding are pure. Decoding copies nothing: slices
 * point into the frame. What does not fit exactly, breaks a limit or holds a
 * NUL where a name belongs is ERR_PROTOCOL, and the link is given up.
 */
#ifndef AUTH_ACCOUNTS_WIRE_H
#define AUTH_ACCOUNTS_WIRE_H

#include "auth/accounts.h"

#define ACCOUNTS_WIRE_VERSION  1
#define ACCOUNTS_NAME_MAX      320u /* a user, a pattern, a certificate's name */
#define ACCOUNTS_BINDING_MAX   64u
#define ACCOUNTS_CHALLENGE_MAX 4096u
#define ACCOUNTS_SENDERS_MAX   65u /* 64 rules and his own address */
#define ACCOUNTS_WHY_MAX       400u
#define ACCOUNTS_ADMIN_MAX     (512u * KIB)

enum accounts_wire_type {
    /* from the engine */
    ACCOUNTS_WIRE_LOGIN = 1, /* begins a dialogue and carries its first step */
    ACCOUNTS_WIRE_STEP,
    ACCOUNTS_WIRE_CANCEL,    /* no answer is wanted any more */
    ACCOUNTS_WIRE_CHARGE,
    ACCOUNTS_WIRE_ADMIN,
    /* from the accounts process */
    ACCOUNTS_WIRE_HELLO,     /* first, and again when the generation rises */
    ACCOUNTS_WIRE_ANSWER,
    ACCOUNTS_WIRE_CHARGED,
    ACCOUNTS_WIRE_ADMIN_ANSWER,
};

struct accounts_wire {
    enum accounts_wire_type type;
    uint64_t id;
    /* LOGIN */
    struct slice mechanism, service, binding, external;
    bool has_external, tls, clear_ok;
    struct net_addr addr;
    /* LOGIN, STEP */
    bool has_response;
    struct slice response;
    /* CHARGE, ANSWER */
    struct slice user;
    uint32_t recipients;
    /* ANSWER */
    enum accounts_verdict verdict;
    struct slice challenge;
    struct slice senders[ACCOUNTS_SENDERS_MAX];
    size_t sender_count;
    bool sender_any;
    uint32_t messages_per_hour, recipients_per_hour;
    /* CHARGED */
    bool ok;
    struct slice why;
    /* ADMIN, ADMIN_ANSWER */
    struct slice payload;
    /* HELLO */
    uint64_t generation;
};

/* Appends the frame. What the decoder would refuse must not be given. */
void accounts_wire_put(struct buf *b, const struct accounts_wire *w);
MUST_CHECK struct err accounts_wire_get(struct slice frame, struct accounts_wire *out);

#endif
