/* What either end of the accounts link may be sent by the other one fallen to
 * a stranger. What is understood is written again and must be the same. */
#include "auth/accounts_wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct accounts_wire w;
    struct buf again = { 0 };

    if (err_failed(accounts_wire_get(slice_make(data, size), &w)))
        return 0;
    if (w.user.len > ACCOUNTS_NAME_MAX || w.response.len > ACCOUNTS_RESPONSE_MAX ||
        w.sender_count > ACCOUNTS_SENDERS_MAX)
        abort();
    accounts_wire_put(&again, &w);
    if (!slice_eq(buf_bytes(&again), slice_make(data, size)))
        abort();
    buf_release(&again);
    return 0;
}
