/* relayd/engine_internal.h - what the files of the engine share. */
#ifndef RELAYD_ENGINE_INTERNAL_H
#define RELAYD_ENGINE_INTERNAL_H

#include "base/headroom.h"
#include "control/view_dkim.h"
#include "delivery/dispatch.h"
#include "net/uvloop.h"
#include "relayd/acceptor.h"
#include "relayd/channel.h"
#include "auth/clients.h"
#include "relayd/delivery_settings.h"
#include "relayd/generation.h"
#include "relayd/lock.h"

#include <pthread.h>

struct listening { /* one socket on one loop */
    struct listener *listener;
    struct acceptor *acceptor;
    struct settings_listen listen;
};

struct engine_loop {
    struct engine *engine;
    struct loop *loop;
    struct resolver *resolver;
    struct acceptor acceptor;
    struct listening **listening;
    size_t listening_count;
    pthread_t thread;
    bool running;
};

struct engine {
    struct channel *channel;
    struct fd_watch *channel_watch;
    const struct settings *settings;
    struct acceptor_config *config;
    struct clients *clients;
    struct accounts *accounts;
    struct tls_tickets *tickets;
    struct timer tickets_timer; /* on loop 0 */
    struct queue *queue;
    struct dispatch *dispatch;
    struct tls_client *tls_client; /* NULL: could not be made */
    struct signers *signers;
    struct dns_cache *dns_cache;
    struct history *history;
    struct control *control;
    bool services_stopped;
    struct engine_loop *loops;
    unsigned loop_count;
    struct loop **loop_list;
    struct resolver **resolver_list;
    int lock_fd;
    bool up, stopping, dispatch_drained;
    uint64_t drain_until_ms;
    struct timer drain_timer;
    struct timer clock_timer; /* on loop 0 */
    struct engine_memory *memory;
    struct clock_watch clock_watch;
    int exit_code;

    pthread_mutex_t reload_lock; /* a control request waits for the parent's word */
    pthread_cond_t reload_told;
    uint32_t reload_serial, reload_answered;
    bool reload_ok;
    bool reload_ended; /* the engine stops: nobody will answer */
    struct buf reload_text;

    pthread_mutex_t dkim_lock; /* what control threads ask about keys */
    pthread_cond_t dkim_told;
    const struct settings *dkim_settings;
    bool dkim_ended;
};

/* Hands every loop the sockets and the configuration; old sockets close once
 * the new ones are open. */
MUST_CHECK struct err engine_listen(struct engine *en, struct channel_listener *listeners, size_t count);
void engine_stop_listening(struct engine *en); /* and drains the sessions */
void engine_close_listeners(struct engine_loop *el);

/* History and the control socket. */
MUST_CHECK struct err engine_services_start(struct engine *en);
void engine_services_reload(struct engine *en);
void engine_services_stop(struct engine *en); /* nothing more begins; twice is fine */
void engine_services_free(struct engine *en); /* after the loops' last turn */
void engine_reload_outcome(struct engine *en, uint32_t serial, bool ok, struct slice text);
void engine_flush_channel(struct engine *en);
void engine_accounts_configure(struct engine *en); /* by the settings: is there such a process, and what does it offer */

/* engine_dkim.c; the middle two on control threads */
void engine_dkim_set(struct engine *en, const struct settings *st);
void engine_dkim_keys(void *ctx, const char *domain, control_key_visitor *visit, void *visit_ctx);
void engine_dkim_txt(void *ctx, const char *name, struct control_txt *out);
void engine_dkim_stop(struct engine *en); /* who waits for a name server waits no more */

/* Certificates for a config's listeners; without any in the settings, one of
 * our own, which is made at the first start and kept. On failure `why` tells. */
MUST_CHECK struct err engine_tls_config(struct engine *en, const struct settings *st, struct acceptor_config *c,
                                        struct buf *why);
void engine_tls_start(struct engine *en); /* the tickets' keys; once loop 0 is there */
void engine_tls_free(struct engine *en);

/* engine_memory.c: how much memory there is, and a thread that looks how much is left of it. */
MUST_CHECK struct err engine_memory_start(struct engine *en); /* first of all: what follows asks for sizes */
uint64_t engine_memory_share(const struct engine *en, unsigned part, uint64_t most); /* of all memory */
const struct headroom_gauge *engine_memory_gauge(const struct engine *en);
void engine_memory_free(struct engine *en); /* last of all */

void engine_clock_start(struct engine *en); /* a clock that is set is told in the log; once the queue is there */

/* A new connection to a process the engine asks; what is kept of it is taken
 * out by channel_take_fd(). After a successful start only. */
void engine_link(struct engine *en, struct channel_link *link);

#endif
