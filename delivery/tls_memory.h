/* delivery/tls_memory.h - addresses with which TLS did not work out.
 *
 * Where TLS is optional such an address is spoken to in the clear for a while
 * before TLS is tried again. Shared by all loops, bounded, forgotten with the
 * process. Where TLS is a must nobody looks in here.
 */
#ifndef DELIVERY_TLS_MEMORY_H
#define DELIVERY_TLS_MEMORY_H

#include "net/addr.h"

#define TLS_MEMORY_MAX    4096u /* addresses; then the one that is soonest forgotten goes */
#define TLS_MEMORY_FOR_MS (10 * MINUTE_MS)

struct tls_memory;

struct tls_memory *tls_memory_new(void);
void tls_memory_free(struct tls_memory *m); /* NULL is fine */

void tls_memory_add(struct tls_memory *m, const char *host, const struct net_addr *addr, uint64_t now_ms);
bool tls_memory_has(struct tls_memory *m, const char *host, const struct net_addr *addr, uint64_t now_ms);

#endif
