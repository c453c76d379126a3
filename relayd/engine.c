/* relayd/engine.c - the process that carries the mail: begins, reloads, ends
 * when its parent says so. */
#include "relayd/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "relayd/channel.h"
#include "relayd/generation.h"
#include "relayd/lock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

struct engine {
    struct channel *channel;
    const struct settings *settings;
    struct channel_listener *listeners;
    size_t listener_count;
    int lock_fd;
    bool done;
    int exit_code;
};

static void end(struct engine *en, int exit_code)
{
    en->done = true;
    en->exit_code = exit_code;
}

static void close_listeners(struct engine *en)
{
    for (size_t i = 0; i < en->listener_count; i++)
        close(en->listeners[i].fd);
    free(en->listeners);
    en->listeners = NULL;
    en->listener_count = 0;
}

/* Switches to the settings and sockets of a START or RELOAD, or to nothing of it. */
static struct err adopt(struct engine *en, struct channel_message *m, struct buf *why)
{
    struct diagnostics d = { 0 };
    struct settings *settings = NULL;
    struct err e = generation_settings(m->bundle_fd, &d, &settings);

    if (err_failed(e)) {
        char text[256];

        diagnostics_format(&d, why);
        buf_printf(why, "%s", err_text(e, text, sizeof text));
    } else {
        settings_unref(en->settings);
        en->settings = settings;
        close_listeners(en);
        en->listeners = m->listeners;
        en->listener_count = m->listener_count;
        m->listeners = NULL;
        m->listener_count = 0;
        log_open(settings->hostname, settings->log_level);
    }
    diagnostics_release(&d);
    return e;
}

static struct err start(struct engine *en, struct channel_message *m)
{
    struct buf why = { 0 };
    struct err e = adopt(en, m, &why);
    int exit_code = EX_CONFIG;

    if (!err_failed(e)) {
        e = lock_take(en->settings->state_dir, &clock_system, LOCK_WAIT_MS, &en->lock_fd, &why);
        exit_code = e.kind == ERR_BUSY ? EX_TEMPFAIL : EX_CANTCREAT;
    }
    if (err_failed(e)) {
        log_write(LOG_LEVEL_FATAL, "engine", "%s", buf_cstr(&why));
        end(en, exit_code);
        e = ERR_OK;
    } else {
        e = channel_send(en->channel, CHANNEL_READY, m->serial);
    }
    buf_release(&why);
    return e;
}

static struct err reload(struct engine *en, struct channel_message *m)
{
    struct buf why = { 0 };
    struct err e = adopt(en, m, &why);

    if (err_failed(e))
        e = channel_send_text(en->channel, CHANNEL_RELOAD_FAILED, m->serial, buf_bytes(&why));
    else
        e = channel_send(en->channel, CHANNEL_RELOAD_OK, m->serial);
    buf_release(&why);
    return e;
}

static struct err handle(struct engine *en, struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_START:
        return start(en, m);
    case CHANNEL_RELOAD:
        return reload(en, m);
    case CHANNEL_STOP:
        close_listeners(en);
        end(en, EX_OK);
        return channel_send(en->channel, CHANNEL_STOPPED, 0);
    default:
        return ERR_OK;
    }
}

/* All that has come; a failure means that the parent is gone or mad. */
static struct err listen_to_parent(struct engine *en)
{
    while (!en->done) {
        struct channel_message m;
        struct err e = channel_receive(en->channel, &m);

        if (err_failed(e) || m.type == CHANNEL_NOTHING)
            return e;
        e = handle(en, &m);
        channel_message_release(&m);
        if (err_failed(e))
            return e;
    }
    return ERR_OK;
}

int engine_main(int channel_fd_)
{
    struct engine en = { .lock_fd = -1 };

    log_open("localhost", LOG_LEVEL_INFO);
    en.channel = channel_new(channel_fd_, CHANNEL_CHILD);
    while (!en.done) {
        struct pollfd pfd = { .fd = channel_fd(en.channel), .events = POLLIN };
        struct err e;

        if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
            end(&en, EX_OSERR);
        e = listen_to_parent(&en);
        if (err_failed(e)) {
            char text[256];

            if (e.kind != ERR_CLOSED)
                log_error("engine", "parent: %s", err_text(e, text, sizeof text));
            end(&en, EX_UNAVAILABLE);
        }
    }
    close_listeners(&en);
    settings_unref(en.settings);
    if (en.lock_fd >= 0)
        close(en.lock_fd);
    channel_free(en.channel);
    return en.exit_code;
}
