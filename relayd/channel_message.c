/* relayd/channel_message.c - what parent and children say to each other: which
 * messages there are, how each is written, and what makes one that came whole.
 */
#include "relayd/channel_inside.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The language: who may say what. */
static const struct channel_rule rules[] = {
    [CHANNEL_START] = { "START", CHANNEL_PARENT, SHAPE_CONFIG, true },
    [CHANNEL_RELOAD] = { "RELOAD", CHANNEL_PARENT, SHAPE_CONFIG, true },
    [CHANNEL_RELOAD_OUTCOME] = { "RELOAD_OUTCOME", CHANNEL_PARENT, SHAPE_OUTCOME, false },
    [CHANNEL_STOP] = { "STOP", CHANNEL_PARENT, SHAPE_STOP, false },
    [CHANNEL_LINK] = { "LINK", CHANNEL_PARENT, SHAPE_LINK, true },
    [CHANNEL_READY] = { "READY", CHANNEL_CHILD, SHAPE_EMPTY, false },
    [CHANNEL_RELOAD_OK] = { "RELOAD_OK", CHANNEL_CHILD, SHAPE_EMPTY, false },
    [CHANNEL_RELOAD_FAILED] = { "RELOAD_FAILED", CHANNEL_CHILD, SHAPE_TEXT, false },
    [CHANNEL_RELOAD_REQUEST] = { "RELOAD_REQUEST", CHANNEL_CHILD, SHAPE_EMPTY, false },
    [CHANNEL_STOP_REQUEST] = { "STOP_REQUEST", CHANNEL_CHILD, SHAPE_EMPTY, false },
    [CHANNEL_STATUS] = { "STATUS", CHANNEL_CHILD, SHAPE_TEXT, false },
    [CHANNEL_LINK_REQUEST] = { "LINK_REQUEST", CHANNEL_CHILD, SHAPE_EMPTY, false },
    [CHANNEL_STOPPED] = { "STOPPED", CHANNEL_CHILD, SHAPE_EMPTY, false },
};

const struct channel_rule *channel_rule_of(unsigned type)
{
    return type < countof(rules) && rules[type].name != NULL ? &rules[type] : NULL;
}

const char *channel_type_name(enum channel_type type)
{
    const struct channel_rule *rule = channel_rule_of((unsigned)type);

    return rule != NULL ? rule->name : "unknown";
}

/* ---- writing ---- */

struct err channel_send(struct channel *c, enum channel_type type, uint32_t serial)
{
    return channel_send_message(c, type, serial, SLICE_EMPTY, NULL, 0);
}

struct err channel_send_text(struct channel *c, enum channel_type type, uint32_t serial,
                             struct slice text)
{
    return channel_send_message(c, type, serial, slice_head(text, CHANNEL_TEXT_MAX), NULL, 0);
}

struct err channel_send_outcome(struct channel *c, uint32_t serial, bool ok, struct slice text)
{
    struct buf payload = { 0 };
    struct err e;

    buf_add_byte(&payload, ok ? 1 : 0);
    buf_add(&payload, slice_head(text, CHANNEL_TEXT_MAX));
    e = channel_send_message(c, CHANNEL_RELOAD_OUTCOME, serial, buf_bytes(&payload), NULL, 0);
    buf_release(&payload);
    return e;
}

struct err channel_send_stop(struct channel *c, uint32_t drain_ms)
{
    return channel_send_message(c, CHANNEL_STOP, 0, slice_make(&drain_ms, sizeof drain_ms), NULL, 0);
}

/* Payload: the directive of each listener. Descriptors: the bundle, then the listeners. */
struct err channel_send_config(struct channel *c, enum channel_type type, uint32_t serial,
                               int bundle_fd, const struct channel_listener *listeners,
                               size_t count)
{
    struct buf payload = { 0 };
    int *fds;
    struct err e;

    if (count > CHANNEL_LISTENERS_MAX)
        return err_make(ERR_LIMIT, "hand over listening sockets");
    fds = mem_zero(count + 1, sizeof *fds);
    fds[0] = bundle_fd;
    for (size_t i = 0; i < count; i++) {
        fds[i + 1] = listeners[i].fd;
        buf_add(&payload, slice_make(&listeners[i].directive, sizeof listeners[i].directive));
    }
    e = channel_send_message(c, type, serial, buf_bytes(&payload), fds, count + 1);
    free(fds);
    buf_release(&payload);
    return e;
}

/* Payload: whose other end it is. Descriptor: this end. */
struct err channel_send_link(struct channel *c, const struct channel_link *link)
{
    const uint32_t peer[2] = { (uint32_t)link->peer, link->index };

    return channel_send_message(c, CHANNEL_LINK, 0, slice_make(peer, sizeof peer), &link->fd, 1);
}

/* ---- reading ---- */

static bool decode_config(struct channel_message *m, int *fds, size_t fd_count)
{
    struct slice directives = buf_bytes(&m->payload);

    if (fd_count == 0 || directives.len != (fd_count - 1) * sizeof(uint32_t))
        return false;
    m->bundle_fd = channel_take_fd(&fds[0]);
    m->listener_count = fd_count - 1;
    m->listeners = mem_zero(m->listener_count, sizeof *m->listeners);
    for (size_t i = 0; i < m->listener_count; i++) {
        m->listeners[i].fd = channel_take_fd(&fds[i + 1]);
        memcpy(&m->listeners[i].directive, directives.ptr + i * sizeof(uint32_t), sizeof(uint32_t));
    }
    return true;
}

static bool decode_link(struct channel_message *m, int *fds, size_t fd_count)
{
    struct slice bytes = buf_bytes(&m->payload);
    uint32_t peer[2];

    if (fd_count != 1 || bytes.len != sizeof peer)
        return false;
    memcpy(peer, bytes.ptr, sizeof peer);
    if (peer[0] >= PROCESS_KINDS || peer[1] >= SIGN_WORKERS_MAX)
        return false;
    m->link = (struct channel_link){ channel_take_fd(&fds[0]), (enum process_kind)peer[0], peer[1] };
    return true;
}

bool channel_decode(struct channel_message *m, int *fds, size_t fd_count)
{
    struct slice bytes = buf_bytes(&m->payload);

    switch (rules[m->type].shape) {
    case SHAPE_EMPTY:
        return bytes.len == 0;
    case SHAPE_TEXT:
        m->text = bytes;
        return bytes.len <= CHANNEL_TEXT_MAX;
    case SHAPE_OUTCOME:
        if (bytes.len == 0 || bytes.len > CHANNEL_TEXT_MAX + 1 || (unsigned char)*bytes.ptr > 1)
            return false;
        m->ok = *bytes.ptr == 1;
        m->text = slice_from(bytes, 1);
        return true;
    case SHAPE_STOP:
        if (bytes.len != sizeof m->drain_ms)
            return false;
        memcpy(&m->drain_ms, bytes.ptr, sizeof m->drain_ms);
        return true;
    case SHAPE_CONFIG:
        return decode_config(m, fds, fd_count);
    case SHAPE_LINK:
        return decode_link(m, fds, fd_count);
    }
    return false;
}

int channel_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

void channel_message_release(struct channel_message *m)
{
    if (m->bundle_fd >= 0)
        close(m->bundle_fd);
    if (m->link.fd >= 0)
        close(m->link.fd);
    for (size_t i = 0; i < m->listener_count; i++)
        if (m->listeners[i].fd >= 0)
            close(m->listeners[i].fd);
    free(m->listeners);
    buf_release(&m->payload);
    *m = (struct channel_message){ .bundle_fd = -1, .link.fd = -1 };
}
