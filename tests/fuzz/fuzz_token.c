/* What a file or a command gives as a token: what is taken can stand in a
 * line of SMTP, and is never more than a token may be. */
#include "delivery/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = { 0 };
    const char *why = NULL;
    uint64_t good_for_ms = 0;
    struct slice token;

    if (token_parse(slice_make(data, size), &out, &good_for_ms, &why)) {
        token = buf_bytes(&out);
        if (token.len == 0 || token.len > TOKEN_BYTES_MAX)
            abort();
        for (size_t i = 0; i < token.len; i++)
            if ((unsigned char)token.ptr[i] <= ' ' || (unsigned char)token.ptr[i] >= 0x7f)
                abort();
    } else if (why == NULL || why[0] == '\0') {
        abort();
    }
    buf_release(&out);
    return 0;
}
