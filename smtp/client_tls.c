/* smtp/client_tls.c - STARTTLS (RFC 3207): from the offer to the second EHLO.
 *
 * The engine says when, the owner does the handshake. Whatever came behind
 * the 220 was said by nobody we can name: the session ends with it, and no
 * offer made in the clear outlives the handshake (section 4.2).
 */
#include "smtp/client_private.h"

#define STATUS(a, b, c) ((struct mail_status){ a, b, c })

static void fail_required(struct smtp_client *c, enum smtp_stage stage, unsigned code, const char *why,
                          struct slice said)
{
    struct buf text = { 0 };
    struct smtp_outcome o = { .verdict = SMTP_DEFERRED, .stage = stage, .code = code, .status = STATUS(4, 7, 4) };

    buf_add_str(&text, why);
    buf_add(&text, said);
    o.text = buf_bytes(&text);
    client_fail(c, &o);
    buf_release(&text);
}

bool client_tls_begin(struct smtp_client *c)
{
    if (c->secured || c->opt->tls == SMTP_CLIENT_TLS_NONE)
        return false;
    if (c->offer.starttls) {
        buf_add(&c->out, SLICE("STARTTLS\r\n"));
        c->wait = WAIT_STARTTLS;
        return true;
    }
    if (c->opt->tls == SMTP_CLIENT_TLS_OPTIONAL)
        return false;
    fail_required(c, SMTP_STAGE_TLS, 0, "TLS is required here, and the server does not offer STARTTLS", SLICE_EMPTY);
    return true;
}

void client_starttls_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    if (reply->code == 220) {
        c->wait = WAIT_TLS;
        c->tls_due = true; /* told by client_turn(), unless more bytes follow */
    } else if (c->opt->tls == SMTP_CLIENT_TLS_OPTIONAL && reply->code >= 400) {
        client_after_tls(c);
    } else if (reply->code >= 400) {
        fail_required(c, SMTP_STAGE_TLS, reply->code, "TLS is required here, and the server refuses STARTTLS: ",
                      buf_bytes(&reply->text));
    } else {
        client_fail_protocol(c, "server answered STARTTLS with neither yes nor no");
    }
}

void smtp_client_secured(struct smtp_client *c, struct slice binding)
{
    c->secured = true;
    c->binding_len = binding.len <= sizeof c->binding ? binding.len : 0;
    if (c->binding_len > 0)
        memcpy(c->binding, binding.ptr, c->binding_len);
    if (c->wait != WAIT_TLS)
        return; /* before the greeting: TLS from the first byte */
    c->offer = (struct smtp_client_offer){ 0 };
    mail_reply_reader_release(&c->reader);
    c->reader = (struct mail_reply_reader){ 0 };
    client_say_ehlo(c);
}
