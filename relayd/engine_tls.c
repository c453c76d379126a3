/* relayd/engine_tls.c - the certificates that clients see, and the keys of
 * their session tickets. */
#include "relayd/engine_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "relayd/self_signed.h"

#include <stdlib.h>

/* ---- tickets ---- */

static void rotate(struct timer *t)
{
    struct engine *en = container_of(t, struct engine, tickets_timer);

    tls_tickets_rotate(en->tickets);
    loop_arm(en->loops[0].loop, t, TLS_TICKETS_ROTATE_MS);
}

void engine_tls_start(struct engine *en)
{
    en->tickets = tls_tickets_new();
    en->tickets_timer.fire = rotate;
    loop_arm(en->loops[0].loop, &en->tickets_timer, TLS_TICKETS_ROTATE_MS);
}

void engine_tls_free(struct engine *en)
{
    tls_tickets_unref(en->tickets);
}

/* ---- servers ---- */

/* Listeners that ask for no client certificates, or for those of the same
 * CAs, share one. */
static struct tls_server *server_of_another(const struct settings *st, struct tls_server *const *made, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (made[i] != NULL && slice_eq(st->listens[i].client_ca, st->listens[count].client_ca))
            return tls_server_ref(made[i]);
    }
    return NULL;
}

static void free_servers(struct tls_server **servers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tls_server_unref(servers[i]);
    free(servers);
}

static struct err make_servers(struct engine *en, const struct settings *st, const struct tls_pair *pairs,
                               size_t pair_count, struct acceptor_config *c, struct buf *why)
{
    struct tls_server **servers = mem_zero(st->listen_count, sizeof *servers);
    struct tls_server_options opt = { .pairs = pairs, .pair_count = pair_count, .tickets = en->tickets };
    struct err e = ERR_OK;

    for (size_t i = 0; i < st->listen_count && !err_failed(e); i++) {
        if (st->listens[i].tls == SETTINGS_TLS_NONE)
            continue;
        opt.client_ca = st->listens[i].client_ca;
        servers[i] = server_of_another(st, servers, i);
        if (servers[i] == NULL)
            e = tls_server_new(&opt, why, &servers[i]);
    }
    if (err_failed(e))
        free_servers(servers, st->listen_count);
    else
        acceptor_config_set_tls(c, servers);
    return e;
}

static struct err use_self_signed(struct engine *en, const struct settings *st, struct acceptor_config *c,
                                  struct buf *why)
{
    struct buf pem = { 0 };
    struct tls_pair pair;
    struct err e = self_signed_get(st->state_dir, st->hostname, clock_wall_ms(&clock_system), &pem, why);

    if (!err_failed(e)) {
        log_warning("engine",
                    "TLS with a certificate signed by itself (%s/" SELF_SIGNED_FILE "), which proves nothing: "
                    "name a real one with \"tls { certificate FILE; key FILE }\"",
                    st->state_dir);
        pair = (struct tls_pair){ buf_bytes(&pem), buf_bytes(&pem) };
        e = make_servers(en, st, &pair, 1, c, why);
    }
    buf_wipe(&pem);
    return e;
}

struct err engine_tls_config(struct engine *en, const struct settings *st, struct acceptor_config *c, struct buf *why)
{
    struct tls_pair *pairs;
    bool wanted = false;
    struct err e;

    for (size_t i = 0; i < st->listen_count; i++)
        wanted = wanted || st->listens[i].tls != SETTINGS_TLS_NONE;
    if (!wanted)
        return ERR_OK;
    if (st->pair_count == 0)
        return use_self_signed(en, st, c, why);
    pairs = mem_zero(st->pair_count, sizeof *pairs);
    for (size_t i = 0; i < st->pair_count; i++)
        pairs[i] = (struct tls_pair){ st->pairs[i].certificate_pem, st->pairs[i].key_pem };
    e = make_servers(en, st, pairs, st->pair_count, c, why);
    free(pairs);
    return e;
}
