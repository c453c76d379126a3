/* relayd/engine_listen.c - the listening sockets of the parent, on every loop. */
#include "relayd/engine_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct listen_order { /* what one loop is to do */
    struct post post;
    struct engine_loop *el;
    struct acceptor_config *config; /* NULL: stop */
    int *fds;                       /* this loop's own */
    struct settings_listen *listens;
    size_t count;
};

static void accepted(void *ctx, struct stream *s)
{
    struct listening *l = ctx;

    acceptor_accept(l->acceptor, &l->listen, s);
}

void engine_close_listeners(struct engine_loop *el)
{
    for (size_t i = 0; i < el->listening_count; i++) {
        listener_free(el->listening[i]->listener);
        free(el->listening[i]);
    }
    free(el->listening);
    el->listening = NULL;
    el->listening_count = 0;
}

static void open_listeners(struct engine_loop *el, struct listen_order *o)
{
    el->listening = mem_zero(o->count, sizeof(struct listening *));
    for (size_t i = 0; i < o->count; i++) {
        struct listening *l = mem_new(struct listening);
        struct err e;
        char text[256], addr[NET_ADDR_TEXT_MAX];

        l->acceptor = &el->acceptor;
        l->listen = o->listens[i];
        e = listener_new(el->loop, o->fds[i], accepted, l, &l->listener);
        if (err_failed(e)) {
            /* Another loop's copy still serves it. */
            log_error("engine", "listen on %s: %s", net_addr_format_port(&l->listen.addr, addr),
                      err_text(e, text, sizeof text));
            free(l);
            continue;
        }
        el->listening[el->listening_count++] = l;
    }
}

/* A failure leaves the name servers of before: mail is late then, at worst. */
static void ask_other_servers(struct engine_loop *el, const struct settings *st)
{
    struct err e = ares_resolver_set_servers(el->resolver, st->resolvers, (unsigned)st->resolver_count);
    char text[256];

    if (err_failed(e))
        log_error("engine", "the name servers stay as they were: %s", err_text(e, text, sizeof text));
}

static void order_run(struct post *p)
{
    struct listen_order *o = container_of(p, struct listen_order, post);
    struct engine_loop *el = o->el;
    struct listening **old = el->listening;
    size_t old_count = el->listening_count;

    el->listening = NULL;
    el->listening_count = 0;
    if (o->config != NULL) {
        acceptor_reload(&el->acceptor, o->config);
        ask_other_servers(el, o->config->settings);
        open_listeners(el, o);
    } else {
        acceptor_drain(&el->acceptor);
    }
    for (size_t i = 0; i < old_count; i++) {
        listener_free(old[i]->listener);
        free(old[i]);
    }
    free(old);
    acceptor_config_unref(o->config);
    free(o->fds);
    free(o->listens);
    free(o);
}

static void order_free(struct listen_order *o)
{
    if (o == NULL)
        return;
    for (size_t i = 0; i < o->count; i++)
        close(o->fds[i]);
    acceptor_config_unref(o->config);
    free(o->fds);
    free(o->listens);
    free(o);
}

/* Each loop gets descriptors of its own. */
static struct err make_order(struct engine *en, struct engine_loop *el, const struct channel_listener *listeners,
                             size_t count, struct listen_order **out)
{
    struct listen_order *o = mem_new(struct listen_order);

    o->post.run = order_run;
    o->el = el;
    o->config = en->config;
    atomic_fetch_add(&o->config->refs, 1);
    o->fds = mem_zero(count, sizeof *o->fds);
    o->listens = mem_zero(count, sizeof *o->listens);
    *out = o;
    for (size_t i = 0; i < count; i++) {
        int fd;

        if (listeners[i].directive >= en->settings->listen_count)
            return err_make(ERR_PROTOCOL, "a listening socket without its directive");
        fd = dup(listeners[i].fd);
        if (fd < 0)
            return err_sys(errno, "duplicate a listening socket");
        o->fds[o->count] = fd;
        o->listens[o->count++] = en->settings->listens[listeners[i].directive];
    }
    return ERR_OK;
}

struct err engine_listen(struct engine *en, struct channel_listener *listeners, size_t count)
{
    struct listen_order **orders = mem_zero(en->loop_count, sizeof *orders);
    struct err e = ERR_OK;

    for (unsigned i = 0; i < en->loop_count && !err_failed(e); i++)
        e = make_order(en, &en->loops[i], listeners, count, &orders[i]);
    for (unsigned i = 0; i < en->loop_count; i++) {
        if (err_failed(e))
            order_free(orders[i]);
        else
            loop_post(en->loops[i].loop, &orders[i]->post);
    }
    free(orders);
    return e;
}

void engine_stop_listening(struct engine *en)
{
    for (unsigned i = 0; i < en->loop_count; i++) {
        struct listen_order *o = mem_new(struct listen_order);

        o->post.run = order_run;
        o->el = &en->loops[i];
        loop_post(en->loops[i].loop, &o->post);
    }
}
