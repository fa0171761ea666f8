/*
 * The lookup in Scout's FIB (scout.paths.protocols.fib.layout has the format), as a C programmer would write it.
 */
#include <stdint.h>

static inline int64_t lookup(const int32_t *entries, const uint64_t *vectors, uint64_t root, uint32_t address)
{
    int32_t entry = entries[2 * root + (address >> 24)];
    if (entry < 0) {
        entry = entries[2 * (uint64_t)(uint32_t)~entry + (address >> 14 & 1023)];
        for (uint64_t rest = (uint64_t)address << 50; entry < 0; rest <<= 6) {
            uint64_t node = (uint32_t)~entry;
            entry = entries[2 * node + 1 + __builtin_popcountll(vectors[node] << (63 - (rest >> 58)))];
        }
    }
    int32_t hop = entry & 0x7fffff;
    return (hop ? hop : entries[2 * root + 256]) - 1;
}
