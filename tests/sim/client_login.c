/* tests/sim/client_login.c - a client on its way to a session that may send:
 * TLS, a login, or neither though it should.
 */
#include "tests/sim/client.h"

#include "base/base64.h"

/* Nothing takes longer: waiting for a link, asking again, the slowest failure. */
#define LOGIN_ANSWER_MS (2 * MINUTE_MS)

static void patience_fire(struct timer *t)
{
    struct client *c = container_of(t, struct client, patience);

    if (!c->dead)
        broken(c->sim, "a login is not answered in %u s", (unsigned)(LOGIN_ANSWER_MS / SECOND_MS));
}

static enum client_shake some_shake(struct sim *sim)
{
    return chance(sim, 80) ? CSHAKE_GOOD : (enum client_shake)(1 + roll(sim, CSHAKE_COUNT - 1));
}

void client_plan(struct client *c, struct net_addr *from)
{
    struct sim *sim = c->sim;
    bool implicit;

    c->listen = &sim->listens[c->source != NULL || chance(sim, 40) ? LISTEN_TRUSTED : roll(sim, LISTEN_COUNT)];
    implicit = c->listen->tls == SETTINGS_TLS_IMPLICIT;
    c->trusted = c->listen->index == LISTEN_TRUSTED || (c->listen->login == SETTINGS_LOGIN_UNLESS_TRUSTED && chance(sim, 50));
    *from = (struct net_addr){ .family = AF_INET, .port = 4000, .bytes = { 10, 0, 0, (uint8_t)roll(sim, 200) } };
    if (!c->trusted)
        memcpy(from->bytes, (uint8_t[]){ 203, 0, 113, (uint8_t)roll(sim, 40) }, 4);
    c->wants_tls = c->source == NULL && (implicit || chance(sim, c->listen->tls == SETTINGS_TLS_REQUIRED ? 95 : 40));
    c->shake = some_shake(sim);
    if (implicit && c->shake == CSHAKE_INJECTING)
        c->shake = CSHAKE_GOOD;
    c->guesses = !c->trusted && chance(sim, 15);
    c->tries_left = c->listen->login == SETTINGS_LOGIN_NONE ? 0 : c->guesses ? 1 + (unsigned)roll(sim, 4) : !c->trusted && chance(sim, 92);
    c->patience.fire = patience_fire;
}

/* ---- TLS ------------------------------------------------------------------------- */

enum shake client_secure(void *ctx, bool verify)
{
    struct client *c = ctx;

    if (c->dead)
        return SHAKE_SILENT;
    switch (c->shake) {
    case CSHAKE_GARBAGE:
    case CSHAKE_INJECTING:
        c->sim->counts.incoming_tls_failed++;
        return SHAKE_FAILS;
    case CSHAKE_CUT:
        client_leave(c);
        return SHAKE_SILENT;
    case CSHAKE_SILENT:
        c->sim->counts.incoming_tls_failed++;
        return SHAKE_SILENT;
    default:
        break;
    }
    c->sim->counts.incoming_tls++;
    c->secured = true;
    if (c->listen->tls != SETTINGS_TLS_IMPLICIT)
        client_say(c, W_HELLO, "EHLO client.test");
    return SHAKE_WORKS;
}

static void ask_for_tls(struct client *c)
{
    if (c->shake == CSHAKE_INJECTING) { /* as one that sits on the wire would */
        c->sim->counts.injected++;
        client_say(c, W_STARTTLS, "STARTTLS\r\nMAIL FROM:<evil@%s>\r\nRCPT TO:<evil@%s>\r\nDATA",
                   c->sim->zone.domains[0].name, c->sim->zone.domains[1].name);
        return;
    }
    client_say(c, W_STARTTLS, "STARTTLS");
}

void client_starttls_answered(struct client *c, unsigned code, const char *line)
{
    if (code == 220)
        return; /* the handshake comes by itself */
    if (code == 554 && c->shake == CSHAKE_INJECTING) {
        client_leave(c);
        return;
    }
    if (code != 421)
        broken(c->sim, "STARTTLS is refused: %s", line);
    client_leave(c);
}

/* ---- logins ------------------------------------------------------------------------ */

static const char *password_for(struct client *c)
{
    c->last_is_right = c->login != NULL && !c->guesses;
    return c->last_is_right ? c->login->password : "guessed";
}

static void add_base64(struct buf *to, const char *a, const char *b)
{
    struct buf plain = { 0 };

    buf_add_byte(&plain, '\0');
    buf_add_str(&plain, a);
    buf_add_byte(&plain, '\0');
    buf_add_str(&plain, b);
    base64_add(to, buf_bytes(&plain));
    buf_release(&plain);
}

