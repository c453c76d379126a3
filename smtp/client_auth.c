/* smtp/client_auth.c - logging in at the next hop (RFC 4954).
 *
 * A login that is refused says nothing about the message: it defers. Nothing
 * that could be a secret gets into a reason, and none is sent in the clear.
 */
#include "smtp/client_private.h"

#include "base/base64.h"

#define COMMAND_MAX   512u /* RFC 4954 section 4: with its initial response */
#define CHALLENGE_MAX 4096u
#define ROUNDS_MAX    8u

#define STATUS(a, b, c) ((struct mail_status){ a, b, c })

static void forget_exchange(struct smtp_client *c)
{
    sasl_client_free(c->sasl);
    c->sasl = NULL;
    buf_wipe(&c->auth_said);
    buf_wipe(&c->auth_initial);
    c->auth_rounds = 0;
    c->auth_cancelled = c->auth_malformed = false;
}

void client_auth_release(struct smtp_client *c)
{
    if (c->opt->login != NULL)
        buf_wipe(&c->out); /* a response may still be in it */
    forget_exchange(c);
}

static bool contains(struct slice text, struct slice part, size_t *at)
{
    const char *found = part.len > 0 && text.len >= part.len ? memmem(text.ptr, text.len, part.ptr, part.len) : NULL;

    if (found != NULL)
        *at = (size_t)(found - text.ptr);
    return found != NULL;
}

/* What a server said, without what we had said to it: some repeat the command
 * they don't like. */
static void add_said(struct smtp_client *c, struct slice text, struct buf *out)
{
    struct buf shown = { 0 };
    size_t at;

    while (buf_len(&c->auth_said) > 4 && contains(text, buf_bytes(&c->auth_said), &at)) {
        buf_add(&shown, slice_head(text, at));
        buf_add_str(&shown, "(secret)");
        text = slice_from(text, at + buf_len(&c->auth_said));
    }
    buf_add(&shown, text);
    sasl_login_censor(c->opt->login, buf_bytes(&shown), out);
    buf_wipe(&shown);
}

static void fail_login(struct smtp_client *c, unsigned code, struct mail_status status, struct slice text)
{
    struct buf kept = { 0 };
    struct smtp_outcome o = { .verdict = SMTP_DEFERRED, .stage = SMTP_STAGE_AUTH, .code = code, .status = status };

    buf_add(&kept, text);
    o.text = buf_bytes(&kept);
    forget_exchange(c);
    client_fail(c, &o);
    buf_release(&kept);
}

static const char *mechanism_name(const struct smtp_client *c)
{
    return sasl_mechanism_name(c->mechanism);
}

/* ---- what we say ---------------------------------------------------------------- */

/* A response in base64. The last one is kept, to strike it out of replies. */
static void say_response(struct smtp_client *c, struct slice response)
{
    buf_wipe(&c->auth_said);
    base64_add(&c->auth_said, response);
    buf_add(&c->out, buf_bytes(&c->auth_said));
    buf_add(&c->out, SLICE("\r\n"));
}

/* The exchange is of no use any more; the server's reply ends the session. */
static void cancel(struct smtp_client *c)
{
    buf_add(&c->out, SLICE("*\r\n"));
    c->auth_cancelled = true;
}

static void say_auth(struct smtp_client *c)
{
    size_t fits = COMMAND_MAX - strlen("AUTH  \r\n") - strlen(mechanism_name(c));

    buf_printf(&c->out, "AUTH %s", mechanism_name(c));
    c->wait = WAIT_AUTH;
    c->auth_first = sasl_client_speaks_first(c->sasl);
    if (!c->auth_first || (buf_len(&c->auth_initial) + 2) / 3 * 4 > fits) {
        buf_add(&c->out, SLICE("\r\n"));
        return;
    }
    c->auth_first = false;
    buf_add_byte(&c->out, ' ');
    say_response(c, buf_bytes(&c->auth_initial));
    buf_wipe(&c->auth_initial);
}

/* True when there is a mechanism to try and it is under way. */
static bool try_next(struct smtp_client *c)
{
    struct slice binding = slice_make(c->binding, c->binding_len);

    while (sasl_login_choose(c->opt->login, c->auth_left, binding.len > 0, &c->mechanism)) {
        c->auth_left &= ~SASL_BIT(c->mechanism);
        c->sasl = sasl_client_new(c->opt->login, c->mechanism, binding);
        if (c->sasl != NULL && (!sasl_client_speaks_first(c->sasl) ||
                                sasl_client_step(c->sasl, SLICE_EMPTY, &c->auth_initial))) {
            say_auth(c);
            return true;
        }
        forget_exchange(c);
    }
    return false;
}

