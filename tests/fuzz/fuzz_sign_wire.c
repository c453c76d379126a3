/* What either end of a sign worker's link may be sent. What is understood is
 * within the limits; written again it is the same. */
#include "auth/sign_wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sign_wire w;
    struct buf again = { 0 };

    if (err_failed(sign_wire_get(slice_make(data, size), &w)))
        return 0;
    if (w.key_count > SIGN_KEYS_MAX || w.content.len > SIGN_INLINE_MAX || w.header_bytes > w.content.len + w.file_bytes)
        abort();
    sign_wire_put(&again, &w);
    if (!slice_eq(buf_bytes(&again), slice_make(data, size)))
        abort();
    buf_release(&again);
    return 0;
}
