/* relayd/session_envelope.c - who may send to whom, and the envelope so far. */
#include "relayd/session_internal.h"

#include "base/mem.h"
#include "mail/header.h"

#include <stdio.h>
#include <stdlib.h>

/* True when the store takes no mail for now, and the client was told so. */
bool session_store_refuses(struct session *s)
{
    switch (queue_space(s->acceptor->queue)) {
    case STORE_SPACE_OK:
        return false;
    case STORE_SPACE_LOW:
        smtp_server_answer(s->engine, 452, "4.3.1 not enough disk space, try again later");
        return true;
    case STORE_BROKEN:
        smtp_server_answer(s->engine, 451, "4.3.0 the mail queue can't be written, try again later");
        return true;
    }
    return false;
}

void session_sender(void *ctx, const struct smtp_sender *from)
{
    struct session *s = ctx;

    struct mail_path path = from->path;

    if (session_store_refuses(s))
        return;
    session_rewrite_sender(s, &path);
    if (session_sender_refused(s, mail_path_text(&path)))
        return;
    s->sender = path;
    s->message_flags = (from->smtputf8 ? MESSAGE_SMTPUTF8 : 0) |
                       (from->ret == MAIL_RETURN_FULL ? MESSAGE_RETURN_FULL : 0) |
                       (from->ret == MAIL_RETURN_HEADER ? MESSAGE_RETURN_HEADER : 0);
    buf_clear(&s->envelope_id);
    buf_add(&s->envelope_id, from->envelope_id);
    s->release_wall_ms = from->release_wall_ms;
    smtp_server_answer(s->engine, 250, "2.1.0 Ok");
}

static struct slice copy_of(struct slice s)
{
    return s.len != 0 ? slice_make(mem_dup(s.ptr, s.len), s.len) : SLICE_EMPTY;
}

static void add_recipient(struct session *s, struct slice address, bool held, const struct mail_wish *wish)
{
    if (s->recipient_count == s->recipient_cap) {
        s->recipient_cap = s->recipient_cap != 0 ? s->recipient_cap * 2 : 4;
        s->recipient_ends = mem_grow(s->recipient_ends, s->recipient_cap, sizeof *s->recipient_ends);
        s->recipient_held = mem_grow(s->recipient_held, s->recipient_cap, sizeof *s->recipient_held);
        s->wishes = mem_grow(s->wishes, s->recipient_cap, sizeof *s->wishes);
    }
    buf_add(&s->recipient_text, address);
    s->recipient_held[s->recipient_count] = held;
    s->wishes[s->recipient_count] = (struct mail_wish){ wish->notify, copy_of(wish->original) };
    s->recipient_ends[s->recipient_count++] = (uint32_t)buf_len(&s->recipient_text);
}

struct slice session_recipient_at(const struct session *s, uint32_t i)
{
    uint32_t begin = i != 0 ? s->recipient_ends[i - 1] : 0;

    return slice_make(buf_bytes(&s->recipient_text).ptr + begin, s->recipient_ends[i] - begin);
}

/* The same recipient twice gets the message once. */
static bool have_recipient(const struct session *s, struct slice address)
{
    for (uint32_t i = 0; i < s->recipient_count; i++)
        if (slice_eq(session_recipient_at(s, i), address))
            return true;
    return false;
}

/* RFC 5321 section 4.5.1: a server that takes mail has a postmaster. Without a
 * directive it is that of the first domain we take mail for. */
static bool find_postmaster(const struct settings *st, char out[MAIL_ADDRESS_MAX + 1])
{
    for (size_t i = 0; st->postmaster == NULL && i < st->domain_count; i++) {
        if (st->domains[i].relay) {
            snprintf(out, MAIL_ADDRESS_MAX + 1, "postmaster@%s", st->domains[i].name);
            return true;
        }
    }
    if (st->postmaster != NULL)
        snprintf(out, MAIL_ADDRESS_MAX + 1, "%s", st->postmaster);
    return st->postmaster != NULL;
}

void session_recipient(void *ctx, const struct smtp_recipient *to)
{
    struct session *s = ctx;
    const struct settings *st = s->config->settings;
    struct slice address = mail_path_text(&to->path);
    struct slice domain = mail_path_domain(&to->path);
    const struct route *route;
    char postmaster[MAIL_ADDRESS_MAX + 1];

    if (domain.len == 0) { /* only <postmaster> comes without one */
        if (!find_postmaster(st, postmaster)) {
            smtp_server_answer(s->engine, 550, "5.1.1 <postmaster> of this server has no address, name a domain");
            return;
        }
        address = slice_str(postmaster);
    } else {
        switch (relay_judge(s->config->rules, s->trusted, &to->path)) {
        case RELAY_OK:
            break;
        case RELAY_DENIED:
            smtp_server_answer(s->engine, 550, "5.7.1 <%.*s>: relay access denied", (int)address.len, address.ptr);
            return;
        case RELAY_ROUTED_LOCAL:
            smtp_server_answer(s->engine, 550, "5.7.1 <%.*s>: routing inside an address is not served",
                               (int)address.len, address.ptr);
            return;
        }
    }
    route = policy_route(s->config->policy, mail_path_text(&s->sender), address, false);
    if (route->action == ROUTE_REJECT) {
        smtp_server_answer(s->engine, 550, "5.7.1 %s", route->text);
        return;
    }
    if (!have_recipient(s, address))
        add_recipient(s, address, route->action == ROUTE_HOLD, &to->wish);
    smtp_server_answer(s->engine, 250, "2.1.5 Ok");
}

const char *session_protocol(const struct session *s)
{
    return mail_protocol_name(smtp_server_esmtp(s->engine), false, session_logged_in(s), (s->message_flags & MESSAGE_SMTPUTF8) != 0);
}

void session_forget_envelope(struct session *s)
{
    for (uint32_t i = 0; i < s->recipient_count; i++)
        free((char *)s->wishes[i].original.ptr);
    buf_release(&s->envelope_id);
    s->message_flags = 0;
    s->release_wall_ms = 0;
    buf_clear(&s->recipient_text);
    s->recipient_count = 0;
    s->sender.len = s->sender.local_len = 0;
}
