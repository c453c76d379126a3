/* relayd/acceptor.h - SMTP clients on one loop: sessions from greeting to 250.
 *
 * An acceptor belongs to a loop; its configuration is shared by all loops and
 * replaced as a whole by a reload, while sessions keep the one they began
 * with.
 */
#ifndef RELAYD_ACCEPTOR_H
#define RELAYD_ACCEPTOR_H

#include "base/list.h"
#include "delivery/policy.h"
#include "net/tls.h"
#include "queue/queue.h"
#include "auth/accounts.h"
#include "auth/clients.h"
#include "auth/relay.h"
#include "relayd/settings.h"
#include "smtp/server.h"

/* What sessions need of a configuration; immutable and counted. */
struct acceptor_config {
    atomic_uint refs;
    const struct settings *settings;
    struct relay_rules *rules;
    struct delivery_policy *policy;       /* its routes may refuse at RCPT */
    struct smtp_server_options strict;    /* of listeners as they should be */
    struct smtp_server_options repairing; /* of listeners with repair_line_ends */
    struct tls_server **tls;              /* of each listen directive; NULL: no TLS on any */
};

struct acceptor_config *acceptor_config_new(const struct settings *settings, struct delivery_policy *policy);
struct acceptor_config *acceptor_config_ref(struct acceptor_config *c);
/* One for each listen directive of the settings, NULL where it says "tls none";
 * before anybody else has the config. Takes over array and servers. */
void acceptor_config_set_tls(struct acceptor_config *c, struct tls_server **servers);
void acceptor_config_unref(struct acceptor_config *c); /* NULL is fine; any thread */

struct acceptor {
    struct loop *loop;
    struct queue *queue;
    struct clients *clients;
    struct acceptor_config *config;
    struct accounts *accounts; /* set after acceptor_init; NULL: nobody can log in */
    const struct headroom_gauge *headroom; /* likewise; NULL: plenty of memory */
    struct list frontends; /* connections whose PROXY header is awaited */
    struct list sessions;
    unsigned session_count;
    bool draining;
};

void acceptor_init(struct acceptor *a, struct loop *loop, struct queue *queue, struct clients *clients,
                   struct acceptor_config *config);
void acceptor_reload(struct acceptor *a, struct acceptor_config *config);
/* A new connection on a listener of these settings. */
void acceptor_accept(struct acceptor *a, const struct settings_listen *listen, struct stream *s);
/* No new mail: sessions are told 421 as soon as they may be. */
void acceptor_drain(struct acceptor *a);
void acceptor_release(struct acceptor *a); /* closes what is left */

#endif
