/* tests/unit/store_fake.h - a loop that only receives posts, and a scratch
 * folder, for the tests of store/. */
#ifndef TESTS_UNIT_STORE_FAKE_H
#define TESTS_UNIT_STORE_FAKE_H

#include "tests/unit/check.h"

#include "net/loop.h"
#include "store/wake.h"

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

struct fake_loop {
    struct loop loop; /* first */
    struct inbox inbox;
    struct wake wake;
};

static void fake_post(struct loop *l, struct post *p)
{
    struct fake_loop *f = (struct fake_loop *)l;

    if (inbox_push(&f->inbox, p))
        wake_up(&f->wake);
}

static const struct loop_ops fake_ops = { .post = fake_post };

static inline void fake_init(struct fake_loop *f)
{
    memset(f, 0, sizeof *f);
    f->loop.ops = &fake_ops;
    f->loop.clock = &clock_system;
}

/* Runs what was posted; how much. */
static inline size_t fake_turn(struct fake_loop *f)
{
    struct post *p = inbox_take(&f->inbox);
    size_t n = 0;

    for (; p != NULL; n++) {
        struct post *next = p->next;

        p->run(p);
        p = next;
    }
    return n;
}

/* Until *count has reached n. */
static inline void fake_run_until(struct fake_loop *f, const unsigned *count, unsigned n)
{
    while (*count < n)
        if (fake_turn(f) == 0)
            wake_wait(&f->wake, &f->inbox, 1000);
}

static inline int scratch_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void scratch_remove(const char *path)
{
    nftw(path, scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new folder's path; the caller frees. */
static inline char *scratch_make(void)
{
    char *path = strdup("/tmp/store-test-XXXXXX");

    if (mkdtemp(path) == NULL)
        fail_msg("no scratch folder");
    return path;
}

#endif
