/* delivery/conn_tls.c - TLS on the way out: by STARTTLS or from the first byte,
 * as the next hop's policy says.
 *
 * A handshake that fails is followed, where TLS is optional, by a new
 * connection in the clear to the same address in the same attempt. Everywhere
 * else the address has failed, and nothing of the message was sent.
 */
#include "delivery/conn_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>

/* What the engine is to do about STARTTLS on the connection in c->stream. */
enum smtp_client_tls conn_tls_wish(const struct conn *c)
{
    switch (c->opt.tls) {
    case HOP_TLS_NONE:
        break;
    case HOP_TLS_OPTIONAL:
        if (c->opt.tls_client == NULL ||
            tls_memory_has(c->opt.tls_memory, c->host_name, &c->stream->remote, c->opt.loop->now_ms))
            break;
        return SMTP_CLIENT_TLS_OPTIONAL;
    case HOP_TLS_REQUIRED:
    case HOP_TLS_VERIFIED:
        return SMTP_CLIENT_TLS_REQUIRED;
    }
    return SMTP_CLIENT_TLS_NONE;
}

/* ---- a handshake that failed ------------------------------------------------------ */

static void handshake_failed(struct conn *c, const struct net_addr *addr, const char *why)
{
    char text[512], addr_text[NET_ADDR_TEXT_MAX];
    struct smtp_outcome o = { .verdict = SMTP_DEFERRED, .stage = SMTP_STAGE_TLS, .status = { 4, 7, 5 } };
    bool in_clear = c->opt.tls == HOP_TLS_OPTIONAL && !c->tls_first;

    smtp_client_free(c->client);
    c->client = NULL;
    snprintf(text, sizeof text, "TLS with %s[%s]:%u failed: %s", c->host_name, net_addr_format(addr, addr_text),
             addr->port, why);
    log_info("smtp", "%s%s", text, in_clear ? "; TLS is optional here: once more in the clear" : "");
    o.text = slice_str(text);
    c->saw_temporary = true;
    conn_note_failure(c, &o);
    if (in_clear) {
        tls_memory_add(c->opt.tls_memory, c->host_name, addr, c->opt.loop->now_ms);
        conn_dial_again(c, addr);
    } else {
        conn_dial_next(c);
    }
}

static const char *why_text(const struct stream *s, struct err why, char *buf, size_t size)
{
    const char *detail = tls_error_text(s);

    if (why.kind == ERR_TLS && *detail != '\0')
        return detail;
    if (why.kind == ERR_CLOSED && why.sys == 0)
        return "the server closed the connection during the handshake";
    if (why.kind == ERR_TIMEOUT)
        return "the handshake took too long";
    return err_text((struct err){ why.kind, why.sys, NULL }, buf, size);
}

static void tls_closed(void *ctx, struct err why)
{
    struct conn *c = ctx;
    struct net_addr addr = c->stream->remote;
    char text[256], buf[128];

    snprintf(text, sizeof text, "%s", why_text(c->stream, why, buf, sizeof buf));
    stream_close(c->stream);
    c->stream = NULL;
    handshake_failed(c, &addr, text);
}

/* ---- one that worked -------------------------------------------------------------- */

/* In Postfix's words: whose certificate it was worth knowing. */
static const char *trust_text(const struct conn *c, const struct tls_info *info)
{
    if (!info->peer_certified)
        return "Anonymous";
    if (!info->verified)
        return "Untrusted";
    return c->opt.tls == HOP_TLS_VERIFIED ? "Verified" : "Trusted";
}

static void tls_opened(void *ctx)
{
    struct conn *c = ctx;
    const struct tls_info *info = stream_tls(c->stream);
    const struct net_addr *remote = &c->stream->remote;
    char addr[NET_ADDR_TEXT_MAX];
    struct slice binding = SLICE_EMPTY;

    snprintf(c->tls_text, sizeof c->tls_text, "%s %s %s", info->version, info->cipher, trust_text(c, info));
    for (char *at = strrchr(c->tls_text, ' '); *at != '\0'; at++)
        *at = ascii_lower(*at);
    log_info("smtp", "%s TLS connection %s to %s[%s]:%u: %s with cipher %s (%d/%d bits)%s%s%s",
             trust_text(c, info), info->resumed ? "reused" : "established", c->host_name,
             net_addr_format(remote, addr), remote->port, info->version, info->cipher, info->bits, info->cipher_bits,
             info->why_not != NULL ? " (" : "", info->why_not != NULL ? info->why_not : "",
             info->why_not != NULL ? ")" : "");
    if (info->has_binding)
        binding = slice_make(info->binding, sizeof info->binding);
    conn_speak(c);
    smtp_client_secured(c->client, binding);
    conn_send_out(c);
}

static void tls_data(void *ctx, struct slice bytes)
{
    /* None before `opened`, which sets the session's events. */
}

static const struct stream_events tls_events = { tls_opened, tls_data, NULL, tls_closed };

void conn_tls_begin(struct conn *c)
{
    struct net_addr addr = c->stream->remote;
    char key[512], text[NET_ADDR_TEXT_MAX], why[128];
    struct tls_target target = {
        .name = c->host_name,
        .verify = c->opt.tls == HOP_TLS_VERIFIED ? TLS_NAME : TLS_ANY,
        .cache_key = key,
    };
    struct stream *plain = c->stream;
    struct err e;

    c->tls_due = false;
    c->stream = NULL;
    if (c->opt.tls_client == NULL) {
        stream_close(plain);
        handshake_failed(c, &addr, "this server could not set up TLS when it started, see its log");
        return;
    }
    snprintf(key, sizeof key, "%s|%s|%u|%s", c->host_name, net_addr_format(&addr, text), addr.port,
             hop_tls_text(c->opt.tls));
    e = stream_secure(plain, c->opt.tls_client, &target, &c->stream);
    if (err_failed(e)) {
        c->stream = NULL;
        handshake_failed(c, &addr, err_text(e, why, sizeof why));
        return;
    }
    stream_set_events(c->stream, &tls_events, c);
    stream_deadline(c->stream, c->opt.policy->connect_timeout_ms);
}
