/* control/control.h - the admin API: HTTP and JSON on a Unix socket.
 *
 * doc/control-api.md describes it. It has threads of its own, which ask the
 * scheduler on loop 0 and the store's readers and wait for them, a bounded
 * time. Only root and the user the engine runs as are served.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "base/buf.h"
#include "auth/accounts.h"
#include "auth/sign.h"
#include "control/view_dkim.h"
#include "delivery/dispatch.h"
#include "queue/queue.h"

struct control;

struct control_options {
    const char *runtime_dir; /* the socket is made here, mode 0660 */
    struct queue *queue;
    struct accounts *accounts; /* NULL: nobody can be asked about users */
    struct dispatch *dispatch;
    struct signers *signers; /* NULL: nothing is said of signatures */
    struct loop *home;       /* loop 0, where dispatch and signers live */
    const struct clock *clock;
    const char *hostname;    /* copied */
    const char *version;     /* a literal */
    /* Both are called on a control thread and may block, but must return soon
     * after the engine begins to stop. `answer` is text for people. */
    struct err (*reload)(void *ctx, struct buf *answer); /* ERR_SYNTAX: refused, the old one rules */
    struct err (*stop)(void *ctx, struct buf *answer);   /* asks for it and does not wait */
    /* Likewise: the keys of that domain (NULL: of all) that mail is signed with,
     * and the TXT records of a name, which may take a while. */
    void (*keys)(void *ctx, const char *domain, control_key_visitor *visit, void *visit_ctx);
    void (*txt)(void *ctx, const char *name, struct control_txt *out);
    void *ctx;
};

/* A socket that a dead engine left is replaced; ERR_BUSY when somebody answers
 * there. `why`, for people, may be NULL. */
MUST_CHECK struct err control_start(const struct control_options *opt, struct control **out, struct buf *why);
/* Any thread, loop 0 too: the socket is gone, no request is being served any
 * more, neither queue nor dispatch will be touched. A second call does nothing. */
void control_stop(struct control *c);
void control_free(struct control *c); /* after control_stop and the end of loop 0; NULL is fine */

#endif
