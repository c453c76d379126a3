/* tests/sim/remote.c - the servers of the world: their sessions, line by line.
 *
 * Written from RFC 5321 alone, without the engine's own parsers, so that it
 * is a second opinion on what was sent.
 */
#include "tests/sim/remote.h"

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
        remote_say(r, "454 4.7.0 TLS not available");
        return;
    }
    if (r->fate == FATE_INJECTED) {
        r->injected = true;
        remote_say(r, "220 go\r\n250-evil\r\n250 SIZE 1");
        return;
    }
    remote_say(r, "220 go");
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

/* ---- lines ---------------------------------------------------------------------------- */

static void do_hello(struct remote *r, struct slice line)
{
    enum fault f;

    if (slice_starts_nocase(line, SLICE("EHLO")) && !r->host->ehlo) {
        r->hello_refused = true;
        remote_say(r, "502 5.5.2 what?");
        return;
    }
    f = remote_suffers(r, ST_HELLO, NULL, 0);
    r->hello_refused |= f == F_5XX;
    if (f != F_NONE)
        return;
    r->hello = true;
    r->dsn = r->chunking = false;
    if (r->one_ahead) { /* its offers come too late to be understood */
        remote_say(r, "250 hello");
        return;
    }
    if (slice_starts_nocase(line, SLICE("HELO"))) {
        remote_say(r, "250 hello");
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
        remote_say(r, text);
    }
}

static void command(struct remote *r, struct slice line)
{
    trace(r->sim, "%s < %.*s", r->host->name, (int)line.len, line.ptr);
    if (r->data_answered && !slice_eq_nocase(line, SLICE("DATA"))) {
        remote_lose(r, F_CLOSE); /* it waits for content, and this is none */
        return;
    }
    if (r->injected)
        broken(r->sim, "the session goes on behind injected replies");
    if (slice_starts_nocase(line, SLICE("EHLO")) || slice_starts_nocase(line, SLICE("HELO"))) {
        do_hello(r, line);
    } else if (slice_starts_nocase(line, SLICE("MAIL FROM:"))) {
        remote_mail(r, line);
    } else if (slice_starts_nocase(line, SLICE("RCPT TO:"))) {
        remote_rcpt(r, line);
    } else if (slice_eq_nocase(line, SLICE("DATA"))) {
        remote_data_wanted(r);
    } else if (slice_starts_nocase(line, SLICE("BDAT ")) && r->chunking) {
        remote_bdat(r, line);
    } else if (slice_eq_nocase(line, SLICE("STARTTLS"))) {
        do_starttls(r);
    } else if (slice_eq_nocase(line, SLICE("RSET"))) {
        remote_forget(r);
        remote_say(r, "250 2.0.0 ok");
    } else if (slice_eq_nocase(line, SLICE("QUIT"))) {
        remote_say(r, "221 2.0.0 bye");
        remote_hang_up(r);
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
        remote_dot(r, buf_bytes(&r->data));
        return true;
    }
    buf_take(&r->in, line.len + 2);
    if (r->cut_at != 0 && buf_len(&r->data) >= r->cut_at) {
        trace(r->sim, "%s: loses the connection in the middle", r->host->name);
        remote_lose(r, chance(r->sim, 50) ? F_RESET : F_HOLE);
    }
    return true;
}

static void remote_data(void *ctx, struct slice bytes)
{
    struct remote *r = ctx;

    if (r->dead)
        return;
    buf_add(&r->in, bytes);
    while (!r->dead && (r->in_chunk ? remote_chunk(r) : one_line(r)))
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
        remote_say(r, "421 4.7.0 too many connections");
        remote_hang_up(r);
        return;
    }
    if (remote_suffers(r, ST_GREETING, NULL, 0) != F_NONE)
        return;
    r->one_ahead = r->garbled = remote_is_hasty(r);
    remote_say(r, r->one_ahead ? "220 here ESMTP\r\n250 and hello" : "220 here ESMTP");
}
