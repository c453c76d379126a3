/* tests/sim/remote.c - the servers of the world: they take mail, refuse it,
 * put it off, forget to answer, and hang up at every moment there is.
 *
 * Written from RFC 5321 alone, without the engine's own parsers, so that it
 * is a second opinion on what was sent.
 */
#include "tests/sim/sim.h"

#include "mail/param.h"

enum fault { F_NONE, F_4XX, F_5XX, F_421, F_CLOSE, F_RESET, F_HANG, F_HOLE };
/* What comes of TLS on one connection. */
enum fate { FATE_GOOD, FATE_STRIPPED, FATE_REFUSED, FATE_NO_HANDSHAKE, FATE_SILENT, FATE_BAD_CERT, FATE_INJECTED };
enum stage { ST_GREETING, ST_HELLO, ST_MAIL, ST_RCPT, ST_DATA, ST_CONTENT, ST_DOT };

struct remote {
    struct host *host;
    struct sim *sim;
    struct wire *wire;
    struct buf in;
    bool hello, in_data, dead; /* dead: nothing more is said or heard */
    enum fate fate;
    bool secured, injected;
    bool dsn, chunking;        /* were offered */
    bool in_chunk, chunk_last, chunk_unwanted;
    uint64_t chunk_left;
    unsigned chunks;           /* of this message, so far */
    bool closing;
    bool pending; /* the final dot has come and its reply has not arrived */
    bool doubt_told;
    bool garbled; /* the last reply was a hostile one */
    struct buf from;
    bool has_from;
    struct rcpt **rcpts;
    size_t count;
    bool *refused;     /* unused recipients keep their place out */
    struct buf dsn_to; /* the recipient of a null reverse-path message of no rcpt */
    bool has_dsn_to;
    struct buf data;
    size_t cut_at; /* content after which the connection is lost; 0 = none */
    bool nameless; /* a null reverse-path: what a refused MAIL is about can't be told */
};

/* ---- marks ------------------------------------------------------------------------ */

static void on_deferred(struct sim *sim, struct mark *m)
{
    for (size_t i = 0; i < m->count; i++)
        ledger_deferred(sim, m->about[i]);
}

static void on_confirmed(struct sim *sim, struct mark *m)
{
    for (size_t i = 0; i < m->count; i++)
        ledger_confirm(sim, m->about[i]);
}

static void on_dsn_confirmed(struct sim *sim, struct mark *m)
{
    sim->ledger.dsns[m->n].confirmed = true;
}

