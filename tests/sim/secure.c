/* tests/sim/secure.c - TLS without cryptography: the engine asks for it as it
 * would of a real loop, the world's server says what comes of the handshake.
 *
 * From then on the wire counts as encrypted. What the server had sent in the
 * clear behind its 220 makes the handshake fail, as it would.
 */
#include "tests/sim/sim.h"

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

struct err sim_secure(struct stream *inner, struct tls_client *client, const struct tls_target *to, struct stream **out)
{
    struct wire *w = container_of(inner, struct wire, s);

    if (w->s.tls != NULL || w->securing || !w->open)
        broken(w->sim, "TLS where there is some already, or no connection");
    if (buf_len(&w->s.out) > 0)
        broken(w->sim, "TLS begins before what was said in the clear is sent");
    w->securing = true;
    w->verify = to->verify == TLS_NAME;
    w->shake_timer.fire = shake_fire;
    timers_arm(&w->sim->timers, &w->shake_timer, w->sim->now_ms + 1 + roll(w->sim, 2 * w->latency_ms + 1));
    *out = inner;
    return ERR_OK;
}
