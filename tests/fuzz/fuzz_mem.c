/* tests/fuzz/fuzz_mem.c: a fuzz target under failing allocations. The target's own entry was
 * renamed by the build; which allocation fails comes from a hash of the input, so that a finding
 * reproduces. */
#undef LLVMFuzzerTestOneInput

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "tests/fuzz/alloc_fail.h"

int hy_fuzz_target(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t hash = hy_hash(data, size, 0);
    hy_alloc_fail_begin(hash % 64, hash >> 32 & 1 ? 8 : 0, hash);
    hy_fuzz_target(data, size);
    hy_alloc_stop();
    return 0;
}
