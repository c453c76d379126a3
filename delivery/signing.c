/* delivery/signing.c - mail in our name is signed before it first leaves.
 *
 * The signatures of a message are made once, asked for as soon as it is
 * queued, and stored beside it; an attempt waits for them but not for their
 * commit: should that be lost they are made again. What can't be signed is
 * deferred and never goes out bare.
 */
#include "delivery/dispatch_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct signing { /* of one message, until its signatures are stored */
    struct dispatch *dispatch;
    uint64_t id;
    struct message *message;
    struct delivery_policy *policy; /* the identities' */
    const struct signing_domain *domain;
    bool made;                      /* only their commit is missing */
    struct sign_request request;
    struct blob_op body;            /* when that is a file */
    struct list waiters;            /* attempts */
    UT_hash_handle hh;
};

static struct signing *find(struct dispatch *d, uint64_t id)
{
    struct signing *s;

    HASH_FIND(hh, d->signings, &id, sizeof id, s);
    return s;
}

static void signing_free(struct signing *s)
{
    HASH_DEL(s->dispatch->signings, s);
    list_foreach_safe (it, next, &s->waiters)
        list_remove(it);
    if (s->body.fd >= 0)
        close(s->body.fd);
    buf_release(&s->request.fields);
    message_unref(s->message);
    policy_unref(s->policy);
    free(s);
}

void signing_free_all(struct dispatch *d)
{
    struct signing *s, *tmp;

    HASH_ITER (hh, d->signings, s, tmp)
        signing_free(s);
}

/* ---- the end ------------------------------------------------------------------ */

static void keep(struct message *m, struct slice fields)
{
    if (buf_len(&m->signatures) == 0)
        buf_add(&m->signatures, fields);
}

static void stored(void *ctx, struct err e, struct message *m)
{
    struct signing *s = ctx;
    char id_text[QUEUE_ID_TEXT_MAX], why[128];

    if (err_failed(e))
        log_warning("qmgr", "%s: its signatures are not stored, a retry makes new ones: %s",
                    queue_id_format(s->id, id_text), err_text(e, why, sizeof why));
    signing_free(s);
}

/* Each attempt may end or begin others; s is only for the store by then. */
static void made(struct signing *s)
{
    struct list waiters;

    s->made = true;
    keep(s->message, buf_bytes(&s->request.fields));
    list_init(&waiters);
    while (!list_empty(&s->waiters)) {
        struct attempt *a = list_first(&s->waiters, struct attempt, sign_link);

        list_remove(&a->sign_link);
        list_append(&waiters, &a->sign_link);
        keep(a->message, buf_bytes(&s->request.fields));
    }
    queue_store_signatures(s->dispatch->opt.queue, s->id, buf_bytes(&s->request.fields), s->dispatch->opt.home, stored,
                           s);
    while (!list_empty(&waiters)) {
        struct attempt *a = list_first(&waiters, struct attempt, sign_link);

        list_remove(&a->sign_link);
        attempt_signed(a);
    }
}

static void failed(struct signing *s, const char *why)
{
    struct list waiters;
    char text[SIGNER_WHY_MAX];

    snprintf(text, sizeof text, "%s", why);
    list_init(&waiters);
    while (!list_empty(&s->waiters)) {
        struct list *it = s->waiters.next;

        list_remove(it);
        list_append(&waiters, it);
    }
    signing_free(s);
    while (!list_empty(&waiters)) {
        struct attempt *a = list_first(&waiters, struct attempt, sign_link);

        list_remove(&a->sign_link);
        attempt_unsigned(a, text);
    }
}

static void request_done(struct sign_request *r)
{
    struct signing *s = container_of(r, struct signing, request);

    if (r->ok)
        made(s);
    else
        failed(s, r->why);
}

/* ---- the beginning -------------------------------------------------------------- */

static void body_opened(struct blob_op *op, struct err e)
{
    struct signing *s = container_of(op, struct signing, body);
    char why[128];

    if (err_failed(e)) {
        failed(s, err_text(e, why, sizeof why));
        return;
    }
    s->request.file = op->fd;
    s->request.file_bytes = s->message->body_bytes;
    sign_submit(s->dispatch->opt.sign, &s->request);
}

static struct signing *begin(struct dispatch *d, struct message *m, const struct signing_domain *domain)
{
    struct signing *s = mem_new(struct signing);

    s->dispatch = d;
    s->id = m->id;
    s->message = message_ref(m);
    s->policy = policy_ref(d->policy);
    s->domain = domain;
    list_init(&s->waiters);
    s->request = (struct sign_request){
        .home = d->opt.home,
        .done = request_done,
        .identities = domain->keys,
        .identity_count = domain->key_count,
        .wall_ms = clock_wall_ms(d->opt.home->clock),
        .header = m->header,
        .body = m->body_loaded ? m->body : SLICE_EMPTY,
        .file = -1,
    };
    s->body.fd = -1;
    HASH_ADD(hh, d->signings, id, sizeof s->id, s);
    if (m->body_loaded) {
        sign_submit(d->opt.sign, &s->request);
    } else {
        s->body.home = d->opt.home;
        s->body.done = body_opened;
        queue_open_body(d->opt.queue, m, &s->body);
    }
    return s;
}

static const struct signing_domain *wanted(const struct dispatch *d, const struct message *m)
{
    if (d->opt.sign == NULL || buf_len(&m->signatures) != 0)
        return NULL;
    return policy_signing(d->policy, m);
}

void signing_ahead(struct dispatch *d, struct message *m)
{
    const struct signing_domain *domain = wanted(d, m);

    if (domain != NULL && domain->problem == NULL && find(d, m->id) == NULL)
        begin(d, m, domain);
}

enum signing_state signing_for(struct attempt *a)
{
    struct dispatch *d = a->dispatch;
    const struct signing_domain *domain = wanted(d, a->message);
    struct signing *s;

    if (domain == NULL)
        return SIGNING_READY;
    if (domain->problem != NULL) {
        a->text = mem_str(domain->problem);
        return SIGNING_IMPOSSIBLE;
    }
    s = find(d, a->id);
    if (s != NULL && s->made) {
        keep(a->message, buf_bytes(&s->request.fields));
        return SIGNING_READY;
    }
    if (s == NULL)
        s = begin(d, a->message, domain);
    list_append(&s->waiters, &a->sign_link);
    return SIGNING_WAIT;
}
