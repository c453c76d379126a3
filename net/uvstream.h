/* net/uvstream.h - the inside of a stream, for net/uvstream.c and uvopen.c. */
#ifndef NET_UVSTREAM_H
#define NET_UVSTREAM_H

#include "net/uvinside.h"

struct uvstream {
    struct stream stream;
    uv_tcp_t tcp;
    int fd;
    struct list dirty; /* in the loop's list: output to write at the end of the turn */
    struct timer timer;
    uint64_t deadline_ms;        /* 0 = none; the timer may be armed for an earlier moment */
    struct write_rest *writing;  /* what the kernel had no room for */
    struct err write_failed;     /* output is dropped from here on */
    uint32_t lingered_bytes;
    bool connecting;
    bool reading;   /* libuv watches for input */
    bool paused;    /* the owner wants none; libuv hears of it when some arrives */
    bool ended;     /* end of file was read */
    bool told;      /* closed() was called */
    bool finishing; /* the owner has gone; output is still to be sent */
    bool lingering; /* output is sent and shut; input is drained */
    bool closing;   /* the handle is being closed */
};

struct write_rest {
    uv_write_t req;
    struct uvstream *owner;
    struct buf bytes;
};

extern const struct stream_ops uvstream_ops;

static inline struct uvstream *uvstream_of(void *handle)
{
    return container_of((uv_tcp_t *)handle, struct uvstream, tcp);
}

void uvstream_close_now(struct uvstream *s); /* memory goes with the handle's callback */
void uvstream_tell_closed(struct uvstream *s, struct err why);
void uvstream_start_reading(struct uvstream *s);
void uvstream_on_timer(struct timer *t);

#endif
