/*
 * The lookup in Scout's FIB (scout.paths.protocols.fib.layout has the format), as a C programmer would write it.
 */
#include <stdint.h>

enum { ESCAPE = 255, WIDE = 256, HOPS = 512 };

static inline int64_t below(const uint32_t *entries, const uint64_t *vectors,
                                                     const int32_t *next_hops, uint32_t node, uint32_t address)
{
    for (uint64_t rest = (uint64_t)address << 50;; rest <<= 6) {
        const uint64_t *vector = vectors + (node >> 3);
        unsigned index = __builtin_popcountll(*vector >> (rest >> 58));
        uint8_t code = ((const uint8_t *)vector)[7 + index];
        if (code != ESCAPE)
            return next_hops[code];
        int32_t entry = entries[2 * ((node >> 3) + 1 + ((__builtin_popcountll(*vector) + 7) >> 3)) + index - 1];
        if (entry >= 0)
            return entry - WIDE;
        node = (uint32_t)entry << 3;
    }
}

static inline int64_t lookup(const uint32_t *entries, const uint64_t *vectors, uint64_t root, uint32_t address)
{
    const int32_t *next_hops = (const int32_t *)entries + 2 * root + HOPS;
    uint32_t node = entries[vectors[root + (address >> 24)] + (address >> 14)];
    const uint64_t *vector = vectors + (node >> 3);
    uint8_t code = ((const uint8_t *)vector)[7 + __builtin_popcountll(*vector >> (address >> 8 & 63))];
    if (__builtin_expect(code == ESCAPE, 0))
        return below(entries, vectors, next_hops, node, address);
    return next_hops[code];
}
