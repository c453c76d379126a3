/* net/proxy.h - the PROXY protocol, versions 1 and 2: how a front end (HAProxy,
 * a cloud's load balancer) tells whose connection it passes on. Pure.
 *
 * The header comes before anything else of the connection, TLS included, and
 * only from hosts that are declared to send it.
 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include "net/addr.h"

/* With all of its TLVs; who sends more means no good. */
#define PROXY_HEADER_MAX 4096u

struct proxy_header {
    bool known;                   /* else LOCAL or UNKNOWN: the front end's own affair */
    bool tls;                     /* the client speaks TLS with the front end (version 2 only) */
    struct net_addr source, destination; /* with ports, when known */
    size_t used;                  /* bytes of the header; what follows is the client's */
};

enum proxy_result { PROXY_MORE, PROXY_DONE, PROXY_BAD };

/* Reads the header at the front of `in`. MORE: it is not whole yet. BAD: *why
 * completes "PROXY header: …". */
enum proxy_result proxy_parse(struct slice in, struct proxy_header *out, const char **why);

#endif
