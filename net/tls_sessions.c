/* net/tls_sessions.c - a bounded table of sessions, oldest out first. */
#include "net/tls_sessions.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>

struct kept {
    char *key;
    SSL_SESSION *session;
    uint64_t until_ms;
    struct list age; /* oldest first */
    UT_hash_handle hh;
};

struct tls_sessions {
    const struct clock *clock;
    pthread_mutex_t lock;
    struct kept *by_key;
    struct list by_age;
    unsigned count;
};

struct tls_sessions *tls_sessions_new(const struct clock *clock)
{
    struct tls_sessions *t = mem_new(struct tls_sessions);

    t->clock = clock;
    pthread_mutex_init(&t->lock, NULL);
    list_init(&t->by_age);
    return t;
}

static void drop(struct tls_sessions *t, struct kept *k)
{
    HASH_DEL(t->by_key, k);
    list_remove(&k->age);
    t->count--;
    SSL_SESSION_free(k->session);
    free(k->key);
    free(k);
}

void tls_sessions_free(struct tls_sessions *t)
{
    while (!list_empty(&t->by_age))
        drop(t, list_first(&t->by_age, struct kept, age));
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static uint64_t lifetime_ms(const SSL_SESSION *session)
{
    long seconds = SSL_SESSION_get_timeout(session);
    uint64_t ms = seconds > 0 ? (uint64_t)seconds * SECOND_MS : 0;

    return ms < TLS_SESSIONS_KEPT_MS ? ms : TLS_SESSIONS_KEPT_MS;
}

void tls_sessions_put(struct tls_sessions *t, const char *key, SSL_SESSION *session)
{
    struct kept *k = NULL;
    uint64_t now_ms = clock_mono_ms(t->clock);

    pthread_mutex_lock(&t->lock);
    HASH_FIND_STR(t->by_key, key, k);
    if (k != NULL)
        drop(t, k);
    while (t->count >= TLS_SESSIONS_MAX)
        drop(t, list_first(&t->by_age, struct kept, age));
    k = mem_new(struct kept);
    k->key = mem_str(key);
    k->session = session;
    k->until_ms = now_ms + lifetime_ms(session);
    HASH_ADD_KEYPTR(hh, t->by_key, k->key, strlen(k->key), k);
    list_append(&t->by_age, &k->age);
    t->count++;
    pthread_mutex_unlock(&t->lock);
}

/* A copy, as a handshake on another thread may change the one it resumes. */
SSL_SESSION *tls_sessions_get(struct tls_sessions *t, const char *key)
{
    SSL_SESSION *copy = NULL;
    struct kept *k = NULL;

    pthread_mutex_lock(&t->lock);
    HASH_FIND_STR(t->by_key, key, k);
    if (k != NULL && k->until_ms <= clock_mono_ms(t->clock)) {
        drop(t, k);
        k = NULL;
    }
    if (k != NULL && SSL_SESSION_is_resumable(k->session))
        copy = SSL_SESSION_dup(k->session);
    pthread_mutex_unlock(&t->lock);
    return copy;
}
