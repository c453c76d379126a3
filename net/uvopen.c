/* net/uvopen.c - the beginning of a stream: a client that was accepted, or a
 * next hop to connect to. */
#include "net/uvstream.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

/* Takes over fd, also on failure. */
static struct err stream_new(struct uvloop *u, int fd, struct uvstream **out)
{
    struct uvstream *s = mem_new(struct uvstream);
    int rc;

    s->stream.ops = &uvstream_ops;
    s->stream.loop = &u->loop;
    s->fd = fd;
    s->timer.fire = uvstream_on_timer;
    list_init(&s->dirty);
    uv_tcp_init(&u->uv, &s->tcp);
    rc = uv_tcp_open(&s->tcp, fd);
    if (rc != 0) {
        close(fd);
        uvstream_close_now(s);
        return err_sys(-rc, "open socket");
    }
    *out = s;
    return ERR_OK;
}

struct err uvstream_accepted(struct uvloop *u, int fd, const struct net_addr *local,
                             const struct net_addr *remote, struct stream **out)
{
    struct uvstream *s = NULL;
    struct err e = stream_new(u, fd, &s);

    if (err_failed(e))
        return e;
    s->stream.local = *local;
    s->stream.remote = *remote;
    uvstream_start_reading(s);
    *out = &s->stream;
    return ERR_OK;
}

static void on_connected(uv_connect_t *req, int status)
{
    struct uvstream *s = uvstream_of(req->handle);

    free(req);
    s->connecting = false;
    if (s->closing || s->told)
        return;
    uvloop_enter(s->stream.loop);
    if (status != 0) {
        s->write_failed = err_sys(-status, "connect");
        uvstream_tell_closed(s, s->write_failed);
        return;
    }
    uvstream_start_reading(s);
    if (buf_len(&s->stream.out) != 0)
        stream_flush(&s->stream);
    s->stream.events->opened(s->stream.ctx);
}

static struct err bind_source(int fd, const struct net_addr *from)
{
    struct sockaddr_storage sa;
    socklen_t len = net_addr_to_sockaddr(from, &sa);
    int on = 1;

    /* The port is chosen at connect, when the whole tuple is known: one
     * source address then serves more than 28,000 connections. */
    if (from->port == 0)
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (len == 0 || bind(fd, (struct sockaddr *)&sa, len) != 0)
        return err_sys(len == 0 ? EAFNOSUPPORT : errno, "bind source address");
    return ERR_OK;
}

static struct err connect_socket(const struct net_addr *to, const struct net_addr *from, int *out)
{
    struct err e = ERR_OK;
    int on = 1;
    int fd;

    if (to->family != AF_INET && to->family != AF_INET6)
        return err_sys(EAFNOSUPPORT, "connect");
    fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(errno, "make socket");
    /* No keepalive: every wait on a connection we made has a deadline. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (from != NULL && from->family != 0)
        e = bind_source(fd, from);
    if (err_failed(e))
        close(fd);
    else
        *out = fd;
    return e;
}

struct err uvstream_connect(struct loop *l, const struct net_addr *to, const struct net_addr *from,
                            const struct stream_events *events, void *ctx, struct stream **out)
{
    struct sockaddr_storage sa;
    uv_connect_t *req;
    struct uvstream *s = NULL;
    struct err e;
    int fd = -1;
    int rc;

    e = connect_socket(to, from, &fd);
    if (err_failed(e))
        return e;
    e = stream_new(uvloop_of(l), fd, &s);
    if (err_failed(e))
        return e;
    stream_set_events(&s->stream, events, ctx);
    s->stream.remote = *to;
    if (from != NULL)
        s->stream.local = *from;
    s->connecting = true;
    req = mem_new(uv_connect_t);
    net_addr_to_sockaddr(to, &sa);
    rc = uv_tcp_connect(req, &s->tcp, (struct sockaddr *)&sa, on_connected);
    if (rc != 0) {
        free(req);
        uvstream_close_now(s);
        return err_sys(-rc, "connect");
    }
    *out = &s->stream;
    return ERR_OK;
}
