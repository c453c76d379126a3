/* auth/passwd_file.h - users of another mail server: a file in the manner of
 * passwd(5), as Dovecot and Postfix set-ups have it.
 *
 *   user:{SCHEME}hash:…    or    user:$6$…:…
 *
 * What comes after the second colon is not looked at. Schemes: CRYPT,
 * BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, MD5-CRYPT, DES-CRYPT, YESCRYPT (all
 * of them crypt(3)), and PLAIN and CLEARTEXT. A line that says anything else
 * is named in the log and its user can't log in: also one that is locked, by a
 * hash that begins with "!" or "*".
 */
#ifndef AUTH_PASSWD_FILE_H
#define AUTH_PASSWD_FILE_H

#include "auth/users.h"

#define PASSWD_FILE_MAX (256u * MIB)
#define PASSWD_LOCKED   "!"       /* instead of a hash that lets nobody in */
#define PASSWD_PLAIN    "{PLAIN}" /* before a password instead of a hash */

struct passwd_table; /* what a file says */

/* Pure. `problem` may be NULL. */
struct passwd_table *passwd_parse(struct slice text, const char *domain,
                                  void (*problem)(void *ctx, unsigned line, const char *why), void *ctx);
void passwd_table_free(struct passwd_table *t); /* wipes it. NULL is fine */
size_t passwd_count(const struct passwd_table *t); /* of users, those who are locked, too */
/* By user_key(). A hash of crypt(3), PASSWD_PLAIN and the password, or PASSWD_LOCKED; NULL: no such user. */
const char *passwd_find(const struct passwd_table *t, const char *key);
bool passwd_verify(struct slice password, const char *hash); /* for pool threads */

/* The file, read again when it has changed. */
struct passwd_file;
struct passwd_file *passwd_file_new(const char *path, const char *domain, const struct clock *clock);
void passwd_file_free(struct passwd_file *f); /* NULL is fine */
/* Looks at the file at most once a second. When it can't be read what was read last counts on. */
const struct passwd_table *passwd_file_table(struct passwd_file *f); /* NULL: never read yet */

#endif
