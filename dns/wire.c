/* dns/wire.c - the grammar of DNS messages, for hostile ones. */
#include "dns/wire.h"

#define NAME_TEXT_MAX 253 /* 255 bytes in a message (RFC 1035 section 3.1) */

unsigned wire_u8(struct wire *c)
{
    if (c->at >= c->len) {
        c->bad = true;
        return 0;
    }
    return c->msg[c->at++];
}

unsigned wire_u16(struct wire *c)
{
    unsigned high = wire_u8(c);

    return high << 8 | wire_u8(c);
}

uint32_t wire_u32(struct wire *c)
{
    uint32_t high = wire_u16(c);

    return high << 16 | wire_u16(c);
}

static char name_char(uint8_t byte)
{
    if (byte <= 0x20 || byte >= 0x7f || byte == '.' || byte == '\\' || byte == '"')
        return '?'; /* legal in DNS, of no use to us, and trouble in a log */
    return ascii_lower((char)byte);
}

/* One label at `at`, its length byte already known to be good. */
static bool add_label(const struct wire *c, size_t at, unsigned len, char *out, size_t *n)
{
    if (at + len > c->len || *n + (*n > 0) + len > NAME_TEXT_MAX)
        return false;
    if (*n > 0)
        out[(*n)++] = '.';
    for (unsigned i = 0; i < len; i++)
        out[(*n)++] = name_char(c->msg[at + i]);
    return true;
}

/* A pointer must lead
 * before everything read so far of this name, so it can't turn in circles. */
void wire_name(struct wire *c, char out[DNS_NAME_SIZE])
{
    size_t at = c->at, before = c->at, n = 0;
    bool jumped = false;

    out[0] = '\0';
    while (!c->bad) {
        unsigned len = at < c->len ? c->msg[at] : 0x80;

        if (len >= 0xc0 && at + 1 < c->len) {
            size_t target = (size_t)(len & 0x3f) << 8 | c->msg[at + 1];

            if (!jumped)
                c->at = at + 2;
            jumped = true;
            c->bad = target >= before;
            at = before = target;
            continue;
        }
        if (len == 0)
            break;
        c->bad = len > 63 || !add_label(c, at + 1, len, out, &n);
        at += 1 + len;
    }
    out[c->bad ? 0 : n] = '\0';
    if (!jumped && !c->bad)
        c->at = at + 1;
}

bool wire_rr(struct wire *c, struct wire_rr *rr)
{
    wire_name(c, rr->owner);
    rr->type = wire_u16(c);
    rr->class = wire_u16(c);
    rr->ttl = wire_u32(c);
    rr->data_len = wire_u16(c);
    rr->data = c->at;
    if (c->bad || rr->data_len > c->len - c->at) {
        c->bad = true;
        return false;
    }
    if (rr->ttl > INT32_MAX && rr->type != WIRE_TYPE_OPT) /* RFC 2181 section 8 */
        rr->ttl = 0;
    c->at += rr->data_len;
    return true;
}

struct wire wire_rr_data(const struct wire *c, const struct wire_rr *rr)
{
    return (struct wire){ c->msg, rr->data + rr->data_len, rr->data, false };
}
