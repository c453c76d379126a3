/* control/view_dkim.h - the keys that mail is signed with, and what DNS says of
 * them: see doc/control-api.md. Made from the engine's word, or by relayctl from
 * the configuration when it is down. */
#ifndef CONTROL_VIEW_DKIM_H
#define CONTROL_VIEW_DKIM_H

#include "base/err.h"
#include "control/json.h"

struct control_key {
    const char *domain;
    const char *selector; /* NULL: the domain has no key, and problem says why */
    const char *path;     /* of the private key's file */
    const char *record;   /* NULL with a problem */
    const char *problem;  /* why mail of the domain can't be signed with it; or NULL */
};

typedef void control_key_visitor(void *ctx, const struct control_key *k);

/* What name servers say about a name. */
struct control_txt {
    enum { CONTROL_TXT_FOUND, CONTROL_TXT_NONE, CONTROL_TXT_UNKNOWN } state;
    struct buf texts;   /* found: each followed by a NUL */
    char detail[64];    /* unknown: "SERVFAIL", "timed out" */
};

json_t *view_key(const struct control_key *k);
/* Adds "dns" (ok, missing, other, revoked, restricted, no_key or unknown) and
 * "detail", for people. */
void view_key_dns(json_t *key, const struct control_key *k, const struct control_txt *txt);

/* "SELECTOR._domainkey.DOMAIN" */
void view_key_name(const struct control_key *k, struct buf *out);

#endif
