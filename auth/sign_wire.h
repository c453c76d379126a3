/* auth/sign_wire.h - what engine and sign workers say over their link.
 *
 * Each message is one frame of net/ipc.h: a version byte, a type byte, and
 * fields as base/codec.h lays them out. Pure. Decoding copies nothing; what
 * does not fit exactly or breaks a limit is ERR_PROTOCOL, and the link is
 * given up. Keys never travel here.
 */
#ifndef AUTH_SIGN_WIRE_H
#define AUTH_SIGN_WIRE_H

#include "auth/sign.h"

#define SIGN_WIRE_VERSION 1
#define SIGN_DOMAIN_MAX   253u
#define SIGN_HEADER_MAX   (4u * MIB)
#define SIGN_INLINE_MAX   (512u * KIB) /* content in the frame; the rest as a descriptor */
#define SIGN_FIELDS_MAX   (SIGN_KEYS_MAX * 8u * KIB)

enum sign_wire_type {
    SIGN_WIRE_SIGN = 1, /* engine: a message */
    SIGN_WIRE_ANSWER,   /* worker: how it went */
    SIGN_WIRE_RETIRE,   /* worker: no more after what has come */
};

/* The content is `content` and then file_bytes bytes of the descriptor, from
 * its beginning; its first header_bytes are the header. */
struct sign_wire {
    enum sign_wire_type type;
    uint64_t id;
    /* SIGN */
    uint64_t wall_ms;
    struct slice domains[SIGN_KEYS_MAX], selectors[SIGN_KEYS_MAX];
    size_t key_count;
    uint64_t header_bytes;
    struct slice content;
    uint64_t file_bytes; /* 0: no descriptor comes along */
    /* ANSWER */
    bool ok;
    struct slice fields; /* ok */
    struct slice why;    /* not ok */
};

void sign_wire_put(struct buf *b, const struct sign_wire *w);
MUST_CHECK struct err sign_wire_get(struct slice frame, struct sign_wire *out);

#endif
