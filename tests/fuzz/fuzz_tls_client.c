/* Any bytes as a TLS server: see tls_play.h. */
#include "tests/fuzz/tls_play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    play_input(CLIENT, data, size);
    return 0;
}
