/* auth/clients.c - the table behind the limits on connections. */
#include "auth/clients.h"

#include "base/hash.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>

struct client {
    uint8_t key[17]; /* family, then the address */
    unsigned count;
    UT_hash_handle hh;
};

struct clients {
    pthread_mutex_t lock;
    struct client *by_addr;
    unsigned total;
};

struct clients *clients_new(void)
{
    struct clients *c = mem_new(struct clients);

    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void clients_free(struct clients *c)
{
    struct client *it, *tmp;

    if (c == NULL)
        return;
    HASH_ITER (hh, c->by_addr, it, tmp) {
        HASH_DEL(c->by_addr, it);
        free(it);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void make_key(const struct net_addr *addr, uint8_t key[17])
{
    size_t len = addr->family == AF_INET ? 4 : 8; /* an IPv6 client is its /64 */

    memset(key, 0, 17);
    key[0] = addr->family;
    memcpy(key + 1, addr->bytes, len);
}

static struct client *find(struct clients *c, const uint8_t key[17])
{
    struct client *it;

    HASH_FIND(hh, c->by_addr, key, 17, it);
    return it;
}

enum clients_verdict clients_enter(struct clients *c, const struct net_addr *addr, unsigned all_max,
                                   unsigned per_client_max)
{
    enum clients_verdict verdict = CLIENTS_OK;
    struct client *it;
    uint8_t key[17];

    make_key(addr, key);
    pthread_mutex_lock(&c->lock);
    it = find(c, key);
    if (all_max != 0 && c->total >= all_max) {
        verdict = CLIENTS_TOO_MANY;
    } else if (per_client_max != 0 && it != NULL && it->count >= per_client_max) {
        verdict = CLIENTS_TOO_MANY_OF_THIS;
    } else {
        if (it == NULL) {
            it = mem_new(struct client);
            memcpy(it->key, key, sizeof it->key);
            HASH_ADD(hh, c->by_addr, key, sizeof it->key, it);
        }
        it->count++;
        c->total++;
    }
    pthread_mutex_unlock(&c->lock);
    return verdict;
}

void clients_leave(struct clients *c, const struct net_addr *addr)
{
    struct client *it;
    uint8_t key[17];

    make_key(addr, key);
    pthread_mutex_lock(&c->lock);
    it = find(c, key);
    if (it != NULL) {
        c->total--;
        if (--it->count == 0) {
            HASH_DEL(c->by_addr, it);
            free(it);
        }
    }
    pthread_mutex_unlock(&c->lock);
}

unsigned clients_count(struct clients *c)
{
    unsigned n;

    pthread_mutex_lock(&c->lock);
    n = c->total;
    pthread_mutex_unlock(&c->lock);
    return n;
}