static void fail_no_mechanism(struct smtp_client *c)
{
    struct buf text = { 0 };

    if (!c->offer.auth)
        buf_add_str(&text, "a login is configured, and the server offers none (no AUTH in its reply to EHLO)");
    else
        buf_printf(&text, "no way to log in that the configuration allows; the server offers: %s", c->offer.auth_text);
    fail_login(c, 0, STATUS(4, 7, 0), buf_bytes(&text));
    buf_release(&text);
}

bool client_auth_begin(struct smtp_client *c)
{
    if (c->opt->login == NULL)
        return false;
    if (!c->secured && !c->opt->login_in_clear) {
        fail_login(c, 0, STATUS(4, 7, 11),
                   SLICE("a login is configured, and it is not sent over a connection without TLS"));
        return true;
    }
    c->auth_left = c->offer.auth_mechanisms;
    if (!try_next(c))
        fail_no_mechanism(c);
    return true;
}

/* ---- what the server says ---------------------------------------------------------- */

static void challenged(struct smtp_client *c, struct slice text)
{
    struct buf challenge = { 0 }, response = { 0 };

    if (c->auth_cancelled || ++c->auth_rounds > ROUNDS_MAX) {
        fail_login(c, 0, STATUS(4, 5, 0), SLICE("server goes on asking during the login"));
        return;
    }
    if (c->auth_first) { /* "334 ": now for the response that did not fit the line */
        c->auth_first = false;
        say_response(c, buf_bytes(&c->auth_initial));
        buf_wipe(&c->auth_initial);
        return;
    }
    text = slice_trim(text);
    if (text.len > CHALLENGE_MAX || !base64_decode(text, &challenge)) {
        c->auth_malformed = true;
        cancel(c);
    } else if (sasl_client_step(c->sasl, buf_bytes(&challenge), &response)) {
        say_response(c, buf_bytes(&response));
    } else {
        cancel(c);
    }
    buf_wipe(&challenge);
    buf_wipe(&response);
}

static void accepted(struct smtp_client *c)
{
    if (c->auth_cancelled || !sasl_client_complete(c->sasl)) {
        fail_login(c, 0, STATUS(4, 7, 0),
                   SLICE("server took the login without proving that it knows the password: not trusted"));
        return;
    }
    forget_exchange(c);
    client_idle(c);
}

/* Why the login failed: our own reason first, it knows more. */
static void refused(struct smtp_client *c, const struct mail_reply *reply)
{
    const char *problem = sasl_client_problem(c->sasl);
    const char *doubt = reply->code == 535 ? sasl_client_doubt(c->sasl) : NULL;
    struct buf text = { 0 };

    buf_printf(&text, "login with %s ", mechanism_name(c));
    if (c->auth_malformed)
        buf_add_str(&text, "given up: the server's challenge is not base64");
    else if (c->auth_cancelled)
        buf_printf(&text, "given up: %s", problem != NULL ? problem : "it can't go on");
    else {
        buf_add_str(&text, "refused: ");
        add_said(c, buf_bytes(&reply->text), &text);
        if (problem != NULL || doubt != NULL)
            buf_printf(&text, " (%s)", problem != NULL ? problem : doubt);
    }
    fail_login(c, c->auth_cancelled ? 0 : reply->code, STATUS(4, 7, 8), buf_bytes(&text));
    buf_release(&text);
}

void client_auth_replied(struct smtp_client *c, const struct mail_reply *reply)
{
    if (reply->code == 334) {
        challenged(c, buf_bytes(&reply->text));
        return;
    }
    if (reply->code / 100 == 3) {
        client_fail_protocol(c, "server answered AUTH out of order");
        return;
    }
    if (reply->code < 300) {
        accepted(c);
        return;
    }
    /* 504: it does not know the mechanism after all; perhaps the next one. */
    if (reply->code == 504 && !c->auth_cancelled) {
        forget_exchange(c);
        if (try_next(c))
            return;
        fail_no_mechanism(c);
        return;
    }
    refused(c, reply);
}
