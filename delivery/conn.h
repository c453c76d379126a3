/* delivery/conn.h - one connection to a site, on a loop of its own choice.
 *
 * The dispatcher (loop 0) makes it with its first job, gives it the next one
 * when a job came back and the connection is still good, and frees it when it
 * has said it is gone. Jobs and notices travel as posts, so neither side
 * touches the other's state.
 */
#ifndef DELIVERY_CONN_H
#define DELIVERY_CONN_H

#include "delivery/mx.h"
#include "delivery/policy.h"
#include "delivery/tls_memory.h"
#include "queue/queue.h"

struct conn;

/* How one recipient of a job fared. */
struct job_outcome {
    bool known;
    enum smtp_verdict verdict;
    enum smtp_stage stage;
    unsigned code;
    struct mail_status status;
    char *text; /* freed with the job */
};

/* One message to some recipients in one transaction. */
struct job {
    struct post post;
    struct conn *conn;
    struct message *message;             /* a reference; content loaded but for a body file */
    struct buf signatures;               /* to go in front of its header */
    const struct signing_domain *signing; /* for a variant of it; NULL: not to be signed */
    struct delivery_policy *policy;      /* signing's; a reference, or NULL */
    const struct recipient **recipients; /* into message */
    uint32_t count;
    struct job_outcome *outcomes;        /* one per recipient, filled in by the connection */
    bool unattempted;    /* a reused connection was found dead: try again at once */
    bool site_failed;    /* no host of the site could be spoken to */
    bool names_failed;   /* for no address could be found: the name servers, not the site */
    bool login_failed;   /* site_failed: we are not let in */
    bool conn_usable;    /* the connection waits for the next job */
    bool dsn_passed_on;  /* the next hop offers DSN: it tells the sender what was asked for */
    char relay[320];     /* "host[addr]:port" or "none" */
    char tls[96];        /* "TLSv1.3 CIPHER verified|trusted|untrusted|anonymous"; empty: in the clear, or not connected */
    uint64_t given_ms;   /* monotonic */
    uint64_t connected_ms;
    uint64_t ended_ms;
    void (*done)(struct job *j); /* on loop 0 */
    void *ctx;
};

struct conn_options {
    struct loop *loop;          /* the connection's */
    struct loop *home;          /* the dispatcher's: loop 0 */
    struct resolver *resolver;  /* of loop */
    struct queue *queue;
    struct delivery_policy *policy;
    struct sign_service *sign;  /* or NULL */
    struct host_list *hosts;
    bool literal_ok;            /* hosts given by the admin: loopback is no mistake, and a failure never the message's */
    enum hop_tls tls;
    struct sasl_login *login;   /* NULL = none; a reference is taken */
    const char *refusal;        /* not NULL: nothing is dialled, the first job fails for this reason. Copied */
    struct tls_client *tls_client; /* NULL: there is no TLS */
    struct tls_memory *tls_memory;
    void (*gone)(struct conn *c, void *ctx); /* on home, once; then conn_free() when no job is out */
    void *ctx;
};

/* Home's thread. */
struct conn *conn_new(const struct conn_options *opt);
void conn_give(struct conn *c, struct job *j); /* the first one dials */
void conn_quit(struct conn *c);                /* when idle: QUIT, then gone */
void conn_free(struct conn *c);                /* after gone */

void job_free(struct job *j); /* NULL is fine */

#endif
