/* auth/hash_pool.h - threads that hash passwords, so that no loop has to.
 *
 * The queue is bounded and fair: clients take turns, one job each, whoever
 * has how many connections; those who have logged in lately come before
 * strangers, and strangers before clients whose logins failed, four to one. When the queue is full a job of the client with the
 * most of them is dropped. So a good login waits for one round of all
 * clients, not for a thousand guesses of one of them.
 */
#ifndef AUTH_HASH_POOL_H
#define AUTH_HASH_POOL_H

#include "net/loop.h"

#define HASH_POOL_PER_THREAD 64u /* jobs that wait, of strangers and of suspects each: 1.5 s of work */
#define HASH_POOL_PER_CLIENT 16u

enum hash_class { HASH_ADMIN, HASH_KNOWN, HASH_STRANGER, HASH_SUSPECT, HASH_CLASSES };

struct hash_job {
    struct post post; /* the pool's, as next and group */
    struct hash_job *next;
    struct hash_group *group;
    enum hash_class class;
    struct net_addr client;
    void (*run)(struct hash_job *j);                /* a pool thread */
    void (*done)(struct hash_job *j, bool dropped); /* home: it ran, or it was dropped */
    bool dropped;
};

struct hash_pool;

MUST_CHECK struct err hash_pool_new(struct loop *home, unsigned threads, struct hash_pool **out);
/* Waits for jobs that run; those that wait are dropped without a word: their
 * owner frees them. NULL is fine. */
void hash_pool_free(struct hash_pool *p, void (*drop)(struct hash_job *j));
/* Home. done() comes in every case, never from inside. */
void hash_pool_submit(struct hash_pool *p, struct hash_job *j);
size_t hash_pool_waiting(struct hash_pool *p);

#endif
