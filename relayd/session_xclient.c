/* relayd/session_xclient.c - who a session's client is, when a front end stands
 * between: by the PROXY header before it, or by XCLIENT in it.
 *
 * The named address counts for limits, logs, Received and trust. Only the
 * `trusted` directive trusts it: that loopback may relay is for those whom we
 * see on loopback ourselves.
 */
#include "relayd/session_internal.h"

#include "base/log.h"
#include "net/tls.h"

static bool trusted_by_name(const struct session *s)
{
    const struct net_addr none = { 0 };

    return relay_trusts(s->config->rules, &s->client_addr, &none);
}

void session_set_way(struct session *s, const struct settings_listen *listen, enum session_way way)
{
    switch (way) {
    case SESSION_DIRECT:
        s->trusted_address = relay_trusts(s->config->rules, &s->client_addr, &listen->addr);
        break;
    case SESSION_FRONTED:
        s->trusted_address = trusted_by_name(s);
        /* What is on loopback here was in the clear on the network before. */
        s->login_in_clear = s->login_in_clear && net_addr_is_loopback(&s->client_addr);
        break;
    case SESSION_FRONTED_TLS:
        s->trusted_address = trusted_by_name(s);
        break;
    case SESSION_UNKNOWN:
        s->trusted_address = s->login_in_clear = false;
        break;
    }
    s->trusted = s->trusted_address;
    for (size_t i = 0; i < listen->xclient_count; i++)
        if (net_prefix_holds(&listen->xclients[i], &s->client_addr))
            smtp_server_offer_xclient(s->engine, true);
}

/* The place among the clients is taken by the one that is named. */
static const char *become(struct session *s, const struct smtp_xclient *x)
{
    char before[NET_ADDR_TEXT_MAX];

    net_addr_format(&s->client_addr, before);
    if (s->counted)
        clients_leave(s->acceptor->clients, &s->client_addr);
    s->counted = false;
    s->client_addr = *x->addr;
    s->client_addr.port = x->port;
    net_addr_format(&s->client_addr, s->client);
    log_info("smtpd", "%s speaks for unknown[%s]", before, s->client);
    return session_count_client(s);
}

void session_xclient(void *ctx, const struct smtp_xclient *x)
{
    struct session *s = ctx;
    const char *why = NULL;

    session_forget_login(s);
    if (x->addr != NULL)
        why = become(s, x);
    if (why != NULL) {
        smtp_server_answer(s->engine, 421, "%s", why);
        return;
    }
    s->trusted = s->trusted_address = s->client_addr.family != 0 && trusted_by_name(s);
    s->named_in_clear = stream_tls(s->stream) == NULL;
    s->login_in_clear = s->login_in_clear && net_addr_is_loopback(&s->client_addr);
    session_offer_login(s);
    smtp_server_answer(s->engine, 220, "go on");
}

/* The client stays who it was said to be, for limits and logs: the front end
 * itself may be trusted more. But nobody is trusted for a word that anybody
 * on the wire could have said (RFC 3207 section 4.2). */
void session_forget_name(struct session *s)
{
    if (s->named_in_clear)
        s->trusted = s->trusted_address = false;
}
