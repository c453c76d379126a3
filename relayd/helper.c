/* relayd/helper.c - the life of a process that the engine asks, between the
 * parent's orders and the engine's questions. */
#include "relayd/helper.h"

#include "base/log.h"
#include "relayd/channel.h"
#include "relayd/generation.h"

#include <sysexits.h>

#define LINK_PAUSE_MS SECOND_MS /* a new engine brings its own link */

struct helper {
    const struct helper_ops *ops;
    struct channel *channel;
    struct fd_watch *watch;
    struct loop *loop;
    const struct settings *settings;
    void *server; /* NULL: not started */
    struct timer ask_link;
    int exit_code;
};

static void end(struct helper *h, int exit_code)
{
    h->exit_code = exit_code;
    uvloop_stop(h->loop);
}

void helper_finish(struct helper *h)
{
    end(h, EX_OK);
}

void helper_unlinked(struct helper *h)
{
    loop_arm(h->loop, &h->ask_link, LINK_PAUSE_MS);
}

/* Until there is one: the parent may have lost the message, too. */
static void ask_link(struct timer *t)
{
    struct helper *h = container_of(t, struct helper, ask_link);
    struct err e;
    char text[256];

    if (h->server == NULL || h->ops->linked(h->server))
        return;
    helper_unlinked(h);
    e = channel_send(h->channel, CHANNEL_LINK_REQUEST, 0);
    if (err_failed(e) && e.kind != ERR_CLOSED)
        log_warning(h->ops->name, "no link to the engine, and the parent can't be asked for one: %s",
                    err_text(e, text, sizeof text));
}

struct err helper_confine(const struct helper *h, const struct sandbox_rules *r, struct buf *why)
{
    struct buf said = { 0 };
    struct err e;
    char text[256];

    log_flush(); /* the log looks up the time zone when it is first written to */
    e = sandbox_enter(r, &said);
    if (err_failed(e))
        buf_printf(why, "the process can't be confined: %s", err_text(e, text, sizeof text));
    else
        log_info(h->ops->name, "%s", buf_cstr(&said));
    buf_release(&said);
    return e;
}

static struct err load(struct helper *h, const struct channel_message *m, struct settings **out,
                       struct buf *why)
{
    struct diagnostics d = { 0 };
    struct err e = generation_settings(m->bundle_fd, &d, out);

    if (err_failed(e)) {
        char text[256];

        diagnostics_format(&d, why);
        buf_printf(why, "%s", err_text(e, text, sizeof text));
    }
    diagnostics_release(&d);
    return e;
}

static void take(struct helper *h, const struct settings *st)
{
    settings_unref(h->settings);
    h->settings = st;
    log_open(st->hostname, st->log_level);
}

static struct err start(struct helper *h, const struct channel_message *m)
{
    struct buf why = { 0 };
    struct settings *st = NULL;
    struct err e = load(h, m, &st, &why);
    int exit_code = EX_OSERR; /* the parent found the configuration good */

    if (!err_failed(e)) {
        take(h, st);
        e = h->ops->start(h, h->loop, st, &h->server, &exit_code, &why);
    }
    if (err_failed(e)) {
        char text[256];

        log_write(LOG_LEVEL_FATAL, h->ops->name, "%s",
                  buf_len(&why) > 0 ? buf_cstr(&why) : err_text(e, text, sizeof text));
        end(h, exit_code);
        e = ERR_OK;
    } else {
        e = channel_send(h->channel, CHANNEL_READY, m->serial);
    }
    buf_release(&why);
    return e;
}

static struct err reload(struct helper *h, const struct channel_message *m)
{
    struct buf why = { 0 };
    struct settings *st = NULL;
    struct err e = load(h, m, &st, &why);

    if (!err_failed(e))
        e = h->ops->reload(h->server, st, &why);
    if (err_failed(e)) {
        char text[256];

        if (buf_len(&why) == 0)
            buf_add_str(&why, err_text(e, text, sizeof text));
        settings_unref(st);
        e = channel_send_text(h->channel, CHANNEL_RELOAD_FAILED, m->serial, buf_bytes(&why));
    } else {
        take(h, st);
        e = channel_send(h->channel, CHANNEL_RELOAD_OK, m->serial);
    }
    buf_release(&why);
    return e;
}

static struct err handle(struct helper *h, struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_START:
        return h->server == NULL ? start(h, m) : ERR_OK;
    case CHANNEL_RELOAD:
        return h->server != NULL ? reload(h, m) : ERR_OK;
    case CHANNEL_LINK:
        if (h->server != NULL)
            h->ops->link(h->server, m->link.peer, m->link.index, channel_take_fd(&m->link.fd));
        return ERR_OK;
    case CHANNEL_STOP:
        end(h, EX_OK);
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static struct err listen_to_parent(struct helper *h)
{
    for (;;) {
        struct channel_message m;
        struct err e = channel_receive(h->channel, &m);

        if (err_failed(e) || m.type == CHANNEL_NOTHING)
            return e;
        e = handle(h, &m);
        channel_message_release(&m);
        if (err_failed(e))
            return e;
    }
}

static void channel_ready(void *ctx, unsigned events)
{
    struct helper *h = ctx;
    struct err e = listen_to_parent(h);

    if (!err_failed(e))
        e = channel_flush_wait(h->channel, &clock_system, SECOND_MS);
    if (err_failed(e)) {
        char text[256];

        if (e.kind != ERR_CLOSED)
            log_error(h->ops->name, "parent: %s", err_text(e, text, sizeof text));
        end(h, EX_UNAVAILABLE);
    }
}

int helper_main(int channel_fd_, const struct helper_ops *ops)
{
    struct helper h = { .ops = ops, .channel = channel_new(channel_fd_, CHANNEL_CHILD) };
    struct err e = uvloop_new(0, &clock_system, &h.loop);

    h.ask_link.fire = ask_link;
    if (!err_failed(e))
        e = fd_watch_new(h.loop, channel_fd(h.channel), FD_READABLE, channel_ready, &h, &h.watch);
    if (err_failed(e)) {
        log_error(ops->name, "%s", e.what);
        return EX_OSERR;
    }
    uvloop_run(h.loop);
    if (h.server != NULL)
        ops->free(h.server);
    if (h.exit_code == EX_OK && !err_failed(channel_send(h.channel, CHANNEL_STOPPED, 0)))
        e = channel_flush_wait(h.channel, &clock_system, SECOND_MS); /* nobody left to tell */
    fd_watch_free(h.watch);
    uvloop_free(h.loop);
    channel_free(h.channel);
    settings_unref(h.settings);
    return h.exit_code;
}
