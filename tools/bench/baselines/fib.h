/*
 * The lookup in Scout's FIB (scout.paths.protocols.fib.layout has the format), as a C programmer would write it.
 */
#include <stdint.h>

enum { CHILD = 1u << 31 };

static inline int64_t lookup(const uint32_t *entries, const uint64_t *vectors, uint64_t root, uint32_t address)
{
    uint32_t none = entries[2 * root + 256], entry = entries[2 * root + (address >> 24)];
    if (entry & CHILD)
        entry = entries[(entry & ~CHILD) + (address >> 14 & 1023)];
    if (entry & CHILD) {
        const uint64_t *node = vectors + ((entry & ~CHILD) >> 2);
        if ((entry & 3) == 0)
            entry = ((const uint8_t *)node)[7 + __builtin_popcountll(node[0] << (~(address >> 8) & 63))];
        else
            for (uint64_t rest = (uint64_t)address << 50; entry & CHILD; rest <<= 6) {
                unsigned width = entry & 3;
                node = vectors + ((entry & ~CHILD) >> 2);
                unsigned bit = (__builtin_popcountll(node[0] << (63 - (rest >> 58))) - 1) << (width + 3);
                entry = node[1 + (bit >> 6)] >> (bit & 63) & ((1ull << (8 << width)) - 1);
            }
    }
    return (int64_t)(entry | (none & -(uint32_t)(entry == 0))) - 1;
}
