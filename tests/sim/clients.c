/* tests/sim/clients.c - programs that hand in mail over SMTP: patient ones,
 * hasty ones, and those that are gone before they hear the answer.
 */
#include "tests/sim/client.h"

static void pause_fire(struct timer *t);

void client_expect(struct client *c, enum wait w)
{
    if (c->wait_count == c->wait_cap) {
        c->wait_cap = c->wait_cap != 0 ? c->wait_cap * 2 : 16;
        c->waits = mem_grow(c->waits, c->wait_cap, sizeof *c->waits);
    }
    c->waits[c->wait_count++] = w;
}

void client_say(struct client *c, enum wait w, const char *fmt, ...)
{
    struct buf line = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&line, fmt, ap);
    va_end(ap);
    buf_add_str(&line, "\r\n");
    wire_send(c->wire, buf_bytes(&line), 0);
    buf_release(&line);
    client_expect(c, w);
}

void client_leave(struct client *c)
{
    c->sim->counts.cuts++;
    c->dead = true;
    timers_disarm(&c->sim->timers, &c->timer);
    timers_disarm(&c->sim->timers, &c->patience);
    switch (roll(c->sim, 3)) {
    case 0:
        wire_fin(c->wire, 0);
        break;
    case 1:
        wire_reset(c->wire);
        break;
    default:
        wire_hole(c->wire);
        break;
    }
}

/* ---- a message -------------------------------------------------------------------- */

static void stuff(struct client *c)
{
    struct slice rest = buf_bytes(&c->msg->content), line;

    buf_clear(&c->content);
    while (slice_split(&rest, '\n', &line)) {
        if (line.len > 0 && line.ptr[0] == '.')
            buf_add_byte(&c->content, '.');
        buf_add(&c->content, line);
        buf_add_byte(&c->content, '\n');
    }
    buf_add_str(&c->content, ".\r\n");
}

static void say_rcpts(struct client *c)
{
    struct msg *m = c->msg;

    do {
        const struct rcpt *r = &m->rcpts[c->rcpt_at];
        char notify[MAIL_NOTIFY_TEXT_MAX];

        client_say(c, W_RCPT, "RCPT TO:<%s>%s%s", r->address, r->notify != 0 ? " NOTIFY=" : "",
            mail_notify_format(r->notify, notify));
        c->rcpt_at++;
    } while (c->pipelining && c->rcpt_at < m->count);
    if (c->pipelining)
        client_say(c, W_DATA, "DATA");
}

static void say_mail(struct client *c)
{
    struct msg *m = c->msg;
    char envid[32] = "", hold[32] = "";

    m->begun_ms = c->sim->now_ms;
    m->jumped_ms = c->sim->jumped_ms;
    if (m->envid)
        snprintf(envid, sizeof envid, " ENVID=E%u", m->token);
    if (m->hold_s != 0) {
        snprintf(hold, sizeof hold, " HOLDFOR=%llu", (unsigned long long)m->hold_s);
        m->release_ms = c->sim->now_ms + m->hold_s * SECOND_MS;
        m->release_wall_ms = wall_ms(c->sim) + m->hold_s * SECOND_MS;
        for (size_t i = 0; i < m->count; i++)
            m->rcpts[i].not_before_ms = m->release_ms;
        c->sim->counts.held_for++;
    }
    client_say(c, W_MAIL, "MAIL FROM:<%s>%s%s", m->reverse_path, envid, hold);
}

void client_next_message(struct client *c)
{
    struct sim *sim = c->sim;

    if (c->messages_left == 0) {
        client_say(c, W_QUIT, "QUIT");
        return;
    }
    c->messages_left--;
    c->msg = c->source != NULL ? c->source(sim) : ledger_new_message(sim);
    c->rcpt_at = c->sent = 0;
    c->msg->forbidden = client_forbidden(c);
    c->msg->by_sender = c->user != NULL && c->msg->forged != NULL && !user_owns(c->user, c->msg->forged);
    stuff(c);
    c->leave_at = c->source == NULL && chance(sim, 4) ? roll(sim, buf_len(&c->content)) : SIZE_MAX;
    c->leave_at_dot = c->source == NULL && chance(sim, 3);
    trace(sim, "client: message %u from <%s> for %zu, %zu bytes%s%s", c->msg->token,
          c->msg->reverse_path, c->msg->count, buf_len(&c->msg->content),
          c->msg->forbidden != NULL ? ", " : "", c->msg->forbidden != NULL ? c->msg->forbidden : "");
    c->refused = false;
    say_mail(c);
    if (c->pipelining)
        say_rcpts(c);
}

