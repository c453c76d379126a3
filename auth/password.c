/* auth/password.c - yescrypt, SCRAM keys, application passwords. */
#include "auth/password.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/secret.h"
#include "net/digest.h"

#include <crypt.h>
#include <errno.h>
#include <gsasl.h>
#include <stdlib.h>

/* Of a password nobody knows; made with the same cost as password_hash(). */
#define NOBODYS_SETTING "$y$j9T$vWxb1sUkRmzVsbSMFL8M91$"

static const char app_letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* none that look alike */

bool password_acceptable(struct slice password, const char **why)
{
    *why = "it is empty";
    if (password.len == 0)
        return false;
    *why = "it is longer than 1,024 bytes";
    if (password.len > PASSWORD_MAX)
        return false;
    *why = "it has a NUL or a line end in it";
    return memchr(password.ptr, '\0', password.len) == NULL && memchr(password.ptr, '\n', password.len) == NULL &&
           memchr(password.ptr, '\r', password.len) == NULL;
}

void password_prepare(struct slice password, struct buf *out)
{
    char *prepared = NULL;
    bool ascii = true;

    buf_reserve(out, password.len + 1);
    for (size_t i = 0; i < password.len; i++)
        ascii = ascii && password.ptr[i] >= ' ' && password.ptr[i] <= '~';
    buf_add(out, password);
    if (ascii || memchr(password.ptr, '\0', password.len) != NULL ||
        gsasl_saslprep(buf_cstr(out), GSASL_ALLOW_UNASSIGNED, &prepared, NULL) != GSASL_OK)
        return;
    buf_wipe(out);
    buf_reserve(out, strlen(prepared) + 1);
    buf_add_str(out, prepared);
    secret_wipe(prepared, strlen(prepared));
    gsasl_free(prepared);
}

static const char *try_crypt(const char *phrase, const char *setting, struct crypt_data *data)
{
    const char *hash = crypt_r(phrase, setting, data);

    return hash != NULL && hash[0] != '*' && strlen(hash) < PASSWORD_HASH_MAX ? hash : NULL;
}

/* A hash wants megabytes; without them a good password would be a wrong one.
 * libcrypt does not tell that from a setting it can't read, so it is asked for
 * a hash that it can make. */
static const char *try_again(const char *phrase, const char *setting, struct crypt_data *data)
{
    if (try_crypt("x", NOBODYS_SETTING, data) == NULL)
        mem_out();
    return try_crypt(phrase, setting, data);
}

/* crypt_data is 32 KiB and holds the password. */
static bool run_crypt(struct slice password, const char *setting, char out[PASSWORD_HASH_MAX])
{
    struct crypt_data *data = mem_new(struct crypt_data);
    char *phrase = mem_dup(password.ptr, password.len);
    const char *hash = NULL;
    bool whole = memchr(phrase, '\0', password.len) == NULL;
    bool good;

    if (whole)
        hash = try_crypt(phrase, setting, data);
    if (whole && hash == NULL)
        hash = try_again(phrase, setting, data);
    good = hash != NULL;
    if (good)
        strcpy(out, hash);
    secret_wipe(phrase, password.len);
    secret_wipe(data, sizeof *data);
    free(phrase);
    free(data);
    return good;
}

struct err password_hash(struct slice password, char out[PASSWORD_HASH_MAX])
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct buf prepared = { 0 };
    bool good;

    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) == NULL)
        return err_sys(errno, "make a salt");
    password_prepare(password, &prepared);
    good = run_crypt(buf_bytes(&prepared), setting, out);
    buf_wipe(&prepared);
    return good ? ERR_OK : err_make(ERR_SYSTEM, "hash the password");
}

struct err password_scram(struct slice password, struct scram_keys *out)
{
    char salted[PASSWORD_KEY_BYTES], client_key[PASSWORD_KEY_BYTES];
    struct buf prepared = { 0 };
    int rc;

    out->iterations = PASSWORD_ITERATIONS;
    random_secret(out->salt, sizeof out->salt);
    password_prepare(password, &prepared);
    rc = gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, buf_cstr(&prepared), out->iterations,
                                           (const char *)out->salt, sizeof out->salt, salted, client_key,
                                           (char *)out->server_key, (char *)out->stored_key);
    secret_wipe(salted, sizeof salted);
    secret_wipe(client_key, sizeof client_key);
    buf_wipe(&prepared);
    if (rc == GSASL_OK)
        return ERR_OK;
    out->iterations = 0;
    /* Letters that SASLprep forbids: they work with PLAIN and LOGIN only. */
    return err_make(ERR_SYNTAX, "make SCRAM keys: the password has characters that SASLprep forbids");
}

static bool verify_exactly(struct slice password, const char *hash)
{
    char again[PASSWORD_HASH_MAX];
    bool equal = run_crypt(password, hash, again) && secret_equal(slice_str(again), slice_str(hash));

    secret_wipe(again, sizeof again);
    return equal;
}

bool password_verify(struct slice password, const char *hash)
{
    struct buf prepared = { 0 };
    bool good;

    if (hash[0] == '\0' || password.len > PASSWORD_MAX)
        return false;
    password_prepare(password, &prepared);
    good = verify_exactly(buf_bytes(&prepared), hash);
    if (!good && !slice_eq(buf_bytes(&prepared), password))
        good = verify_exactly(password, hash);
    buf_wipe(&prepared);
    return good;
}

void password_pretend(struct slice password)
{
    char hash[PASSWORD_HASH_MAX];

    run_crypt(slice_head(password, PASSWORD_MAX), NOBODYS_SETTING, hash);
}

/* ---- application passwords ------------------------------------------------------------- */

void password_app_new(char out[PASSWORD_APP_TEXT + 1])
{
    uint8_t dice[PASSWORD_APP_CHARS];
    size_t at = 0;

    random_secret(dice, sizeof dice);
    for (size_t i = 0; i < sizeof dice; i++) {
        if (i != 0 && i % 4 == 0)
            out[at++] = '-';
        out[at++] = app_letters[dice[i] % 32];
    }
    out[at] = '\0';
    secret_wipe(dice, sizeof dice);
}

bool password_app_normal(struct slice typed, char out[PASSWORD_APP_CHARS])
{
    size_t n = 0;

    for (size_t i = 0; i < typed.len; i++) {
        char c = ascii_lower(typed.ptr[i]);

        if (c == '-' || c == ' ')
            continue;
        if (n == PASSWORD_APP_CHARS || c == '\0' || strchr(app_letters, c) == NULL)
            return false;
        out[n++] = c;
    }
    return n == PASSWORD_APP_CHARS;
}

void password_app_digest(const char normal[PASSWORD_APP_CHARS], const uint8_t salt[PASSWORD_SALT_BYTES],
                         uint8_t out[PASSWORD_KEY_BYTES])
{
    struct slice part = slice_make(normal, PASSWORD_APP_CHARS);

    digest_hmac(slice_make(salt, PASSWORD_SALT_BYTES), &part, 1, out);
}
