/* tests/sim/secure.c - TLS without cryptography: the engine asks for it as it
 * would of a real loop, the world's server says what comes of the handshake.
 *
 * From then on the wire counts as encrypted. What the server had sent in the
 * clear behind its 220 makes the handshake fail, as it would.
 */
#include "tests/sim/plant.h"

#include "net/tls.h"

#include <errno.h>

static void failed(struct wire *w, const char *why)
{
    w->tls.error = (char *)(uintptr_t)why;
    w->s.tls = &w->tls;
    w->end_due = true;
    w->end_why = err_sys(EPROTO, "TLS handshake");
    w->end_why.kind = ERR_TLS;
}

static void shake_fire(struct timer *t)
{
    struct wire *w = container_of(t, struct wire, shake_timer);
    struct sim *sim = w->sim;

    if (w->engine_closed || w->told || w->end_due || w->hole)
        return;
    w->loop->io = true;
    switch (w->peer_gone || buf_len(&w->in) > 0 ? SHAKE_FAILS : w->peer->secure(w->peer_ctx, w->verify)) {
    case SHAKE_SILENT: /* until the deadline */
        return;
    case SHAKE_FAILS:
        sim->counts.tls_failed++;
        buf_clear(&w->in);
        failed(w, "no handshake");
        return;
    case SHAKE_WORKS:
        break;
    }
    sim->counts.tls++;
    w->securing = false;
    w->tls = (struct tls_info){ .established = true, .version = "TLSv1.3", .cipher = "NONE" };
    w->s.tls = &w->tls;
    w->secured_due = true;
}

static void begin(struct wire *w)
{
    uint64_t from = w->sim->now_ms;

    if (w->s.tls != NULL || w->securing || !w->open)
        broken(w->sim, "TLS where there is some already, or no connection");
    if (from < w->up.busy_until_ms)
        from = w->up.busy_until_ms; /* the other side has heard what comes before */
    w->securing = true;
    w->paused = false;
    w->shake_timer.fire = shake_fire;
    timers_arm(&w->sim->timers, &w->shake_timer, from + 1 + roll(w->sim, 2 * w->latency_ms + 1));
}

struct err sim_secure(struct stream *inner, struct tls_client *client, const struct tls_target *to, struct stream **out)
{
    struct wire *w = container_of(inner, struct wire, s);

    if (buf_len(&w->s.out) > 0)
        broken(w->sim, "TLS begins before what was said in the clear is sent");
    w->verify = to->verify == TLS_NAME;
    begin(w);
    *out = inner;
    return ERR_OK;
}

/* The server's side, whose stream sends what it still has to say. */
struct err __wrap_tls_accept(struct stream *inner, struct tls_server *server, struct stream **out)
{
    struct wire *w = container_of(inner, struct wire, s);

    wire_write_out(w);
    begin(w);
    *out = inner;
    return ERR_OK;
}

void __wrap_tls_server_unref(struct tls_server *server)
{
}
