/* relayd/session_envelope.c - the envelope's sender, and its end. */
#include "relayd/session_internal.h"

#include "mail/header.h"

/* True when the store takes no mail for now, and the client was told so. */
bool session_store_refuses(struct session *s)
{
    switch (queue_space(s->acceptor->queue)) {
    case STORE_SPACE_OK:
        return false;
    case STORE_SPACE_LOW:
        smtp_server_answer(s->engine, 452, "4.3.1 not enough disk space, try again later");
        return true;
    case STORE_BROKEN:
        smtp_server_answer(s->engine, 451, "4.3.0 the mail queue can't be written, try again later");
        return true;
    }
    return false;
}

void session_sender(void *ctx, const struct smtp_sender *from)
{
    struct session *s = ctx;

    struct mail_path path = from->path;

    if (session_store_refuses(s) || session_memory_refuses(s))
        return;
    session_rewrite_sender(s, &path);
    if (session_sender_refused(s, mail_path_text(&path)))
        return;
    s->sender = path;
    s->message_flags = (from->smtputf8 ? MESSAGE_SMTPUTF8 : 0) |
                       (from->ret == MAIL_RETURN_FULL ? MESSAGE_RETURN_FULL : 0) |
                       (from->ret == MAIL_RETURN_HEADER ? MESSAGE_RETURN_HEADER : 0);
    buf_clear(&s->envelope_id);
    buf_add(&s->envelope_id, from->envelope_id);
    s->release_wall_ms = from->release_wall_ms;
    smtp_server_answer(s->engine, 250, "2.1.0 Ok");
}

const char *session_protocol(const struct session *s)
{
    return mail_protocol_name(smtp_server_esmtp(s->engine), stream_tls(s->stream) != NULL, session_logged_in(s),
                              (s->message_flags & MESSAGE_SMTPUTF8) != 0);
}

void session_forget_envelope(struct session *s)
{
    buf_release(&s->envelope_id);
    buf_release(&s->signer);
    s->message_flags = 0;
    s->release_wall_ms = 0;
    recipients_clear(&s->recipients);
    s->sender.len = s->sender.local_len = 0;
}
