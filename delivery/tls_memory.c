/* delivery/tls_memory.c - keeps a server with broken TLS from costing each
 * message a failed handshake. */
#include "delivery/tls_memory.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct entry {
    char *key; /* "host[addr]:port" */
    uint64_t until_ms;
    struct list link; /* in order of until_ms, for all are kept equally long */
    UT_hash_handle hh;
};

struct tls_memory {
    pthread_mutex_t lock;
    struct entry *by_key;
    struct list oldest_first;
};

struct tls_memory *tls_memory_new(void)
{
    struct tls_memory *m = mem_new(struct tls_memory);

    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->oldest_first);
    return m;
}

static void forget(struct tls_memory *m, struct entry *e)
{
    HASH_DEL(m->by_key, e);
    list_remove(&e->link);
    free(e->key);
    free(e);
}

void tls_memory_free(struct tls_memory *m)
{
    if (m == NULL)
        return;
    while (!list_empty(&m->oldest_first))
        forget(m, list_first(&m->oldest_first, struct entry, link));
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void make_key(const char *host, const struct net_addr *addr, char *key, size_t size)
{
    char text[NET_ADDR_TEXT_MAX];

    snprintf(key, size, "%s[%s]:%u", host, net_addr_format(addr, text), addr->port);
}

void tls_memory_add(struct tls_memory *m, const char *host, const struct net_addr *addr, uint64_t now_ms)
{
    struct entry *e;
    char key[400];

    make_key(host, addr, key, sizeof key);
    pthread_mutex_lock(&m->lock);
    HASH_FIND_STR(m->by_key, key, e);
    if (e == NULL) {
        if (HASH_COUNT(m->by_key) >= TLS_MEMORY_MAX)
            forget(m, list_first(&m->oldest_first, struct entry, link));
        e = mem_new(struct entry);
        e->key = mem_str(key);
        list_init(&e->link);
        HASH_ADD_KEYPTR(hh, m->by_key, e->key, strlen(e->key), e);
    }
    e->until_ms = now_ms + TLS_MEMORY_FOR_MS;
    list_remove(&e->link);
    list_append(&m->oldest_first, &e->link);
    pthread_mutex_unlock(&m->lock);
}

bool tls_memory_has(struct tls_memory *m, const char *host, const struct net_addr *addr, uint64_t now_ms)
{
    struct entry *e;
    char key[400];
    bool has;

    make_key(host, addr, key, sizeof key);
    pthread_mutex_lock(&m->lock);
    HASH_FIND_STR(m->by_key, key, e);
    if (e != NULL && e->until_ms <= now_ms) {
        forget(m, e);
        e = NULL;
    }
    has = e != NULL;
    pthread_mutex_unlock(&m->lock);
    return has;
}
