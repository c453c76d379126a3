/* smtp/server_tls.c - STARTTLS (RFC 3207): from the word to the first byte that
 * is encrypted. The handshake itself is the owner's.
 *
 * Whoever sits on the wire may put commands of his own behind the client's
 * STARTTLS, in the same segment. Were they served after the handshake they
 * would count as the client's; so nothing that came in the clear outlives it,
 * and a session in which something came is over.
 */
#include "smtp/server_private.h"

#include <assert.h>
#include <stdlib.h>

void smtp_server_set_tls(struct smtp_server *s, enum smtp_server_tls tls)
{
    s->tls = (uint8_t)tls;
}

void server_tls_injected(struct smtp_server *s)
{
    server_reply_close(s, 554, "5.5.1 nothing may be sent behind STARTTLS before the handshake");
}

void server_starttls(struct smtp_server *s, struct slice args)
{
    if (s->tls == SMTP_SERVER_TLS_ON) {
        server_reply(s, 503, "5.5.1 the session is encrypted already");
    } else if (s->tls == SMTP_SERVER_TLS_NONE) {
        server_reply(s, 502, "5.5.1 STARTTLS is not offered here");
    } else if (!s->esmtp) {
        server_reply(s, 503, "5.5.1 EHLO first");
    } else if (s->view.len > 0) {
        server_tls_injected(s);
    } else {
        server_ask(s, ASK_TLS);
        s->handler->starttls(s->ctx);
    }
}

void server_tls_answered(struct smtp_server *s, unsigned code, const char *text)
{
    assert(code == 220 || code >= 400);
    /* What came behind it while the question was out. */
    if ((s->pumping ? s->view.len : buf_len(&s->in)) > 0) {
        server_tls_injected(s);
        return;
    }
    server_reply(s, code, text);
    if (code == 220)
        server_enter(s, PH_TLS);
}

bool smtp_server_tls_due(const struct smtp_server *s)
{
    return s->phase == PH_TLS;
}

/* RFC 3207 section 4.2. What is counted against the client stays. */
void smtp_server_tls_begun(struct smtp_server *s)
{
    if (s->phase == PH_CLOSING)
        return;
    assert(s->phase == PH_TLS && buf_len(&s->in) == 0 && !s->transaction && !s->auth_open);
    free(s->helo);
    s->helo = NULL;
    s->esmtp = s->authenticated = s->auth_seen = false;
    s->tls = SMTP_SERVER_TLS_ON;
    server_enter(s, PH_GREETED);
    server_pump(s);
}

/* RFC 3207 section 4, for what needs a trusted wire: mail, and logins, whose
 * words are lost once they were said in the clear. */
bool server_tls_refuses(struct smtp_server *s)
{
    if (s->tls != SMTP_SERVER_TLS_REQUIRED)
        return false;
    server_reply(s, 530, "5.7.0 Must issue a STARTTLS command first");
    return true;
}
