/* dns/channel.c - carries questions to name servers by c-ares, whose sockets
 * and time-outs live on our loop. */
#include "dns/channel.h"

#include "base/list.h"
#include "base/mem.h"
#include "net/uvloop.h"

#include <ares.h>
#include <errno.h>
#include <stdlib.h>

#define TRIES 3
/* No answer of this size is cut into fragments on its way (DNS flag day 2020). */
#define EDNS_BYTES        1232
#define EDNS_BYTES_TAKEN  4096         /* from a server that sends more all the same */
#define RECEIVE_BUF_BYTES (256 * 1024) /* a burst of answers */
#define IDS               64

struct dns_channel {
    struct loop *loop;
    ares_channel ares;
    struct timer tick; /* c-ares' next time-out */
    unsigned asked;    /* questions c-ares has */
    struct list socks;
    unsigned servers;
    bool trusted; /* all of them are on loopback */
    bool freed;
    unsigned ids_left;
    uint16_t ids[IDS];
};

struct sock { /* one of c-ares' */
    struct list link;
    struct dns_channel *ch;
    struct fd_watch *watch;
    ares_socket_t fd;
};

struct asked {
    struct dns_channel *ch;
    dns_channel_done *done;
    void *ctx;
};

/* ---- sockets and time ---- */

static void set_tick(struct dns_channel *ch)
{
    struct timeval tv;

    if (ch->freed || ch->asked == 0) {
        loop_disarm(ch->loop, &ch->tick);
        return;
    }
    /* A question asked later is due later: the tick that is set finds out. */
    if (timer_armed(&ch->tick))
        return;
    if (ares_timeout(ch->ares, NULL, &tv) != NULL)
        loop_arm(ch->loop, &ch->tick, (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1);
}

static void on_tick(struct timer *t)
{
    struct dns_channel *ch = container_of(t, struct dns_channel, tick);

    ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_tick(ch);
}

static void on_sock(void *ctx, unsigned events)
{
    struct sock *s = ctx;
    struct dns_channel *ch = s->ch;
    ares_socket_t fd = s->fd;

    ares_process_fd(ch->ares, (events & FD_READABLE) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & FD_WRITABLE) != 0 ? fd : ARES_SOCKET_BAD);
    set_tick(ch);
}

static struct sock *find_sock(struct dns_channel *ch, ares_socket_t fd)
{
    list_foreach (it, &ch->socks) {
        struct sock *s = container_of(it, struct sock, link);

        if (s->fd == fd)
            return s;
    }
    return NULL;
}

static void add_sock(struct dns_channel *ch, ares_socket_t fd, unsigned events)
{
    struct sock *s = mem_new(struct sock);

    s->ch = ch;
    s->fd = fd;
    if (err_failed(fd_watch_new(ch->loop, fd, events, on_sock, s, &s->watch)))
        free(s); /* the question times out and is asked again */
    else
        list_append(&ch->socks, &s->link);
}

/* c-ares says what it wants to know of a socket; nothing before closing it. */
static void on_sock_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct dns_channel *ch = ctx;
    struct sock *s = find_sock(ch, fd);
    unsigned events = (readable ? FD_READABLE : 0u) | (writable ? FD_WRITABLE : 0u);

    if (s == NULL && events != 0) {
        add_sock(ch, fd, events);
    } else if (s != NULL && events != 0) {
        fd_watch_change(s->watch, events);
    } else if (s != NULL) {
        list_remove(&s->link);
        fd_watch_free(s->watch);
        free(s);
    }
}

/* ---- questions ---- */

static const char *failure_text(int status)
{
    switch (status) {
    case ARES_ETIMEOUT:
        return "timed out";
    case ARES_ECONNREFUSED:
        return "no name server answers";
    case ARES_EBADRESP:
    case ARES_EBADNAME:
        return "malformed answer";
    }
    return "name servers fail";
}

static void on_reply(void *ctx, int status, int timeouts, unsigned char *raw, int len)
{
    struct asked *asked = ctx;
    struct asked a = *asked;
    struct slice bytes = SLICE_EMPTY;
    enum dns_reply reply = DNS_REPLY_FAILED;

    (void)timeouts;
    free(asked);
    a.ch->asked--;
    if (a.ch->freed || status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) {
        reply = DNS_REPLY_GONE;
    } else if (status == ARES_SUCCESS) {
        reply = DNS_REPLY_MESSAGE;
        bytes = slice_make(raw, (size_t)len);
    }
    a.done(a.ctx, reply, bytes, failure_text(status));
}

/* Unpredictable: an answer is believed by it. */
static uint16_t next_id(struct dns_channel *ch)
{
    if (ch->ids_left == 0) {
        random_secret(ch->ids, sizeof ch->ids);
        ch->ids_left = IDS;
    }
    return ch->ids[--ch->ids_left];
}

