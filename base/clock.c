/* base/clock.c - the only place that reads the system's time and randomness. */
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_ms(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t system_mono_ms(void *ctx)
{
    (void)ctx;
    return read_ms(CLOCK_BOOTTIME);
}

static uint64_t system_wall_ms(void *ctx)
{
    (void)ctx;
    return read_ms(CLOCK_REALTIME);
}

const struct clock clock_system = { system_mono_ms, system_wall_ms, NULL };

int64_t clock_watch_look(struct clock_watch *w, const struct clock *c)
{
    uint64_t before = clock_mono_ms(c);
    int64_t apart = (int64_t)(clock_wall_ms(c) - before);
    int64_t by = apart - w->apart_ms;
    bool first = !w->begun;

    /* Stopped between the two, it would take its own pause for a change. */
    if (clock_mono_ms(c) - before >= CLOCK_SET_MIN_MS / 2)
        return 0;
    w->begun = true;
    w->apart_ms = apart;
    return first || (by < CLOCK_SET_MIN_MS && by > -CLOCK_SET_MIN_MS) ? 0 : by;
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

uint64_t cond_deadline_ms(uint64_t wait_ms)
{
    return read_ms(CLOCK_MONOTONIC) + wait_ms;
}

bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ms)
{
    struct timespec until = { .tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000 };

    return pthread_cond_timedwait(c, lock, &until) != ETIMEDOUT;
}

/* splitmix64 spreads a small seed over the state of xoshiro256**. */
static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (size_t i = 0; i < countof(r->s); i++)
        r->s[i] = splitmix(&seed);
}

void rng_seed_system(struct rng *r)
{
    uint64_t seed;

    random_secret(&seed, sizeof seed);
    rng_seed(r, seed);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    /* Multiply-shift; the bias is below 2^-32 for the n used here. */
    return (uint64_t)(((unsigned __int128)rng_u64(r) * n) >> 64);
}

void random_secret(void *buf, size_t len)
{
    char *p = buf;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* a kernel without randomness is no place for a mail server */
        p += n;
        len -= (size_t)n;
    }
}
