/* base/hash.h - uthash, whose memory is there or the process is not: by itself
 * it would end by exit(), which tears down what other threads still use. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/mem.h"

#include <stdlib.h>

#define uthash_malloc(size)    mem_alloc(size)
#define uthash_free(ptr, size) free(ptr)
#include <uthash.h>

#endif
