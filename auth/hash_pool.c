/* auth/hash_pool.c - whose password is hashed next. */
#include "auth/hash_pool.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>

#define BETTER_IN_A_ROW 4u

struct group_key {
    uint8_t bytes[18]; /* class, family, address */
};

struct hash_group { /* of a client: its jobs that wait */
    struct group_key key;
    struct list link; /* in the ring of its class */
    struct hash_job *first, **last;
    size_t count;
    UT_hash_handle hh;
};

struct hash_pool {
    struct loop *home;
    pthread_t *threads;
    unsigned thread_count;
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct hash_group *groups;
    struct list rings[HASH_CLASSES];
    size_t waiting[HASH_CLASSES];
    unsigned in_a_row[HASH_CLASSES]; /* taken of a class while a worse one waited */
    bool closing;
};

static struct group_key key_of(const struct hash_job *j)
{
    struct group_key k = { .bytes = { (uint8_t)j->class, j->client.family } };

    memcpy(k.bytes + 2, j->client.bytes, j->client.family == AF_INET ? 4 : 8); /* an IPv6 client is its /64 */
    return k;
}

static struct hash_group *group_of(struct hash_pool *p, const struct hash_job *j)
{
    struct group_key key = key_of(j);
    struct hash_group *g;

    HASH_FIND(hh, p->groups, &key, sizeof key, g);
    if (g != NULL)
        return g;
    g = mem_new(struct hash_group);
    g->key = key;
    g->last = &g->first;
    list_append(&p->rings[j->class], &g->link);
    HASH_ADD(hh, p->groups, key, sizeof g->key, g);
    return g;
}

static void group_drop_if_empty(struct hash_pool *p, struct hash_group *g)
{
    if (g->count != 0)
        return;
    list_remove(&g->link);
    HASH_DEL(p->groups, g);
    free(g);
}

static void finish(struct post *post)
{
    struct hash_job *j = container_of(post, struct hash_job, post);

    j->done(j, j->dropped);
}

static void give_back(struct hash_pool *p, struct hash_job *j, bool dropped)
{
    j->dropped = dropped;
    j->post.run = finish;
    loop_post(p->home, &j->post);
}

/* The newest: the others have waited longer. */
static void drop_last(struct hash_pool *p, struct hash_group *g)
{
    struct hash_job **at = &g->first, *j;

    while ((*at)->next != NULL)
        at = &(*at)->next;
    j = *at;
    *at = NULL;
    g->last = at;
    g->count--;
    p->waiting[j->class]--;
    group_drop_if_empty(p, g);
    give_back(p, j, true);
}

static struct hash_group *largest(struct hash_pool *p, enum hash_class class)
{
    struct hash_group *most = NULL;

    list_foreach(it, &p->rings[class]) {
        struct hash_group *g = container_of(it, struct hash_group, link);

        if (most == NULL || g->count > most->count)
            most = g;
    }
    return most;
}

void hash_pool_submit(struct hash_pool *p, struct hash_job *j)
{
    struct hash_group *g;

    j->next = NULL;
    pthread_mutex_lock(&p->lock);
    g = group_of(p, j);
    *g->last = j;
    g->last = &j->next;
    g->count++;
    p->waiting[j->class]++;
    if (j->class >= HASH_STRANGER && g->count > HASH_POOL_PER_CLIENT)
        drop_last(p, g);
    else if (j->class >= HASH_STRANGER && p->waiting[j->class] > (size_t)HASH_POOL_PER_THREAD * p->thread_count)
        drop_last(p, largest(p, j->class));
    pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->lock);
}

size_t hash_pool_waiting(struct hash_pool *p)
{
    size_t n = 0;

    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < HASH_CLASSES; i++)
        n += p->waiting[i];
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- threads ------------------------------------------------------------------------------- */

static struct hash_job *take_from(struct hash_pool *p, enum hash_class class)
{
    struct hash_group *g = list_first(&p->rings[class], struct hash_group, link);
    struct hash_job *j = g->first;

    list_remove(&g->link); /* to the end of the ring: the others have their turn */
    list_append(&p->rings[class], &g->link);
    g->first = j->next;
    if (g->first == NULL)
        g->last = &g->first;
    g->count--;
    p->waiting[class]--;
    group_drop_if_empty(p, g);
    return j;
}

static bool worse_waits(const struct hash_pool *p, unsigned class)
{
    while (++class < HASH_CLASSES)
        if (p->waiting[class] != 0)
            return true;
    return false;
}

/* The best that waits; but after four of a class while a worse one waited it
 * is the turn of the worse. The admin always comes first. */
static struct hash_job *take(struct hash_pool *p)
{
    for (unsigned class = 0; class < HASH_CLASSES; class++) {
        if (p->waiting[class] == 0)
            continue;
        if (class != HASH_ADMIN && worse_waits(p, class)) {
            if (p->in_a_row[class] == BETTER_IN_A_ROW) {
                p->in_a_row[class] = 0;
                continue;
            }
            p->in_a_row[class]++;
        }
        return take_from(p, (enum hash_class)class);
    }
    return NULL;
}

static void *thread_main(void *arg)
{
    struct hash_pool *p = arg;

    pthread_mutex_lock(&p->lock);
    while (!p->closing) {
        struct hash_job *j = take(p);

        if (j == NULL) {
            pthread_cond_wait(&p->ready, &p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        j->run(j);
        give_back(p, j, false);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct err hash_pool_new(struct loop *home, unsigned threads, struct hash_pool **out)
{
    struct hash_pool *p = mem_new(struct hash_pool);

    p->home = home;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->ready, NULL);
    for (unsigned i = 0; i < HASH_CLASSES; i++)
        list_init(&p->rings[i]);
    p->threads = mem_zero(threads, sizeof *p->threads);
    for (; p->thread_count < threads; p->thread_count++) {
        int failed = pthread_create(&p->threads[p->thread_count], NULL, thread_main, p);

        if (failed != 0) {
            hash_pool_free(p, NULL);
            return err_sys(failed, "start a hashing thread");
        }
    }
    *out = p;
    return ERR_OK;
}

void hash_pool_free(struct hash_pool *p, void (*drop)(struct hash_job *j))
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->ready);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->thread_count; i++)
        pthread_join(p->threads[i], NULL);
    for (unsigned class = 0; class < HASH_CLASSES; class++)
        while (p->waiting[class] != 0)
            drop(take_from(p, class));
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->ready);
    free(p->threads);
    free(p);
}