/* Some content, then a rest; the final dot with the last of it. */
static void say_content(struct client *c)
{
    struct sim *sim = c->sim;
    struct slice rest = slice_from(buf_bytes(&c->content), c->sent);
    size_t piece = c->source != NULL || chance(sim, 60) ? rest.len : 1 + roll(sim, rest.len);

    if (c->leave_at < c->sent + piece) {
        wire_send(c->wire, slice_head(rest, c->leave_at - c->sent), 0);
        client_leave(c);
        return;
    }
    wire_send(c->wire, slice_head(rest, piece), 0);
    c->sent += piece;
    if (piece < rest.len) {
        timers_arm(&sim->timers, &c->timer,
                   sim->now_ms + roll(sim, chance(sim, 90) ? 200 : 60 * SECOND_MS));
        return;
    }
    client_expect(c, W_DOT);
    if (c->leave_at_dot) /* after a while, whether the answer is on its way or not */
        timers_arm(&sim->timers, &c->timer, sim->now_ms + roll(sim, 50));
}

static void pause_fire(struct timer *t)
{
    struct client *c = container_of(t, struct client, timer);

    if (c->dead)
        return;
    if (c->wait_count > 0 && c->waits[0] == W_DOT)
        client_leave(c);
    else
        say_content(c);
}

/* ---- answers ------------------------------------------------------------------------- */

/* A refusal that had to come. The rest of a pipelined transaction is refused
 * as well. */
static void refused_rightly(struct client *c)
{
    c->refused = true;
    timers_disarm(&c->sim->timers, &c->timer); /* of this message */
    if (c->wait_count > 0)
        return;
    c->sim->counts.refused_rightly++;
    if (c->messages_left > 0 && chance(c->sim, 50))
        client_say(c, W_RSET, "RSET");
    else
        client_say(c, W_QUIT, "QUIT");
}

static bool memory_may_be_short(const struct client *c, enum wait w, unsigned code)
{
    return (w == W_MAIL || w == W_DATA) && code == 452 && c->sim->draft_memory_max < PLENTY_OF_MEMORY;
}

static void refused(struct client *c, enum wait w, unsigned code, struct slice line)
{
    struct sim *sim = c->sim;
    bool transaction = w == W_MAIL || w == W_RCPT || w == W_DATA || w == W_DOT;

    if (c->refused || (transaction && c->msg->forbidden != NULL && code >= 500)) {
        refused_rightly(c);
        return;
    }
    /* A store that is broken for a while is a reason, and so are a stop and too
     * little memory; a user may have to wait; nothing else is. */
    sim->counts.disk_full += code == 452;
    sim->counts.store_broken += code == 451;
    if (code >= 500 || (code != 421 && !client_may_have_to_wait(c, w, code) && !memory_may_be_short(c, w, code) &&
                        disk_takes_mail(sim, transaction ? c->msg->begun_ms : sim->now_ms)))
        broken(sim, "a client is refused at step %d: %.*s", w, (int)line.len, line.ptr);
    trace(sim, "client: refused at step %d: %u", w, code);
    client_leave(c);
}

/* As far as it may get. */
static void check_forbidden(struct client *c, enum wait w)
{
    const char *why = c->msg->forbidden;

    if (why == NULL || (w == W_RCPT && c->refused))
        return;
    if (w == W_DOT || (w == W_DATA && c->user == NULL) || (w == W_RCPT && c->user == NULL))
        broken(c->sim, "a message %s gets as far as step %d", why, w);
    if (w == W_MAIL && c->listen->role == SETTINGS_ROLE_SUBMISSION && c->user == NULL)
        broken(c->sim, "the sender of a message %s is taken", why);
}

static void data_answered(struct client *c)
{
    if (c->user != NULL && c->user->always_limited && ++c->user->told > c->user->granted)
        broken(c->sim, "%s may send without being asked for", c->user->name);
    say_content(c);
}