void dns_channel_ask(struct dns_channel *ch, const char *name, enum dns_type type, bool edns,
                     dns_channel_done *done, void *ctx)
{
    struct asked *a;
    unsigned char *query = NULL;
    int len = 0;

    if (ares_create_query(name, 1 /* IN */, (int)type, next_id(ch), 1, &query, &len,
                          edns ? EDNS_BYTES : 0) != ARES_SUCCESS ||
        len < 12) {
        ares_free_string(query);
        done(ctx, DNS_REPLY_FAILED, SLICE_EMPTY, "not a name");
        return;
    }
    query[3] |= 0x20; /* AD: tell us whether you validated (RFC 6840 section 5.7) */
    a = mem_new(struct asked);
    *a = (struct asked){ ch, done, ctx };
    ch->asked++;
    ares_send(ch->ares, query, len, on_reply, a);
    ares_free_string(query);
    set_tick(ch);
}

/* ---- making and ending ---- */

static bool set_servers(struct dns_channel *ch, const struct net_addr *servers, unsigned count)
{
    struct ares_addr_port_node *nodes = mem_zero(count, sizeof *nodes);
    int rc;

    for (unsigned i = 0; i < count; i++) {
        nodes[i].next = i + 1 < count ? &nodes[i + 1] : NULL;
        nodes[i].family = servers[i].family;
        nodes[i].udp_port = nodes[i].tcp_port = servers[i].port != 0 ? servers[i].port : 53;
        memcpy(&nodes[i].addr, servers[i].bytes, servers[i].family == AF_INET ? 4 : 16);
    }
    rc = ares_set_servers_ports(ch->ares, nodes);
    free(nodes);
    return rc == ARES_SUCCESS;
}

/* Those given, or those c-ares found in resolv.conf. */
static void look_at_servers(struct dns_channel *ch)
{
    struct ares_addr_port_node *nodes = NULL;

    if (ares_get_servers_ports(ch->ares, &nodes) != ARES_SUCCESS)
        return;
    ch->trusted = nodes != NULL;
    for (struct ares_addr_port_node *n = nodes; n != NULL; n = n->next) {
        struct net_addr a = { .family = (uint8_t)n->family };

        memcpy(a.bytes, &n->addr, n->family == AF_INET ? 4 : 16);
        ch->trusted = ch->trusted && net_addr_is_loopback(&a);
        ch->servers++;
    }
    ares_free_data(nodes);
}

struct err dns_channel_new(struct loop *l, const struct net_addr *servers, unsigned server_count,
                           enum dns_transport by, unsigned timeout_ms, struct dns_channel **out)
{
    struct dns_channel *ch = mem_new(struct dns_channel);
    struct ares_options opt = { 0 };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
               ARES_OPT_SOCK_RCVBUF | ARES_OPT_LOOKUPS | ARES_OPT_ROTATE | ARES_OPT_EDNSPSZ;

    list_init(&ch->socks);
    ch->loop = l;
    ch->tick.fire = on_tick;
    /* Truncation, refusals and servers without EDNS are dealt with question by
     * question in ares.c: c-ares would do without EDNS for all at the first
     * FORMERR, and say "connection refused" for SERVFAIL. */
    opt.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_IGNTC | ARES_FLAG_NOCHECKRESP;
    if (by == DNS_BY_TCP)
        opt.flags |= ARES_FLAG_USEVC;
    if (by == DNS_BY_UDP)
        opt.flags |= ARES_FLAG_EDNS; /* for the size; the OPT record is ours */
    opt.ednspsz = EDNS_BYTES_TAKEN;
    opt.timeout = (int)timeout_ms;
    opt.tries = TRIES;
    opt.socket_receive_buffer_size = RECEIVE_BUF_BYTES;
    opt.lookups = (char *)"b";
    opt.sock_state_cb = on_sock_state;
    opt.sock_state_cb_data = ch;
    if (ares_init_options(&ch->ares, &opt, mask) != ARES_SUCCESS) {
        free(ch);
        return err_make(ERR_SYSTEM, "start resolver");
    }
    if (server_count != 0 && !set_servers(ch, servers, server_count)) {
        ares_destroy(ch->ares);
        free(ch);
        return err_make(ERR_SYSTEM, "set name servers");
    }
    look_at_servers(ch);
    *out = ch;
    return ERR_OK;
}

void dns_channel_free(struct dns_channel *ch)
{
    if (ch == NULL)
        return;
    ch->freed = true;
    loop_disarm(ch->loop, &ch->tick);
    ares_destroy(ch->ares); /* on_reply for each, on_sock_state for each socket */
    free(ch);
}

unsigned dns_channel_servers(const struct dns_channel *ch)
{
    return ch->servers;
}

bool dns_channel_trusted(const struct dns_channel *ch)
{
    return ch->trusted;
}
