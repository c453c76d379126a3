/* relayd/channel.h - what the parent and a child say to each other.
 *
 * A message travels as one or more packets of a SOCK_SEQPACKET socket pair;
 * each packet carries its length, the version of this language and a share of
 * the payload and of the descriptors, so a message may hold more descriptors
 * than the kernel takes at a time. Both ends are the same program, but a
 * child is less trusted than its parent: whatever breaks the rules below is
 * ERR_PROTOCOL, and after an error nothing is read from that channel again.
 * Descriptors go from parent to child only.
 *
 * Children never get at each other through the parent: it makes a socket pair
 * for two of them, a link, and gives each its end (CHANNEL_LINK). A new one
 * comes whenever one of the two is started, or the one that is not the engine
 * asks for it (CHANNEL_LINK_REQUEST), and takes the place of the old.
 *
 * Nothing here blocks but channel_flush_wait(). What the socket does not take
 * waits in memory for the next channel_flush().
 */
#ifndef RELAYD_CHANNEL_H
#define RELAYD_CHANNEL_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "relayd/kinds.h"

/* The descriptor at which a child finds its channel. */
#define CHANNEL_CHILD_FD 3

#define CHANNEL_VERSION       1
#define CHANNEL_TEXT_MAX      (64 * KIB) /* a longer text is cut by its sender */
#define CHANNEL_LISTENERS_MAX 4096

enum channel_side { CHANNEL_PARENT, CHANNEL_CHILD };

enum channel_type {
    CHANNEL_NOTHING, /* no complete message yet */

    /* from the parent */
    CHANNEL_START,          /* first of all: configuration and listening sockets */
    CHANNEL_RELOAD,         /* the same again, all of it; one RELOAD_OK or _FAILED answers */
    CHANNEL_RELOAD_OUTCOME, /* ok + text: the answer to a RELOAD_REQUEST of that serial */
    CHANNEL_STOP,           /* drain_ms: finish what can be finished by then */
    CHANNEL_LINK,           /* link: an end of a socket pair for net/ipc.h */

    /* from the child */
    CHANNEL_READY,          /* START is done: connections are served */
    CHANNEL_RELOAD_OK,      /* the new configuration is in force */
    CHANNEL_RELOAD_FAILED,  /* text: why it is not; the old one still is */
    CHANNEL_RELOAD_REQUEST, /* somebody asked through the control socket */
    CHANNEL_STOP_REQUEST,   /* likewise: the whole tree is to stop */
    CHANNEL_STATUS,         /* text: one line for the service manager */
    CHANNEL_LINK_REQUEST,   /* its link to the engine is broken: it wants another */
    CHANNEL_STOPPED,        /* nothing more to do; the child exits now */
};

/* A listening socket and the place of its listen directive in the settings.
 * One directive may have several sockets. */
struct channel_listener {
    int fd;
    uint32_t directive;
};

/* A connection to another child: to the engine, or the engine's to one of the others. */
struct channel_link {
    int fd;
    enum process_kind peer;
    uint32_t index; /* which of its kind, from 0 */
};

struct channel_message {
    enum channel_type type;
    uint32_t serial;  /* RELOAD and its answers, RELOAD_REQUEST and its outcome */
    struct slice text; /* STATUS, RELOAD_FAILED, RELOAD_OUTCOME; not NUL-terminated, not cleaned */
    bool ok;           /* RELOAD_OUTCOME */
    uint32_t drain_ms; /* STOP */
    int bundle_fd;     /* START, RELOAD: sealed memfd; else -1 */
    struct channel_listener *listeners;
    size_t listener_count;
    struct channel_link link; /* LINK; else its fd is -1 */
    struct buf payload; /* what text points into */
};

struct channel;

/* Takes over fd, which becomes non-blocking. `side` is the caller's own. */
struct channel *channel_new(int fd, enum channel_side side);
void channel_free(struct channel *c); /* NULL is fine */
int channel_fd(const struct channel *c);

/* Each copies what it is given (descriptors are duplicated) and tries to send. */
MUST_CHECK struct err channel_send(struct channel *c, enum channel_type type, uint32_t serial);
MUST_CHECK struct err channel_send_text(struct channel *c, enum channel_type type, uint32_t serial,
                                        struct slice text);
MUST_CHECK struct err channel_send_outcome(struct channel *c, uint32_t serial, bool ok,
                                           struct slice text);
MUST_CHECK struct err channel_send_stop(struct channel *c, uint32_t drain_ms);
MUST_CHECK struct err channel_send_config(struct channel *c, enum channel_type type,
                                          uint32_t serial, int bundle_fd,
                                          const struct channel_listener *listeners, size_t count);

MUST_CHECK struct err channel_send_link(struct channel *c, const struct channel_link *link);

bool channel_has_output(const struct channel *c); /* poll for POLLOUT, then channel_flush */
MUST_CHECK struct err channel_flush(struct channel *c);
MUST_CHECK struct err channel_flush_wait(struct channel *c, const struct clock *clock,
                                         uint64_t wait_ms); /* ERR_TIMEOUT */

/* The next whole message, or one of type CHANNEL_NOTHING when none has come
 * yet. ERR_CLOSED: the other end is gone. On success the caller releases the
 * message; descriptors it keeps it takes out by channel_take_fd(). */
MUST_CHECK struct err channel_receive(struct channel *c, struct channel_message *out);
void channel_message_release(struct channel_message *m); /* closes what was not taken */
int channel_take_fd(int *fd);                             /* returns it and leaves -1 */

const char *channel_type_name(enum channel_type type);

#endif
