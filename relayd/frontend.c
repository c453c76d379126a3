/* relayd/frontend.c - the time between a front end's connection and the
 * session of the client behind it.
 *
 * The header precedes TLS, too. It is taken from declared hosts only; all
 * others are served as who they are, and to them PROXY is no command.
 */
#include "relayd/frontend.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/proxy.h"
#include "relayd/session_internal.h"

#include <stdlib.h>

#define HEADER_MS (10 * SECOND_MS) /* a front end has it at once */

struct frontend {
    struct list link;
    struct acceptor *acceptor;
    struct acceptor_config *config; /* of the listener, whatever a reload does meanwhile */
    struct settings_listen listen;
    struct stream *stream;
    struct buf in;
    char peer[NET_ADDR_TEXT_MAX];
};

static bool declared(const struct settings_listen *listen, const struct net_addr *peer)
{
    for (size_t i = 0; i < listen->proxy_count; i++)
        if (net_prefix_holds(&listen->proxies[i], peer))
            return true;
    return false;
}

static void frontend_free(struct frontend *f)
{
    list_remove(&f->link);
    buf_release(&f->in);
    acceptor_config_unref(f->config);
    free(f);
}

static void drop(struct frontend *f, const char *why)
{
    log_warning("smtpd", "PROXY header from %s: %s; connection closed", f->peer, why);
    stream_close(f->stream);
    frontend_free(f);
}

/* What came behind the header is the client's first input. */
static void hand_on(struct frontend *f, const struct proxy_header *h)
{
    struct stream *stream = f->stream;
    struct acceptor *a = f->acceptor;
    struct buf in = f->in;
    unsigned sessions = a->session_count;
    struct acceptor_config *config = acceptor_config_ref(f->config);
    struct settings_listen listen = f->listen;

    f->in = (struct buf){ 0 };
    frontend_free(f);
    buf_take(&in, h->used);
    if (h->known)
        stream->remote = h->source;
    stream_deadline(stream, 0);
    session_open(a, config, &listen, stream,
                 !h->known ? SESSION_UNKNOWN
                 : h->tls  ? SESSION_FRONTED_TLS
                           : SESSION_FRONTED);
    /* Refused at the door it is gone, and its stream with it. */
    if (buf_len(&in) > 0 && a->session_count > sessions)
        stream->events->data(stream->ctx, buf_bytes(&in));
    buf_release(&in);
    acceptor_config_unref(config);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct frontend *f = ctx;
    struct proxy_header h;
    const char *why;

    buf_add(&f->in, bytes);
    switch (proxy_parse(buf_bytes(&f->in), &h, &why)) {
    case PROXY_MORE:
        break;
    case PROXY_DONE:
        hand_on(f, &h);
        break;
    case PROXY_BAD:
        drop(f, why);
        break;
    }
}

static void on_closed(void *ctx, struct err why)
{
    struct frontend *f = ctx;

    /* A port that is only looked at is no news: health checks do that. */
    if (why.kind != ERR_TIMEOUT && buf_len(&f->in) == 0) {
        stream_close(f->stream);
        frontend_free(f);
        return;
    }
    drop(f, why.kind == ERR_TIMEOUT ? "it does not come" : "it is not whole");
}

static const struct stream_events frontend_events = { NULL, on_data, NULL, on_closed };

static void await_header(struct acceptor *a, const struct settings_listen *listen, struct stream *stream)
{
    struct frontend *f = mem_new(struct frontend);

    f->acceptor = a;
    f->config = acceptor_config_ref(a->config);
    f->listen = *listen;
    f->stream = stream;
    net_addr_format_port(&stream->remote, f->peer);
    list_append(&a->frontends, &f->link);
    stream_set_events(stream, &frontend_events, f);
    stream_deadline(stream, HEADER_MS);
    stream_pause(stream, false); /* reads */
}

void acceptor_accept(struct acceptor *a, const struct settings_listen *listen, struct stream *stream)
{
    if (declared(listen, &stream->remote))
        await_header(a, listen, stream);
    else
        session_open(a, a->config, listen, stream, SESSION_DIRECT);
}

void frontends_release(struct acceptor *a)
{
    list_foreach_safe (it, next, &a->frontends) {
        struct frontend *f = container_of(it, struct frontend, link);

        stream_close(f->stream);
        frontend_free(f);
    }
}
