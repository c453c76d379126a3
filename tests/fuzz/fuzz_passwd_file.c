/* A file of users that somebody exported from somewhere. Every line with a name
 * can be looked up again: a hash, or that nobody logs in by it. */
#include "auth/passwd_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void problem(void *ctx, unsigned line, const char *why)
{
    size_t *problems = ctx;

    if (line == 0 || why == NULL || why[0] == '\0')
        abort();
    ++*problems;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size), rest = text, line;
    size_t problems = 0, lines = 0, found = 0;
    struct passwd_table *t = passwd_parse(text, "example.com", problem, &problems);

    while (slice_split(&rest, '\n', &line)) {
        char key[USER_ADDRESS_MAX + 1];
        const char *hash;

        lines++;
        if (!user_key(slice_head(line, slice_find(line, ':')), "example.com", key))
            continue;
        hash = passwd_find(t, key);
        found += hash != NULL;
        if (hash != NULL && hash[0] == '\0')
            abort();
    }
    if (passwd_count(t) > lines || problems > lines || found < passwd_count(t))
        abort();
    passwd_table_free(t);
    return 0;
}
