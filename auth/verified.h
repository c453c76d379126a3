/* auth/verified.h - passwords found right some minutes ago.
 *
 * What is kept is a hash of user, password and the stored hash it was found
 * right against, under a key of this process that is never written anywhere.
 * A changed password changes the stored hash, and so nothing matches any more.
 * One thread.
 */
#ifndef AUTH_VERIFIED_H
#define AUTH_VERIFIED_H

#include "base/slice.h"

#define VERIFIED_KEEP_MS (5 * MINUTE_MS)
#define VERIFIED_MAX     20000u

struct verified;

struct verified *verified_new(void);
void verified_free(struct verified *v); /* NULL is fine */

bool verified_check(struct verified *v, uint64_t now_ms, const char *user, const char *hash, struct slice password);
void verified_add(struct verified *v, uint64_t now_ms, const char *user, const char *hash, struct slice password);
void verified_forget(struct verified *v, const char *user);

#endif
