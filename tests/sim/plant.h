/* tests/sim/plant.h - the functions that the linker puts in the place of ours. */
#ifndef TESTS_SIM_PLANT_H
#define TESTS_SIM_PLANT_H

#include "tests/sim/sim.h"

#include "delivery/conn_internal.h"
#include "delivery/dispatch_internal.h"
#include "delivery/mx.h"
#include "mail/dsn.h"
#include "net/ipc.h"
#include "relayd/session_internal.h"

#include <lmdb.h>
#include <sys/statvfs.h>
#include <unistd.h>

void plant_begin(struct sim *sim);
extern struct sim *planted; /* the wrapped functions have no context of ours */
bool plant_now(enum plant p, unsigned percent);

#define WRAPPED(type, name, ...)                                                                   \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

WRAPPED(void, queue_draft_commit, struct queue_draft *d, const struct envelope *env,
        queue_done *done, void *ctx);
WRAPPED(void, queue_apply, struct queue *q, const struct queue_update *u, struct loop *home,
        queue_done *done, void *ctx);
WRAPPED(uint64_t, retry_wait_ms, const struct retry_policy *p, unsigned attempts, struct rng *rng);
WRAPPED(struct mx_query *, mx_ask, struct resolver *r, struct delivery_policy *policy,
        const char *domain, mx_done *done, void *ctx);
WRAPPED(struct message *, bounce_compose, struct queue *q, const struct message *m,
        const char *hostname, enum mail_dsn_action action, const struct recipient *about,
        size_t count, uint64_t now_wall_ms, uint64_t retry_until_wall_ms);
WRAPPED(void, smtp_client_content, struct smtp_client *c, struct slice bytes, bool last);
WRAPPED(struct smtp_server *, smtp_server_new, const struct smtp_server_options *opt,
        const struct smtp_server_handler *handler, void *ctx);
WRAPPED(enum smtp_client_tls, conn_tls_wish, const struct conn *c);
WRAPPED(struct err, tls_accept, struct stream *inner, struct tls_server *server, struct stream **out);
WRAPPED(void, tls_server_unref, struct tls_server *server);
WRAPPED(struct err, ipc_new, struct loop *l, int fd, const struct ipc_events *events, void *ctx, struct ipc **out);
WRAPPED(void, ipc_free, struct ipc *i);
WRAPPED(void, ipc_send, struct ipc *i, struct slice payload, int fd);
WRAPPED(size_t, ipc_backlog, const struct ipc *i);
WRAPPED(void, session_offer_login, struct session *s);
WRAPPED(enum relay_verdict, relay_judge, const struct relay_rules *r, bool trusted, const struct mail_path *to);
WRAPPED(bool, session_sender_refused, struct session *s, struct slice sender);
WRAPPED(bool, session_owns_from, const struct session *s, struct slice header, struct buf *foreign);
WRAPPED(bool, session_charge_user, struct session *s, void (*then)(struct session *s));
WRAPPED(void, site_add, struct site *s, struct schedule *sched, struct group *g);
WRAPPED(void, site_add_front, struct site *s, struct schedule *sched, struct group *g);
WRAPPED(void, site_add_rest, struct site *s, struct schedule *sched, struct group *g);
WRAPPED(void, site_move, struct site *from, struct schedule *sched, uint32_t dest, struct site *to);
WRAPPED(void, attempt_deliver, struct dispatch *d, struct site *s, struct site_conn *conn, struct group *g);
WRAPPED(void, dispatch_pump, struct dispatch *d, struct site *s);
WRAPPED(void, timers_arm, struct timers *ts, struct timer *t, uint64_t due_ms);
WRAPPED(void, dispatch_make_room, struct dispatch *d, struct site_conn *sc);
WRAPPED(bool, net_addr_is_loopback, const struct net_addr *a);
WRAPPED(enum store_space, queue_space, struct queue *q);
WRAPPED(struct err, blobs_open, const struct blobs_options *opt, struct blobs **out);
WRAPPED(int, statvfs64, const char *path, struct statvfs *out);
WRAPPED(int, fdatasync, int fd);
WRAPPED(int, fsync, int fd);
WRAPPED(ssize_t, write, int fd, const void *bytes, size_t len);
WRAPPED(int, mdb_txn_commit, MDB_txn *txn);

#endif
