/* net/tls_sessions.h - the sessions a client may resume, by a key of the
 * caller's. For net/tls_client.c alone; any thread. */
#ifndef NET_TLS_SESSIONS_H
#define NET_TLS_SESSIONS_H

#include "base/clock.h"

#include <openssl/ssl.h>

#define TLS_SESSIONS_MAX     1000           /* some KiB each; the one put longest ago goes */
#define TLS_SESSIONS_KEPT_MS (1 * HOUR_MS)  /* or what the server says, if that is less */

struct tls_sessions;

struct tls_sessions *tls_sessions_new(const struct clock *clock);
void tls_sessions_free(struct tls_sessions *t);
void tls_sessions_put(struct tls_sessions *t, const char *key, SSL_SESSION *session); /* takes it over */
SSL_SESSION *tls_sessions_get(struct tls_sessions *t, const char *key); /* a copy of its own, or NULL */

#endif
