/* auth/password.h - passwords to what may be stored of them, and back to a
 * yes or no.
 *
 * Made here: yescrypt by crypt(3) for logins that send the password, and the
 * SCRAM-SHA-256 keys (RFC 5803, RFC 7677) for those that do not; and, for
 * application passwords, which are random and long, a plain keyed hash.
 * Understood besides: whatever libcrypt understands, for hashes that come
 * from elsewhere. Any thread; hashing takes tens of milliseconds.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include "base/buf.h"
#include "base/err.h"

#define PASSWORD_MAX        1024u
#define PASSWORD_HASH_MAX   384u /* CRYPT_OUTPUT_SIZE */
#define PASSWORD_SALT_BYTES 16u
#define PASSWORD_KEY_BYTES  32u
#define PASSWORD_ITERATIONS 16384u /* RFC 7677 wants 4096 at least; it is the client who has to work */
#define PASSWORD_APP_CHARS  20u    /* of 32 letters and digits: 100 bits */
#define PASSWORD_APP_TEXT   (PASSWORD_APP_CHARS + PASSWORD_APP_CHARS / 4 - 1) /* xxxx-xxxx-xxxx-xxxx-xxxx */

struct scram_keys {
    uint32_t iterations; /* 0: none */
    uint8_t salt[PASSWORD_SALT_BYTES];
    uint8_t stored_key[PASSWORD_KEY_BYTES];
    uint8_t server_key[PASSWORD_KEY_BYTES];
};

/* Whether a person may have it: not empty, no NUL or line end, not too long. */
bool password_acceptable(struct slice password, const char **why);

/* Normalised by SASLprep (RFC 4013) where it can be, so that the same letters
 * typed on two systems are the same password. *out is to be wiped. */
void password_prepare(struct slice password, struct buf *out);

MUST_CHECK struct err password_hash(struct slice password, char out[PASSWORD_HASH_MAX]);
MUST_CHECK struct err password_scram(struct slice password, struct scram_keys *out);

/* Against a hash of crypt(3), prepared or as it came. A hash that no scheme
 * knows matches nothing. */
bool password_verify(struct slice password, const char *hash);
/* The same work and the answer no, for a user that does not exist. */
void password_pretend(struct slice password);

/* A fresh application password with its hyphens, and a NUL. */
void password_app_new(char out[PASSWORD_APP_TEXT + 1]);
/* Its letters and digits alone; false when it can be none. */
bool password_app_normal(struct slice typed, char out[PASSWORD_APP_CHARS]);
void password_app_digest(const char normal[PASSWORD_APP_CHARS], const uint8_t salt[PASSWORD_SALT_BYTES],
                         uint8_t out[PASSWORD_KEY_BYTES]);

#endif
