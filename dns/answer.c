/* dns/answer.c - answers, counted, and the names they are asked by. */
#include "dns/inside.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct dns_answer *dns_answer_new(enum dns_type type)
{
    struct dns_answer *a = mem_new(struct dns_answer);

    a->type = type;
    a->status = DNS_OK;
    a->detail = "";
    a->refs = 1;
    return a;
}

struct dns_answer *dns_answer_failed(enum dns_type type, enum dns_status status, const char *detail)
{
    struct dns_answer *a = dns_answer_new(type);

    a->status = status;
    a->detail = detail;
    return a;
}

const struct dns_answer *dns_answer_ref(const struct dns_answer *a)
{
    __atomic_fetch_add(&((struct dns_answer *)a)->refs, 1, __ATOMIC_RELAXED);
    return a;
}

static void release_record(struct dns_answer *a, unsigned i)
{
    switch (a->type) {
    case DNS_A:
    case DNS_AAAA:
        break;
    case DNS_MX:
        free(a->mx[i].host);
        break;
    case DNS_TXT:
    case DNS_PTR:
        free(a->text[i]);
        break;
    case DNS_TLSA:
        free(a->tlsa[i].data);
        break;
    }
}

void dns_answer_unref(const struct dns_answer *lent)
{
    struct dns_answer *a = (struct dns_answer *)lent;

    if (a == NULL || __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (unsigned i = 0; i < a->count; i++)
        release_record(a, i);
    free(a->mx); /* any member of the union */
    free(a);
}

size_t dns_answer_cost(const struct dns_answer *a)
{
    size_t cost = sizeof *a;

    for (unsigned i = 0; i < a->count; i++) {
        switch (a->type) {
        case DNS_A:
        case DNS_AAAA:
            cost += sizeof *a->addr;
            break;
        case DNS_MX:
            cost += sizeof *a->mx + strlen(a->mx[i].host) + 1;
            break;
        case DNS_TXT:
        case DNS_PTR:
            cost += sizeof *a->text + strlen(a->text[i]) + 1;
            break;
        case DNS_TLSA:
            cost += sizeof *a->tlsa + a->tlsa[i].len;
            break;
        }
    }
    return cost;
}

/* What is in a name decides its server; we only keep out what c-ares or a log
 * would read in another way. SPF macros make names beyond letters and digits. */
static bool name_byte_ok(char c)
{
    return c > 0x20 && c < 0x7f && c != '\\' && c != '"';
}

bool dns_name_normalise(const char *name, char out[DNS_NAME_SIZE])
{
    struct slice rest = slice_str(name);
    struct slice label;
    size_t n = 0;
    bool digits = true;

    if (rest.len > 0 && rest.ptr[rest.len - 1] == '.')
        rest.len--;
    if (rest.len == 0 || rest.len > 253 || rest.ptr[rest.len - 1] == '.')
        return false;
    while (slice_split(&rest, '.', &label)) {
        if (label.len == 0 || label.len > 63)
            return false;
        digits = true;
        for (size_t i = 0; i < label.len; i++) {
            if (!name_byte_ok(label.ptr[i]))
                return false;
            digits = digits && ascii_is_digit(label.ptr[i]);
            out[n++] = ascii_lower(label.ptr[i]);
        }
        out[n++] = '.';
    }
    out[n - 1] = '\0';
    return !digits; /* 192.0.2.1 is no name; no top-level domain is a number */
}

void dns_reverse_name(const struct net_addr *a, char out[DNS_NAME_SIZE])
{
    size_t n = 0;

    out[0] = '\0';
    if (a->family == AF_INET) {
        snprintf(out, DNS_NAME_SIZE, "%u.%u.%u.%u.in-addr.arpa", a->bytes[3], a->bytes[2],
                 a->bytes[1], a->bytes[0]);
    } else if (a->family == AF_INET6) {
        for (int i = 15; i >= 0; i--)
            n += (size_t)snprintf(out + n, DNS_NAME_SIZE - n, "%x.%x.", a->bytes[i] & 0xfu,
                                  a->bytes[i] >> 4);
        snprintf(out + n, DNS_NAME_SIZE - n, "ip6.arpa");
    }
}
