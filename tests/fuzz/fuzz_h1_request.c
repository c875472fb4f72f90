/* fuzz_h1_request.c: the bytes of a client: head, framing and body of a request (h1_check.h says what must hold). */
#include "tests/fuzz/h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    h1_check(H1_REQUEST, fuzz_str(data, size));
    return 0;
}
