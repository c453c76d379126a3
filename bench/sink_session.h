/* bench/sink_session.h - the protocol of the counting sink, without I/O.
 *
 * Takes bytes, counts messages, writes replies. Accepts everything. With
 * `check` it reads each message once more: no bare CR or LF, no body that
 * differs from the CRC its sender put into the header.
 */
#ifndef BENCH_SINK_SESSION_H
#define BENCH_SINK_SESSION_H

#include "base/buf.h"

#include <stdio.h>

struct sink_counts {
    uint64_t connections;
    uint64_t messages;
    uint64_t recipients;
    uint64_t bytes; /* of content, dots unstuffed */
    uint64_t bad;   /* check: torn or with bare line ends */
    uint64_t first_ns, last_ns; /* when the first and the last message ended */
};

struct sink_shared {
    struct sink_counts counts;
    bool check;
    FILE *record; /* check: a line for each message, its token and "whole" or what is wrong */
};

enum sink_phase { SINK_COMMAND, SINK_DATA, SINK_CHUNK, SINK_CLOSING };

struct sink_session {
    struct sink_shared *shared;
    enum sink_phase phase;
    struct buf in;      /* an unfinished command */
    struct buf out;
    struct buf content; /* check: the message so far, as sent */
    uint64_t recipients;
    uint64_t bytes;
    uint64_t chunk_left;
    bool chunk_last;
    /* The line of content under way. */
    uint64_t line_bytes;
    char line_first, line_second, last;
};

void sink_session_init(struct sink_session *s, struct sink_shared *shared);
void sink_session_release(struct sink_session *s);
/* Replies are appended to s->out. `now_ns` stamps messages that end here. */
void sink_session_feed(struct sink_session *s, struct slice bytes, uint64_t now_ns);

#endif