static void mark_all(struct remote *r, void (*reached)(struct sim *sim, struct mark *m),
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

static void say(struct remote *r, const char *text)
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

static void hang_up(struct remote *r)
{
    if (r->dead)
        return;
    wire_fin(r->wire, 0);
    r->dead = true;
}

static void lose(struct remote *r, enum fault f)
{
    r->sim->counts.cuts++;
    switch (f) {
    case F_CLOSE:
        hang_up(r);
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

static enum fault fault(struct remote *r, enum stage st)
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
static enum fault suffers(struct remote *r, enum stage st, struct rcpt **about, size_t count)
{
    enum fault f = fault(r, st);

    if (f != F_NONE)
        trace(r->sim, "%s: fault %d at stage %d", r->host->name, f, st);
    switch (f) {
    case F_NONE:
        return F_NONE;
    case F_4XX:
        say(r, r->host->enhanced ? "450 4.7.1 not now" : "451 not now");
        mark_all(r, on_deferred, about, count, 0);
        return f;
    case F_5XX:
        if (st != ST_GREETING && st != ST_HELLO)
            for (size_t i = 0; i < count; i++)
                about[i]->failed_ok = true;
        say(r, r->host->enhanced ? "550 5.7.1 never" : "554-no\r\n554 never");
        return f;
    case F_421:
        say(r, "421 4.3.2 going down");
        mark_all(r, on_deferred, about, count, 0);
        hang_up(r);
        return f;
    default:
        lose(r, f);
        return f;
    }
}

/* ---- TLS ------------------------------------------------------------------------------- */

static enum fate choose_fate(struct remote *r)
{
    if (!r->host->tls)
        return FATE_STRIPPED;
    if (r->sim->healed || host_mode(r->host) != MODE_FLAKY || chance(r->sim, 60))
        return FATE_GOOD;
    return (enum fate)(1 + roll(r->sim, FATE_INJECTED));
}

static void do_starttls(struct remote *r)
{
    if (r->secured || r->fate == FATE_STRIPPED)
        broken(r->sim, "STARTTLS that was not offered");
    if (r->fate == FATE_REFUSED) {
        say(r, "454 4.7.0 TLS not available");
        return;
    }
    if (r->fate == FATE_INJECTED) {
        r->injected = true;
        say(r, "220 go\r\n250-evil\r\n250 SIZE 1");
        return;
    }
    say(r, "220 go");
}

static enum shake remote_secure(void *ctx, bool verify)
{
    struct remote *r = ctx;

    if (r->dead || r->fate == FATE_SILENT)
        return SHAKE_SILENT;
    if (r->fate == FATE_NO_HANDSHAKE || r->injected || (verify && r->fate == FATE_BAD_CERT))
        return SHAKE_FAILS;
    r->secured = true;
    r->hello = false;
    return SHAKE_WORKS;
}

/* Whatever else goes wrong: nothing for such a domain is said without TLS. */
static void check_tls(struct remote *r, struct slice path)
{
    const struct domain *d = domain_by_name(r->sim, slice_from(path, slice_find(path, '@') + 1));

    if (d == NULL || d->tls < HOP_TLS_REQUIRED)
        return;
    if (!r->secured)
        broken(r->sim, "mail for %.*s in the clear", (int)path.len, path.ptr);
    if (d->tls == HOP_TLS_VERIFIED && r->fate == FATE_BAD_CERT)
        broken(r->sim, "mail for %.*s to somebody else's certificate", (int)path.len, path.ptr);
}

/* ---- a transaction ------------------------------------------------------------------- */

static void forget(struct remote *r)
{
    r->has_from = r->has_dsn_to = false;
    r->count = 0;
    r->in_data = false;
    r->chunks = 0;
    buf_clear(&r->data);
    buf_clear(&r->from);
    buf_clear(&r->dsn_to);
}

static struct slice path_of(struct slice line)
{
    size_t open = slice_find(line, '<');
    struct slice rest = slice_from(line, open + 1);

    return slice_head(rest, slice_find(rest, '>'));
}

/* Whom a refused MAIL is about can be told from its path only. */
static void mail_refused(struct remote *r, struct slice path)
{
    struct msg *m = ledger_find_sender(r->sim, path);

    for (; m != NULL; m = m->next_of_sender)
        for (size_t i = 0; i < m->count; i++)
            for (unsigned k = 0; k < m->rcpts[i].domain->host_count; k++)
                if (m->rcpts[i].domain->hosts[k] == r->host)
                    m->rcpts[i].failed_ok = true;
}

/* Passed on where it is understood, and nowhere else. */
static void check_envid(struct remote *r, struct slice line)
{
    struct msg *m = ledger_find_sender(r->sim, path_of(line));
    char want[32];

    if (m == NULL)
        return;
    snprintf(want, sizeof want, " ENVID=E%u", m->token);
    if ((memmem(line.ptr, line.len, " ENVID=", 7) != NULL) != (r->dsn && m->envid) ||
        (r->dsn && m->envid && memmem(line.ptr, line.len, want, strlen(want)) == NULL))
        broken(r->sim, "ENVID of message %u: %.*s", m->token, (int)line.len, line.ptr);
}

static void check_notify(struct remote *r, const struct rcpt *rc, struct slice line)
{
    struct slice rest = slice_from(line, slice_find(line, '>') + 1);
    char notify[MAIL_NOTIFY_TEXT_MAX], want[MAIL_NOTIFY_TEXT_MAX + 16] = "";

    if (r->dsn && rc->notify != 0)
        snprintf(want, sizeof want, " NOTIFY=%s", mail_notify_format(rc->notify, notify));
    if (!slice_eq(rest, slice_str(want)))
        broken(r->sim, "\"%.*s\" for \"%s\" of %s", (int)rest.len, rest.ptr, want, rc->address);
}

static void do_mail(struct remote *r, struct slice line)
{
    enum fault f;

    r->nameless = path_of(line).len == 0;
    f = suffers(r, ST_MAIL, NULL, 0);
    if (f == F_5XX)
        mail_refused(r, path_of(line));
    if (f != F_NONE)
        return;
    forget(r);
    check_envid(r, line);
    r->has_from = true;
    buf_add(&r->from, path_of(line));
    say(r, "250 2.1.0 ok");
}

static void do_rcpt(struct remote *r, struct slice line)
{
    struct slice path = path_of(line);
    struct rcpt *rc;

    if (!r->has_from) {
        say(r, "503 5.5.1 MAIL first");
        return;
    }
    rc = ledger_find(r->sim, path);
    if (rc == NULL && buf_len(&r->from) != 0)
        broken(r->sim, "mail for <%.*s>, whom nobody wrote to", (int)path.len, path.ptr);
    check_tls(r, path);
    if (rc != NULL) {
        check_notify(r, rc, line);
        ledger_attempt(r->sim, rc);
    }
    if (suffers(r, ST_RCPT, &rc, rc != NULL ? 1 : 0) != F_NONE)
        return;
    if (rc != NULL && rc->bad) {
        rc->failed_ok = true;
        say(r, "550 5.1.1 no such user");
        return;
    }
    if (rc == NULL) {
        r->has_dsn_to = true;
        buf_clear(&r->dsn_to);
        buf_add(&r->dsn_to, path);
    } else {
        r->rcpts = mem_grow(r->rcpts, r->count + 1, sizeof(struct rcpt *));
        r->rcpts[r->count++] = rc;
    }
    say(r, "250 2.1.5 ok");
}

static void do_data(struct remote *r)
{
    if (r->count == 0 && !r->has_dsn_to) {
        say(r, "554 5.5.1 no valid recipients");
        return;
    }
    if (suffers(r, ST_DATA, r->rcpts, r->count) != F_NONE) {
        if (!r->dead)
            forget(r);
        return;
    }
    r->in_data = true;
    r->cut_at = !r->sim->healed && host_mode(r->host) == MODE_FLAKY && chance(r->sim, 6)
                    ? 1 + roll(r->sim, 3000)
                    : 0;
    say(r, "354 go on");
}

/* The content is here. Whether it is taken is one question, whether the
 * client hears of it another. */
static void do_dot(struct remote *r, struct slice content)
{
    struct sim *sim = r->sim;
    enum fault f = fault(r, ST_DOT);
    int dsn = -1;

    r->pending = true;
    r->in_data = false;
    if (f == F_4XX || f == F_421) {
        trace(sim, "%s: puts it off", r->host->name);
        say(r, f == F_4XX ? "452 4.2.2 mailbox full" : "421 4.3.2 going down");
        mark_all(r, on_deferred, r->rcpts, r->count, 0);
        if (f == F_421)
            hang_up(r);
        r->pending = false;
        forget(r);
        return;
    }
    if (f == F_5XX) {
        for (size_t i = 0; i < r->count; i++)
            r->rcpts[i]->failed_ok = true;
        say(r, "554 5.6.0 content refused");
        r->pending = false;
        forget(r);
        return;
    }
    if (f == F_NONE || chance(sim, 50)) {
        if (r->count > 0)
            ledger_accept(sim, buf_bytes(&r->from), r->rcpts, r->count, content, r->dsn);
        else
            dsn = ledger_accept_dsn(sim, buf_bytes(&r->dsn_to), content);
    }
    if (f != F_NONE) {
        trace(sim, "%s: hangs up after the final dot (%d)", r->host->name, f);
        lose(r, f);
        return;
    }
    say(r, "250 2.0.0 taken");
    if (r->dead)
        return; /* said so that nobody can know whether it is understood */
    if (dsn >= 0)
        mark_all(r, on_dsn_confirmed, NULL, 0, (uint64_t)dsn);
    else
        mark_all(r, on_confirmed, r->rcpts, r->count, 0);
    r->pending = false;
    forget(r);
}

/* ---- chunks (RFC 3030) ----------------------------------------------------------------- */

static void do_bdat(struct remote *r, struct slice line)
{
    struct slice args = slice_from(line, 5), size;

    slice_split(&args, ' ', &size);
    if (!slice_u64(size, &r->chunk_left) || (args.len != 0 && !slice_eq(args, SLICE("LAST"))))
        broken(r->sim, "an unreadable chunk: %.*s", (int)line.len, line.ptr);
    if (!r->host->pipelining)
        broken(r->sim, "chunks without pipelining");
    r->chunk_last = args.len != 0;
    r->chunk_unwanted = r->count == 0 && !r->has_dsn_to;
    r->in_chunk = true;
    r->sim->counts.chunks++;
    if (r->chunks++ == 0)
        r->cut_at = !r->sim->healed && host_mode(r->host) == MODE_FLAKY && chance(r->sim, 6)
                        ? 1 + roll(r->sim, 100 * KIB)
                        : 0;
}

/* One is here whole. */
static void chunk_ends(struct remote *r)
{
    r->in_chunk = false;
    if (r->chunk_unwanted) {
        say(r, "503 5.5.1 no recipients");
    } else if (r->chunk_last) {
        do_dot(r, buf_bytes(&r->data));
    } else if (suffers(r, ST_DATA, r->rcpts, r->count) == F_NONE) {
        say(r, "250 2.0.0 chunk taken");
    } else if (!r->dead) {
        forget(r);
    }
}

/* Takes what is there of a chunk; false when more must come. */
static bool chunk_bytes(struct remote *r)
{
    struct slice in = slice_head(buf_bytes(&r->in), r->chunk_left);

    if (!r->chunk_unwanted)
        buf_add(&r->data, in);
    r->chunk_left -= in.len;
    buf_take(&r->in, in.len);
    if (r->cut_at != 0 && buf_len(&r->data) >= r->cut_at) {
        trace(r->sim, "%s: loses the connection in a chunk", r->host->name);
        lose(r, chance(r->sim, 50) ? F_RESET : F_HOLE);
        return false;
    }
    if (r->chunk_left != 0)
        return false;
    chunk_ends(r);
    return true;
}

/* ---- lines ---------------------------------------------------------------------------- */

static void do_hello(struct remote *r, struct slice line)
{
    if (slice_starts_nocase(line, SLICE("EHLO")) && !r->host->ehlo) {
        say(r, "502 5.5.2 what?");
        return;
    }
    if (suffers(r, ST_HELLO, NULL, 0) != F_NONE)
        return;
    r->hello = true;
    r->dsn = r->chunking = false;
    if (slice_starts_nocase(line, SLICE("HELO"))) {
        say(r, "250 hello");
        return;
    }
    {
        char text[300];

        r->dsn = r->host->dsn;
        r->chunking = r->host->chunking;
        snprintf(text, sizeof text, "250-hello%s%s%s%s%s%s\r\n250 HELP",
                 !r->secured && r->fate != FATE_STRIPPED ? "\r\n250-STARTTLS" : "", r->dsn ? "\r\n250-DSN" : "", r->chunking ? "\r\n250-CHUNKING" : "",
                 r->host->pipelining ? "\r\n250-PIPELINING" : "",
                 r->host->eightbit ? "\r\n250-8BITMIME" : "",
                 r->host->size ? "\r\n250-SIZE 50000000" : "");
        say(r, text);
    }
}

static void command(struct remote *r, struct slice line)
{
    trace(r->sim, "%s < %.*s", r->host->name, (int)line.len, line.ptr);
    if (r->injected)
        broken(r->sim, "the session goes on behind injected replies");
    if (slice_starts_nocase(line, SLICE("EHLO")) || slice_starts_nocase(line, SLICE("HELO"))) {
        do_hello(r, line);
    } else if (slice_starts_nocase(line, SLICE("MAIL FROM:"))) {
        do_mail(r, line);
    } else if (slice_starts_nocase(line, SLICE("RCPT TO:"))) {
        do_rcpt(r, line);
    } else if (slice_eq_nocase(line, SLICE("DATA"))) {
        do_data(r);
    } else if (slice_starts_nocase(line, SLICE("BDAT ")) && r->chunking) {
        do_bdat(r, line);
    } else if (slice_eq_nocase(line, SLICE("STARTTLS"))) {
        do_starttls(r);
    } else if (slice_eq_nocase(line, SLICE("RSET"))) {
        forget(r);
        say(r, "250 2.0.0 ok");
    } else if (slice_eq_nocase(line, SLICE("QUIT"))) {
        say(r, "221 2.0.0 bye");
        hang_up(r);
    } else {
        broken(r->sim, "an unknown command: %.*s", (int)line.len, line.ptr);
    }
}

/* Takes one line of content; true when it was the final dot. */
static bool content_line(struct remote *r, struct slice line)
{
    if (slice_eq(line, SLICE(".")))
        return true;
    if (memchr(line.ptr, '\r', line.len) != NULL)
        broken(r->sim, "a bare CR goes out");
    buf_add(&r->data, line.len > 0 && line.ptr[0] == '.' ? slice_from(line, 1) : line);
    buf_add(&r->data, SLICE("\r\n"));
    return false;
}

static bool take_line(struct remote *r, struct slice *line)
{
    struct slice in = buf_bytes(&r->in);
    size_t at = slice_find(in, '\n');

    if (at == in.len)
        return false;
    if (at == 0 || in.ptr[at - 1] != '\r')
        broken(r->sim, "a bare LF goes out");
    *line = slice_head(in, at - 1);
    return true;
}

/* Takes one line; false when more must come. */
static bool one_line(struct remote *r)
{
    struct slice line;
    char copy[2000];

    if (!take_line(r, &line))
        return false;
    if (!r->in_data) {
        snprintf(copy, sizeof copy, "%.*s", (int)line.len, line.ptr);
        buf_take(&r->in, line.len + 2);
        command(r, slice_str(copy));
        return true;
    }
    if (content_line(r, line)) {
        buf_take(&r->in, line.len + 2);
        do_dot(r, buf_bytes(&r->data));
        return true;
    }
    buf_take(&r->in, line.len + 2);
    if (r->cut_at != 0 && buf_len(&r->data) >= r->cut_at) {
        trace(r->sim, "%s: loses the connection in the middle", r->host->name);
        lose(r, chance(r->sim, 50) ? F_RESET : F_HOLE);
    }
    return true;
}

static void remote_data(void *ctx, struct slice bytes)
{
    struct remote *r = ctx;

    if (r->dead)
        return;
    buf_add(&r->in, bytes);
    while (!r->dead && (r->in_chunk ? chunk_bytes(r) : one_line(r)))
        ;
}

/* The engine hears now that the connection is over. */
static void remote_unheard(void *ctx)
{
    struct remote *r = ctx;

    if (!r->pending || r->doubt_told)
        return;
    r->doubt_told = true;
    for (size_t i = 0; i < r->count; i++)
        ledger_doubt(r->sim, r->rcpts[i]);
}

static void remote_ended(void *ctx)
{
    struct remote *r = ctx;

    r->host->conns--;
    wire_unref(r->wire);
    buf_release(&r->in);
    buf_release(&r->from);
    buf_release(&r->dsn_to);
    buf_release(&r->data);
    free(r->rcpts);
    free(r);
}

static const struct peer_ops remote_peer = { remote_data, remote_ended, remote_unheard, remote_secure };

void remote_accept(struct host *h, struct wire *w)
{
    struct remote *r = mem_new(struct remote);
    enum mode mode = host_mode(h);

    r->host = h;
    r->sim = h->sim;
    r->wire = w;
    r->fate = choose_fate(r);
    w->peer = &remote_peer;
    w->peer_ctx = r;
    h->conns++;
    trace(h->sim, "%s: connection %u", h->name, h->conns);
    if (mode == MODE_HANG) {
        r->dead = true;
        return;
    }
    if (mode == MODE_BUSY || (h->limit != 0 && h->conns > h->limit && !h->sim->healed)) {
        say(r, "421 4.7.0 too many connections");
        hang_up(r);
        return;
    }
    if (suffers(r, ST_GREETING, NULL, 0) == F_NONE)
        say(r, "220 here ESMTP");
}
