/* auth/sign.h - DKIM signatures as the engine gets them: asked for on any
 * loop, made by a sign worker, which alone has the keys.
 *
 * The service is an interface: auth/signers.c asks the workers, the simulator
 * brings its own. A request is answered exactly once, within a bounded time,
 * whatever becomes of the workers: one that dies costs its requests another
 * try on the next.
 */
#ifndef AUTH_SIGN_H
#define AUTH_SIGN_H

#include "auth/signer.h"
#include "base/list.h"
#include "net/loop.h"

struct sign_identity { /* a signature that is wanted: whose, by which of their keys */
    const char *domain;
    const char *selector;
};

struct sign_service;

struct sign_request {
    /* The asker's. All that is pointed to stays until done. */
    struct loop *home;
    void (*done)(struct sign_request *r); /* on home, never from inside sign_submit(); may free r */
    const struct sign_identity *identities; /* 1 to SIGN_KEYS_MAX */
    size_t identity_count;
    uint64_t wall_ms;       /* t= */
    struct slice header;
    struct slice body;      /* what comes after it: in memory, */
    int file;               /* or a descriptor with file_bytes bytes from its beginning, which stays */
    uint64_t file_bytes;    /* the asker's; 0: none */

    /* The answer. buf_release() fields. */
    bool ok;
    struct buf fields;      /* to be put in front of the header */
    char why[SIGNER_WHY_MAX]; /* else, for people */

    /* The service's. */
    struct sign_service *service;
    struct post post;
    struct list link;
    uint64_t id;
    uint64_t until_ms;      /* nobody took it by then: answered with a failure */
    unsigned deaths;        /* workers that died of it, perhaps */
};

struct sign_service {
    void (*submit)(struct sign_service *s, struct sign_request *r);
};

static inline void sign_submit(struct sign_service *s, struct sign_request *r)
{
    s->submit(s, r);
}

/* ---- the workers ----------------------------------------------------------------- */

struct signers;

#define SIGNERS_MAX 32u            /* workers */
#define SIGN_WAIT_MS (30 * SECOND_MS) /* for a worker */
#define SIGN_DEATHS_MAX 2u         /* a message on which so many workers died is given up for now */

struct signers *signers_new(struct loop *home); /* of all links; requests come from any loop */
struct sign_service *signers_service(struct signers *s);
/* Worker number `index` (below SIGNERS_MAX) is there, or there anew. fd is
 * taken over. */
void signers_link(struct signers *s, unsigned index, int fd);
/* After the loops stopped: requests under way are not answered. NULL is fine. */
void signers_free(struct signers *s);

struct signers_figures {
    uint64_t signed_, failed;
    uint64_t recycled; /* ended when their share was done, as they all do */
    uint64_t deaths;   /* ended before that */
};

struct signers_stats {
    unsigned workers; /* that are there */
    size_t waiting, under_way;
    struct signers_figures sum; /* with what failed at no worker */
    struct signers_worker {
        bool there;
        unsigned under_way;
        struct signers_figures sum; /* of all that had its number */
    } each[SIGNERS_MAX];
    unsigned count; /* of these: up to the last that ever was there */
};
void signers_stats(const struct signers *s, struct signers_stats *out); /* home's thread */

#endif
