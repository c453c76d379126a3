/* base/crc32c.c - ISA-L's CRC with the usual inversions around it. */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t crc32c(uint32_t crc, struct slice bytes)
{
    crc = ~crc;
    while (bytes.len > 0) {
        size_t n = bytes.len < INT_MAX ? bytes.len : INT_MAX;

        crc = crc32_iscsi((unsigned char *)bytes.ptr, (int)n, crc);
        bytes = slice_from(bytes, n);
    }
    return ~crc;
}
