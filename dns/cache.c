/* dns/cache.c - answers all loops share until their time is up.
 *
 * Sixteen shards, each a hash table with a list of use under a mutex held for
 * a few dozen instructions; a shard that is full forgets what was used least
 * recently.
 */
#include "dns/inside.h"

#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>

#define SHARDS            16
#define SHARD_ENTRIES_MIN 4
#define ENTRY_BYTES       KIB /* budget of memory an entry of the limit stands for */

struct entry {
    struct entry *next; /* in its bucket */
    struct list used;
    const struct dns_answer *answer;
    uint64_t hash;
    size_t cost;
    char name[];
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets;
    size_t count;
    size_t cost;
    struct list used; /* the latest first */
};

struct dns_cache {
    size_t entries_max; /* of a shard */
    size_t bucket_count;
    struct shard shards[SHARDS];
};

static uint64_t key_hash(const char *name, enum dns_type type)
{
    return (slice_hash(slice_str(name)) ^ (uint64_t)type) * 0x9e3779b97f4a7c15ull;
}

static struct shard *shard_of(struct dns_cache *c, uint64_t hash)
{
    return &c->shards[hash >> 60];
}

static struct entry **bucket_of(struct dns_cache *c, struct shard *sh, uint64_t hash)
{
    return &sh->buckets[(hash >> 20) % c->bucket_count];
}

static struct entry **find(struct dns_cache *c, struct shard *sh, const char *name,
                           enum dns_type type, uint64_t hash)
{
    struct entry **at = bucket_of(c, sh, hash);

    while (*at != NULL &&
           ((*at)->hash != hash || (*at)->answer->type != type || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

static void drop(struct shard *sh, struct entry **at)
{
    struct entry *e = *at;

    *at = e->next;
    list_remove(&e->used);
    sh->count--;
    sh->cost -= e->cost;
    dns_answer_unref(e->answer);
    free(e);
}

static void drop_oldest(struct dns_cache *c, struct shard *sh)
{
    struct entry *e = container_of(sh->used.prev, struct entry, used);
    struct entry **at = bucket_of(c, sh, e->hash);

    while (*at != e)
        at = &(*at)->next;
    drop(sh, at);
}

struct dns_cache *dns_cache_new(size_t entries_max)
{
    struct dns_cache *c = mem_new(struct dns_cache);

    c->entries_max = entries_max / SHARDS;
    if (c->entries_max < SHARD_ENTRIES_MIN)
        c->entries_max = SHARD_ENTRIES_MIN;
    c->bucket_count = c->entries_max;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&c->shards[i].lock, NULL);
        list_init(&c->shards[i].used);
        c->shards[i].buckets = mem_zero(c->bucket_count, sizeof(struct entry *));
    }
    return c;
}

void dns_cache_clear(struct dns_cache *c)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &c->shards[i];

        pthread_mutex_lock(&sh->lock);
        while (sh->count != 0)
            drop_oldest(c, sh);
        pthread_mutex_unlock(&sh->lock);
    }
}

void dns_cache_free(struct dns_cache *c)
{
    if (c == NULL)
        return;
    dns_cache_clear(c);
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&c->shards[i].lock);
        free(c->shards[i].buckets);
    }
    free(c);
}

const struct dns_answer *dns_cache_get(struct dns_cache *c, const char *name, enum dns_type type,
                                       uint64_t now_ms)
{
    uint64_t hash = key_hash(name, type);
    struct shard *sh = shard_of(c, hash);
    const struct dns_answer *a = NULL;
    struct entry **at;

    pthread_mutex_lock(&sh->lock);
    at = find(c, sh, name, type, hash);
    if (*at != NULL && (*at)->answer->good_until_ms <= now_ms) {
        drop(sh, at);
    } else if (*at != NULL) {
        struct entry *e = *at;

        list_remove(&e->used);
        list_prepend(&sh->used, &e->used);
        a = dns_answer_ref(e->answer);
    }
    pthread_mutex_unlock(&sh->lock);
    return a;
}

void dns_cache_put(struct dns_cache *c, const char *name, const struct dns_answer *a,
                   uint64_t now_ms)
{
    uint64_t hash = key_hash(name, a->type);
    struct shard *sh = shard_of(c, hash);
    size_t len = strlen(name) + 1;
    struct entry *e, **at;

    if (a->good_until_ms <= now_ms)
        return;
    e = mem_zero(1, sizeof *e + len);
    memcpy(e->name, name, len);
    e->hash = hash;
    e->answer = dns_answer_ref(a);
    e->cost = sizeof *e + len + dns_answer_cost(a);
    pthread_mutex_lock(&sh->lock);
    at = find(c, sh, name, a->type, hash);
    if (*at != NULL)
        drop(sh, at);
    at = bucket_of(c, sh, hash);
    e->next = *at;
    *at = e;
    list_prepend(&sh->used, &e->used);
    sh->count++;
    sh->cost += e->cost;
    while (sh->count > c->entries_max || (sh->cost > c->entries_max * ENTRY_BYTES && sh->count > 1))
        drop_oldest(c, sh);
    pthread_mutex_unlock(&sh->lock);
}
