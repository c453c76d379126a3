/* relayd/engine_dkim.c - what the admin asks about DKIM keys: which are in use,
 * and what name servers say of them. Asked on control threads; the resolver
 * lives on loop 0. */
#include "relayd/engine_internal.h"

#include "base/mem.h"
#include "relayd/settings_dkim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKUP_WAIT_MS (20 * SECOND_MS) /* a little more than a resolver takes */

void engine_dkim_set(struct engine *en, const struct settings *st)
{
    const struct settings *old;

    pthread_mutex_lock(&en->dkim_lock);
    old = en->dkim_settings;
    en->dkim_settings = settings_ref(st);
    pthread_mutex_unlock(&en->dkim_lock);
    settings_unref(old);
}

void engine_dkim_keys(void *ctx, const char *domain, control_key_visitor *visit, void *visit_ctx)
{
    struct engine *en = ctx;
    const struct settings *st;

    pthread_mutex_lock(&en->dkim_lock);
    st = settings_ref(en->dkim_settings);
    pthread_mutex_unlock(&en->dkim_lock);
    settings_each_key(st, domain, visit, visit_ctx);
    settings_unref(st);
}

/* ---- a look-up ------------------------------------------------------------------ */

struct lookup { /* freed by whoever is last: the thread that waits, or loop 0 */
    struct post post;
    struct engine *engine;
    char *name;
    struct control_txt answer;
    bool done, given_up;
};

static void lookup_free(struct lookup *l)
{
    buf_release(&l->answer.texts);
    free(l->name);
    free(l);
}

static void answered(void *ctx, const struct dns_answer *a)
{
    struct lookup *l = ctx;
    struct engine *en = l->engine;
    bool given_up;

    pthread_mutex_lock(&en->dkim_lock);
    l->done = true;
    l->answer.state = a->status == DNS_OK         ? CONTROL_TXT_FOUND
                      : a->status == DNS_TEMPFAIL ? CONTROL_TXT_UNKNOWN
                                                  : CONTROL_TXT_NONE;
    snprintf(l->answer.detail, sizeof l->answer.detail, "%s", a->detail != NULL ? a->detail : "no answer");
    for (unsigned i = 0; a->status == DNS_OK && i < a->count; i++)
        buf_add(&l->answer.texts, slice_make(a->text[i], strlen(a->text[i]) + 1));
    given_up = l->given_up;
    pthread_cond_broadcast(&en->dkim_told);
    pthread_mutex_unlock(&en->dkim_lock);
    if (given_up)
        lookup_free(l);
}

static void lookup_run(struct post *p)
{
    struct lookup *l = container_of(p, struct lookup, post);

    dns_ask(l->engine->resolver_list[0], l->name, DNS_TXT, answered, l);
}

void engine_dkim_txt(void *ctx, const char *name, struct control_txt *out)
{
    struct engine *en = ctx;
    struct lookup *l = mem_new(struct lookup);
    uint64_t until;
    bool in_time = true;

    l->engine = en;
    l->name = mem_str(name);
    l->post.run = lookup_run;
    loop_post(en->loops[0].loop, &l->post);
    until = cond_deadline_ms(LOOKUP_WAIT_MS);
    pthread_mutex_lock(&en->dkim_lock);
    while (!l->done && !en->dkim_ended && in_time)
        in_time = cond_wait_until(&en->dkim_told, &en->dkim_lock, until);
    if (l->done) {
        *out = l->answer;
        l->answer.texts = (struct buf){ 0 };
    } else {
        out->state = CONTROL_TXT_UNKNOWN;
        snprintf(out->detail, sizeof out->detail, "%s", en->dkim_ended ? "the engine is stopping" : "no answer");
        l->given_up = true;
        l = NULL;
    }
    pthread_mutex_unlock(&en->dkim_lock);
    if (l != NULL)
        lookup_free(l);
}

void engine_dkim_stop(struct engine *en)
{
    pthread_mutex_lock(&en->dkim_lock);
    en->dkim_ended = true;
    pthread_cond_broadcast(&en->dkim_told);
    pthread_mutex_unlock(&en->dkim_lock);
}
