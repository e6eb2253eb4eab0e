/* base/hash.h: 64-bit hash of bytes, for tables and page chains inside one process; not for files.
 */
#ifndef HY_BASE_HASH_H
#define HY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* wyhash-like mixing of 8-byte words; `seed` chains one hash into the next. */
uint64_t hy_hash(const void *data, size_t size, uint64_t seed);

#endif
