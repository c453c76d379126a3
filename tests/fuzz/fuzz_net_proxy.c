/* PROXY headers: what is taken is within bounds, and the same however many
 * bytes stand behind it. */
#include "net/proxy.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct proxy_header h, again;
    const char *why;
    enum proxy_result r = proxy_parse(in, &h, &why);

    assert((r == PROXY_BAD) == (why != NULL));
    if (r == PROXY_MORE)
        assert(size < PROXY_HEADER_MAX);
    if (r != PROXY_DONE)
        return 0;
    assert(h.used > 0 && h.used <= size && h.used <= PROXY_HEADER_MAX);
    assert(h.known == (h.source.family != 0) && h.known == (h.destination.family != 0));
    assert(proxy_parse(slice_head(in, h.used), &again, &why) == PROXY_DONE);
    assert(again.used == h.used && net_addr_equal_host(&again.source, &h.source));
    assert(proxy_parse(slice_head(in, h.used - 1), &again, &why) != PROXY_DONE);
    return 0;
}
