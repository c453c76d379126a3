/* delivery/smart.c - what is known of each smart host, across sites and reloads. */
#include "delivery/dispatch_internal.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- hops ---------------------------------------------------------------------- */

bool hop_usable(const struct hop *h, uint64_t now_ms)
{
    return h->avoid_until_ms <= now_ms && !h->probing;
}

bool hop_failed(struct hop *h, const char *why, uint64_t now_ms, uint64_t wait_ms)
{
    bool news = h->failures == 0;

    free(h->last_error);
    h->last_error = mem_str(why);
    if (h->avoid_until_ms > now_ms)
        return false; /* attempts that were under way when it failed */
    h->failures++;
    h->avoid_until_ms = now_ms + (wait_ms < HOP_AVOID_MAX_MS ? wait_ms : HOP_AVOID_MAX_MS);
    return news;
}

bool hop_answered(struct hop *h)
{
    bool news = h->failures > 0;

    h->failures = 0;
    h->avoid_until_ms = 0;
    free(h->last_error);
    h->last_error = NULL;
    return news;
}

static struct hop *hop_for(struct smart *smart, const struct next_host *host)
{
    struct next_host only = *host;
    struct hop *h = NULL;
    char name[300];

    snprintf(name, sizeof name, host->literal && host->addr.family == AF_INET6 ? "[%s]:%u" : "%s:%u", host->name,
             host->port);
    for (size_t i = 0; i < smart->known_count && h == NULL; i++) {
        if (strcmp(smart->known[i]->name, name) == 0)
            h = smart->known[i];
    }
    if (h == NULL) {
        h = mem_new(struct hop);
        h->smart = smart;
        h->name = mem_str(name);
        smart->known = mem_grow(smart->known, smart->known_count + 1, sizeof *smart->known);
        smart->known[smart->known_count++] = h;
    }
    only.preference = 0;
    host_list_unref(h->hosts);
    h->hosts = host_list_new(&only, 1, false);
    return h;
}

static void hop_free(struct hop *h)
{
    host_list_unref(h->hosts);
    free(h->last_error);
    free(h->name);
    free(h);
}

/* ---- smart hosts ------------------------------------------------------------------ */

struct smart *smarts_find(const struct smarts *all, const char *title)
{
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->list[i]->title, title) == 0)
            return all->list[i];
    }
    return NULL;
}

static struct smart *smart_for(struct smarts *all, const char *title)
{
    struct smart *s = smarts_find(all, title);

    if (s != NULL)
        return s;
    s = mem_new(struct smart);
    s->dispatch = all->dispatch;
    s->title = mem_str(title);
    all->list = mem_grow(all->list, all->count + 1, sizeof(struct smart *));
    all->list[all->count++] = s;
    return s;
}

static void drop_login(struct smart *s)
{
    sasl_login_unref(s->login);
    token_free(s->token);
    free(s->token_user);
    s->login = NULL;
    s->token = NULL;
    s->token_user = NULL;
}

static void token_changed(void *ctx)
{
    struct smart *s = ctx;

    fail_over_pump(s->dispatch, s);
}

static void take_login(struct smart *s, const struct smarthost *sh)
{
    drop_login(s);
    if (sh->user == NULL)
        return;
    if (sh->password != NULL) {
        s->login = sasl_login_new(&(struct sasl_login_options){
            .user = sh->user, .password = sh->password, .allowed = sh->mechanisms });
        return;
    }
    s->token_user = mem_str(sh->user);
    s->token_mechanisms = sh->mechanisms;
    s->token = token_new(&(struct token_options){
        .loop = s->dispatch->opt.home,
        .title = s->title,
        .file = sh->token_file,
        .command = sh->token_command,
        .changed = token_changed,
        .ctx = s,
    });
}

enum token_state smart_login(struct smart *s, struct sasl_login **login, const char **why)
{
    enum token_state state = TOKEN_READY;
    const char *token;

    if (s->token != NULL) {
        state = token_ask(s->token, &token, why);
        if (state == TOKEN_READY && (s->login == NULL || s->token_serial != token_serial(s->token))) {
            sasl_login_unref(s->login);
            s->token_serial = token_serial(s->token);
            s->login = sasl_login_new(&(struct sasl_login_options){
                .user = s->token_user, .token = token, .allowed = s->token_mechanisms });
        }
    }
    *login = s->login;
    return state;
}

void smart_login_refused(struct smart *s)
{
    if (s->token != NULL)
        token_refused(s->token, s->token_serial);
}

/* A new definition may be what makes an ill host well: all may be tried. */
static void smart_take(struct smart *s, const struct smarthost *sh, uint64_t now_ms)
{
    s->changed = true;
    s->version++;
    s->tls = sh->tls;
    s->connections_max = sh->connections;
    s->rate = sh->rate;
    take_login(s, sh);
    free(s->hops);
    s->hops = mem_alloc(sh->host_count * sizeof(struct hop *));
    s->hop_count = sh->host_count;
    for (size_t i = 0; i < sh->host_count; i++) {
        s->hops[i] = hop_for(s, &sh->hosts[i]);
        if (s->hops[i]->avoid_until_ms > now_ms)
            s->hops[i]->avoid_until_ms = now_ms;
    }
}

static const struct smarthost *find_in(const struct delivery_policy *p, const char *title)
{
    for (size_t i = 0; p != NULL && i < p->smarthost_count; i++) {
        if (strcmp(p->smarthosts[i].title, title) == 0)
            return &p->smarthosts[i];
    }
    return NULL;
}

void smarts_take(struct smarts *all, const struct delivery_policy *p, const struct delivery_policy *old)
{
    for (size_t i = 0; i < p->smarthost_count; i++) {
        const struct smarthost *sh = &p->smarthosts[i], *was = find_in(old, sh->title);

        if (was == NULL || !policy_same_smarthost(was, sh))
            smart_take(smart_for(all, sh->title), sh, all->dispatch->opt.home->now_ms);
    }
    for (size_t i = 0; i < all->count; i++) {
        if (find_in(p, all->list[i]->title) == NULL)
            drop_login(all->list[i]); /* nobody is anybody there any more */
    }
}

void smarts_release(struct smarts *all)
{
    for (size_t i = 0; i < all->count; i++) {
        struct smart *s = all->list[i];

        for (size_t k = 0; k < s->known_count; k++)
            hop_free(s->known[k]);
        free(s->known);
        free(s->hops);
        drop_login(s);
        free(s->title);
        free(s);
    }
    free(all->list);
}
