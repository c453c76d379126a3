/* smtp/server_xclient.c - XCLIENT: a front end that speaks SMTP itself (nginx, a
 * filter before the queue) says whom it speaks for, as Postfix's XCLIENT_README
 * has it. It is offered, and taken, only where the owner says so.
 *
 * LOGIN is not offered: what a user may do is known when he logs in here.
 */
#include "smtp/server_private.h"

#include "base/mem.h"
#include "net/addr.h"

#include <stdlib.h>

#define WORD_MAX 255u /* of a host's name */

struct claim {
    struct smtp_xclient x;
    struct net_addr addr;
};

/* What one attribute says, decoded; "" when it is [UNAVAILABLE]. */
typedef const char *take_attribute(struct slice value, struct claim *c);

static const char *take_name(struct slice value, struct claim *c)
{
    return value.len > WORD_MAX ? "501 5.5.4 NAME is too long" : NULL; /* names are not looked at */
}

/* "192.0.2.1" or "IPV6:2001:db8::1" */
static const char *take_addr(struct slice value, struct claim *c)
{
    bool six = slice_starts_nocase(value, SLICE("IPV6:"));

    c->x.addr = &c->addr;
    if (value.len == 0)
        return NULL;
    if (six)
        value = slice_from(value, 5);
    if (slice_find(value, '%') != value.len || (slice_find(value, ':') != value.len) != six ||
        !net_addr_parse(value, &c->addr))
        return "501 5.5.4 ADDR is an IPv4 address, or IPV6: and one";
    return NULL;
}

static bool is_port(struct slice value, uint16_t *out)
{
    uint64_t n = 0;

    if (value.len > 0 && (value.len > 5 || !slice_u64(value, &n) || n > UINT16_MAX))
        return false;
    *out = (uint16_t)n;
    return true;
}

static const char *take_port(struct slice value, struct claim *c)
{
    return is_port(value, &c->x.port) ? NULL : "501 5.5.4 PORT is a number up to 65535";
}

static const char *take_proto(struct slice value, struct claim *c)
{
    if (value.len == 0 || slice_eq_nocase(value, SLICE("SMTP")) || slice_eq_nocase(value, SLICE("ESMTP")))
        return NULL; /* the next EHLO or HELO tells */
    return "501 5.5.4 PROTO is SMTP or ESMTP";
}

static const char *take_helo(struct slice value, struct claim *c)
{
    if (value.len > SERVER_HELO_MAX)
        return "501 5.5.4 HELO is too long";
    memcpy(c->x.helo, value.ptr != NULL ? value.ptr : "", value.len);
    c->x.helo[value.len] = '\0';
    return NULL;
}

static const char *take_login(struct slice value, struct claim *c)
{
    return value.len == 0 ? NULL : "501 5.7.0 LOGIN is not taken from a front end: its client logs in here";
}

static const char *take_destaddr(struct slice value, struct claim *c)
{
    struct claim other = { 0 };

    return take_addr(value, &other) == NULL ? NULL : "501 5.5.4 DESTADDR is an IPv4 address, or IPV6: and one";
}

static const char *take_destport(struct slice value, struct claim *c)
{
    uint16_t port;

    return is_port(value, &port) ? NULL : "501 5.5.4 DESTPORT is a number up to 65535";
}

static const struct attribute {
    const char *name;
    take_attribute *take;
    bool offered;
} attributes[] = {
    { "NAME", take_name, true },   { "ADDR", take_addr, true },
    { "PORT", take_port, true },   { "PROTO", take_proto, true },
    { "HELO", take_helo, true },   { "DESTADDR", take_destaddr, true },
    { "DESTPORT", take_destport, true }, { "LOGIN", take_login, false },
};

void smtp_server_offer_xclient(struct smtp_server *s, bool on)
{
    s->xclient = on;
}

bool server_offer_xclient(struct smtp_server *s)
{
    if (!s->xclient)
        return false;
    buf_add(&s->out, SLICE("XCLIENT"));
    for (size_t i = 0; i < countof(attributes); i++) {
        if (attributes[i].offered) {
            buf_add_byte(&s->out, ' ');
            buf_add_str(&s->out, attributes[i].name);
        }
    }
    return true;
}

static int hex(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* xtext (RFC 3461 section 4) of printable ASCII; "[UNAVAILABLE]" and
 * "[TEMPUNAVAIL]" leave nothing. */
static bool decode(struct slice value, struct buf *out)
{
    if (slice_eq_nocase(value, SLICE("[UNAVAILABLE]")) || slice_eq_nocase(value, SLICE("[TEMPUNAVAIL]")))
        return true;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (c == '+') {
            if (i + 2 >= value.len || hex(value.ptr[i + 1]) < 0 || hex(value.ptr[i + 2]) < 0)
                return false;
            c = (char)(hex(value.ptr[i + 1]) << 4 | hex(value.ptr[i + 2]));
            i += 2;
        }
        if (c <= ' ' || c > '~')
            return false;
        buf_add_byte(out, c);
    }
    return buf_len(out) > 0;
}

static const char *take(struct slice part, struct claim *c, unsigned *seen)
{
    size_t equals = slice_find(part, '=');
    struct slice name = slice_head(part, equals);
    struct buf value = { 0 };
    const char *why;
    size_t i = 0;

    while (i < countof(attributes) && !slice_eq_nocase(name, slice_str(attributes[i].name)))
        i++;
    if (i == countof(attributes) || equals == part.len)
        return "501 5.5.4 XCLIENT ATTRIBUTE=VALUE is what is needed";
    if ((*seen & (1u << i)) != 0)
        return "501 5.5.4 attribute given twice";
    *seen |= 1u << i;
    why = decode(slice_from(part, equals + 1), &value) ? attributes[i].take(buf_bytes(&value), c)
                                                       : "501 5.5.4 the value is not xtext";
    buf_release(&value);
    return why;
}

static void refuse(struct smtp_server *s, const char *reply)
{
    server_reply(s, (unsigned)strtoul(reply, NULL, 10), reply + 4);
}

void server_xclient(struct smtp_server *s, struct slice args)
{
    struct claim c = { 0 };
    unsigned seen = 0;
    struct slice part;

    if (!s->xclient) {
        server_reply(s, 550, "5.7.0 XCLIENT is for declared front ends only");
        return;
    }
    if (s->transaction) {
        server_reply(s, 503, "5.5.1 a transaction is open; RSET ends it");
        return;
    }
    while (slice_split(&args, ' ', &part)) {
        const char *why = part.len > 0 ? take(part, &c, &seen) : NULL;

        if (why != NULL) {
            refuse(s, why);
            return;
        }
    }
    free(s->helo);
    s->helo = mem_str(c.x.helo);
    server_ask(s, ASK_XCLIENT);
    s->handler->xclient(s->ctx, &c.x);
}

/* As if the client had just connected. */
void server_xclient_answered(struct smtp_server *s, unsigned code, const char *text)
{
    if (code != 220) {
        server_reply(s, code, text);
        return;
    }
    s->esmtp = false;
    s->authenticated = false;
    s->errors = s->idle_commands = 0;
    server_enter(s, PH_GREETED);
    buf_printf(&s->out, "220 %s ESMTP\r\n", s->opt->hostname);
}