static void answered(struct client *c, enum wait w, unsigned code, struct slice line)
{
    bool ok = w == W_GREETING ? code == 220
              : w == W_DATA   ? code == 354
                              : code == 250 || code == 221;

    if (w == W_STARTTLS) {
        client_starttls_answered(c, code, line.ptr);
        return;
    }
    if (w == W_AUTH) {
        client_auth_answered(c, code, line.ptr);
        return;
    }
    if (!ok) {
        refused(c, w, code, line);
        return;
    }
    if (w == W_MAIL || w == W_RCPT || w == W_DATA || w == W_DOT)
        check_forbidden(c, w);
    switch (w) {
    case W_GREETING:
        client_say(c, W_HELLO, "EHLO client.test");
        break;
    case W_HELLO:
        client_proceed(c);
        break;
    case W_MAIL:
        if (disk_refuses_mail(c->sim, c->msg->begun_ms))
            broken(c->sim, "message %u is taken though there is no room", c->msg->token);
        if (!c->pipelining)
            say_rcpts(c);
        break;
    case W_RCPT:
        if (c->pipelining)
            break;
        if (c->rcpt_at < c->msg->count)
            say_rcpts(c);
        else
            client_say(c, W_DATA, "DATA");
        break;
    case W_DATA:
        data_answered(c);
        break;
    case W_DOT:
        timers_disarm(&c->sim->timers, &c->timer);
        ledger_acked(c->sim, c->msg);
        client_next_message(c);
        break;
    case W_RSET:
        client_next_message(c);
        break;
    default:
        break;
    }
}

static void client_data(void *ctx, struct slice bytes)
{
    struct client *c = ctx;

    if (c->dead)
        return;
    buf_add(&c->in, bytes);
    while (!c->dead) {
        struct slice in = buf_bytes(&c->in);
        size_t len = slice_find(in, '\n');
        char line[600];
        enum wait w;

        if (len == in.len)
            return;
        snprintf(line, sizeof line, "%.*s", (int)len, in.ptr);
        buf_take(&c->in, len + 1);
        if (line[3] == '-')
            continue;
        if (c->wait_count == 0) {
            if (strncmp(line, "421", 3) != 0)
                broken(c->sim, "an answer nobody asked for: %s", line);
            client_leave(c);
            return;
        }
        w = c->waits[0];
        memmove(c->waits, c->waits + 1, --c->wait_count * sizeof c->waits[0]);
        answered(c, w, (unsigned)atoi(line), slice_str(line));
    }
}

static void client_ended(void *ctx)
{
    struct client *c = ctx;

    if (!c->dead && c->msg != NULL && !c->msg->acked)
        c->sim->counts.unacked++;
    timers_disarm(&c->sim->timers, &c->timer);
    timers_disarm(&c->sim->timers, &c->patience);
    wire_unref(c->wire);
    buf_release(&c->in);
    buf_release(&c->content);
    free(c->waits);
    free(c);
}

static const struct peer_ops client_peer = { .data = client_data, .ended = client_ended, .secure = client_secure };

static void accept_on(struct wire *w)
{
    struct sim_loop *l = w->loop;

    struct client *c = w->peer_ctx;

    acceptor_accept(&l->life->acceptors[l->base.index], c->listen, &w->s);
}

void client_begin(struct sim *sim, struct msg *(*source)(struct sim *sim), unsigned messages)
{
    struct client *c = mem_new(struct client);
    struct net_addr from;

    c->sim = sim;
    c->timer.fire = pause_fire;
    c->source = source;
    c->pipelining = source != NULL || chance(sim, 60);
    c->messages_left = messages;
    client_plan(c, &from);
    c->wire = wire_accept(&sim->life->loops[roll(sim, LOOPS)], &from, &client_peer, c, accept_on);
    client_expect(c, W_GREETING);
}

static void client_start(struct sim *sim)
{
    client_begin(sim, NULL, chance(sim, 70) ? 1 : 1 + (unsigned)roll(sim, 4));
}

static void arrival_fire(struct timer *t)
{
    struct sim *sim = container_of(t, struct sim, arrival);
    uint64_t mean = sim->end_ms / sim->session_goal;

    if (sim->now_ms + DAY_MS / 2 >= sim->end_ms)
        return;
    if (sim->life != NULL && !sim->stopping) /* the listeners are closed first */
        client_start(sim);
    timers_arm(&sim->timers, &sim->arrival,
               sim->now_ms + (chance(sim, 40) ? roll(sim, SECOND_MS) : roll(sim, 3 * mean)));
}

void clients_begin(struct sim *sim)
{
    sim->arrival.fire = arrival_fire;
    timers_arm(&sim->timers, &sim->arrival, sim->now_ms + roll(sim, MINUTE_MS));
}
