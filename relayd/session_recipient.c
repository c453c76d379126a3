/* relayd/session_recipient.c - RCPT: from the address a client names to those
 * the message goes to, by way of trust, aliases and routes. */
#include "relayd/session_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct targets { /* of one RCPT */
    struct slice original;
    const struct mail_wish *wish;
    struct buf text;
    uint32_t *ends;
    uint32_t count, cap;
};

static void add_target(void *ctx, struct slice address)
{
    struct targets *t = ctx;

    if (t->count == t->cap) {
        t->cap = t->cap != 0 ? t->cap * 2 : 4;
        t->ends = mem_grow(t->ends, t->cap, sizeof *t->ends);
    }
    buf_add(&t->text, address);
    t->ends[t->count++] = (uint32_t)buf_len(&t->text);
}

static struct slice target_at(const struct targets *t, uint32_t i)
{
    uint32_t begin = i != 0 ? t->ends[i - 1] : 0;

    return slice_make(buf_bytes(&t->text).ptr + begin, t->ends[i] - begin);
}

static void tell_trouble(void *ctx, enum alias_verdict what, struct slice address)
{
    static const char *const texts[] = {
        [ALIAS_LOOP] = "its aliases form a loop, which closes at",
        [ALIAS_DEEP] = "its aliases lead through too many others, to",
        [ALIAS_MANY] = "its aliases have too many targets; too many is",
        [ALIAS_DEAD] = "its aliases lead to an address of ours that does not exist, which is left out:",
    };
    const struct targets *t = ctx;

    log_warning("smtpd", "<%.*s>: %s <%.*s>", (int)t->original.len, t->original.ptr, texts[what], (int)address.len,
                address.ptr);
}

static bool refused(struct session *s, enum alias_verdict v, struct slice address)
{
    int len = (int)address.len;

    switch (v) {
    case ALIAS_FOUND:
        return false;
    case ALIAS_LOOP:
        smtp_server_answer(s->engine, 550, "5.4.6 <%.*s>: its aliases form a loop", len, address.ptr);
        return true;
    case ALIAS_DEEP:
        smtp_server_answer(s->engine, 550, "5.4.6 <%.*s>: its aliases lead through too many others", len, address.ptr);
        return true;
    case ALIAS_MANY:
        smtp_server_answer(s->engine, 550, "5.2.4 <%.*s>: its aliases have too many targets", len, address.ptr);
        return true;
    case ALIAS_UNKNOWN:
    case ALIAS_DEAD:
        break;
    }
    smtp_server_answer(s->engine, 550, "5.1.1 <%.*s>: no such recipient here", len, address.ptr);
    return true;
}

/* Adds the targets that no route refuses; answers. */
static void take_targets(struct session *s, const struct targets *t)
{
    const char *refusal = NULL;
    bool taken = false;

    if (s->recipients.count + t->count > s->config->settings->limits.alias_recipients) {
        smtp_server_answer(s->engine, 452, "4.5.3 too many recipients, now that aliases are resolved");
        return;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        struct slice to = target_at(t, i);
        const struct route *route = policy_route(s->config->policy, mail_path_text(&s->sender), to, false);

        if (route->action == ROUTE_REJECT) {
            refusal = route->text;
            if (t->count > 1)
                log_info("smtpd", "<%.*s>: a route refuses its target <%.*s>: %s", (int)t->original.len,
                         t->original.ptr, (int)to.len, to.ptr, route->text);
            continue;
        }
        recipients_add(&s->recipients, to, t->original, t->wish, route->action == ROUTE_HOLD);
        taken = true;
    }
    if (taken)
        smtp_server_answer(s->engine, 250, "2.1.5 Ok");
    else
        smtp_server_answer(s->engine, 550, "5.7.1 %s", refusal);
}

static void resolve(struct session *s, struct slice address, const struct mail_wish *wish)
{
    static const struct alias_events events = { add_target, tell_trouble };
    struct targets t = { .original = address, .wish = wish };

    if (!refused(s, alias_resolve(s->config->settings->aliases, address, &events, &t), address))
        take_targets(s, &t);
    buf_release(&t.text);
    free(t.ends);
}

/* RFC 5321 section 4.5.1: a server that takes mail has a postmaster. */
static void resolve_postmaster(struct session *s, const struct mail_wish *wish)
{
    char address[MAIL_ADDRESS_MAX + 1];

    if (alias_rules_postmaster(s->config->settings->aliases, address))
        resolve(s, slice_str(address), wish);
    else
        smtp_server_answer(s->engine, 550, "5.1.1 <postmaster> of this server has no address, name a domain");
}

void session_recipient(void *ctx, const struct smtp_recipient *to)
{
    struct session *s = ctx;
    struct slice address = mail_path_text(&to->path);

    if (mail_path_domain(&to->path).len == 0) { /* only <postmaster> comes without one */
        resolve_postmaster(s, &to->wish);
        return;
    }
    switch (relay_judge(s->config->rules, s->trusted, &to->path)) {
    case RELAY_OK:
        resolve(s, address, &to->wish);
        break;
    case RELAY_DENIED:
        smtp_server_answer(s->engine, 550, "5.7.1 <%.*s>: relay access denied", (int)address.len, address.ptr);
        break;
    case RELAY_ROUTED_LOCAL:
        smtp_server_answer(s->engine, 550, "5.7.1 <%.*s>: routing inside an address is not served",
                           (int)address.len, address.ptr);
        break;
    }
}
