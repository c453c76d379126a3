/* auth/verified.c - saves a hash of tens of milliseconds at most logins. */
#include "auth/verified.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/secret.h"
#include "net/digest.h"

#include <stdlib.h>

struct entry {
    uint64_t until_ms;
    uint8_t digest[DIGEST_BYTES];
    UT_hash_handle hh; /* in the order they were added */
    char user[];
};

struct verified {
    uint8_t key[DIGEST_BYTES];
    struct entry *by_user;
};

struct verified *verified_new(void)
{
    struct verified *v = mem_new(struct verified);

    random_secret(v->key, sizeof v->key);
    return v;
}

static void drop(struct verified *v, struct entry *e)
{
    HASH_DEL(v->by_user, e);
    secret_wipe(e->digest, sizeof e->digest);
    free(e);
}

void verified_free(struct verified *v)
{
    if (v == NULL)
        return;
    while (v->by_user != NULL)
        drop(v, v->by_user);
    secret_wipe(v->key, sizeof v->key);
    free(v);
}

/* The NULs keep the parts apart: neither user nor hash has one. */
static void make_digest(const struct verified *v, const char *user, const char *hash, struct slice password,
                        uint8_t out[DIGEST_BYTES])
{
    const struct slice parts[] = { slice_make(user, strlen(user) + 1), slice_make(hash, strlen(hash) + 1), password };

    digest_hmac(slice_make(v->key, sizeof v->key), parts, countof(parts), out);
}

static struct entry *find(struct verified *v, const char *user)
{
    struct entry *e;

    HASH_FIND_STR(v->by_user, user, e);
    return e;
}

bool verified_check(struct verified *v, uint64_t now_ms, const char *user, const char *hash, struct slice password)
{
    struct entry *e = find(v, user);
    uint8_t digest[DIGEST_BYTES];
    bool good;

    if (e != NULL && e->until_ms <= now_ms) {
        drop(v, e);
        e = NULL;
    }
    if (e == NULL)
        return false;
    make_digest(v, user, hash, password, digest);
    good = secret_equal(slice_make(digest, sizeof digest), slice_make(e->digest, sizeof e->digest));
    secret_wipe(digest, sizeof digest);
    return good;
}

void verified_add(struct verified *v, uint64_t now_ms, const char *user, const char *hash, struct slice password)
{
    struct entry *e;

    verified_forget(v, user);
    if (HASH_COUNT(v->by_user) >= VERIFIED_MAX)
        drop(v, v->by_user);
    e = mem_zero(1, sizeof *e + strlen(user) + 1);
    strcpy(e->user, user);
    e->until_ms = now_ms + VERIFIED_KEEP_MS;
    make_digest(v, user, hash, password, e->digest);
    HASH_ADD_STR(v->by_user, user, e);
}

void verified_forget(struct verified *v, const char *user)
{
    struct entry *e = find(v, user);

    if (e != NULL)
        drop(v, e);
}
