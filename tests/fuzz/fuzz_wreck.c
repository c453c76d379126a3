/* A data file of LMDB as a damaged disk gives it back: whatever it is, records
 * lie inside it, and a message that counts as whole is what its checksums say. */
#include "base/crc32c.h"
#include "queue/salvage.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool visit(void *ctx, const struct salvaged *s)
{
    if (s->outcome == SALVAGE_NO_RECORD && s->message != NULL)
        abort();
    if (s->outcome != SALVAGE_WHOLE)
        return true;
    if (crc32c(0, s->header) != s->message->header_crc || crc32c(0, s->body) != s->message->body_crc ||
        s->header.len != s->message->header_bytes || s->body.len != s->message->body_bytes)
        abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice file = slice_make(data, size);
    struct wreck_counts counts;

    queue_salvage_bytes(file, NULL, visit, NULL, &counts);
    return 0;
}
