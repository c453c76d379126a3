/* tests/sim/remote_talk.c - what the servers of the world say, and what goes
 * wrong with it: they refuse, put off, forget to answer, hang up at every moment
 * there is, and say what no client should have to read.
 */
#include "tests/sim/remote.h"

/* ---- marks ------------------------------------------------------------------------ */

void remote_deferred(struct sim *sim, struct mark *m)
{
    for (size_t i = 0; i < m->count; i++)
        ledger_deferred(sim, m->about[i]);
}

void remote_mark(struct remote *r, void (*reached)(struct sim *sim, struct mark *m),
                 struct rcpt **about, size_t count, uint64_t n)
{
    struct mark *m;

    if (r->garbled)
        return; /* nobody can know what is made of it */
    m = mem_new(struct mark);
    m->reached = reached;
    m->count = count;
    m->n = n;
    if (count != 0) {
        m->about = mem_alloc(count * sizeof(struct rcpt *));
        memcpy(m->about, about, count * sizeof(struct rcpt *));
    }
    wire_mark(r->wire, m);
}

/* ---- talking ------------------------------------------------------------------------ */

static uint64_t think(struct remote *r)
{
    if ((r->host->slow && !r->sim->healed) || host_mode(r->host) == MODE_SLOW)
        return roll(r->sim, 2 * MINUTE_MS);
    return roll(r->sim, 30);
}

/* The same code with words no client should have to read; or, at last, no code. */
static void say_hostile(struct remote *r, const char *text)
{
    struct sim *sim = r->sim;
    struct buf b = { 0 };

    sim->counts.hostile++;
    trace(sim, "%s: hostile reply", r->host->name);
    switch (roll(sim, 4)) {
    case 0:
        buf_add_str(&b, text);
        for (size_t i = roll(sim, chance(sim, 80) ? 4 * KIB : MIB); i > 0; i--)
            buf_add_byte(&b, 'x');
        break;
    case 1:
        for (size_t i = roll(sim, chance(sim, 80) ? 100 : 10000); i > 0; i--)
            buf_printf(&b, "%.3s-and so on\r\n", text);
        buf_add_str(&b, text);
        break;
    case 2:
        buf_add_str(&b, text);
        buf_add(&b, SLICE(" \x1b[2J\0 \xff\rBcc: x\n\x7f"));
        break;
    default:
        buf_add_str(&b, chance(sim, 50) ? "HTTP/1.1 400 Bad Request" : "99");
        break;
    }
    buf_add_str(&b, "\r\n");
    wire_send(r->wire, buf_bytes(&b), think(r));
    buf_release(&b);
    r->dead = r->garbled = true; /* whatever comes of it */
}

bool remote_is_hasty(struct remote *r)
{
    if (r->sim->healed || host_mode(r->host) != MODE_FLAKY || !chance(r->sim, 3))
        return false;
    r->sim->counts.early++;
    trace(r->sim, "%s: speaks too early", r->host->name);
    return true;
}

void remote_say(struct remote *r, const char *text)
{
    char line[600];

    if (r->dead)
        return;
    if (!r->sim->healed && host_mode(r->host) == MODE_FLAKY && chance(r->sim, 2)) {
        say_hostile(r, text);
        return;
    }
    snprintf(line, sizeof line, "%s\r\n", text);
    wire_send(r->wire, slice_str(line), think(r));
}

void remote_hang_up(struct remote *r)
{
    if (r->dead)
        return;
    wire_fin(r->wire, 0);
    r->dead = true;
}

void remote_lose(struct remote *r, enum fault f)
{
    r->sim->counts.cuts++;
    switch (f) {
    case F_CLOSE:
        remote_hang_up(r);
        break;
    case F_RESET:
        wire_reset(r->wire);
        break;
    case F_HOLE:
        wire_hole(r->wire);
        break;
    default:
        break;
    }
    r->dead = true;
}

enum fault remote_fault(struct remote *r, enum stage st)
{
    static const enum fault lossy[] = { F_CLOSE, F_RESET, F_HANG, F_HOLE };
    enum mode mode = host_mode(r->host);

    if (mode == MODE_HANG)
        return F_HANG;
    if (mode == MODE_GREY)
        return st == ST_GREETING || st == ST_HELLO || st == ST_CONTENT ? F_NONE : F_4XX;
    if (mode == MODE_UP || mode == MODE_BUSY || mode == MODE_SLOW)
        return F_NONE;
    if (mode != MODE_FLAKY)
        return chance(r->sim, 50) ? F_RESET : F_HOLE; /* it went down during the session */
    switch (roll(r->sim, 24)) {
    case 0:
        return st == ST_CONTENT ? F_NONE : F_4XX;
    case 1:
        return st == ST_GREETING || st == ST_CONTENT ? F_NONE : F_421;
    case 2:
        return lossy[roll(r->sim, countof(lossy))];
    case 3:
        return st == ST_CONTENT || (st == ST_MAIL && r->nameless) || chance(r->sim, 60) ? F_NONE
                                                                                        : F_5XX;
    default:
        return F_NONE;
    }
}

/* Carries out a fault at a stage; F_NONE: go on as if nothing were. */
enum fault remote_suffers(struct remote *r, enum stage st, struct rcpt **about, size_t count)
{
    enum fault f = remote_fault(r, st);

    if (f != F_NONE)
        trace(r->sim, "%s: fault %d at stage %d", r->host->name, f, st);
    switch (f) {
    case F_NONE:
        return F_NONE;
    case F_4XX:
        remote_say(r, r->host->enhanced ? "450 4.7.1 not now" : "451 not now");
        remote_mark(r, remote_deferred, about, count, 0);
        return f;
    case F_5XX:
        if (st != ST_GREETING && st != ST_HELLO)
            for (size_t i = 0; i < count; i++)
                about[i]->failed_ok = true;
        remote_say(r, r->host->enhanced ? "550 5.7.1 never" : "554-no\r\n554 never");
        return f;
    case F_421:
        remote_say(r, "421 4.3.2 going down");
        remote_mark(r, remote_deferred, about, count, 0);
        remote_hang_up(r);
        return f;
    default:
        remote_lose(r, f);
        return f;
    }
}
