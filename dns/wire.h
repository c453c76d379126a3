/* dns/wire.h - numbers, names and records of a DNS message (RFC 1035 section 4).
 * Reading past the end or nonsense sets `bad`, for good; what is read then is
 * zero or empty. */
#ifndef DNS_WIRE_H
#define DNS_WIRE_H

#include "dns/inside.h"

enum { WIRE_TYPE_OPT = 41 }; /* whose TTL is none (RFC 6891 section 6.1.3) */

struct wire { /* a place in a message */
    const uint8_t *msg;
    size_t len;
    size_t at;
    bool bad; /* sticky: ran past the end, or nonsense */
};

struct wire_rr {
    char owner[DNS_NAME_SIZE];
    unsigned type, class;
    uint32_t ttl;
    size_t data, data_len;
};

unsigned wire_u8(struct wire *c);
unsigned wire_u16(struct wire *c);
uint32_t wire_u32(struct wire *c);
/* A name, perhaps compressed, in lower case, bytes of no use to us as '?'. */
void wire_name(struct wire *c, char out[DNS_NAME_SIZE]);
bool wire_rr(struct wire *c, struct wire_rr *rr); /* and goes past it */
/* The data of a record alone; names in it may still point back. */
struct wire wire_rr_data(const struct wire *c, const struct wire_rr *rr);

#endif
