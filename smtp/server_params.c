/* smtp/server_params.c - the parameters of MAIL and RCPT (RFC 5321 section
 * 4.1.2, esmtp-param): a row for each that an extension brings. */
#include "smtp/server_private.h"

struct param {
    const char *keyword;
    bool flag; /* takes no value */
    /* Into a smtp_sender or a smtp_recipient. NULL, or why not: code and text
     * of the reply. */
    const char *(*take)(struct smtp_server *s, struct slice value, void *into);
    bool (*offered)(const struct smtp_server *s); /* NULL: always */
};

/* ---- MAIL -------------------------------------------------------------------- */

static const char *take_size(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_sender *from = into;

    if (value.len == 0 || value.len > 20 || !slice_u64(value, &from->size))
        return "501 5.5.4 SIZE needs a number";
    return NULL;
}

static const char *take_body(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_sender *from = into;

    if (slice_eq_nocase(value, SLICE("8BITMIME")))
        from->body = SMTP_BODY_8BITMIME;
    else if (slice_eq_nocase(value, SLICE("7BIT")))
        from->body = SMTP_BODY_7BIT;
    else if (slice_eq_nocase(value, SLICE("BINARYMIME")))
        return "555 5.5.4 BINARYMIME is not offered";
    else
        return "501 5.5.4 BODY is 7BIT or 8BITMIME";
    return NULL;
}

static const char *take_smtputf8(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_sender *from = into;

    from->smtputf8 = true;
    return NULL;
}

static const char *take_ret(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_sender *from = into;

    if (slice_eq_nocase(value, SLICE("FULL")))
        from->ret = MAIL_RETURN_FULL;
    else if (slice_eq_nocase(value, SLICE("HDRS")))
        from->ret = MAIL_RETURN_HEADER;
    else
        return "501 5.5.4 RET is FULL or HDRS";
    return NULL;
}

static const char *take_envid(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_sender *from = into;

    if (value.len > MAIL_ENVID_MAX || !mail_xtext_valid(value))
        return "501 5.5.4 ENVID is printable ASCII in xtext, at most 100 bytes";
    from->envelope_id = value;
    return NULL;
}

static bool offers_auth(const struct smtp_server *s)
{
    return s->auth != NULL;
}

static const char *take_auth(struct smtp_server *s, struct slice value, void *into)
{
    return server_auth_param(value);
}

void smtp_server_offer_release(struct smtp_server *s, uint64_t max_ms, const struct clock *clock)
{
    s->release_max_ms = max_ms;
    s->clock = clock;
}

static bool offers_release(const struct smtp_server *s)
{
    return s->release_max_ms != 0;
}

static const char *set_release(struct smtp_server *s, struct smtp_sender *from, uint64_t wait_ms, uint64_t now_ms)
{
    if (from->release_wall_ms != 0)
        return "501 5.5.4 HOLDFOR or HOLDUNTIL, not both";
    if (wait_ms > s->release_max_ms)
        return "501 5.5.4 longer than this server holds a message, see its EHLO reply";
    from->release_wall_ms = now_ms + wait_ms;
    return NULL;
}

/* Seconds from now: 1 to 9 digits (RFC 4865 section 4). */
static const char *take_holdfor(struct smtp_server *s, struct slice value, void *into)
{
    uint64_t seconds;

    if (value.len == 0 || value.len > 9 || !slice_u64(value, &seconds))
        return "501 5.5.4 HOLDFOR needs a number of seconds";
    return set_release(s, into, seconds * SECOND_MS, clock_wall_ms(s->clock));
}

/* A time that has gone by is no hold: the client's clock and ours differ a
 * little, and the message is due. */
static const char *take_holduntil(struct smtp_server *s, struct slice value, void *into)
{
    uint64_t now = clock_wall_ms(s->clock), at;

    if (!mail_rfc3339_parse(value, &at))
        return "501 5.5.4 HOLDUNTIL needs a time like 2026-12-31T23:59:00Z";
    return set_release(s, into, at > now ? at - now : 0, now);
}

static const struct param mail_params[] = {
    { "SIZE", false, take_size, NULL },
    { "BODY", false, take_body, NULL },
    { "SMTPUTF8", true, take_smtputf8, NULL },
    { "RET", false, take_ret, NULL },
    { "ENVID", false, take_envid, NULL },
    { "AUTH", false, take_auth, offers_auth },
    { "HOLDFOR", false, take_holdfor, offers_release },
    { "HOLDUNTIL", false, take_holduntil, offers_release },
};

/* ---- RCPT -------------------------------------------------------------------- */

static const char *take_notify(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_recipient *to = into;

    if (!mail_notify_parse(value, &to->wish.notify))
        return "501 5.5.4 NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY";
    return NULL;
}

static const char *take_orcpt(struct smtp_server *s, struct slice value, void *into)
{
    struct smtp_recipient *to = into;

    if (!mail_orcpt_valid(value, s->utf8))
        return "501 5.5.4 ORCPT is an address type, \";\" and an address in xtext, at most 500 bytes";
    to->wish.original = value;
    return NULL;
}

static const struct param rcpt_params[] = {
    { "NOTIFY", false, take_notify, NULL },
    { "ORCPT", false, take_orcpt, NULL },
};

/* ---- all of them --------------------------------------------------------------- */

static bool keyword_valid(struct slice keyword)
{
    for (size_t i = 0; i < keyword.len; i++) {
        char c = keyword.ptr[i];

        if (!ascii_is_alnum(c) && (c != '-' || i == 0))
            return false;
    }
    return keyword.len > 0;
}

static const struct param *param_find(const struct smtp_server *s, const struct param *params, size_t count,
                                      struct slice keyword)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_nocase(keyword, slice_str(params[i].keyword)))
            return params[i].offered == NULL || params[i].offered(s) ? &params[i] : NULL;
    return NULL;
}

/* Each keyword once, each known, each with a good value. */
static const char *take_params(struct smtp_server *s, struct slice rest, const struct param *params,
                               size_t count, void *into)
{
    unsigned seen = 0;
    struct slice part;

    while (slice_split(&rest, ' ', &part)) {
        size_t equals = slice_find(part, '=');
        struct slice keyword = slice_head(part, equals);
        const struct param *p;
        const char *why;

        if (part.len == 0)
            continue;
        if (!keyword_valid(keyword))
            return "501 5.5.4 malformed parameter";
        p = param_find(s, params, count, keyword);
        if (p == NULL)
            return "555 5.5.4 parameter not supported";
        if ((seen & (1u << (p - params))) != 0)
            return "501 5.5.4 parameter given twice";
        seen |= 1u << (p - params);
        if (p->flag && equals < part.len)
            return "501 5.5.4 this parameter takes no value";
        why = p->take(s, slice_from(part, equals + 1), into);
        if (why != NULL)
            return why;
    }
    return NULL;
}

/* Without EHLO no parameter was offered. */
const char *server_mail_params(struct smtp_server *s, struct slice rest, struct smtp_sender *from)
{
    return take_params(s, rest, mail_params, s->esmtp ? countof(mail_params) : 0, from);
}

const char *server_rcpt_params(struct smtp_server *s, struct slice rest, struct smtp_recipient *to)
{
    return take_params(s, rest, rcpt_params, s->esmtp ? countof(rcpt_params) : 0, to);
}
