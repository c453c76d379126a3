/* smtp/server_auth.c - AUTH (RFC 4954): a login's bytes between the client and
 * whoever checks it. Here is only the exchange around them; what a mechanism
 * says to the bytes is the handler's.
 *
 * Passwords pass through. They are wiped from our buffers, and no line that
 * could hold one gets into a log: nor do lines after AUTH that are no command,
 * for a client whose AUTH was refused may have sent its responses already.
 */
#include "smtp/server_private.h"

#include "base/base64.h"

#include <assert.h>

#define MECHANISM_MAX 20u /* RFC 4422 section 3.1 */

void smtp_server_set_auth(struct smtp_server *s, const struct smtp_server_auth *auth)
{
    s->auth = auth;
}

bool smtp_server_authenticated(const struct smtp_server *s)
{
    return s->authenticated;
}

struct slice server_auth_hide(struct smtp_server *s, struct slice line)
{
    size_t word = slice_find(line, ' ');

    if (s->phase == PH_AUTH)
        return SLICE("AUTH");
    if (slice_starts_nocase(line, SLICE("AUTH"))) {
        s->auth_seen = true;
        return SLICE("AUTH");
    }
    if (s->auth_seen && !server_verb_known(slice_head(line, word)))
        return SLICE("(not shown)");
    return line;
}

/* Growing a buffer may leave a copy of it behind. What may become a password
 * gets its room at once. */
void server_wait_input(struct smtp_server *s, struct slice bytes)
{
    size_t most = s->phase == PH_AUTH ? SERVER_AUTH_LINE_MAX : SERVER_LINE_MAX;

    if (bytes.len == 0)
        return;
    if (s->auth != NULL && !s->authenticated && (s->phase & (PH_READY | PH_AUTH)) != 0 &&
        buf_len(&s->in) < most)
        buf_reserve(&s->in, most - buf_len(&s->in));
    buf_add(&s->in, bytes);
}

void server_drop_input(struct smtp_server *s)
{
    if (s->auth != NULL)
        buf_wipe(&s->in);
    else
        buf_release(&s->in);
}

/* Is `word` one of the words of `list`? */
static bool lists(const char *list, struct slice word)
{
    struct slice rest = slice_str(list), one;

    while (slice_split(&rest, ' ', &one))
        if (slice_eq_nocase(one, word))
            return true;
    return false;
}

/* RFC 4422 section 3.1 */
static bool is_mechanism(struct slice word)
{
    for (size_t i = 0; i < word.len; i++)
        if (!ascii_is_alnum(word.ptr[i]) && word.ptr[i] != '-' && word.ptr[i] != '_')
            return false;
    return word.len > 0 && word.len <= MECHANISM_MAX;
}

static void begin(struct smtp_server *s, struct slice word, struct slice initial)
{
    char mechanism[MECHANISM_MAX + 1] = "";
    struct buf bytes = { 0 };
    bool empty = slice_eq(initial, SLICE("=")); /* RFC 4954 section 4: there, and of no length */

    if (!empty && !base64_decode(initial, &bytes)) {
        buf_release(&bytes);
        server_reply(s, 501, "5.5.2 the initial response is not base64");
        return;
    }
    for (size_t i = 0; i < word.len; i++) {
        bool small = word.ptr[i] >= 'a' && word.ptr[i] <= 'z';

        mechanism[i] = (char)(word.ptr[i] - (small ? 'a' - 'A' : 0));
    }
    s->auth_open = true;
    server_ask(s, ASK_AUTH);
    s->handler->auth_begin(s->ctx, mechanism, buf_bytes(&bytes), initial.len > 0);
    buf_wipe(&bytes);
}

void server_auth(struct smtp_server *s, struct slice args)
{
    size_t len = slice_find(args, ' ');
    struct slice mechanism = slice_head(args, len);
    struct slice initial = slice_trim(slice_from(args, len));

    if (server_tls_refuses(s))
        return;
    if (!s->esmtp)
        server_reply(s, 503, "5.5.1 EHLO first");
    else if (s->authenticated)
        server_reply(s, 503, "5.5.1 already logged in");
    else if (s->auth == NULL || (s->auth->mechanisms[0] == '\0' && s->auth->under_tls[0] == '\0'))
        server_reply(s, 502, "5.5.1 AUTH is not offered here");
    else if (!is_mechanism(mechanism) || slice_find(initial, ' ') < initial.len)
        server_reply(s, 501, "5.5.4 AUTH MECHANISM or AUTH MECHANISM RESPONSE is what is needed");
    else if (lists(s->auth->mechanisms, mechanism))
        begin(s, mechanism, initial);
    else if (lists(s->auth->under_tls, mechanism))
        server_reply(s, 538, "5.7.11 encryption is needed for this mechanism: STARTTLS first");
    else
        server_reply(s, 504, "5.5.4 this mechanism is not offered");
}

void server_auth_response(struct smtp_server *s, struct slice line)
{
    struct buf bytes = { 0 };

    if (slice_eq(line, SLICE("*"))) {
        server_auth_abandon(s);
        server_reply(s, 501, "5.7.0 login cancelled");
        return;
    }
    if (!base64_decode(line, &bytes)) {
        buf_release(&bytes);
        server_auth_abandon(s);
        server_reply(s, 501, "5.5.2 the response is not base64");
        return;
    }
    server_enter(s, PH_READY); /* until there is another challenge */
    server_ask(s, ASK_AUTH);
    s->handler->auth_continue(s->ctx, buf_bytes(&bytes));
    buf_wipe(&bytes);
}

void smtp_server_challenge(struct smtp_server *s, struct slice challenge)
{
    assert(s->question == ASK_AUTH);
    assert(challenge.len <= (SERVER_AUTH_LINE_MAX - sizeof "334 \r\n") / 4 * 3);
    s->question = ASK_NOTHING;
    buf_add(&s->out, SLICE("334 "));
    base64_add(&s->out, challenge);
    buf_add(&s->out, SLICE("\r\n"));
    server_enter(s, PH_AUTH);
    server_pump(s);
}

void server_auth_answered(struct smtp_server *s, unsigned code, const char *text)
{
    assert(code == 235 || code >= 400);
    s->authenticated = code == 235;
    server_reply(s, code, text);
}

void server_auth_abandon(struct smtp_server *s)
{
    if (s->phase == PH_AUTH)
        server_enter(s, PH_READY);
    if (!s->auth_open)
        return;
    s->auth_open = false;
    s->handler->auth_cancelled(s->ctx);
}

bool server_auth_refuses_mail(struct smtp_server *s)
{
    if (s->auth == NULL || !s->auth->required || s->authenticated)
        return false;
    server_reply(s, 530, "5.7.0 Authentication required");
    return true;
}

/* Who first submitted the message, by the word of a client (RFC 4954 section
 * 5). Checked to the letter and no more: nothing is decided by it, and next
 * hops are not told what we can't vouch for. */
const char *server_auth_param(struct slice value)
{
    struct buf address = { 0 };
    struct mail_path path;
    bool fine = slice_eq(value, SLICE("<>"));

    if (!fine && mail_xtext_valid(value)) {
        mail_xtext_decode(value, &address);
        fine = mail_address_parse(buf_bytes(&address), 0, &path) == MAIL_PATH_OK;
        buf_release(&address);
    }
    return fine ? NULL : "501 5.5.4 AUTH needs <> or an address";
}
