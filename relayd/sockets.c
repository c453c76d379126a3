/* relayd/sockets.c - binds what the configuration's listen directives name. */
#include "relayd/sockets.h"

#include "base/mem.h"
#include "relayd/holder.h"
#include "relayd/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool same_address(const struct sockets *s, size_t i, const struct settings_listen *l)
{
    return s->addrs[i].port == l->addr.port && s->both_families[i] == l->both_families &&
           s->addrs[i].family == l->addr.family && s->addrs[i].scope == l->addr.scope &&
           net_addr_equal_host(&s->addrs[i], &l->addr);
}

static struct err open_one(const struct settings_listen *l, const struct sockets *have, int *fd)
{
    for (size_t i = 0; i < have->len; i++) {
        if (!same_address(have, i, l))
            continue;
        *fd = fcntl(have->listeners[i].fd, F_DUPFD_CLOEXEC, 0);
        return *fd >= 0 ? ERR_OK : err_sys(errno, "duplicate listening socket");
    }
    return listen_open(&l->addr, l->both_families, fd);
}

static void explain(const struct settings_listen *l, struct err e, struct buf *why)
{
    char addr[NET_ADDR_TEXT_MAX];
    struct buf holder = { 0 };

    if (l->place.line > 0)
        buf_printf(why, "%s:%u: ", l->place.file, l->place.line);
    if (l->both_families)
        snprintf(addr, sizeof addr, "*:%u", l->addr.port);
    else
        net_addr_format_port(&l->addr, addr);
    buf_printf(why, "listen %s: %s", addr, strerror(e.sys));
    if (e.kind == ERR_BUSY && holder_of_port(&l->addr, &holder))
        buf_printf(why, ": held by %s", buf_cstr(&holder));
    if (e.sys == EACCES && l->addr.port < 1024)
        buf_add_str(why, ": ports below 1024 need root or CAP_NET_BIND_SERVICE");
    if (e.sys == EADDRNOTAVAIL)
        buf_add_str(why, ": this machine does not have that address");
    buf_release(&holder);
}

struct err sockets_open(struct sockets *s, const struct settings *st, const struct sockets *have,
                        struct buf *why)
{
    if (s->listeners == NULL) {
        s->listeners = mem_zero(st->listen_count, sizeof *s->listeners);
        s->addrs = mem_zero(st->listen_count, sizeof *s->addrs);
        s->both_families = mem_zero(st->listen_count, sizeof *s->both_families);
    }
    while (s->len < st->listen_count) {
        const struct settings_listen *l = &st->listens[s->len];
        int fd;
        struct err e = open_one(l, have, &fd);

        if (err_failed(e)) {
            explain(l, e, why);
            return e;
        }
        s->listeners[s->len] = (struct channel_listener){ fd, (uint32_t)s->len };
        s->addrs[s->len] = l->addr;
        s->both_families[s->len] = l->both_families;
        s->len++;
    }
    return ERR_OK;
}

void sockets_release(struct sockets *s)
{
    for (size_t i = 0; i < s->len; i++)
        close(s->listeners[i].fd);
    free(s->listeners);
    free(s->addrs);
    free(s->both_families);
    *s = (struct sockets){ 0 };
}
