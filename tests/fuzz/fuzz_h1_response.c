/* fuzz_h1_response.c: the bytes of an instance or a push endpoint: head, framing and body of an answer (h1_check.h says what must hold). */
#include "tests/fuzz/h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    h1_check(H1_RESPONSE, fuzz_str(data, size));
    return 0;
}
