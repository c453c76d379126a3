/* relayd/session_tls.c - a session turns to TLS: from its first byte, or by
 * STARTTLS. */
#include "relayd/session_internal.h"

#include "base/log.h"

#include <stdio.h>

#define HANDSHAKE_MS (60 * SECOND_MS) /* one that takes longer is none, nor one longer than a command may */

static enum smtp_server_tls tls_of(enum settings_tls tls)
{
    switch (tls) {
    case SETTINGS_TLS_OPTIONAL:
        return SMTP_SERVER_TLS_OFFERED;
    case SETTINGS_TLS_REQUIRED:
    case SETTINGS_TLS_VERIFIED:
        return SMTP_SERVER_TLS_REQUIRED;
    case SETTINGS_TLS_IMPLICIT:
        return SMTP_SERVER_TLS_ON;
    case SETTINGS_TLS_NONE:
        break;
    }
    return SMTP_SERVER_TLS_NONE;
}

void session_tls_set_up(struct session *s, const struct settings_listen *listen)
{
    s->tls = s->config->tls != NULL ? s->config->tls[listen->index] : NULL;
    smtp_server_set_tls(s->engine, s->tls != NULL ? tls_of(listen->tls) : SMTP_SERVER_TLS_NONE);
}

void session_starttls(void *ctx)
{
    struct session *s = ctx;

    smtp_server_answer(s->engine, 220, "2.0.0 Ready to start TLS");
}

/* Without memory for it the session ends: going on in the clear is not what
 * was agreed. */
bool session_tls_begin(struct session *s)
{
    struct stream *tls = NULL;
    struct err e = tls_accept(s->stream, s->tls, &tls);
    uint64_t most = s->config->settings->limits.command_timeout_ms;
    char text[128];

    s->stream = tls;
    if (err_failed(e)) {
        log_error("smtpd", "TLS with unknown[%s]: %s", s->client, err_text(e, text, sizeof text));
        return false;
    }
    s->shaking_hands = true;
    stream_set_events(tls, &session_events, s);
    stream_deadline(tls, most < HANDSHAKE_MS ? most : HANDSHAKE_MS);
    return true;
}

/* The word Postfix has for how far a client is known. */
static const char *standing(const struct tls_info *i)
{
    return i->verified ? "Trusted" : i->peer_certified ? "Untrusted" : "Anonymous";
}

void session_tls_opened(void *ctx)
{
    struct session *s = ctx;
    const struct tls_info *i = stream_tls(s->stream);

    s->shaking_hands = false;
    log_info("smtpd", "%s TLS connection %s from unknown[%s]: %s with cipher %s (%d/%d bits)%s%s", standing(i),
             i->resumed ? "reused" : "established", s->client, i->version, i->cipher, i->bits, i->cipher_bits,
             i->server_name != NULL ? " to " : "", i->server_name != NULL ? i->server_name : "");
    session_forget_name(s);
    session_offer_login(s);
    if (smtp_server_tls_due(s->engine))
        smtp_server_tls_begun(s->engine);
    else
        smtp_server_greet(s->engine);
    session_after(s);
}

void session_tls_failed(struct session *s, struct err why)
{
    const char *reason = tls_error_text(s->stream);
    char text[128];

    if (reason[0] == '\0')
        reason = err_text(why, text, sizeof text);
    log_info("smtpd", "SSL_accept error from unknown[%s]: %s", s->client, reason);
}

const char *session_tls_words(const struct session *s, char buf[128])
{
    const struct tls_info *i = stream_tls(s->stream);

    buf[0] = '\0';
    if (i != NULL)
        snprintf(buf, 128, "%s %s", i->version, i->cipher);
    return buf;
}