static void log_in(struct client *c)
{
    struct sim *sim = c->sim;
    struct buf words = { 0 };
    const char *name;

    c->tries_left--;
    c->login_steps = 0;
    c->login = c->guesses && chance(sim, 30) ? NULL : user_some(sim, c->guesses);
    name = c->login != NULL ? c->login->name : "nobody@nowhere.test";
    sim->counts.logins++;
    timers_arm(&sim->timers, &c->patience, sim->now_ms + LOGIN_ANSWER_MS);
    switch (roll(sim, 3)) {
    case 0:
        c->login_steps = 2; /* the name, then the password */
        password_for(c);
        client_say(c, W_AUTH, "AUTH LOGIN");
        break;
    case 1:
        c->login_steps = 1;
        password_for(c);
        client_say(c, W_AUTH, "AUTH PLAIN");
        break;
    default:
        add_base64(&words, name, password_for(c));
        buf_cstr(&words);
        client_say(c, W_AUTH, "AUTH PLAIN %s", words.ptr);
        break;
    }
    buf_release(&words);
    trace(sim, "client: logs in as %s, %s", name, c->last_is_right ? "rightly" : "wrongly");
}

static void go_on_with_login(struct client *c, struct slice challenge)
{
    struct buf words = { 0 };
    const char *name = c->login != NULL ? c->login->name : "nobody@nowhere.test";

    if (c->login_steps == 0)
        broken(c->sim, "a challenge too many");
    if (challenge.len <= sizeof "334 ") /* "334", no challenge: the whole of PLAIN */
        add_base64(&words, name, password_for(c));
    else
        base64_add(&words, slice_str(c->login_steps == 2 ? name : password_for(c)));
    c->login_steps--;
    buf_cstr(&words);
    if (chance(c->sim, 2))
        client_leave(c);
    else if (chance(c->sim, 2))
        client_say(c, W_AUTH, "*"), c->login_steps = 100;
    else
        client_say(c, W_AUTH, "%s", words.ptr);
    buf_release(&words);
}

static void login_failed(struct client *c)
{
    if (c->tries_left > 0)
        log_in(c);
    else if (chance(c->sim, 50))
        client_next_message(c); /* in vain */
    else
        client_say(c, W_QUIT, "QUIT");
}

void client_auth_answered(struct client *c, unsigned code, const char *line)
{
    struct sim *sim = c->sim;
    bool clear = !c->secured;

    if (code == 334) {
        if (clear)
            broken(sim, "a password is asked for in the clear");
        go_on_with_login(c, slice_str(line));
        return;
    }
    timers_disarm(&sim->timers, &c->patience);
    trace(sim, "client: login answered with %u", code);
    switch (code) {
    case 235:
        if (!c->last_is_right || clear)
            broken(sim, "a login that is none is let in: %s", line);
        if (c->login->let_in == 0)
            broken(sim, "%s is let in by nobody", c->login->name);
        c->user = c->login;
        sim->counts.logins_good++;
        client_next_message(c);
        return;
    case 535:
        if (c->last_is_right)
            broken(sim, "the right password of %s is refused", c->login->name);
        sim->counts.logins_wrong++;
        login_failed(c);
        return;
    case 454: /* too many failures, or nobody to ask */
        sim->counts.logins_later++;
        if (c->tries_left > 0 && chance(sim, 50))
            c->tries_left--;
        login_failed(c);
        return;
    case 501:
        if (c->login_steps < 90)
            broken(sim, "a login is misunderstood: %s", line);
        login_failed(c);
        return;
    case 530:
    case 538:
        if (!clear)
            broken(sim, "TLS is missed where there is some: %s", line);
        login_failed(c);
        return;
    case 421:
        client_leave(c);
        return;
    default:
        broken(sim, "a login is answered with %s", line);
    }
}

/* ---- what follows -------------------------------------------------------------------- */

void client_proceed(struct client *c)
{
    if (c->wants_tls && !c->secured)
        ask_for_tls(c);
    else if (c->tries_left > 0 && c->user == NULL)
        log_in(c);
    else
        client_next_message(c);
}

const char *client_forbidden(const struct client *c)
{
    const struct msg *m = c->msg;

    if (c->listen->tls == SETTINGS_TLS_REQUIRED && !c->secured)
        return "without TLS";
    if (c->user == NULL && c->listen->login == SETTINGS_LOGIN_REQUIRED)
        return "without a login";
    if (c->user == NULL && !c->trusted)
        return "from a stranger";
    if (c->user != NULL && m->reverse_path[0] != '\0' && !user_owns(c->user, m->from_domain))
        return "from an address that is not his";
    if (c->user != NULL && m->forged != NULL && c->listen->header_from_owned && !user_owns(c->user, m->forged))
        return "with somebody else's From";
    return NULL;
}

/* Asking whether a user may send so much now can end in "no" or "not now". */
bool client_may_have_to_wait(const struct client *c, enum wait w, unsigned code)
{
    if (w != W_DATA || code != 450 || c->user == NULL)
        return false;
    c->sim->counts.sent_too_much++;
    return true;
}
