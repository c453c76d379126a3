/* dns/channel.h - c-ares on a loop: questions out, raw messages in. The only
 * door to c-ares. */
#ifndef DNS_CHANNEL_H
#define DNS_CHANNEL_H

#include "dns/dns.h"

struct dns_channel;

enum dns_reply {
    DNS_REPLY_MESSAGE, /* raw is what a server sent */
    DNS_REPLY_FAILED,  /* see detail */
    DNS_REPLY_GONE,    /* the channel is being freed: clean up, ask nothing */
};

/* May run inside dns_channel_ask(), and ask again from inside. raw lives for
 * the call. */
typedef void dns_channel_done(void *ctx, enum dns_reply reply, struct slice raw, const char *detail);

enum dns_transport {
    DNS_BY_UDP,       /* with EDNS: answers of up to 1,232 bytes */
    DNS_BY_PLAIN_UDP, /* for servers without EDNS */
    DNS_BY_TCP,
};

/* timeout_ms is that of a server's first try; it doubles with each of three. */
MUST_CHECK struct err dns_channel_new(struct loop *l, const struct net_addr *servers,
                                      unsigned server_count, enum dns_transport by,
                                      unsigned timeout_ms, struct dns_channel **out);
void dns_channel_free(struct dns_channel *ch); /* ends all with DNS_REPLY_GONE. NULL is fine */

/* name is normalised. An answer by UDP of exactly DNS_CUT_BYTES may have been
 * cut by c-ares, which believes in that limit once a server refused EDNS. */
#define DNS_CUT_BYTES 512
void dns_channel_ask(struct dns_channel *ch, const char *name, enum dns_type type, bool edns,
                     dns_channel_done *done, void *ctx);
unsigned dns_channel_servers(const struct dns_channel *ch); /* asked in turn */
bool dns_channel_trusted(const struct dns_channel *ch); /* all servers are on loopback */

#endif
