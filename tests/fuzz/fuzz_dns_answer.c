/* A hostile name server's message: the first byte chooses the type asked. */
#include "dns/inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_PTR, DNS_TLSA };
    struct dns_reading got;
    enum dns_type type;

    if (size == 0)
        return 0;
    type = types[data[0] % countof(types)];
    dns_message_read(slice_make(data + 1, size - 1), "a.test", type, data[0] / 64, &got);
    if ((got.answer != NULL) != (got.next == DNS_NEXT_DONE))
        abort();
    if (got.answer != NULL) {
        if (got.answer->count > DNS_RECORDS_MAX || got.hops > DNS_CNAMES_MAX + 1)
            abort();
        if ((got.answer->status == DNS_OK) != (got.answer->count > 0))
            abort();
        dns_answer_cost(got.answer); /* reads every byte kept */
    } else if (strlen(got.target) > 253) {
        abort();
    }
    dns_answer_unref(got.answer);
    return 0;
}
