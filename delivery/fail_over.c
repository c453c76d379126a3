/* delivery/fail_over.c - which host of a smart host gets the next message.
 *
 * Each connection goes to one host; when it can't be spoken to the message
 * goes back to its site and on to the next host in the same attempt. The
 * first host in the order of the configuration that is not avoided is used;
 * one whose time is up is tried by a single message while the others go on.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

static struct hop *hop_at(const struct site *s, size_t n)
{
    for (size_t i = 0; i < s->smart_count; i++) {
        if (n < s->smarts[i]->hop_count)
            return s->smarts[i]->hops[n];
        n -= s->smarts[i]->hop_count;
    }
    return NULL;
}

static struct hop *best_hop(const struct dispatch *d, const struct site *s)
{
    struct hop *h;

    for (size_t n = 0; (h = hop_at(s, n)) != NULL; n++) {
        if (hop_usable(h, d->opt.home->now_ms))
            return h;
    }
    return NULL;
}

/* When the first of the avoided ones may be tried; TIMERS_NEVER: they are
 * being tried, and their end will be heard of. */
static uint64_t first_due(const struct site *s, const char **why)
{
    uint64_t due = TIMERS_NEVER;
    struct hop *h;

    for (size_t n = 0; (h = hop_at(s, n)) != NULL; n++) {
        if (h->probing || h->avoid_until_ms >= due)
            continue;
        due = h->avoid_until_ms;
        *why = h->last_error;
    }
    return due;
}

static struct site_conn *idle_conn(struct site *s, const struct hop *h)
{
    list_foreach (it, &s->conns) {
        struct site_conn *sc = container_of(it, struct site_conn, link);

        if (!sc->busy && !sc->gone && !sc->spent && sc->hop == h && sc->version == h->smart->version)
            return sc;
    }
    return NULL;
}

static bool uses(const struct site *s, const struct smart *smart)
{
    for (size_t i = 0; i < s->smart_count; i++) {
        if (s->smarts[i] == smart)
            return true;
    }
    return false;
}

/* The smart host's own limit is reached: a site with nothing to send there
 * gives up an idle connection. */
static void close_idle_of(struct dispatch *d, const struct smart *smart)
{
    struct site *s, *tmp;

    HASH_ITER (hh, d->site_by_key, s, tmp) {
        if (s->ready != 0 || !uses(s, smart))
            continue;
        list_foreach (it, &s->conns) {
            struct site_conn *sc = container_of(it, struct site_conn, link);

            if (!sc->busy && !sc->gone && !sc->spent && sc->hop->smart == smart) {
                sc->spent = true;
                conn_quit(sc->conn);
                return;
            }
        }
    }
}

static bool may_open(struct dispatch *d, struct site *s, struct smart *smart)
{
    if (smart->connections_max != 0 && smart->connections >= smart->connections_max) {
        close_idle_of(d, smart);
        return false;
    }
    return dispatch_may_open(d, s);
}

/* All are avoided: the site is down though no attempt of its own failed. */
static void wait_for_hops(struct dispatch *d, struct site *s)
{
    const char *why = NULL;
    uint64_t due = first_due(s, &why);

    if (due == TIMERS_NEVER)
        return;
    if (why != NULL) {
        free(s->last_error);
        s->last_error = mem_str(why);
    }
    s->down_until_ms = due;
    dispatch_wake_at(d, s, due);
}

bool fail_over_choose(struct dispatch *d, struct site *s, struct way *out)
{
    struct hop *h = best_hop(d, s);
    uint64_t now = d->opt.home->now_ms, wait;

    fail_over_retire(d, s);
    if (h == NULL) {
        wait_for_hops(d, s);
        return false;
    }
    wait = rate_wait_ms(&h->smart->meter, &h->smart->rate, now);
    if (wait != 0) {
        dispatch_wake_at(d, s, now + wait);
        return false;
    }
    out->hop = h;
    out->idle = h->failures == 0 ? idle_conn(s, h) : NULL;
    if (out->idle != NULL)
        return true;
    if (!may_open(d, s, h->smart))
        return false;
    switch (smart_login(h->smart, &out->login, &out->refusal)) {
    case TOKEN_READY:
        out->refusal = NULL;
        return true;
    case TOKEN_WAIT:
        return false;
    case TOKEN_FAILED:
        break;
    }
    out->login = NULL;
    return true;
}

/* ---- what became of it -------------------------------------------------------------- */

bool fail_over_failed(struct dispatch *d, struct site_conn *sc, const struct job *j, const char *why)
{
    uint64_t now = d->opt.home->now_ms, due;
    struct hop *h = sc->hop, *next;
    struct site *s = sc->site;
    const char *ignored;
    bool news;

    fail_over_probed(sc);
    if (j->login_failed)
        smart_login_refused(h->smart);
    news = hop_failed(h, why, now, retry_wait_ms(&d->policy->retry, h->failures + 1, &d->opt.home->rng));
    next = best_hop(d, s);
    if (news)
        log_warning("smtp", "smarthost %s: %s fails: %s; %s%s", h->smart->title, h->name, why,
                    next != NULL ? "until it answers again mail goes by " : "there is no other to go by",
                    next != NULL ? next->name : "");
    if (next != NULL)
        return true;
    due = first_due(s, &ignored);
    if (due == TIMERS_NEVER)
        return true; /* another message is trying: wait for what it finds */
    dispatch_site_down(d, s, why, TIMERS_NEVER);
    s->down_until_ms = due;
    return false;
}

void fail_over_answered(struct dispatch *d, struct site_conn *sc)
{
    struct hop *h = sc->hop;

    if (h == NULL || !hop_answered(h))
        return;
    log_info("smtp", "smarthost %s: %s answers again", h->smart->title, h->name);
    fail_over_probed(sc);
    fail_over_pump(d, h->smart);
}

void fail_over_probed(struct site_conn *sc)
{
    if (sc->probe)
        sc->hop->probing = false;
    sc->probe = false;
}

/* ---- connections that are not to be used any more ------------------------------------ */

/* A better host than its own is well again, or who we are there has changed. */
static bool is_outdated(const struct dispatch *d, const struct site_conn *sc)
{
    struct hop *h;

    if (sc->version != sc->hop->smart->version)
        return true;
    for (size_t n = 0; (h = hop_at(sc->site, n)) != NULL && h != sc->hop; n++) {
        if (h->failures == 0)
            return true;
    }
    return h == NULL; /* no host of ours any more */
}

void fail_over_retire(struct dispatch *d, struct site *s)
{
    if (s->smarts == NULL)
        return;
    list_foreach (it, &s->conns) {
        struct site_conn *sc = container_of(it, struct site_conn, link);

        if (sc->busy || sc->gone || sc->spent || sc->conn_unused || !is_outdated(d, sc))
            continue;
        sc->spent = true;
        conn_quit(sc->conn);
    }
}

void fail_over_pump(struct dispatch *d, const struct smart *smart)
{
    struct site *s, *tmp;

    HASH_ITER (hh, d->site_by_key, s, tmp) {
        if (!uses(s, smart))
            continue;
        if (s->down_until_ms > d->opt.home->now_ms && best_hop(d, s) != NULL)
            s->down_until_ms = 0; /* it was for want of a host, and there is one */
        dispatch_pump(d, s);
    }
}
