/* tests/unit/failing_calls.h - the N-th call fails, once or from then on: of
 * the functions in front of which a test puts its own by the linker (--wrap;
 * see `wraps` in meson.build). */
#ifndef TESTS_UNIT_FAILING_CALLS_H
#define TESTS_UNIT_FAILING_CALLS_H

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static struct failing_calls {
    bool armed, sticky;
    unsigned skip;  /* so many pass first */
    unsigned calls; /* since it was armed */
    unsigned hits;
    int error;        /* errno; LMDB's when negative; 0: EIO */
    const char *only; /* calls of this name; NULL: of all */
} fault;

static inline void fault_arm(unsigned skip, bool sticky, int error)
{
    fault = (struct failing_calls){ .armed = true, .sticky = sticky, .skip = skip, .error = error };
}

static inline bool fault_hits(const char *name)
{
    if (!fault.armed || (fault.only != NULL && strcmp(fault.only, name) != 0))
        return false;
    if (fault.calls++ < fault.skip || (fault.hits > 0 && !fault.sticky))
        return false;
    fault.hits++;
    errno = fault.error > 0 ? fault.error : EIO;
    return true;
}

/* `failed` is what the call returns when it is its turn, else `real`. */
#define WRAP_AS(type, name, parameters, failed, real)                                              \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fault_hits(#name) ? (failed) : (real);                                              \
    }

#define WRAP(type, name, parameters, arguments, failed)                                            \
    WRAP_AS(type, name, parameters, failed, __real_##name arguments)

#endif
