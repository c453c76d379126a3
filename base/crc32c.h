/* base/crc32c.h - CRC-32C (Castagnoli) of stored bytes, by ISA-L. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/slice.h"

/* Begin with 0; feed pieces in order. */
uint32_t crc32c(uint32_t crc, struct slice bytes);

#endif
